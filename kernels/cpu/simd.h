// One vector of 16 floats for every instruction set: the same lanes, the same rounding, the same bits. AVX-512 holds it in one
// register, AVX2 in two, the generic build in an array. Kernels that use it give equal results on every CPU with FMA.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if !defined(WL_ISA_GENERIC)
#include <immintrin.h>
#endif

namespace wl::WL_ISA {

inline constexpr int64_t lanes = 16;

#if defined(WL_ISA_AVX512)

struct Vec16 {
  __m512 v;
};
struct Int16 {
  __m512i v;
};
/** One truth value per lane. */
struct Mask16 {
  __mmask16 v;
};

inline Vec16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void store(float* p, Vec16 a) { _mm512_storeu_ps(p, a.v); }
inline Vec16 splat(float x) { return {_mm512_set1_ps(x)}; }
inline __mmask16 first_lanes(int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }
inline Vec16 load_first(int64_t n, const float* p) { return {_mm512_maskz_loadu_ps(first_lanes(n), p)}; }
inline void store_first(int64_t n, float* p, Vec16 a) { _mm512_mask_storeu_ps(p, first_lanes(n), a.v); }
inline Vec16 select_first(int64_t n, Vec16 a, Vec16 b) { return {_mm512_mask_blend_ps(first_lanes(n), b.v, a.v)}; }

inline Vec16 operator+(Vec16 a, Vec16 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec16 operator-(Vec16 a, Vec16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec16 operator*(Vec16 a, Vec16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec16 operator/(Vec16 a, Vec16 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vec16 fma(Vec16 a, Vec16 b, Vec16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec16 max(Vec16 a, Vec16 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vec16 min(Vec16 a, Vec16 b) { return {_mm512_min_ps(a.v, b.v)}; }
inline Vec16 sqrt(Vec16 a) { return {_mm512_sqrt_ps(a.v)}; }

inline Mask16 less(Vec16 a, Vec16 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
inline Mask16 equal(Vec16 a, Vec16 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
inline Vec16 select(Mask16 m, Vec16 a, Vec16 b) { return {_mm512_mask_blend_ps(m.v, b.v, a.v)}; }
inline bool any(Mask16 m) { return m.v != 0; }

inline Int16 bits(Vec16 a) { return {_mm512_castps_si512(a.v)}; }
inline Vec16 from_bits(Int16 a) { return {_mm512_castsi512_ps(a.v)}; }
inline Int16 splat_int(int32_t x) { return {_mm512_set1_epi32(x)}; }
inline Int16 load_int(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
inline void store_int(int32_t* p, Int16 a) { _mm512_storeu_si512(p, a.v); }
inline Int16 operator+(Int16 a, Int16 b) { return {_mm512_add_epi32(a.v, b.v)}; }
inline Int16 operator-(Int16 a, Int16 b) { return {_mm512_sub_epi32(a.v, b.v)}; }
inline Int16 operator&(Int16 a, Int16 b) { return {_mm512_and_si512(a.v, b.v)}; }
inline Int16 operator|(Int16 a, Int16 b) { return {_mm512_or_si512(a.v, b.v)}; }
inline Int16 operator^(Int16 a, Int16 b) { return {_mm512_xor_si512(a.v, b.v)}; }
inline Int16 max(Int16 a, Int16 b) { return {_mm512_max_epi32(a.v, b.v)}; }
template <int count>
inline Int16 shift_left(Int16 a) {
  return {_mm512_slli_epi32(a.v, count)};
}
/** Arithmetic: the sign fills up. */
template <int count>
inline Int16 shift_right(Int16 a) {
  return {_mm512_srai_epi32(a.v, count)};
}
/** The 64-bit products of unsigned lanes with `factor`: upper and lower words. */
inline void multiply_wide(Int16 a, uint32_t factor, Int16& high, Int16& low) {
  const __m512i b = _mm512_set1_epi64(factor);
  const __m512i even = _mm512_mul_epu32(a.v, b), odd = _mm512_mul_epu32(_mm512_srli_epi64(a.v, 32), b);
  high.v = _mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd);
  low.v = _mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32));
}
/** Rounds to the nearest integer, ties to even. */
inline Int16 to_int(Vec16 a) { return {_mm512_cvtps_epi32(a.v)}; }
inline Vec16 to_float(Int16 a) { return {_mm512_cvtepi32_ps(a.v)}; }

#elif defined(WL_ISA_AVX2)

struct Vec16 {
  __m256 lo, hi;
};
struct Int16 {
  __m256i lo, hi;
};
/** One truth value per lane: all bits set or none. */
struct Mask16 {
  __m256 lo, hi;
};

inline Vec16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store(float* p, Vec16 a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
inline Vec16 splat(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline __m256i first_eight(int64_t n) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int32_t>(n)), index);
}
inline Vec16 load_first(int64_t n, const float* p) {
  return {_mm256_maskload_ps(p, first_eight(n)), n > 8 ? _mm256_maskload_ps(p + 8, first_eight(n - 8)) : _mm256_setzero_ps()};
}
inline void store_first(int64_t n, float* p, Vec16 a) {
  _mm256_maskstore_ps(p, first_eight(n), a.lo);
  if (n > 8) _mm256_maskstore_ps(p + 8, first_eight(n - 8), a.hi);
}
inline Vec16 select_first(int64_t n, Vec16 a, Vec16 b) {
  return {_mm256_blendv_ps(b.lo, a.lo, _mm256_castsi256_ps(first_eight(n))),
          _mm256_blendv_ps(b.hi, a.hi, _mm256_castsi256_ps(first_eight(n - 8)))};
}

inline Vec16 operator+(Vec16 a, Vec16 b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
inline Vec16 operator-(Vec16 a, Vec16 b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
inline Vec16 operator*(Vec16 a, Vec16 b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
inline Vec16 operator/(Vec16 a, Vec16 b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
inline Vec16 fma(Vec16 a, Vec16 b, Vec16 c) { return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)}; }
inline Vec16 max(Vec16 a, Vec16 b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
inline Vec16 min(Vec16 a, Vec16 b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
inline Vec16 sqrt(Vec16 a) { return {_mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi)}; }

inline Mask16 less(Vec16 a, Vec16 b) { return {_mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ)}; }
inline Mask16 equal(Vec16 a, Vec16 b) { return {_mm256_cmp_ps(a.lo, b.lo, _CMP_EQ_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_EQ_OQ)}; }
inline Vec16 select(Mask16 m, Vec16 a, Vec16 b) { return {_mm256_blendv_ps(b.lo, a.lo, m.lo), _mm256_blendv_ps(b.hi, a.hi, m.hi)}; }
inline bool any(Mask16 m) { return _mm256_movemask_ps(_mm256_or_ps(m.lo, m.hi)) != 0; }

inline Int16 bits(Vec16 a) { return {_mm256_castps_si256(a.lo), _mm256_castps_si256(a.hi)}; }
inline Vec16 from_bits(Int16 a) { return {_mm256_castsi256_ps(a.lo), _mm256_castsi256_ps(a.hi)}; }
inline Int16 splat_int(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
inline Int16 load_int(const int32_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 8))};
}
inline void store_int(int32_t* p, Int16 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.lo);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), a.hi);
}
inline Int16 operator+(Int16 a, Int16 b) { return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)}; }
inline Int16 operator-(Int16 a, Int16 b) { return {_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)}; }
inline Int16 operator&(Int16 a, Int16 b) { return {_mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi)}; }
inline Int16 operator|(Int16 a, Int16 b) { return {_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)}; }
inline Int16 operator^(Int16 a, Int16 b) { return {_mm256_xor_si256(a.lo, b.lo), _mm256_xor_si256(a.hi, b.hi)}; }
inline Int16 max(Int16 a, Int16 b) { return {_mm256_max_epi32(a.lo, b.lo), _mm256_max_epi32(a.hi, b.hi)}; }
template <int count>
inline Int16 shift_left(Int16 a) {
  return {_mm256_slli_epi32(a.lo, count), _mm256_slli_epi32(a.hi, count)};
}
/** Arithmetic: the sign fills up. */
template <int count>
inline Int16 shift_right(Int16 a) {
  return {_mm256_srai_epi32(a.lo, count), _mm256_srai_epi32(a.hi, count)};
}
inline void multiply_wide(__m256i a, uint32_t factor, __m256i& high, __m256i& low) {
  const __m256i b = _mm256_set1_epi64x(factor);
  const __m256i even = _mm256_mul_epu32(a, b), odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), b);
  high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
  low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
}
/** The 64-bit products of unsigned lanes with `factor`: upper and lower words. */
inline void multiply_wide(Int16 a, uint32_t factor, Int16& high, Int16& low) {
  multiply_wide(a.lo, factor, high.lo, low.lo);
  multiply_wide(a.hi, factor, high.hi, low.hi);
}
/** Rounds to the nearest integer, ties to even. */
inline Int16 to_int(Vec16 a) { return {_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi)}; }
inline Vec16 to_float(Int16 a) { return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }

#else

struct Vec16 {
  float v[16];
};
struct Int16 {
  int32_t v[16];
};
/** One truth value per lane. */
struct Mask16 {
  bool v[16];
};

/** Makes a vector of `f(lane)`. */
template <class T, class F>
inline T each_lane(F f) {
  T r;
  for (int i = 0; i < 16; ++i) r.v[i] = f(i);
  return r;
}

inline Vec16 load(const float* p) {
  return each_lane<Vec16>([=](int i) { return p[i]; });
}
inline void store(float* p, Vec16 a) { std::memcpy(p, a.v, sizeof a.v); }
inline Vec16 splat(float x) {
  return each_lane<Vec16>([=](int) { return x; });
}
inline Vec16 load_first(int64_t n, const float* p) {
  return each_lane<Vec16>([=](int i) { return i < n ? p[i] : 0.0f; });
}
inline void store_first(int64_t n, float* p, Vec16 a) {
  for (int i = 0; i < 16 && i < n; ++i) p[i] = a.v[i];
}
inline Vec16 select_first(int64_t n, Vec16 a, Vec16 b) {
  return each_lane<Vec16>([&](int i) { return i < n ? a.v[i] : b.v[i]; });
}

inline Vec16 operator+(Vec16 a, Vec16 b) {
  return each_lane<Vec16>([&](int i) { return a.v[i] + b.v[i]; });
}
inline Vec16 operator-(Vec16 a, Vec16 b) {
  return each_lane<Vec16>([&](int i) { return a.v[i] - b.v[i]; });
}
inline Vec16 operator*(Vec16 a, Vec16 b) {
  return each_lane<Vec16>([&](int i) { return a.v[i] * b.v[i]; });
}
inline Vec16 operator/(Vec16 a, Vec16 b) {
  return each_lane<Vec16>([&](int i) { return a.v[i] / b.v[i]; });
}
inline Vec16 fma(Vec16 a, Vec16 b, Vec16 c) {
  return each_lane<Vec16>([&](int i) { return std::fma(a.v[i], b.v[i], c.v[i]); });
}
inline Vec16 max(Vec16 a, Vec16 b) {
  return each_lane<Vec16>([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
inline Vec16 min(Vec16 a, Vec16 b) {
  return each_lane<Vec16>([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
inline Vec16 sqrt(Vec16 a) {
  return each_lane<Vec16>([&](int i) { return std::sqrt(a.v[i]); });
}

inline Mask16 less(Vec16 a, Vec16 b) {
  return each_lane<Mask16>([&](int i) { return a.v[i] < b.v[i]; });
}
inline Mask16 equal(Vec16 a, Vec16 b) {
  return each_lane<Mask16>([&](int i) { return a.v[i] == b.v[i]; });
}
inline Vec16 select(Mask16 m, Vec16 a, Vec16 b) {
  return each_lane<Vec16>([&](int i) { return m.v[i] ? a.v[i] : b.v[i]; });
}
inline bool any(Mask16 m) {
  for (const bool lane : m.v) {
    if (lane) return true;
  }
  return false;
}

inline Int16 bits(Vec16 a) {
  Int16 r;
  std::memcpy(r.v, a.v, sizeof r.v);
  return r;
}
inline Vec16 from_bits(Int16 a) {
  Vec16 r;
  std::memcpy(r.v, a.v, sizeof r.v);
  return r;
}
inline Int16 splat_int(int32_t x) {
  return each_lane<Int16>([=](int) { return x; });
}
inline Int16 load_int(const int32_t* p) {
  return each_lane<Int16>([=](int i) { return p[i]; });
}
inline void store_int(int32_t* p, Int16 a) { std::memcpy(p, a.v, sizeof a.v); }
/** Sums and differences wrap around, as in the vector registers. */
inline Int16 operator+(Int16 a, Int16 b) {
  return each_lane<Int16>([&](int i) { return static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) + static_cast<uint32_t>(b.v[i])); });
}
inline Int16 operator-(Int16 a, Int16 b) {
  return each_lane<Int16>([&](int i) { return static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) - static_cast<uint32_t>(b.v[i])); });
}
inline Int16 operator&(Int16 a, Int16 b) {
  return each_lane<Int16>([&](int i) { return a.v[i] & b.v[i]; });
}
inline Int16 operator|(Int16 a, Int16 b) {
  return each_lane<Int16>([&](int i) { return a.v[i] | b.v[i]; });
}
inline Int16 operator^(Int16 a, Int16 b) {
  return each_lane<Int16>([&](int i) { return a.v[i] ^ b.v[i]; });
}
inline Int16 max(Int16 a, Int16 b) {
  return each_lane<Int16>([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
template <int count>
inline Int16 shift_left(Int16 a) {
  return each_lane<Int16>([&](int i) { return static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) << count); });
}
/** Arithmetic: the sign fills up. */
template <int count>
inline Int16 shift_right(Int16 a) {
  return each_lane<Int16>([&](int i) { return a.v[i] >> count; });
}
/** The 64-bit products of unsigned lanes with `factor`: upper and lower words. */
inline void multiply_wide(Int16 a, uint32_t factor, Int16& high, Int16& low) {
  for (int i = 0; i < 16; ++i) {
    const uint64_t product = uint64_t{static_cast<uint32_t>(a.v[i])} * factor;
    high.v[i] = static_cast<int32_t>(static_cast<uint32_t>(product >> 32));
    low.v[i] = static_cast<int32_t>(static_cast<uint32_t>(product));
  }
}
/** Rounds to the nearest integer, ties to even; what does not fit becomes INT32_MIN. */
inline Int16 to_int(Vec16 a) {
  return each_lane<Int16>([&](int i) {
    const bool fits = a.v[i] >= -2147483648.0f && a.v[i] < 2147483648.0f;
    return fits ? static_cast<int32_t>(std::nearbyint(a.v[i])) : INT32_MIN;
  });
}
inline Vec16 to_float(Int16 a) {
  return each_lane<Vec16>([&](int i) { return static_cast<float>(a.v[i]); });
}

#endif

inline float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

inline Vec16 zero() { return splat(0.0f); }
inline Vec16 abs(Vec16 a) { return from_bits(bits(a) & splat_int(0x7fffffff)); }
inline Vec16 negate(Vec16 a) { return from_bits(bits(a) ^ splat_int(INT32_MIN)); }
/** The magnitude of `a` with the sign of `b`. */
inline Vec16 copy_sign(Vec16 a, Vec16 b) {
  return from_bits((bits(a) & splat_int(0x7fffffff)) | (bits(b) & splat_int(INT32_MIN)));
}

#if defined(WL_ISA_GENERIC)

/** Sum of the lanes by the fixed tree: l and l + 8, then + 4, + 2, + 1. */
inline float reduce_add(Vec16 a) {
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) a.v[i] += a.v[i + width];
  }
  return a.v[0];
}

/** Largest lane; a NaN may be passed over. */
inline float reduce_max(Vec16 a) {
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) a.v[i] = a.v[i] > a.v[i + width] ? a.v[i] : a.v[i + width];
  }
  return a.v[0];
}
inline int32_t reduce_max(Int16 a) {
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) a.v[i] = a.v[i] > a.v[i + width] ? a.v[i] : a.v[i + width];
  }
  return a.v[0];
}

#else

#if defined(WL_ISA_AVX512)
inline __m256 low_half(Vec16 a) { return _mm512_castps512_ps256(a.v); }
inline __m256 high_half(Vec16 a) { return _mm512_extractf32x8_ps(a.v, 1); }
#else
inline __m256 low_half(Vec16 a) { return a.lo; }
inline __m256 high_half(Vec16 a) { return a.hi; }
#endif

/** Sum of the lanes by the fixed tree: l and l + 8, then + 4, + 2, + 1. */
inline float reduce_add(Vec16 a) {
  const __m256 eight = _mm256_add_ps(low_half(a), high_half(a));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/** Largest lane; a NaN may be passed over. */
inline float reduce_max(Vec16 a) {
  const __m256 eight = _mm256_max_ps(low_half(a), high_half(a));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
inline int32_t reduce_max(Int16 a) {
  const Vec16 lanes = from_bits(a);
  const __m256i eight = _mm256_max_epi32(_mm256_castps_si256(low_half(lanes)), _mm256_castps_si256(high_half(lanes)));
  const __m128i four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  const __m128i two = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}

#endif

}  // namespace wl::WL_ISA
