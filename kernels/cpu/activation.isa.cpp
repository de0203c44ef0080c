// Activation functions and their gradients. Element by element; the functions and constants are those of the papers named.
#include "core/ops.gen.h"
#include "cpu/groups.h"
#include "cpu/math.h"

namespace wl::WL_ISA {
namespace {

constexpr float inverse_sqrt_2 = 0.70710678f;
constexpr float inverse_sqrt_2_pi = 0.39894228f;
constexpr float sqrt_2_over_pi = 0.79788456f;
constexpr float cubic = 0.044715f;

/** The normal distribution function: gelu(x) = x * phi(x) (Hendrycks and Gimpel 2016). */
Vec16 phi_exact(Vec16 x) { return fma(splat(0.5f), erf_16(x * splat(inverse_sqrt_2)), splat(0.5f)); }

/** tanh of the argument of the approximate form, section 2 of the same paper. */
Vec16 approximate_tanh(Vec16 x) {
  return tanh_16(splat(sqrt_2_over_pi) * fma(x * x * x, splat(cubic), x));
}

Vec16 gelu(Vec16 x, bool is_tanh) {
  const Vec16 phi = is_tanh ? fma(splat(0.5f), approximate_tanh(x), splat(0.5f)) : phi_exact(x);
  return x * phi;
}

Vec16 gelu_slope(Vec16 x, bool is_tanh) {
  if (!is_tanh) {
    const Vec16 density = splat(inverse_sqrt_2_pi) * exp_16(x * x * splat(-0.5f));
    return fma(x, density, phi_exact(x));
  }
  const Vec16 t = approximate_tanh(x);
  const Vec16 inner = splat(sqrt_2_over_pi) * fma(x * x, splat(3.0f * cubic), splat(1.0f));
  const Vec16 rise = fma(negate(t), t, splat(1.0f)) * inner;
  return splat(0.5f) * fma(x, rise, splat(1.0f) + t);
}

/** d silu(x) / dx = s + x s (1 - s), s = sigmoid(x) (Elfwing et al. 2017). */
Vec16 silu_slope(Vec16 x, Vec16 s) { return fma(x * s, splat(1.0f) - s, s); }

}  // namespace

void gelu_forward(Context& context, const gelu_forward_args& a) {
  each_group_parallel(context, a.M, [&](int64_t i, auto group) { group.put(a.y + i, gelu(group(a.x + i), a.tanh != 0)); });
}

void gelu_backward(Context& context, const gelu_backward_args& a) {
  each_group_parallel(context, a.M, [&](int64_t i, auto group) {
    group.put(a.dx + i, group(a.dy + i) * gelu_slope(group(a.x + i), a.tanh != 0));
  });
}

void silu_forward(Context& context, const silu_forward_args& a) {
  each_group_parallel(context, a.M, [&](int64_t i, auto group) {
    const Vec16 x = group(a.x + i);
    group.put(a.y + i, x * sigmoid_16(x));
  });
}

void silu_backward(Context& context, const silu_backward_args& a) {
  each_group_parallel(context, a.M, [&](int64_t i, auto group) {
    const Vec16 x = group(a.x + i);
    group.put(a.dx + i, group(a.dy + i) * silu_slope(x, sigmoid_16(x)));
  });
}

void gated_silu_forward(Context& context, const gated_silu_forward_args& a) {
  each_group_parallel(context, a.M, [&](int64_t i, auto group) {
    const Vec16 gate = group(a.gate + i);
    group.put(a.y + i, gate * sigmoid_16(gate) * group(a.up + i));
  });
}

void gated_silu_backward(Context& context, const gated_silu_backward_args& a) {
  each_group_parallel(context, a.M, [&](int64_t i, auto group) {
    const Vec16 gate = group(a.gate + i), up = group(a.up + i), dy = group(a.dy + i);
    const Vec16 s = sigmoid_16(gate);
    group.put(a.dup + i, dy * (gate * s));
    group.put(a.dgate + i, dy * up * silu_slope(gate, s));
  });
}

void gated_gelu_forward(Context& context, const gated_gelu_forward_args& a) {
  each_group_parallel(context, a.M, [&](int64_t i, auto group) { group.put(a.y + i, gelu(group(a.gate + i), true) * group(a.up + i)); });
}

void gated_gelu_backward(Context& context, const gated_gelu_backward_args& a) {
  each_group_parallel(context, a.M, [&](int64_t i, auto group) {
    const Vec16 gate = group(a.gate + i), up = group(a.up + i), dy = group(a.dy + i);
    group.put(a.dup + i, dy * gelu(gate, true));
    group.put(a.dgate + i, dy * up * gelu_slope(gate, true));
  });
}

void relu_forward(Context& context, const relu_forward_args& a) {
  each_group_parallel(context, a.M, [&](int64_t i, auto group) {
    const Vec16 x = group(a.x + i);
    group.put(a.y + i, select(less(x, zero()), zero(), x));
  });
}

void relu_backward(Context& context, const relu_backward_args& a) {
  each_group_parallel(context, a.M, [&](int64_t i, auto group) {
    group.put(a.dx + i, select(less(zero(), group(a.y + i)), group(a.dy + i), zero()));
  });
}

}  // namespace wl::WL_ISA
