// Activations in 8 bits: runs of 32 terms with one scale, interleaved by the rows that a kernel takes together.
#pragma once

#include <limits>

#include "cpu/quant-vector.h"

namespace wl::WL_ISA {

/** Stores 16 whole numbers as bytes from -127 to 127; gives their sum. What is not finite has become INT32_MIN. */
inline int32_t put_bytes(Int16 values, int8_t* to) {
#if defined(WL_ISA_GENERIC)
  int32_t sum = 0;
  for (int i = 0; i < 16; ++i) {
    const int32_t value = values.v[i] > 127 ? 127 : values.v[i] < -127 ? -127 : values.v[i];
    to[i] = static_cast<int8_t>(value);
    sum += value;
  }
  return sum;
#else
#if defined(WL_ISA_AVX512)
  const __m128i bytes = _mm512_cvtsepi32_epi8(_mm512_max_epi32(values.v, _mm512_set1_epi32(-127)));
#else
  const __m256i words = _mm256_max_epi16(_mm256_packs_epi32(values.lo, values.hi), _mm256_set1_epi16(-127));
  const __m256i ordered = _mm256_permute4x64_epi64(words, 0xd8);
  const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1));
#endif
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
  // Bytes above -128 plus 128 are not negative; eight at a time are added.
  const __m128i sums = _mm_sad_epu8(_mm_xor_si128(bytes, _mm_set1_epi8(-128)), _mm_setzero_si128());
  return _mm_cvtsi128_si32(sums) + _mm_extract_epi32(sums, 2) - 16 * 128;
#endif
}

/** What a product wants beside codes and scales of activations. */
struct Correction {
  /** The code of the weight that is worth 0: sums of products start at -offset times the sum of the codes of the row. */
  int offset;
  /** 16 terms have a sum of their own. */
  bool halves;
  /** Instead: the factor of the minimum of the weight is the sum of the row's codes times its scale, times this sign. 0: no minimum. */
  int min_sign;
};

/** `count` rows that are taken together: for run b of 32 terms and row r, codes[(b * count + r) * 8], scales[b * count + r], ... */
struct RowTile {
  int32_t* codes;
  float* scales;
  /** Two for each run and row: what the sums of its halves start at; or, as bits of a float, the factor of the minimum. */
  int32_t* corrections;
  int64_t first, count;
};

/** Rows in tiles of most_rows, and of the powers of two below for the rest. */
class QuantRows {
 public:
  QuantRows(int64_t rows, int64_t terms, int8_t* codes, float* scales, int32_t* corrections)
      : rows_(rows), runs_(terms / 32), codes_(codes), scales_(scales), corrections_(corrections) {}

  /** The tile that begins at row `first`. */
  RowTile tile(int64_t first) const {
    int64_t count = most_rows;
    while (count > rows_ - first) count /= 2;
    return {reinterpret_cast<int32_t*>(codes_ + first * runs_ * 32), scales_ + first * runs_, corrections_ + first * runs_ * 2, first, count};
  }

  /** The tile that row `row` is in. */
  RowTile tile_of(int64_t row) const {
    RowTile at = tile(row / most_rows * most_rows);
    while (row >= at.first + at.count) at = tile(at.first + at.count);
    return at;
  }

  /**
   * Writes row `row` with values x[terms]. A run takes the scale max |x| / 127, and codes are rounded to the nearest, ties to even; where a value
   * is not finite its scale is NaN, and so is all that comes of it.
   */
  void write(int64_t row, const float* x, const Correction& correction) const {
    const RowTile to = tile_of(row);
    const int64_t r = row - to.first;
    for (int64_t b = 0; b < runs_; ++b) {
      const int64_t at = b * to.count + r;
      auto* codes = reinterpret_cast<int8_t*>(to.codes + at * 8);
      int32_t sums[2];
      const float scale = write_run(x + b * 32, codes, sums);
      to.scales[at] = scale;
      int32_t* two = to.corrections + at * 2;
      if (correction.min_sign != 0) {
        two[0] = static_cast<int32_t>(bits_of(scale * static_cast<float>(correction.min_sign * (sums[0] + sums[1]))));
        two[1] = 0;
      } else {
        two[0] = -correction.offset * (correction.halves ? sums[0] : sums[0] + sums[1]);
        two[1] = -correction.offset * sums[1];
      }
    }
  }

 private:
  static float write_run(const float* x, int8_t* codes, int32_t* sums) {
    const Vec16 first = load(x), second = load(x + 16);
    // Magnitudes are in the order of their bits, and what is not finite is above all others.
    const int32_t widest_bits = reduce_max(max(bits(abs(first)), bits(abs(second))));
    const float widest = float_of(static_cast<uint32_t>(widest_bits));
    const bool is_finite = widest_bits < 0x7f800000;
    // Below this the inverse may not be finite; what is lost is less than 2^-100.
    const bool counts = is_finite && widest > 0x1p-100f;
    const float step = widest / 127.0f;
    const float scale = counts ? step : is_finite ? 0.0f : std::numeric_limits<float>::quiet_NaN();
    const Vec16 inverse = splat(counts ? 1.0f / step : 0.0f);
    sums[0] = put_bytes(to_int(first * inverse), codes);
    sums[1] = put_bytes(to_int(second * inverse), codes + 16);
    return scale;
  }

  const int64_t rows_, runs_;
  int8_t* const codes_;
  float* const scales_;
  int32_t* const corrections_;
};

}  // namespace wl::WL_ISA
