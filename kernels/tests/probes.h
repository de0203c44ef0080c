// Loops over inline functions of kernels/cpu, compiled for each instruction set (probes.isa.cpp), so that tests can compare them.
#pragma once

#include <cstdint>

namespace wl {

/** The elementary functions of cpu/math.h. */
enum class Elementary { exp, log, tanh, erf, sigmoid, sine, cosine };
/** The vector operations of cpu/simd.h on two operands; those on integers take the bits. */
enum class Lanes {
  add, subtract, multiply, divide, max, min, sqrt, less, equal, fma, select_first, load_first, to_int, to_float,
  shift_left, shift_right, multiply_high, multiply_low, reduce_add, reduce_max, reduce_max_int, any, copy_sign,
};

#define WL_DECLARE_PROBES                                                                   \
  /* y[i] = f(x[i]) for n elements, n a multiple of 16. */                                  \
  void probe_elementary(Elementary f, const float* x, float* y, int64_t n);                 \
  /* y = f(a, b) for one vector; `count` is for operations on the first lanes. */           \
  void probe_lanes(Lanes f, const float* a, const float* b, int64_t count, float* y);       \
  /* The four words of each of 16 counters, word[w][lane], by the loop and by the vectors. */ \
  void probe_philox(const uint32_t (&counter)[4][16], uint64_t key, uint32_t (&scalar)[4][16], uint32_t (&vector)[4][16]);

namespace generic {
WL_DECLARE_PROBES
}
namespace avx2 {
WL_DECLARE_PROBES
}
namespace avx512 {
WL_DECLARE_PROBES
}

}  // namespace wl
