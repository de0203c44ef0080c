// AdamW (Loshchilov and Hutter 2019, algorithm 2), over many tensors in one pass.
#include <cmath>

#include "core/ops.gen.h"
#include "cpu/chunk-list.h"
#include "cpu/groups.h"

namespace wl::WL_ISA {
namespace {

/** base^exponent by squaring: the same bits everywhere, which std::pow doesn't promise. */
double power(double base, int64_t exponent) {
  double result = 1;
  for (; exponent > 0; exponent /= 2) {
    if (exponent % 2 == 1) result *= base;
    base *= base;
  }
  return result;
}

/** min(1, clip / (norm + 1e-6)); a NaN comes through. */
float clip_factor(float norm, float clip) {
  const float factor = clip / (norm + 1e-6f);
  return factor > 1.0f ? 1.0f : factor;
}

}  // namespace

void adamw(Context& context, const adamw_args& a) {
  const Chunks chunks = chunks_of_list(context, a.params_sizes, a.params_count);
  if (a.step < 1) throw BadInput{"adamw: steps count from 1"};
  const double correction1 = 1.0 - power(static_cast<double>(a.beta1), a.step);
  const double correction2 = 1.0 - power(static_cast<double>(a.beta2), a.step);
  const float clip = a.norm != nullptr ? clip_factor(a.norm[0], a.clip) : 1.0f;
  const Vec16 scale = splat(clip);
  const Vec16 beta1 = splat(a.beta1), rest1 = splat(1.0f - a.beta1);
  const Vec16 beta2 = splat(a.beta2), rest2 = splat(1.0f - a.beta2);
  const Vec16 keep = splat(static_cast<float>(1.0 - static_cast<double>(a.rate) * static_cast<double>(a.decay)));
  const Vec16 rate = splat(static_cast<float>(-static_cast<double>(a.rate) / correction1));
  const Vec16 root = splat(static_cast<float>(1.0 / std::sqrt(correction2)));
  const Vec16 eps = splat(a.eps);
  context.parallel_for(chunks.count(), [&](int64_t begin, int64_t end, int) {
    for (int64_t c = begin; c < end; ++c) {
      const auto [t, at, size] = chunks.stretch(c);
      float *p = a.params[t] + at, *first = a.first[t] + at, *second = a.second[t] + at;
      const float* gradient = a.grads[t] + at;
      each_group(0, size, [&](int64_t i, auto group) {
        const Vec16 g = group(gradient + i) * scale;
        const Vec16 m = fma(beta1, group(first + i), rest1 * g);
        const Vec16 v = fma(beta2, group(second + i), rest2 * (g * g));
        group.put(first + i, m);
        group.put(second + i, v);
        group.put(p + i, fma(rate, m / fma(sqrt(v), root, eps), group(p + i) * keep));
      });
    }
  });
}

}  // namespace wl::WL_ISA
