// RMSNorm (Zhang and Sennrich 2019) and LayerNorm (Ba et al. 2016), with the residual sum that comes before them.
// A row is summed in 16 lanes and a fixed tree; gradients of weights are sums over tokens in spans (token-spans.h).
#include <cmath>

#include "core/ops.gen.h"
#include "cpu/groups.h"
#include "cpu/token-spans.h"

namespace wl::WL_ISA {
namespace {

/** Sum over a row of term(first element, group) with 16 lanes; a partial group must give zero in its unused lanes. */
template <class F>
float row_sum_of(int64_t n, F&& term) {
  Vec16 lanes = zero();
  each_group(0, n, [&](int64_t i, auto group) { lanes = term(i, group, lanes); });
  return reduce_add(lanes);
}

/** h = x + residual where there is one; the row that the norm reads. */
const float* residual_row(const float* x, const float* residual, float* h, int64_t row, int64_t n) {
  if (residual == nullptr) {
    if (h != nullptr) each_group(0, n, [&](int64_t i, auto group) { group.put(h + row * n + i, group(x + row * n + i)); });
    return x + row * n;
  }
  each_group(0, n, [&](int64_t i, auto group) {
    group.put(h + row * n + i, group(x + row * n + i) + group(residual + row * n + i));
  });
  return h + row * n;
}

/**
 * weight[d] = sum over tokens of term(row, first column, group, partial sum), in spans, for all columns; added to what is there where
 * `accumulate`. Spans and column groups are shared out over the workers.
 */
template <class F>
void sum_over_tokens(Context& context, const TokenSpans& spans, int64_t columns, bool accumulate, float* weight, F&& term) {
  const int64_t groups = (columns + 15) / 16;
  float* partial = context.scratch(groups * 8 * 16);
  context.parallel_for(groups * 8, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t column = item / 8 * 16;
      Vec16 chain = zero();
      each_group(column, column + 16 < columns ? column + 16 : columns, [&](int64_t i, auto group) {
        spans.each_row(static_cast<int>(item % 8), [&](int64_t row) { chain = term(row, i, group, chain); });
      });
      store(partial + item * 16, chain);
    }
  });
  each_group(0, columns, [&](int64_t i, auto group) {
    Vec16 span[8];
    for (int s = 0; s < 8; ++s) span[s] = load(partial + (i / 16 * 8 + s) * 16);
    const Vec16 total = add_spans(span);
    group.put(weight + i, accumulate ? group(weight + i) + total : total);
  });
}

}  // namespace

void rms_norm_forward(Context& context, const rms_norm_forward_args& a) {
  if (a.residual != nullptr && a.h == nullptr) throw BadInput{"rms_norm_forward: a residual needs h"};
  context.parallel_for(a.M, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const float* h = residual_row(a.x, a.residual, a.h, row, a.D);
      const float squares = row_sum_of(a.D, [&](int64_t i, auto group, Vec16 sum) { return fma(group(h + i), group(h + i), sum); });
      const float inverse = 1.0f / std::sqrt(squares / static_cast<float>(a.D) + a.eps);
      a.inv_rms[row] = inverse;
      float* y = a.y + row * a.D;
      each_group(0, a.D, [&](int64_t i, auto group) { group.put(y + i, group(h + i) * splat(inverse) * group(a.w + i)); });
    }
  });
}

void rms_norm_backward(Context& context, const rms_norm_backward_args& a) {
  const int64_t n = a.D;
  context.parallel_for(a.M, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const float *dy = a.dy + row * n, *h = a.h + row * n, inverse = a.inv_rms[row];
      // dx = inv (g - h inv^2 mean(g h)), g = dy w.
      const float dot = row_sum_of(n, [&](int64_t i, auto group, Vec16 sum) { return fma(group(dy + i) * group(a.w + i), group(h + i), sum); });
      const Vec16 pull = splat(-(dot / static_cast<float>(n)) * inverse * inverse);
      each_group(0, n, [&](int64_t i, auto group) {
        Vec16 dx = fma(group(h + i), pull, group(dy + i) * group(a.w + i)) * splat(inverse);
        if (a.dh != nullptr) dx = dx + group(a.dh + row * n + i);
        group.put(a.dx + row * n + i, dx);
      });
    }
  });
  sum_over_tokens(context, {a.M, a.length}, n, a.accumulate != 0, a.dw, [&](int64_t row, int64_t i, auto group, Vec16 sum) {
    return fma(group(a.dy + row * n + i), group(a.h + row * n + i) * splat(a.inv_rms[row]), sum);
  });
}

void layer_norm_forward(Context& context, const layer_norm_forward_args& a) {
  if (a.residual != nullptr && a.h == nullptr) throw BadInput{"layer_norm_forward: a residual needs h"};
  context.parallel_for(a.M, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const float* h = residual_row(a.x, a.residual, a.h, row, a.D);
      const float count = static_cast<float>(a.D);
      const float mean = row_sum_of(a.D, [&](int64_t i, auto group, Vec16 sum) { return sum + group(h + i); }) / count;
      const float squares = row_sum_of(a.D, [&](int64_t i, auto group, Vec16 sum) {
        const Vec16 off = select_first(a.D - i < 16 ? a.D - i : 16, group(h + i) - splat(mean), zero());
        return fma(off, off, sum);
      });
      const float inverse = 1.0f / std::sqrt(squares / count + a.eps);
      a.mean[row] = mean;
      a.inv_std[row] = inverse;
      float* y = a.y + row * a.D;
      each_group(0, a.D, [&](int64_t i, auto group) {
        const Vec16 normal = (group(h + i) - splat(mean)) * splat(inverse);
        group.put(y + i, a.b != nullptr ? fma(normal, group(a.w + i), group(a.b + i)) : normal * group(a.w + i));
      });
    }
  });
}

void layer_norm_backward(Context& context, const layer_norm_backward_args& a) {
  const int64_t n = a.D;
  context.parallel_for(a.M, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const float *dy = a.dy + row * n, *h = a.h + row * n;
      const Vec16 mean = splat(a.mean[row]), inverse = splat(a.inv_std[row]);
      // dx = inv (g - mean(g) - normal mean(g normal)), g = dy w. Unused lanes of a partial group have g = 0.
      const float count = static_cast<float>(n);
      const float shift = row_sum_of(n, [&](int64_t i, auto group, Vec16 sum) { return fma(group(dy + i), group(a.w + i), sum); }) / count;
      const float pull = row_sum_of(n, [&](int64_t i, auto group, Vec16 sum) {
        return fma(group(dy + i) * group(a.w + i), (group(h + i) - mean) * inverse, sum);
      }) / count;
      each_group(0, n, [&](int64_t i, auto group) {
        const Vec16 normal = (group(h + i) - mean) * inverse;
        const Vec16 g = fma(group(dy + i), group(a.w + i), splat(-shift));
        Vec16 dx = fma(normal, splat(-pull), g) * inverse;
        if (a.dh != nullptr) dx = dx + group(a.dh + row * n + i);
        group.put(a.dx + row * n + i, dx);
      });
    }
  });
  const TokenSpans spans{a.M, a.length};
  const bool accumulate = a.accumulate != 0;
  sum_over_tokens(context, spans, n, accumulate, a.dw, [&](int64_t row, int64_t i, auto group, Vec16 sum) {
    const Vec16 normal = (group(a.h + row * n + i) - splat(a.mean[row])) * splat(a.inv_std[row]);
    return fma(group(a.dy + row * n + i), normal, sum);
  });
  if (a.db == nullptr) return;
  sum_over_tokens(context, spans, n, accumulate, a.db, [&](int64_t row, int64_t i, auto group, Vec16 sum) {
    return sum + group(a.dy + row * n + i);
  });
}

}  // namespace wl::WL_ISA
