// Vectors of 16 bf16 numbers: to f32, which is exact, and from f32, rounded to the nearest, ties to even. NaN stays NaN.
#pragma once

#include "core/reals.h"
#include "cpu/half.h"
#include "cpu/simd.h"

namespace wl::WL_ISA {

/** Each lane as the bf16 nearest to it. */
inline Vec16 round_bf16(Vec16 a) {
  const Int16 raw = bits(a), last = shift_right<16>(raw) & splat_int(1);
  const Int16 nearest = (raw + splat_int(0x7fff) + last) & splat_int(-0x10000);
  const Int16 quiet = (raw | splat_int(0x400000)) & splat_int(-0x10000);
  return select(equal(a, a), from_bits(nearest), from_bits(quiet));
}

#if defined(WL_ISA_AVX512)

inline Vec16 widen(__m256i halves) { return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16))}; }
inline __m256i upper_halves(Vec16 a) { return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_castps_si512(a.v), 16)); }
inline Vec16 load_bf16(const uint16_t* p) { return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline Vec16 load_bf16_first(int64_t n, const uint16_t* p) { return widen(_mm256_maskz_loadu_epi16(first_lanes(n), p)); }
inline void store_bf16(uint16_t* p, Vec16 a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), upper_halves(round_bf16(a))); }
inline void store_bf16_first(int64_t n, uint16_t* p, Vec16 a) { _mm256_mask_storeu_epi16(p, first_lanes(n), upper_halves(round_bf16(a))); }

#else

#if defined(WL_ISA_AVX2)

inline __m256 widen(__m128i halves) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16)); }
inline Vec16 load_bf16(const uint16_t* p) {
  return {widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
}
inline void store_bf16(uint16_t* p, Vec16 a) {
  const Vec16 rounded = round_bf16(a);
  const __m256i low = _mm256_srli_epi32(_mm256_castps_si256(rounded.lo), 16), high = _mm256_srli_epi32(_mm256_castps_si256(rounded.hi), 16);
  // Packing works on each half of a register by itself.
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xd8);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), packed);
}

#else

inline Vec16 load_bf16(const uint16_t* p) {
  return each_lane<Vec16>([=](int i) { return bfloat_to_float(p[i]); });
}
inline void store_bf16(uint16_t* p, Vec16 a) {
  for (int i = 0; i < 16; ++i) p[i] = float_to_bfloat(a.v[i]);
}

#endif

inline Vec16 load_bf16_first(int64_t n, const uint16_t* p) {
  uint16_t whole[16] = {};
  for (int64_t i = 0; i < n; ++i) whole[i] = p[i];
  return load_bf16(whole);
}
inline void store_bf16_first(int64_t n, uint16_t* p, Vec16 a) {
  uint16_t whole[16];
  store_bf16(whole, a);
  for (int64_t i = 0; i < n; ++i) p[i] = whole[i];
}

#endif

inline Vec16 load(Reals p) {
  if (p.as == Stored::bf16) return load_bf16(p.halves());
  const Vec16 a = load(p.floats());
  return p.as == Stored::rounded ? round_bf16(a) : a;
}
inline Vec16 load_first(int64_t n, Reals p) {
  if (p.as == Stored::bf16) return load_bf16_first(n, p.halves());
  const Vec16 a = load_first(n, p.floats());
  return p.as == Stored::rounded ? round_bf16(a) : a;
}
inline void store(RealsOut p, Vec16 a) {
  if (p.as == Stored::bf16) store_bf16(p.halves(), a);
  else store(p.floats(), a);
}
inline void store_first(int64_t n, RealsOut p, Vec16 a) {
  if (p.as == Stored::bf16) store_bf16_first(n, p.halves(), a);
  else store_first(n, p.floats(), a);
}


}  // namespace wl::WL_ISA
