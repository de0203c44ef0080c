// Squares of floats added up as integers: exact, so that neither order nor grouping nor the instruction set matters.
#pragma once

#include <cstdint>
#include <cstring>

#include "cpu/simd.h"

namespace wl::WL_ISA {

/** Quanta that a square below 4^exponent may have: 2^50. */
inline constexpr int quantum_bits = 50;

/**
 * A sum of x^2 / 4^exponent in quanta of 2^-50, each square rounded to the nearest (ties to even), for |x| < 2^exponent; of up to 2^14 squares.
 * The square of a float is exact in double. Added to 4 * 4^exponent, whose last bit is worth one quantum, it is rounded to quanta; the
 * bits of the result, taken as an integer, are those of 4 * 4^exponent plus the number of quanta.
 */
class FixedSquares {
 public:
  /** `exponent` is between -149 and 128, as float32 has it. */
  explicit FixedSquares(int exponent) : offset_(static_cast<uint64_t>(1023 + 2 + 2 * exponent) << 52) {
    std::memcpy(&magic_, &offset_, sizeof magic_);
  }

  /** Adds the squares of all lanes. */
  void add(Vec16 x) {
    groups_ += 1;
#if defined(WL_ISA_AVX512)
    const __m512d magic = _mm512_set1_pd(magic_);
    const __m512d low = _mm512_cvtps_pd(low_half(x)), high = _mm512_cvtps_pd(high_half(x));
    sums_[0] = _mm512_add_epi64(sums_[0], _mm512_castpd_si512(_mm512_fmadd_pd(low, low, magic)));
    sums_[1] = _mm512_add_epi64(sums_[1], _mm512_castpd_si512(_mm512_fmadd_pd(high, high, magic)));
#elif defined(WL_ISA_AVX2)
    const __m256d magic = _mm256_set1_pd(magic_);
    const __m128 part[4] = {_mm256_castps256_ps128(x.lo), _mm256_extractf128_ps(x.lo, 1), _mm256_castps256_ps128(x.hi), _mm256_extractf128_ps(x.hi, 1)};
    for (int i = 0; i < 4; ++i) {
      const __m256d wide = _mm256_cvtps_pd(part[i]);
      sums_[i] = _mm256_add_epi64(sums_[i], _mm256_castpd_si256(_mm256_fmadd_pd(wide, wide, magic)));
    }
#else
    for (const float lane : x.v) {
      const double wide = static_cast<double>(lane), sum = wide * wide + magic_;
      uint64_t bits;
      std::memcpy(&bits, &sum, sizeof bits);
      sums_[0] += bits;
    }
#endif
  }

  /** The quanta so far. */
  uint64_t quanta() const {
    uint64_t words[sizeof sums_ / (sizeof(uint64_t))];
    std::memcpy(words, sums_, sizeof sums_);
    uint64_t total = 0;
    for (const uint64_t word : words) total += word;
    return total - 16 * groups_ * offset_;
  }

 private:
#if defined(WL_ISA_AVX512)
  __m512i sums_[2] = {};
#elif defined(WL_ISA_AVX2)
  __m256i sums_[4] = {};
#else
  uint64_t sums_[1] = {};
#endif
  uint64_t groups_ = 0;
  const uint64_t offset_;
  double magic_;
};

}  // namespace wl::WL_ISA
