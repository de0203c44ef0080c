// What the quantised product does with the columns of a panel: 16 at a time with AVX-512, 8 with AVX2; each holds four 8-bit codes in a
// 32-bit word. Sums of products are exact, so they are the same whichever instructions make them.
#pragma once

#include <utility>

#include "cpu/half.h"
#include "cpu/simd.h"

namespace wl::WL_ISA {

/** Calls body(i) for i from 0 to count - 1, each time a constant. */
template <int count, class Body>
inline void unrolled(Body body) {
  [&]<int... i>(std::integer_sequence<int, i...>) { (body(std::integral_constant<int, i>()), ...); }(std::make_integer_sequence<int, count>());
}

#if defined(WL_ISA_AVX2)

struct Words {
  __m256i v;
};
struct Reals {
  __m256 v;
};
inline constexpr int part_cols = 8;
/** Rows that go straight to a panel, at most, and rows that are taken together. */
inline constexpr int direct_rows = 8, most_rows = 4;
/** The code of 0 in types of 8 bits: they are taken as signed numbers here. */
inline constexpr int byte_offset = 0;

inline Words load_words(const uint8_t* p) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))}; }
inline void store_words(uint8_t* p, Words a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.v); }
inline Words splat_word(int32_t x) { return {_mm256_set1_epi32(x)}; }
inline Words operator&(Words a, Words b) { return {_mm256_and_si256(a.v, b.v)}; }
inline Words operator|(Words a, Words b) { return {_mm256_or_si256(a.v, b.v)}; }
inline Words operator^(Words a, Words b) { return {_mm256_xor_si256(a.v, b.v)}; }
inline Words or_masked(Words a, Words b, Words mask) { return a | (b & mask); }
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
 * Sums of products of codes below 2^bits (of words u0, u1, ...) with signed bytes: added in pairs of 16 bits as long as these hold them,
 * (2^bits - 1) * 127 * 2 * group < 2^15.
 */
constexpr int pair_group(int bits) { return bits == 4 ? 8 : bits == 5 ? 4 : bits == 6 ? 2 : 1; }

template <int bits>
inline __m256i pairs_of(__m256i u, __m256i magnitudes, int32_t x) {
  if constexpr (bits == 8) return _mm256_maddubs_epi16(magnitudes, _mm256_sign_epi8(_mm256_set1_epi32(x), u));
  else return _mm256_maddubs_epi16(u, _mm256_set1_epi32(x));
}
template <int bits>
inline __m256i magnitudes_of(__m256i u) {
  return bits == 8 ? _mm256_abs_epi8(u) : u;
}

/** a + b; said so that the compiler does not turn chains into trees, for which it lacks registers. */
inline __m256i chained(__m256i a, __m256i b) {
  __m256i sum = _mm256_add_epi16(a, b);
  asm("" : "+x"(sum));
  return sum;
}

/** Sums of a run: of all its products, or of those of each half of it. */
template <bool halves, int parts, int rows>
struct Totals {
  __m256i of[halves ? 2 : 1][parts][rows];
};

/**
 * starts + sums of products of a run for `rows` rows of x, 8 words each, and `parts` parts of the columns. `word(part, g)` gives the words;
 * words g and g + 4 are taken after each other. Each is used for all rows at once, so that the registers hold sums; sums of pairs wait there as long as they fit.
 */
template <int bits, bool halves, int parts, int rows, class Word>
inline void dots_of_run(Word word, const int32_t* x, const int32_t* starts, Totals<halves, parts, rows>& total) {
  constexpr int sums = halves ? 2 : 1;
  // Steps of two words each that fit: where halves are apart, sums take one word of each step.
  constexpr int fit = pair_group(bits) * sums / 2;
  constexpr int steps = fit < 1 ? 1 : fit > 4 ? 4 : fit;
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i pairs[sums][parts][rows];
  unrolled<4>([&](auto step) {
    constexpr int i = step;
#pragma GCC unroll 2
    for (int p = 0; p < parts; ++p) {
      const __m256i u[2] = {word(p, std::integral_constant<int, i>()).v, word(p, std::integral_constant<int, i + 4>()).v};
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        const __m256i magnitudes = magnitudes_of<bits>(u[h]);
#pragma GCC unroll 4
        for (int r = 0; r < rows; ++r) {
          const __m256i products = pairs_of<bits>(u[h], magnitudes, x[r * 8 + i + 4 * h]);
          if constexpr (pair_group(bits) == 1) {
            __m256i& sum = total.of[0][p][r];
            sum = _mm256_add_epi32(i + h == 0 ? _mm256_set1_epi32(starts[r * 2]) : sum, _mm256_madd_epi16(products, ones));
          } else {
            __m256i& sum = pairs[halves ? h : 0][p][r];
            const bool is_first = i % steps == 0 && (halves || h == 0);
            sum = is_first ? products : chained(sum, products);
          }
        }
      }
    }
    if constexpr (pair_group(bits) > 1 && i % steps == steps - 1) {
#pragma GCC unroll 2
      for (int h = 0; h < sums; ++h) {
#pragma GCC unroll 2
        for (int p = 0; p < parts; ++p) {
#pragma GCC unroll 4
          for (int r = 0; r < rows; ++r) {
            __m256i& sum = total.of[h][p][r];
            sum = _mm256_add_epi32(i < steps ? _mm256_set1_epi32(starts[r * 2 + h]) : sum, _mm256_madd_epi16(pairs[h][p][r], ones));
          }
        }
      }
    }
  });
}

/**
 * starts + sums of products of words [first, first + count) for `rows` rows of x and `parts` parts of the columns, of which `word(part, g)`
 * gives the words.
 */
template <int bits, int first, int count, int rows, int parts, class Word>
inline void dots(Word word, const int32_t* x, const int32_t* starts, Words (&total)[parts][rows]) {
  constexpr int step = pair_group(bits) < count ? pair_group(bits) : count;
  const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 8
  for (int g = first; g < first + count; g += step) {
    __m256i pairs[parts][rows];
#pragma GCC unroll 8
    for (int i = g; i < g + step; ++i) {
      __m256i u[parts], magnitudes[parts];
#pragma GCC unroll 2
      for (int p = 0; p < parts; ++p) {
        u[p] = word(p, i).v;
        magnitudes[p] = magnitudes_of<bits>(u[p]);
      }
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 2
        for (int p = 0; p < parts; ++p) {
          const __m256i products = pairs_of<bits>(u[p], magnitudes[p], x[r * 8 + i]);
          pairs[p][r] = i == g ? products : chained(pairs[p][r], products);
        }
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 2
      for (int p = 0; p < parts; ++p) {
        const __m256i sum = _mm256_madd_epi16(pairs[p][r], ones);
        total[p][r].v = _mm256_add_epi32(g == first ? _mm256_set1_epi32(starts[r * 2]) : total[p][r].v, sum);
      }
    }
  }
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

inline constexpr int direct_rows = 8, most_rows = 16;

inline Words load_words(const uint8_t* p) { return {_mm512_loadu_si512(p)}; }
inline void store_words(uint8_t* p, Words a) { _mm512_storeu_si512(p, a.v); }
/** a | (b & mask), in one instruction. */
inline Words or_masked(Words a, Words b, Words mask) { return {_mm512_ternarylogic_epi32(a.v, b.v, mask.v, 0xf8)}; }
inline Reals load_halves(const uint8_t* p) { return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))}; }
inline Reals load_unsigned(const uint8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
inline Reals load_signed(const uint8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}

/** Codes less `offset`, as signed bytes. */
template <int offset>
inline Words less(Words u) {
  return {_mm512_sub_epi8(u.v, _mm512_set1_epi8(static_cast<char>(offset)))};
}

/** a += the four products of each word of u with x. */
inline void add_products(__m512i& a, Words u, const int32_t& x) {
  // By name, since the file is compiled for CPUs without this instruction too, which take the way of AVX2.
  asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(a) : "v"(u.v), "m"(x));
}

/**
 * starts + the sums over words u[first...first + count) and x[first...] of their four products, for each column and `rows` rows of x, 8 words
 * each. Rows take turns, four at a time, as each product waits for the one before of its row. Needs VNNI.
 */
template <int first, int count, int rows>
inline void dots(const Words* u, const int32_t* x, const int32_t* starts, Words* total) {
  constexpr int turns = rows < 4 ? rows : 4;
#pragma GCC unroll 4
  for (int r = 0; r < rows; r += turns) {
    __m512i sum[turns], second[turns];
    // Fewer than four chains become two for each row.
    constexpr bool two = turns < 4 && count > 4;
#pragma GCC unroll 4
    for (int i = 0; i < turns; ++i) {
      sum[i] = _mm512_set1_epi32(starts[(r + i) * 2]);
      second[i] = _mm512_setzero_si512();
    }
#pragma GCC unroll 8
    for (int g = first; g < first + count; ++g) {
#pragma GCC unroll 4
      for (int i = 0; i < turns; ++i) add_products(two && g % 2 == 1 ? second[i] : sum[i], u[g], x[(r + i) * 8 + g]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < turns; ++i) total[r + i].v = two ? _mm512_add_epi32(sum[i], second[i]) : sum[i];
  }
}

#else

inline constexpr int direct_rows = 4, most_rows = 4;

inline Words load_words(const uint8_t* p) {
  Words a;
  std::memcpy(a.v, p, sizeof a.v);
  return a;
}
inline void store_words(uint8_t* p, Words a) { std::memcpy(p, a.v, sizeof a.v); }
inline Words or_masked(Words a, Words b, Words mask) { return a | (b & mask); }
inline Reals load_halves(const uint8_t* p) {
  return each_lane<Reals>([=](int i) { return load_half(p + 2 * i); });
}
inline Reals load_unsigned(const uint8_t* p) {
  return each_lane<Reals>([=](int i) { return static_cast<float>(p[i]); });
}
inline Reals load_signed(const uint8_t* p) {
  return each_lane<Reals>([=](int i) { return static_cast<float>(static_cast<int8_t>(p[i])); });
}

/** starts + the sums over words u[first...first + count) and x[first...] of their four products, for each column and `rows` rows of x. */
template <int first, int count, int rows>
inline void dots(const Words* u, const int32_t* x, const int32_t* starts, Words* total) {
  for (int r = 0; r < rows; ++r) {
    total[r] = splat_int(starts[r * 2]);
    for (int g = first; g < first + count; ++g) {
      for (int j = 0; j < 32; j += 8) {
        const int32_t factor = static_cast<int8_t>(x[r * 8 + g] >> j);
        for (int i = 0; i < 16; ++i) total[r].v[i] += static_cast<int32_t>(static_cast<uint32_t>(u[g].v[i]) >> j & 255) * factor;
      }
    }
  }
}

#endif
#endif

inline constexpr int panel_parts = 16 / part_cols;

}  // namespace wl::WL_ISA
