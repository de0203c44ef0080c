// Finds scales, minima and codes of the K types as the reference of ggml does (ggml-quants.c, quantize_row_q*_K_ref), so that equal values give
// equal bytes: each lane has a run of a block, and takes the reference's steps in its order, each rounded once.
#pragma once

#include "cpu/quant-encode.h"
#include "cpu/simd.h"

namespace wl::WL_ISA {

/** Rounds to the nearest whole number from `low` to `high`, ties to even; a NaN becomes `low`. */
inline Vec16 whole(Vec16 x, float low, float high) {
  const Vec16 magic = splat(12582912.0f);
  return min(max(x + magic - magic, splat(low)), splat(high));
}

/** The nearest whole number, for |x| below 2^22. */
inline int whole(float x) { return static_cast<int>(x + 12582912.0f - 12582912.0f); }

/** A lane has a run of `length` elements: first those of one block, then of the next. */
template <int length>
struct alignas(64) Runs {
  Vec16 x[length];
  Vec16 codes[length];

  /** Lanes beyond `count` get zeros. */
  Runs(const float* from, int64_t count) {
    for (int i = 0; i < length; ++i) {
      float column[16] = {};
      for (int64_t run = 0; run < count; ++run) column[run] = from[run * length + i];
      x[i] = load(column);
      codes[i] = zero();
    }
  }

  /** Codes with `offset` added, `length` of each run after those of the run before it. */
  void copy_codes(int offset, int64_t count, uint8_t* to) const {
    for (int i = 0; i < length; ++i) {
      int32_t column[16];
      store_int(column, to_int(codes[i]));
      for (int64_t run = 0; run < count; ++run) to[run * length + i] = static_cast<uint8_t>(column[run] + offset);
    }
  }
};

/** x is about scale * code - least, with codes from 0 to `top`. */
struct AffineSearch {
  float top;
  /** The range is tried with top + first + 0.1 k steps in it, for k from 0 to `steps`. */
  float first;
  int steps;
};

inline constexpr AffineSearch search_q4_k = {15.0f, -1.0f, 20}, search_q5_k = {31.0f, -0.5f, 15};

/** Lanes of scales and of minima, negated. */
struct Affine {
  Vec16 scale, least;
};

inline Vec16 weighted_error(const Vec16* x, const Vec16* weights, const Vec16* codes, Vec16 scale, Vec16 start) {
  Vec16 sum = zero();
  for (int i = 0; i < 32; ++i) {
    const Vec16 off = scale * codes[i] + start - x[i];
    sum = sum + weights[i] * (off * off);
  }
  return sum;
}

/** Those scales, minima and codes whose weighted squared error is least among lines that are fitted to the codes of several ranges. */
inline Affine search_affine(Runs<32>& runs, const AffineSearch& how) {
  const Vec16* x = runs.x;
  Vec16 squares = zero();
  for (int i = 0; i < 32; ++i) squares = squares + x[i] * x[i];
  const Vec16 size = sqrt(squares / splat(32.0f));
  Vec16 weights[32];
  for (int i = 0; i < 32; ++i) weights[i] = size + abs(x[i]);
  Vec16 low = x[0], high = x[0], sum_w = weights[0], sum_x = weights[0] * x[0];
  for (int i = 1; i < 32; ++i) {
    low = min(low, x[i]);
    high = max(high, x[i]);
    sum_w = sum_w + weights[i];
    sum_x = sum_x + weights[i] * x[i];
  }
  low = min(low, zero());
  const Mask16 flat = equal(low, high);
  Vec16 start = low;
  const Vec16 inverse = splat(how.top) / (high - low);
  Vec16 scale = splat(1.0f) / inverse;
  for (int i = 0; i < 32; ++i) runs.codes[i] = whole(inverse * (x[i] - low), 0.0f, how.top);
  Vec16 least_error = weighted_error(x, weights, runs.codes, scale, start);
  for (int step = 0; step <= how.steps; ++step) {
    // The range begins where the best line so far does, as in the reference.
    const Vec16 finer = splat(how.first + 0.1f * static_cast<float>(step) + how.top) / (high - start);
    Vec16 trial[32];
    Vec16 sum_l = zero(), sum_l2 = zero(), sum_xl = zero();
    for (int i = 0; i < 32; ++i) {
      trial[i] = whole(finer * (x[i] - start), 0.0f, how.top);
      const Vec16 wl = weights[i] * trial[i];
      sum_l = sum_l + wl;
      sum_l2 = sum_l2 + wl * trial[i];
      sum_xl = sum_xl + wl * x[i];
    }
    const Vec16 determinant = sum_w * sum_l2 - sum_l * sum_l;
    const Vec16 fitted = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
    const Mask16 above = less(zero(), fitted);
    const Vec16 slope = select(above, sum_xl / sum_l2, (sum_w * sum_xl - sum_x * sum_l) / determinant);
    const Vec16 begin = select(above, zero(), fitted);
    const Vec16 error = weighted_error(x, weights, trial, slope, begin);
    const Vec16 counted = select(less(zero(), determinant), error, splat(INFINITY));
    const Mask16 better = less(counted, least_error);
    if (!any(better)) continue;
    least_error = select(better, error, least_error);
    scale = select(better, slope, scale);
    start = select(better, begin, start);
    for (int i = 0; i < 32; ++i) runs.codes[i] = select(better, trial[i], runs.codes[i]);
  }
  for (int i = 0; i < 32; ++i) runs.codes[i] = select(flat, zero(), runs.codes[i]);
  return {select(flat, zero(), scale), zero() - select(flat, low, start)};
}

/** Whether squares of all elements can be added; scales of larger ones would not fit into a half by far. */
inline bool can_be_squared(const float* x) {
  Vec16 widest = zero();
  for (int i = 0; i < 256; i += 16) widest = max(widest, abs(load(x + i)));
  return reduce_max(widest) < 0x1p40f;
}

/** What the scales or minima of a block are stored as: whole numbers below 64 of a step that is rounded to a half. */
struct SixBits {
  int whole[8];
  float step;

  explicit SixBits(const float* values) {
    float widest = 0.0f;
    for (int j = 0; j < 8; ++j) widest = std::max(widest, values[j]);
    const float inverse = widest > 0.0f ? 63.0f / widest : 0.0f;
    for (int j = 0; j < 8; ++j) {
      // The reference takes the low byte, also of what is negative.
      whole[j] = std::min(63, WL_ISA::whole(inverse * values[j]) & 255);
    }
    step = widest / 63.0f;
  }

  float stored_step() const { return half_to_float(float_to_half(step)); }
};

/** One or two blocks of Q4_K or Q5_K. False where a scale is too large for its half. */
inline bool encode_affine(const float* x, int64_t blocks, Quant type, uint8_t* to) {
  const bool five = type == Quant::q5_k;
  const int64_t bytes = five ? 176 : 144;
  for (int64_t b = 0; b < blocks; ++b) {
    if (!can_be_squared(x + b * 256)) return false;
  }
  const AffineSearch& how = five ? search_q5_k : search_q4_k;
  Runs<32> runs(x, blocks * 8);
  const Affine found = search_affine(runs, how);
  float scales[16], minima[16], steps[16], below[16];
  store(scales, found.scale);
  store(minima, found.least);
  const SixBits scale_bits[2] = {SixBits(scales), SixBits(scales + 8)}, least_bits[2] = {SixBits(minima), SixBits(minima + 8)};
  for (int run = 0; run < 16; ++run) {
    const SixBits &scale = scale_bits[run / 8], &least = least_bits[run / 8];
    steps[run] = scale.stored_step() * static_cast<float>(scale.whole[run % 8]);
    below[run] = least.stored_step() * static_cast<float>(least.whole[run % 8]);
  }
  // A run whose scale is stored as nothing keeps the codes that were found.
  const Vec16 step = load(steps), least = load(below);
  const Mask16 none = equal(step, zero());
  for (int i = 0; i < 32; ++i) runs.codes[i] = select(none, runs.codes[i], whole((runs.x[i] + least) / step, 0.0f, how.top));
  uint8_t codes[512];
  runs.copy_codes(0, blocks * 8, codes);
  bool fit = true;
  for (int64_t b = 0; b < blocks; ++b) {
    fit = fit && fits_half(scale_bits[b].step) && fits_half(least_bits[b].step);
    join_affine(scale_bits[b].step, least_bits[b].step, scale_bits[b].whole, least_bits[b].whole, codes + b * 256, five, to + b * bytes);
  }
  return fit;
}

/** The scales of runs around zero, codes from -32 to 31, each error weighted by the square of its value. */
inline Vec16 search_centred(Runs<16>& runs, Mask16 negligible, Vec16 extreme) {
  const Vec16* x = runs.x;
  Vec16 scale = zero(), best = zero();
  for (int turn = 0; turn < 19; ++turn) {
    // 0 first, then -9 to 9 without it.
    const int step = turn == 0 ? 0 : turn <= 9 ? turn - 10 : turn - 9;
    const Vec16 inverse = splat(-(32.0f + 0.1f * static_cast<float>(step))) / extreme;
    Vec16 trial[16];
    Vec16 sum_xl = zero(), sum_l2 = zero();
    for (int i = 0; i < 16; ++i) {
      trial[i] = whole(inverse * x[i], -32.0f, 31.0f);
      const Vec16 w = x[i] * x[i];
      sum_xl = sum_xl + w * x[i] * trial[i];
      sum_l2 = sum_l2 + w * trial[i] * trial[i];
    }
    const Mask16 some = less(zero(), sum_l2);
    const Mask16 better = less(best * sum_l2, sum_xl * sum_xl);
    const Vec16 fitted = select(some, sum_xl / sum_l2, zero());
    if (turn == 0) {
      scale = fitted;
      for (int i = 0; i < 16; ++i) runs.codes[i] = trial[i];
    } else {
      scale = select(better, fitted, scale);
      for (int i = 0; i < 16; ++i) runs.codes[i] = select(better, trial[i], runs.codes[i]);
    }
    best = turn == 0 ? scale * sum_xl : select(better, fitted * sum_xl, best);
  }
  // -32 is what the reference leaves for a run of zeros.
  for (int i = 0; i < 16; ++i) runs.codes[i] = select(negligible, splat(-32.0f), runs.codes[i]);
  return select(negligible, zero(), scale);
}

/** A block of Q6_K. False where its scale is too large for a half. */
inline bool encode_six(const float* x, uint8_t* to) {
  if (!can_be_squared(x)) return false;
  Runs<16> runs(x, 16);
  Vec16 extreme = zero();
  for (int i = 0; i < 16; ++i) extreme = select(less(abs(extreme), abs(runs.x[i])), runs.x[i], extreme);
  float scales[16];
  store(scales, search_centred(runs, less(abs(extreme), splat(1e-15f)), extreme));
  float widest = 0.0f;
  for (const float scale : scales) {
    if (std::fabs(scale) > std::fabs(widest)) widest = scale;
  }
  if (std::fabs(widest) < 1e-15f) {
    std::memset(to, 0, 210);
    return true;
  }
  const float inverse = -128.0f / widest, d = 1.0f / inverse, stored = half_to_float(float_to_half(d));
  int whole_scales[16];
  float steps[16];
  for (int run = 0; run < 16; ++run) {
    whole_scales[run] = std::min(127, whole(inverse * scales[run]));
    steps[run] = stored * static_cast<float>(whole_scales[run]);
  }
  const Vec16 step = load(steps);
  const Mask16 none = equal(step, zero());
  for (int i = 0; i < 16; ++i) runs.codes[i] = select(none, runs.codes[i], whole(runs.x[i] / step, -32.0f, 31.0f));
  uint8_t codes[256];
  runs.copy_codes(32, 16, codes);
  join_centred(d, whole_scales, codes, to);
  return fits_half(d);
}

}  // namespace wl::WL_ISA
