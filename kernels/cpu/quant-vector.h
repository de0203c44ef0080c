// What the quantised product does with the columns of a panel: 16 at a time with AVX-512, 8 with AVX2; each holds four 8-bit codes in a
// 32-bit word. Sums of products are exact, so they are the same whichever instructions make them.
#pragma once

#include "cpu/half.h"
#include "cpu/simd.h"

namespace wl::WL_ISA {

#if defined(WL_ISA_AVX2)

struct Words {
  __m256i v;
};
struct Reals {
  __m256 v;
};
inline constexpr int part_cols = 8;
/** Rows that share what has been unpacked: at most, straight from a panel, and from an unpacked one. */
inline constexpr int direct_rows = 2, most_rows = 4;
/** The code of 0 in types of 8 bits: they are taken as signed numbers here. */
inline constexpr int byte_offset = 0;

inline Words load_words(const uint8_t* p) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))}; }
inline void store_words(uint8_t* p, Words a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.v); }
inline Words splat_word(int32_t x) { return {_mm256_set1_epi32(x)}; }
inline Words operator&(Words a, Words b) { return {_mm256_and_si256(a.v, b.v)}; }
inline Words operator|(Words a, Words b) { return {_mm256_or_si256(a.v, b.v)}; }
inline Words operator^(Words a, Words b) { return {_mm256_xor_si256(a.v, b.v)}; }
template <int count>
inline Words shift_left(Words a) {
  return {_mm256_slli_epi32(a.v, count)};
}
template <int count>
inline Words shift_right(Words a) {
  return {_mm256_srli_epi32(a.v, count)};
}
inline Reals to_real(Words a) { return {_mm256_cvtepi32_ps(a.v)}; }
inline Reals splat_real(float x) { return {_mm256_set1_ps(x)}; }
inline Reals load_reals(const float* p) { return {_mm256_loadu_ps(p)}; }
inline void store_reals(float* p, Reals a) { _mm256_storeu_ps(p, a.v); }
inline Reals operator*(Reals a, Reals b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Reals operator+(Reals a, Reals b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Reals fma(Reals a, Reals b, Reals c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline Reals load_halves(const uint8_t* p) { return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))}; }
inline Reals load_unsigned(const uint8_t* p) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))};
}
inline Reals load_signed(const uint8_t* p) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))};
}

/**
 * start + the sum over words u[first...first + count) and x[first...] of their four products, for each column. Products of codes below
 * 2^bits with signed bytes are added in pairs of 16 bits as long as these hold them.
 */
template <int bits, int first, int count>
inline Words dot(const Words* u, const int32_t* x, int32_t start) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i total = _mm256_set1_epi32(start);
  if constexpr (bits == 8) {
#pragma GCC unroll 8
    for (int g = first; g < first + count; ++g) {
      const __m256i signs = _mm256_sign_epi8(_mm256_set1_epi32(x[g]), u[g].v);
      total = _mm256_add_epi32(total, _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(u[g].v), signs), ones));
    }
  } else {
    // (2^bits - 1) * 127 * 2 * group < 2^15
    constexpr int group = bits == 4 ? 8 : bits == 5 ? 4 : 2;
    constexpr int step = group < count ? group : count;
#pragma GCC unroll 8
    for (int g = first; g < first + count; g += step) {
      __m256i pairs = _mm256_maddubs_epi16(u[g].v, _mm256_set1_epi32(x[g]));
#pragma GCC unroll 8
      for (int i = 1; i < step; ++i) pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(u[g + i].v, _mm256_set1_epi32(x[g + i])));
      total = _mm256_add_epi32(total, _mm256_madd_epi16(pairs, ones));
    }
  }
  return {total};
}

#else

using Words = Int16;
using Reals = Vec16;
inline constexpr int part_cols = 16;
inline constexpr int byte_offset = 128;

inline Words splat_word(int32_t x) { return splat_int(x); }
inline Reals to_real(Words a) { return to_float(a); }
inline Reals splat_real(float x) { return splat(x); }
inline Reals load_reals(const float* p) { return load(p); }
inline void store_reals(float* p, Reals a) { store(p, a); }

#if defined(WL_ISA_AVX512)

inline constexpr int direct_rows = 4, most_rows = 16;

inline Words load_words(const uint8_t* p) { return {_mm512_loadu_si512(p)}; }
inline void store_words(uint8_t* p, Words a) { _mm512_storeu_si512(p, a.v); }
inline Reals load_halves(const uint8_t* p) { return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))}; }
inline Reals load_unsigned(const uint8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
inline Reals load_signed(const uint8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}

/** start + the sum over words u[first...first + count) and x[first...] of their four products, for each column. Needs VNNI. */
template <int bits, int first, int count>
inline Words dot(const Words* u, const int32_t* x, int32_t start) {
  __m512i total = _mm512_set1_epi32(start);
#pragma GCC unroll 8
  for (int g = first; g < first + count; ++g) {
    // By name, since the file is compiled for CPUs without this instruction too, which take the way of AVX2.
    asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(total) : "v"(u[g].v), "m"(x[g]));
  }
  return {total};
}

#else

inline constexpr int direct_rows = 1, most_rows = 4;

inline Words load_words(const uint8_t* p) {
  Words a;
  std::memcpy(a.v, p, sizeof a.v);
  return a;
}
inline void store_words(uint8_t* p, Words a) { std::memcpy(p, a.v, sizeof a.v); }
inline Reals load_halves(const uint8_t* p) {
  return each_lane<Reals>([=](int i) { return load_half(p + 2 * i); });
}
inline Reals load_unsigned(const uint8_t* p) {
  return each_lane<Reals>([=](int i) { return static_cast<float>(p[i]); });
}
inline Reals load_signed(const uint8_t* p) {
  return each_lane<Reals>([=](int i) { return static_cast<float>(static_cast<int8_t>(p[i])); });
}

/** start + the sum over words u[first...first + count) and x[first...] of their four products, for each column. */
template <int bits, int first, int count>
inline Words dot(const Words* u, const int32_t* x, int32_t start) {
  Words total = splat_int(start);
  for (int g = first; g < first + count; ++g) {
    for (int j = 0; j < 32; j += 8) {
      const int32_t factor = static_cast<int8_t>(x[g] >> j);
      for (int i = 0; i < 16; ++i) total.v[i] += static_cast<int32_t>(static_cast<uint32_t>(u[g].v[i]) >> j & 255) * factor;
    }
  }
  return total;
}

#endif
#endif

inline constexpr int panel_parts = 16 / part_cols;

}  // namespace wl::WL_ISA
