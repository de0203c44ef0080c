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

/** h = x + residual where there is one; the row that the norm reads, as it is stored. */
Reals residual_row(Reals x, Reals residual, RealsOut h, int64_t row, int64_t n) {
  if (residual == nullptr) {
    if (!(h == nullptr)) each_group(0, n, [&](int64_t i, auto group) { group.put(h + row * n + i, group(x + row * n + i)); });
    return x + row * n;
  }
  each_group(0, n, [&](int64_t i, auto group) {
    group.put(h + row * n + i, group(x + row * n + i) + group(residual + row * n + i));
  });
  return h + row * n;
}

/**
 * weights[k][d] += sum over tokens of what `term(row, first column, group, sums)` adds to sums[k], in spans, for all columns; where not
 * `accumulate`, += is =. Spans and blocks of columns are shared out over the workers; a block is a few cache lines of each row.
 */
template <int count, class F>
void sum_over_tokens(Context& context, const TokenSpans& spans, int64_t columns, bool accumulate, float* const (&weights)[count], F&& term) {
  constexpr int groups = 4;
  const int64_t padded = (columns + 15) / 16 * 16, blocks = (columns + 16 * groups - 1) / (16 * groups);
  const int span_total = spans.count();
  float* partial = context.scratch(span_total * count * padded);
  context.parallel_for(blocks * span_total, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t item = begin; item < end; ++item) {
      const int s = static_cast<int>(item % span_total);
      const int64_t first = item / span_total * 16 * groups, last = first + 16 * groups < columns ? first + 16 * groups : columns;
      Vec16 chain[groups][count];
      for (auto& sums : chain) {
        for (Vec16& sum : sums) sum = zero();
      }
      spans.each_row(s, [&](int64_t row) {
        if (last - first == 16 * groups) {
          for (int g = 0; g < groups; ++g) term(row, first + 16 * g, WholeGroup{}, chain[g]);
        } else {
          each_group(first, last, [&](int64_t i, auto group) { term(row, i, group, chain[(i - first) / 16]); });
        }
      });
      for (int64_t i = first; i < last; i += 16) {
        for (int k = 0; k < count; ++k) store(partial + (s * count + k) * padded + i, chain[(i - first) / 16][k]);
      }
    }
  });
  for (int k = 0; k < count; ++k) {
    if (weights[k] == nullptr) continue;
    each_group(0, columns, [&](int64_t i, auto group) {
      Vec16 sums[most_spans];
      for (int s = 0; s < span_total; ++s) sums[s] = load(partial + (s * count + k) * padded + i);
      const Vec16 total = add_spans(sums, span_total);
      group.put(weights[k] + i, accumulate ? group(weights[k] + i) + total : total);
    });
  }
}

}  // namespace

void rms_norm_forward(Context& context, const rms_norm_forward_args& a) {
  if (!(a.residual == nullptr) && a.h == nullptr) throw BadInput{"rms_norm_forward: a residual needs h"};
  const auto weight = [&](int64_t i, auto group) { return group(a.w + i) + splat(a.offset); };
  context.parallel_for(a.M, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const Reals h = residual_row(a.x, a.residual, a.h, row, a.D);
      const float squares = row_sum_of(a.D, [&](int64_t i, auto group, Vec16 sum) { return fma(group(h + i), group(h + i), sum); });
      const float inverse = 1.0f / std::sqrt(squares / static_cast<float>(a.D) + a.eps);
      a.inv_rms[row] = inverse;
      const RealsOut y = a.y + row * a.D;
      each_group(0, a.D, [&](int64_t i, auto group) { group.put(y + i, group(h + i) * splat(inverse) * weight(i, group)); });
    }
  });
}

void rms_norm_backward(Context& context, const rms_norm_backward_args& a) {
  const int64_t n = a.D;
  const auto weight = [&](int64_t i, auto group) { return group(a.w + i) + splat(a.offset); };
  context.parallel_for(a.M, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const float *dy = a.dy + row * n, inverse = a.inv_rms[row];
      const Reals h = a.h + row * n;
      // dx = inv (g - h inv^2 mean(g h)), g = dy w.
      const float dot = row_sum_of(n, [&](int64_t i, auto group, Vec16 sum) { return fma(group(dy + i) * weight(i, group), group(h + i), sum); });
      const Vec16 pull = splat(-(dot / static_cast<float>(n)) * inverse * inverse);
      each_group(0, n, [&](int64_t i, auto group) {
        Vec16 dx = fma(group(h + i), pull, group(dy + i) * weight(i, group)) * splat(inverse);
        if (a.dh != nullptr) dx = dx + group(a.dh + row * n + i);
        group.put(a.dx + row * n + i, dx);
      });
    }
  });
  sum_over_tokens(context, {a.M, a.length, a.spans}, n, a.accumulate != 0, {a.dw}, [&](int64_t row, int64_t i, auto group, Vec16 (&sums)[1]) {
    sums[0] = fma(group(a.dy + row * n + i), group(a.h + row * n + i) * splat(a.inv_rms[row]), sums[0]);
  });
}

void layer_norm_forward(Context& context, const layer_norm_forward_args& a) {
  if (!(a.residual == nullptr) && a.h == nullptr) throw BadInput{"layer_norm_forward: a residual needs h"};
  context.parallel_for(a.M, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const Reals h = residual_row(a.x, a.residual, a.h, row, a.D);
      const float count = static_cast<float>(a.D);
      const float mean = row_sum_of(a.D, [&](int64_t i, auto group, Vec16 sum) { return sum + group(h + i); }) / count;
      const float squares = row_sum_of(a.D, [&](int64_t i, auto group, Vec16 sum) {
        const Vec16 off = select_first(a.D - i < 16 ? a.D - i : 16, group(h + i) - splat(mean), zero());
        return fma(off, off, sum);
      });
      const float inverse = 1.0f / std::sqrt(squares / count + a.eps);
      a.mean[row] = mean;
      a.inv_std[row] = inverse;
      const RealsOut y = a.y + row * a.D;
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
      const float* dy = a.dy + row * n;
      const Reals h = a.h + row * n;
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
  sum_over_tokens(context, {a.M, a.length, a.spans}, n, a.accumulate != 0, {a.dw, a.db}, [&](int64_t row, int64_t i, auto group, Vec16 (&sums)[2]) {
    const Vec16 dy = group(a.dy + row * n + i);
    const Vec16 normal = (group(a.h + row * n + i) - splat(a.mean[row])) * splat(a.inv_std[row]);
    sums[0] = fma(dy, normal, sums[0]);
    sums[1] = sums[1] + dy;
  });
}

}  // namespace wl::WL_ISA
