// Sums over whole tensors: fixed chunks of 4,096 elements, 16 double lanes in a chunk, lanes and chunks added in order.
#pragma once

#include <cstdint>

namespace wl::WL_ISA {

inline constexpr int64_t chunk_elements = 4096;

inline int64_t chunks_of(int64_t elements) { return (elements + chunk_elements - 1) / chunk_elements; }

/** Sum of term(x[i]) over a chunk or less. */
template <class Term>
inline double chunk_sum(const float* x, int64_t n, Term&& term) {
  double lane[16] = {};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int l = 0; l < 16; ++l) lane[l] += term(static_cast<double>(x[i + l]));
  }
  for (int l = 0; i + l < n; ++l) lane[l] += term(static_cast<double>(x[i + l]));
  double total = 0;
  for (const double value : lane) total += value;
  return total;
}

}  // namespace wl::WL_ISA
