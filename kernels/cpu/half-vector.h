// Sixteen numbers of 16 bits at any address as floats, which is exact, and back with rounding to the nearest, ties to even.
#pragma once

#include "cpu/half.h"
#include "cpu/simd.h"

namespace wl::WL_ISA {

#if defined(WL_ISA_AVX512)

inline Vec16 load_f16(const uint8_t* p) { return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))}; }
inline Vec16 load_bf16(const uint8_t* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
inline void store_f16(uint8_t* p, Vec16 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

#elif defined(WL_ISA_AVX2)

inline __m128i load_eight(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
inline __m256 widen_bf16(__m128i a) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(a), 16)); }
inline Vec16 load_f16(const uint8_t* p) { return {_mm256_cvtph_ps(load_eight(p)), _mm256_cvtph_ps(load_eight(p + 16))}; }
inline Vec16 load_bf16(const uint8_t* p) { return {widen_bf16(load_eight(p)), widen_bf16(load_eight(p + 16))}; }
inline void store_f16(uint8_t* p, Vec16 a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 16), _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

#else

inline Vec16 load_f16(const uint8_t* p) {
  return each_lane<Vec16>([=](int i) { return load_half(p + 2 * i); });
}
inline Vec16 load_bf16(const uint8_t* p) {
  return each_lane<Vec16>([=](int i) {
    uint16_t bits;
    std::memcpy(&bits, p + 2 * i, sizeof bits);
    return bfloat_to_float(bits);
  });
}
inline void store_f16(uint8_t* p, Vec16 a) {
  for (int i = 0; i < 16; ++i) store_half(p + 2 * i, a.v[i]);
}

#endif

}  // namespace wl::WL_ISA
