// Linear layers with weights of 16 bits.
#pragma once

#include "core/ops.gen.h"

namespace wl::WL_ISA {

/** linear_quantized for f16 and bf16: the bits of linear_forward with the weight in f32, in units of 16. */
void linear_halves(Context& context, const linear_quantized_args& a);

}  // namespace wl::WL_ISA
