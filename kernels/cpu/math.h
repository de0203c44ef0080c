// exp, log, tanh, erf and their like over 16 lanes: range reduction and polynomials in FMA steps, the same bits on every CPU.
// Coefficients are minimax fits made for the intervals named; error bounds are measured in kernels/tests/math-test.cpp.
#pragma once

#include <limits>

#include "cpu/simd.h"

namespace wl::WL_ISA {

/** c[0] + c[1] x + c[2] x^2 ..., from the highest coefficient down. */
template <int count>
inline Vec16 polynomial(Vec16 x, const float (&c)[count]) {
  Vec16 sum = splat(c[count - 1]);
  for (int i = count - 2; i >= 0; --i) sum = fma(sum, x, splat(c[i]));
  return sum;
}

/** 2^n for integers n from -126 to 127. */
inline Vec16 power_of_two(Int16 n) { return from_bits(shift_left<23>(n + splat_int(127))); }

/** e^x: at most 1 ulp off; 0 below -104, infinity above 88.73, NaN stays NaN. */
inline Vec16 exp_16(Vec16 x) {
  // On [-ln2/2, ln2/2]: e^r = 1 + r + r^2 p(r).
  static constexpr float c[] = {0.5f, 0x1.555556p-3f, 0x1.55547cp-5f, 0x1.11107ap-7f, 0x1.6d9a4ap-10f, 0x1.a1bbf8p-13f};
  // The second operand comes through where the first is NaN-free and the second is not.
  const Vec16 bounded = max(splat(-104.0f), min(splat(89.0f), x));
  const Int16 n = to_int(bounded * splat(1.44269502f));
  const Vec16 whole = to_float(n);
  const Vec16 r = fma(whole, splat(2.12194440e-4f), fma(whole, splat(-0.693359375f), bounded));
  const Vec16 value = fma(r * r, polynomial(r, c), r) + splat(1.0f);
  // Two steps, because 2^n alone may be out of range where the result is not.
  const Int16 half = shift_right<1>(n);
  return value * power_of_two(half) * power_of_two(n - half);
}

/** natural logarithm: at most 0.8 ulp off; -infinity at 0, NaN below. */
inline Vec16 log_16(Vec16 x) {
  // On [sqrt(1/2) - 1, sqrt(2) - 1]: ln(1 + f) = f - f^2 / 2 + f^3 p(f).
  static constexpr float c[] = {0x1.555546p-2f,  -0x1.ffffeep-3f, 0x1.99a546p-3f,  -0x1.5562e0p-3f, 0x1.2332b4p-3f,
                                -0x1.fb438ep-4f, 0x1.e651a4p-4f,  -0x1.e2e7cep-4f, 0x1.1b3e5ap-4f};
  const float infinity = std::numeric_limits<float>::infinity();
  const Mask16 tiny = less(x, splat(std::numeric_limits<float>::min()));
  const Vec16 scaled = select(tiny, x * splat(0x1p23f), x);
  // The exponent that leaves a mantissa between sqrt(1/2) and sqrt(2).
  const Int16 exponent = shift_right<23>(bits(scaled) - splat_int(0x3f3504f3));
  const Vec16 f = from_bits(bits(scaled) - shift_left<23>(exponent)) - splat(1.0f);
  const Vec16 e = to_float(exponent) - select(tiny, splat(23.0f), zero());
  const Vec16 square = f * f;
  Vec16 tail = square * f * polynomial(f, c);
  tail = fma(e, splat(-2.12194440e-4f), tail);
  tail = fma(square, splat(-0.5f), tail);
  Vec16 value = fma(e, splat(0.693359375f), f + tail);
  value = select(equal(x, splat(infinity)), x, value);
  value = select(equal(x, zero()), splat(-infinity), value);
  value = select(less(x, zero()), splat(std::numeric_limits<float>::quiet_NaN()), value);
  return select(equal(x, x), value, x);
}

/** Hyperbolic tangent: at most 1.3 ulp off. */
inline Vec16 tanh_16(Vec16 x) {
  // On [0, 0.63]: tanh(a) = a + a^3 p(a^2); beyond: 1 - 2 / (e^2a + 1).
  static constexpr float c[] = {-0x1.555554p-2f, 0x1.111058p-3f, -0x1.b9eba8p-5f, 0x1.636964p-6f, -0x1.0b43d6p-7f, 0x1.163b86p-9f};
  const Vec16 a = abs(x);
  const Vec16 square = a * a;
  const Vec16 small = fma(square * a, polynomial(square, c), a);
  const Vec16 large = splat(1.0f) - splat(2.0f) / (exp_16(a + a) + splat(1.0f));
  return copy_sign(select(less(a, splat(0.625f)), small, large), x);
}

/** Error function: at most 1.1 ulp off. */
inline Vec16 erf_16(Vec16 x) {
  // On [0, 0.92]: erf(a) = a + a p(a^2); on [0.92, 4]: erf(a) = 1 - e^-q(a); beyond: 1.
  static constexpr float near[] = {0x1.06eba8p-3f,  -0x1.812744p-2f, 0x1.ce2e22p-4f, -0x1.b8108cp-6f,
                                   0x1.54da22p-8f, -0x1.aad91ap-11f, 0x1.5ebd96p-14f};
  static constexpr float far[] = {-0x1.65ac08p-13f, 0x1.212698p+0f, 0x1.444b42p-1f,   0x1.bb5650p-4f,
                                  -0x1.9b1956p-6f,  0x1.10aa04p-8f, -0x1.c54d4cp-12f, 0x1.5ecd9ep-16f};
  const Vec16 a = min(splat(4.0f), abs(x));
  const Vec16 square = a * a;
  const Vec16 small = fma(a, polynomial(square, near), a);
  const Vec16 large = splat(1.0f) - exp_16(negate(polynomial(a, far)));
  const Vec16 value = copy_sign(select(less(a, splat(0.92f)), small, large), x);
  return select(equal(x, x), value, x);
}

/** 1 / (1 + e^-x). */
inline Vec16 sigmoid_16(Vec16 x) { return splat(1.0f) / (splat(1.0f) + exp_16(negate(x))); }

/** sin(2 pi u) and cos(2 pi u) for u in [0, 1): exact at the quarters, at most 1.5e-7 off elsewhere. */
inline void sine_cosine_turn(Vec16 u, Vec16& sine, Vec16& cosine) {
  // On a quarter turn t in [-1/2, 1/2]: sin(pi t / 2) = t p(t^2), cos(pi t / 2) = q(t^2).
  static constexpr float s[] = {0x1.921fb6p+0f, -0x1.4abbcep-1f, 0x1.466bbap-4f, -0x1.32ca9ep-8f, 0x1.4bc898p-13f};
  static constexpr float c[] = {1.0f, -0x1.3bd3ccp+0f, 0x1.03c1dcp-2f, -0x1.55c57cp-6f, 0x1.d9c366p-11f};
  const Vec16 quarters = u * splat(4.0f);
  const Int16 n = to_int(quarters);
  const Vec16 t = quarters - to_float(n);
  const Vec16 square = t * t;
  const Vec16 sin_t = t * polynomial(square, s);
  const Vec16 cos_t = polynomial(square, c);
  const Int16 odd = n & splat_int(1);
  const Mask16 swaps = less(splat(0.5f), to_float(odd));
  const Int16 sine_sign = shift_left<30>(n & splat_int(2));
  const Int16 cosine_sign = shift_left<30>((n + splat_int(1)) & splat_int(2));
  sine = from_bits(bits(select(swaps, cos_t, sin_t)) ^ sine_sign);
  cosine = from_bits(bits(select(swaps, sin_t, cos_t)) ^ cosine_sign);
}

inline float exp_1(float x) {
  float lane[16];
  store(lane, exp_16(splat(x)));
  return lane[0];
}

inline float log_1(float x) {
  float lane[16];
  store(lane, log_16(splat(x)));
  return lane[0];
}

}  // namespace wl::WL_ISA
