// Sums over tokens: each sequence is cut into spans, and a span holds its tokens of all sequences.
#pragma once

#include <cstdint>

#include "cpu/simd.h"
#include "cpu/spans.h"

namespace wl::WL_ISA {

/** Rows of `rows / length` sequences of `length` tokens, of which there are at most `limit` spans. */
struct TokenSpans {
  int64_t rows, length, limit;

  int count() const { return span_count(length, limit); }

  /** Calls f(row) for the tokens of span s: sequence after sequence, in order of position. */
  template <class F>
  void each_row(int s, F&& f) const {
    const int64_t begin = span_begin(s, count(), length), end = span_begin(s + 1, count(), length);
    for (int64_t first = 0; first < rows; first += length) {
      for (int64_t t = begin; t < end; ++t) f(first + t);
    }
  }
};

}  // namespace wl::WL_ISA
