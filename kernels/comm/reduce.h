// Reductions over ranks, for each instruction set.
#pragma once

#include <cstdint>

#include "comm/dtype.h"
#include "core/isa.h"

namespace wl {

/*
 * to[i] = reduction over r of sources[r][i], in the balanced binary tree over r: partial sums of 2^k ranks, smaller newer ones added
 * to larger older ones. f16 and bf16 are added in f32 and rounded once; integers wrap around. `to` may be one of the sources.
 * A NaN among the values of max and min is the result.
 */
#define WL_DECLARE_REDUCE                                                                                                \
  void reduce_ranks(comm::Type type, comm::Reduction reduction, int ranks, const void* const* sources, void* to, int64_t count);

namespace generic {
WL_DECLARE_REDUCE
}
namespace avx2 {
WL_DECLARE_REDUCE
}
namespace avx512 {
WL_DECLARE_REDUCE
}

}  // namespace wl
