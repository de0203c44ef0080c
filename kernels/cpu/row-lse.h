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
 * The sum of exp(x[i] - largest) over the spans of a row: 16 virtual lanes in each, lanes and spans added in fixed trees.
 * Where they are kept, the exponentials are written to `exponentials`, which may be x itself.
 */
template <bool keep>
float exponentials_sum(const float* x, const Spans& spans, float largest, float* exponentials) {
  const Vec16 m = splat(largest);
  float span[most_spans];
  for (int s = 0; s < spans.count; ++s) {
    const int64_t end = spans.begin[s + 1];
    Vec16 sum = splat(0.0f);
    int64_t i = spans.begin[s];
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
  return add_spans(span, spans.count);
}

/** What spans of the vocabulary are made of. */
inline constexpr int64_t vocabulary_unit = 16;

inline RowSum row_sum_of(float largest, float sum) { return {largest, sum, largest + log_1(sum)}; }

/** The sum over a row of n logits; where `exponentials` is given, exp(logit - max) is written there. */
template <bool keep = false>
RowSum row_sum(const float* x, int64_t n, float* exponentials = nullptr) {
  const float largest = row_max(x, n);
  return row_sum_of(largest, exponentials_sum<keep>(x, spans_of(n, vocabulary_unit, most_spans), largest, exponentials));
}

/**
 * The gradient of the loss of a row: exponentials e become weight * (e / sum - 1 at `target`), in place. `target` may lie outside of the n
 * columns that are here.
 */
inline void gradient_of_row(float* e, int64_t n, float sum, int64_t target, float weight) {
  const float inverse = 1.0f / sum;
  const bool is_here = target >= 0 && target < n;
  const float hot = is_here ? (e[target] * inverse - 1.0f) * weight : 0.0f;
  for (int64_t i = 0; i < n; ++i) e[i] = e[i] * inverse * weight;
  if (is_here) e[target] = hot;
}

}  // namespace wl::WL_ISA
