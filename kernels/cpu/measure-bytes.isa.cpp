// The byte-product loop, as the quantised product of 4 bits would run it without any loads or scales.
#include "core/measure-bytes.h"

#include "core/isa.h"
#include "cpu/quant-vector.h"

namespace wl::WL_ISA {

int64_t byte_loop(int64_t rounds, int32_t* sink) {
#if defined(WL_ISA_AVX512)
  if (!has_vnni()) return avx2::byte_loop(rounds, sink);
  // Two in a cycle that take five cycles each: ten chains or more.
  constexpr int chains = 12;
  __m512i sums[chains];
#pragma GCC unroll 12
  for (int i = 0; i < chains; ++i) sums[i] = _mm512_setzero_si512();
  const Words codes = {_mm512_set1_epi8(7)};
  const int32_t factors = 0x03030303;
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < chains; ++i) add_products(sums[i], codes, factors);
  }
#pragma GCC unroll 12
  for (int i = 0; i < chains; ++i) *sink += _mm_cvtsi128_si32(_mm512_castsi512_si128(sums[i]));
  return rounds * chains * 64 * 2;
#elif defined(WL_ISA_AVX2)
  // Eight products in pairs of 16 bits, then one step to 32 bits.
  constexpr int chains = 4;
  __m256i sums[chains];
  for (int i = 0; i < chains; ++i) sums[i] = _mm256_set1_epi32(i);
  __m256i codes = _mm256_set1_epi8(7), factors = _mm256_set1_epi8(3);
  const __m256i ones = _mm256_set1_epi16(1);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 4
    for (int i = 0; i < chains; ++i) {
      __m256i pairs = _mm256_setzero_si256();
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) {
        asm("" : "+x"(codes), "+x"(factors));  // not known to be the same each time
        pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(codes, factors));
      }
      sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(pairs, ones));
    }
  }
  for (int i = 0; i < chains; ++i) *sink += _mm_cvtsi128_si32(_mm256_castsi256_si128(sums[i]));
  return rounds * chains * 8 * 32 * 2;
#else
  Words codes[8], sums[1];
  int32_t factors[8];
  constexpr int32_t starts[2] = {};
  for (int g = 0; g < 8; ++g) {
    codes[g] = splat_word(0x07070707);
    factors[g] = 0x03030303;
  }
  for (int64_t round = 0; round < rounds; ++round) {
    asm("" : : "r"(codes), "r"(factors) : "memory");
    dots<0, 8, 1>(codes, factors, starts, sums);
    *sink += sums[0].v[0];
  }
  return rounds * 16 * 32 * 2;
#endif
}

}  // namespace wl::WL_ISA
