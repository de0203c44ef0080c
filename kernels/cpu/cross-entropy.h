// The fused loss with its scratch memory as an argument: less memory means smaller steps, never other bits.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "core/ops.gen.h"

namespace wl {

#define WL_DECLARE_FUSED_LOSS \
  void cross_entropy_fused_within(Context& context, const cross_entropy_fused_args& args, int64_t step_floats);

namespace generic {
WL_DECLARE_FUSED_LOSS
}
namespace avx2 {
WL_DECLARE_FUSED_LOSS
}
namespace avx512 {
WL_DECLARE_FUSED_LOSS
}

}  // namespace wl
