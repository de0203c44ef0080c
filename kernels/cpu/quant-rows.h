// Activations in 8 bits: runs of 32 terms with one scale, interleaved by the rows that a kernel takes together.
#pragma once

#include "cpu/quant-vector.h"

namespace wl::WL_ISA {

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
    const float widest = reduce_max(max(abs(first), abs(second)));
    const float poison = reduce_add(first * zero() + second * zero());  // NaN, or a zero
    // Below this the inverse may not be finite; what is lost is less than 2^-100.
    const bool counts = widest > 0x1p-100f;
    const float scale = (counts ? widest / 127.0f : 0.0f) + poison;
    const Vec16 inverse = splat(counts ? 1.0f / (widest / 127.0f) : 0.0f);
    int32_t values[32];
    store_int(values, to_int(first * inverse));
    store_int(values + 16, to_int(second * inverse));
    sums[0] = sums[1] = 0;
    for (int i = 0; i < 32; ++i) {
      const int32_t value = values[i] > 127 ? 127 : values[i] < -127 ? -127 : values[i];
      codes[i] = static_cast<int8_t>(value);
      sums[i / 16] += value;
    }
    return scale;
  }

  const int64_t rows_, runs_;
  int8_t* const codes_;
  float* const scales_;
  int32_t* const corrections_;
};

}  // namespace wl::WL_ISA
