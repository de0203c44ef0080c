// Sums over tokens: each sequence is cut into 8 spans, a span holds its tokens of all sequences, and the spans are added in a fixed tree.
#pragma once

#include <cstdint>

#include "cpu/simd.h"

namespace wl::WL_ISA {

/** Rows of `rows / length` sequences of `length` tokens. */
struct TokenSpans {
  int64_t rows, length;

  int64_t span_length() const { return (length + 7) / 8; }

  /** Calls f(row) for the tokens of span s: sequence after sequence, in order of position. */
  template <class F>
  void each_row(int s, F&& f) const {
    const int64_t begin = span_length() * s < length ? span_length() * s : length;
    const int64_t end = span_length() * (s + 1) < length ? span_length() * (s + 1) : length;
    for (int64_t first = 0; first < rows; first += length) {
      for (int64_t t = begin; t < end; ++t) f(first + t);
    }
  }
};

/** ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7)). */
template <class T>
inline T add_spans(const T (&s)[8]) {
  return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

}  // namespace wl::WL_ISA
