// Loops that show what the machine can do, for each instruction set; the figures that kernels are compared with.
#pragma once

#include <cstdint>

namespace wl {

#define WL_DECLARE_MEASURE                                                                          \
  /* Runs `rounds` rounds of independent multiply-adds; returns the floating-point operations done. */ \
  int64_t fma_loop(int64_t rounds, float* sink);                                                    \
  /* Reads `count` floats, a multiple of 128, once; the value only keeps the loop alive. */          \
  float read_loop(const float* data, int64_t count);

namespace generic {
WL_DECLARE_MEASURE
}
namespace avx2 {
WL_DECLARE_MEASURE
}
namespace avx512 {
WL_DECLARE_MEASURE
}

}  // namespace wl
