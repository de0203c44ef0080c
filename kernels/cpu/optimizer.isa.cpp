// The global gradient norm and AdamW (Loshchilov and Hutter 2019, algorithm 2), over many tensors in one pass.
#include <algorithm>
#include <cmath>

#include "core/ops.gen.h"
#include "cpu/groups.h"

namespace wl::WL_ISA {
namespace {

constexpr int64_t chunk = 4096;

/** The chunks of a list of tensors: chunk c belongs to the last tensor whose first chunk is not after c. */
struct Chunks {
  const int64_t* first;
  int64_t tensors;

  int64_t count() const { return first[tensors]; }
  int64_t tensor_of(int64_t c) const { return std::upper_bound(first, first + tensors + 1, c) - first - 1; }
};

Chunks chunks_of(Context& context, const int64_t* sizes, int64_t tensors) {
  int64_t* first = context.scratch_of<int64_t>(tensors + 1);
  first[0] = 0;
  for (int64_t t = 0; t < tensors; ++t) first[t + 1] = first[t] + (sizes[t] + chunk - 1) / chunk;
  return {first, tensors};
}

/** Sum of squares in 16 double lanes, added in order. Squares of floats are exact in double. */
double sum_of_squares(const float* x, int64_t n) {
  double lane[16] = {};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int l = 0; l < 16; ++l) lane[l] += static_cast<double>(x[i + l]) * static_cast<double>(x[i + l]);
  }
  for (int l = 0; i + l < n; ++l) lane[l] += static_cast<double>(x[i + l]) * static_cast<double>(x[i + l]);
  double total = 0;
  for (double value : lane) total += value;
  return total;
}

}  // namespace

void global_norm(Context& context, const global_norm_args& a) {
  const Chunks chunks = chunks_of(context, a.tensors_sizes, a.tensors_count);
  double* partial = context.scratch_of<double>(chunks.count());
  context.parallel_for(chunks.count(), [&](int64_t begin, int64_t end, int) {
    for (int64_t c = begin; c < end; ++c) {
      const int64_t t = chunks.tensor_of(c), at = (c - chunks.first[t]) * chunk;
      partial[c] = sum_of_squares(a.tensors[t] + at, std::min(chunk, a.tensors_sizes[t] - at));
    }
  });
  double total = 0;
  for (int64_t c = 0; c < chunks.count(); ++c) total += partial[c];
  a.norm[0] = static_cast<float>(std::sqrt(total));
}

void adamw(Context& context, const adamw_args& a) {
  const Chunks chunks = chunks_of(context, a.params_sizes, a.params_count);
  const double correction1 = 1.0 - std::pow(static_cast<double>(a.beta1), static_cast<double>(a.step));
  const double correction2 = 1.0 - std::pow(static_cast<double>(a.beta2), static_cast<double>(a.step));
  const float clip = a.norm != nullptr ? std::min(1.0f, a.clip / (a.norm[0] + 1e-6f)) : 1.0f;
  const Vec16 scale = splat(clip);
  const Vec16 beta1 = splat(a.beta1), rest1 = splat(1.0f - a.beta1);
  const Vec16 beta2 = splat(a.beta2), rest2 = splat(1.0f - a.beta2);
  const Vec16 keep = splat(static_cast<float>(1.0 - static_cast<double>(a.rate) * static_cast<double>(a.decay)));
  const Vec16 rate = splat(static_cast<float>(-static_cast<double>(a.rate) / correction1));
  const Vec16 root = splat(static_cast<float>(1.0 / std::sqrt(correction2)));
  const Vec16 eps = splat(a.eps);
  context.parallel_for(chunks.count(), [&](int64_t begin, int64_t end, int) {
    for (int64_t c = begin; c < end; ++c) {
      const int64_t t = chunks.tensor_of(c), at = (c - chunks.first[t]) * chunk;
      float *p = a.params[t] + at, *first = a.first[t] + at, *second = a.second[t] + at;
      const float* gradient = a.grads[t] + at;
      each_group(0, std::min(chunk, a.params_sizes[t] - at), [&](int64_t i, auto group) {
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
