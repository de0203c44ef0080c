// The softmax sum of a row of logits; the loss, the recorded log-probabilities and the sampler share it, so they agree to the bit.
#pragma once

#include <cstdint>
#include <limits>

#include "cpu/math.h"
#include "cpu/simd.h"
#include "cpu/spans.h"

namespace wl::WL_ISA {

/** max is the largest logit, sum = sum of exp(logit - max), lse = max + log(sum). */
struct RowSum {
  float max, sum, lse;
};

/** The largest of a row; NaNs may be passed over here, the sum of the exponentials has them. */
inline float row_max(const float* x, int64_t n) {
  constexpr float low = -std::numeric_limits<float>::infinity();
  Vec16 a = splat(low), b = a, c = a, d = a;
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    a = max(a, load(x + i));
    b = max(b, load(x + i + 16));
    c = max(c, load(x + i + 32));
    d = max(d, load(x + i + 48));
  }
  for (; i + 16 <= n; i += 16) a = max(a, load(x + i));
  if (i < n) b = max(b, select_first(n - i, load_first(n - i, x + i), splat(low)));
  return reduce_max(max(max(a, b), max(c, d)));
}

/**
 * The sum over a row of n logits: spans (unit 16) of 16 virtual lanes each, lanes and spans added in fixed trees.
 * Where `exponentials` is given, exp(logit - max) is written there; it may be x itself.
 */
template <bool keep = false>
RowSum row_sum(const float* x, int64_t n, float* exponentials = nullptr) {
  const float largest = row_max(x, n);
  const Vec16 m = splat(largest);
  const int64_t units = (n + 15) / 16;
  const int count = span_count(units, most_spans);
  float span[most_spans];
  for (int s = 0; s < count; ++s) {
    const int64_t bound = span_begin(s + 1, count, units) * 16, end = bound < n ? bound : n;
    Vec16 sum = splat(0.0f);
    int64_t i = span_begin(s, count, units) * 16;
    for (; i + 16 <= end; i += 16) {
      const Vec16 e = exp_16(load(x + i) - m);
      if constexpr (keep) store(exponentials + i, e);
      sum = sum + e;
    }
    if (i < end) {
      const Vec16 e = select_first(end - i, exp_16(load_first(end - i, x + i) - m), splat(0.0f));
      if constexpr (keep) store_first(end - i, exponentials + i, e);
      sum = sum + e;
    }
    span[s] = reduce_add(sum);
  }
  const float sum = add_spans(span, count);
  return {largest, sum, largest + log_1(sum)};
}

}  // namespace wl::WL_ISA
