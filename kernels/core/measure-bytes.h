// The loop that shows how many products of bytes the machine can add, for each instruction set.
#pragma once

#include <cstdint>

namespace wl {

#define WL_DECLARE_MEASURE_BYTES                                                                           \
  /* Runs `rounds` rounds of independent sums of byte products; returns the multiplications and additions done. */ \
  int64_t byte_loop(int64_t rounds, int32_t* sink);

namespace generic {
WL_DECLARE_MEASURE_BYTES
}
namespace avx2 {
WL_DECLARE_MEASURE_BYTES
}
namespace avx512 {
WL_DECLARE_MEASURE_BYTES
}

}  // namespace wl
