// Finds scales, minima and codes of the K types: least squares and rounding in turns, from several starts, then once more with the
// scales as they are stored. Errors are plain sums of squares.
#pragma once

#include "cpu/quant-encode.h"
#include "cpu/simd.h"

namespace wl::WL_ISA {

/** Rounds to the nearest whole number from `low` to `high`, ties to even; |low| and |high| are far below 2^22. */
inline Vec16 whole(Vec16 x, float low, float high) {
  const Vec16 magic = splat(12582912.0f);
  return min(max(x, splat(low)), splat(high)) + magic - magic;
}

/** 16 or 32 elements that share a scale. */
template <int parts>
struct Run {
  Vec16 x[parts];

  explicit Run(const float* from) {
    for (int p = 0; p < parts; ++p) x[p] = load(from + p * 16);
  }

  template <class F>
  static float sum(F term) {
    Vec16 total = term(0);
    for (int p = 1; p < parts; ++p) total = total + term(p);
    return reduce_add(total);
  }
};

/** x is about scale * code - least. */
struct Affine {
  float scale = 0.0f, least = 0.0f;
};

/** The codes, from 0 to top, that are nearest to x. */
inline void assign(const Run<2>& run, Affine fit, float top, Vec16* codes) {
  const Vec16 inverse = splat(fit.scale > 0x1p-120f ? 1.0f / fit.scale : 0.0f), least = splat(fit.least);
  for (int p = 0; p < 2; ++p) codes[p] = whole((run.x[p] + least) * inverse, 0.0f, top);
}

inline float error_of(const Run<2>& run, Affine fit, const Vec16* codes) {
  return Run<2>::sum([&](int p) {
    const Vec16 off = fma(codes[p], splat(fit.scale), splat(-fit.least)) - run.x[p];
    return off * off;
  });
}

/** The scale and the minimum, neither below 0, that are best for these codes; where all codes are equal, for this scale. */
inline Affine best_affine(const Run<2>& run, float scale, const Vec16* codes) {
  const float c = Run<2>::sum([&](int p) { return codes[p]; });
  const float cc = Run<2>::sum([&](int p) { return codes[p] * codes[p]; });
  const float x = Run<2>::sum([&](int p) { return run.x[p]; });
  const float xc = Run<2>::sum([&](int p) { return run.x[p] * codes[p]; });
  const float spread = 32.0f * cc - c * c;
  Affine fit;
  fit.scale = std::max(spread > 0.0f ? (32.0f * xc - x * c) / spread : scale, 0.0f);
  fit.least = (fit.scale * c - x) / 32.0f;
  if (fit.least < 0.0f) fit = {cc > 0.0f ? std::max(xc / cc, 0.0f) : 0.0f, 0.0f};
  return fit;
}

inline Affine search_affine(const Run<2>& run, float top) {
  float low = 0.0f, high = 0.0f;
  for (int p = 0; p < 2; ++p) {
    low = std::min(low, -reduce_max(negate(run.x[p])));
    high = std::max(high, reduce_max(run.x[p]));
  }
  Affine best = {0.0f, 0.0f};
  Vec16 codes[2] = {zero(), zero()};
  float least_error = error_of(run, best, codes);
  // Both ends of the range drawn in by up to a fifth: a few clipped elements can cost less than coarser steps for all.
  for (int from = 0; from < 4; ++from) {
    for (int to = 0; to < 4; ++to) {
      const float begin = low * (1.05f - 0.08f * static_cast<float>(from)), end = high * (1.05f - 0.08f * static_cast<float>(to));
      Affine fit = {(end - begin) / top, -begin};
      if (!(fit.scale > 0.0f)) continue;
      float before = INFINITY;
      for (int turn = 0; turn < 5; ++turn) {
        assign(run, fit, top, codes);
        fit = best_affine(run, fit.scale, codes);
        const float error = error_of(run, fit, codes);
        if (error < least_error) {
          least_error = error;
          best = fit;
        }
        if (!(error < before)) break;
        before = error;
      }
    }
  }
  return best;
}

/** What a super-block of Q4_K or Q5_K is stored as, and its error. */
struct AffineBlock {
  float d, dmin;
  int scales[8], mins[8];
  Vec16 codes[8][2];
  float error;
};

/** The best codes of all sub-blocks with these d and dmin, for whole scales and minima next to those that `block` has. */
inline void settle(const Run<2>* runs, float top, AffineBlock& block) {
  block.error = 0.0f;
  for (int j = 0; j < 8; ++j) {
    const int scale = block.scales[j], least = block.mins[j];
    float best = INFINITY;
    for (int s = std::max(scale - 1, 0); s <= std::min(scale + 1, 63); ++s) {
      for (int m = std::max(least - 1, 0); m <= std::min(least + 1, 63); ++m) {
        const Affine fit = {block.d * static_cast<float>(s), block.dmin * static_cast<float>(m)};
        Vec16 codes[2];
        assign(runs[j], fit, top, codes);
        const float error = error_of(runs[j], fit, codes);
        if (!(error < best)) continue;
        best = error;
        block.scales[j] = s;
        block.mins[j] = m;
        for (int p = 0; p < 2; ++p) block.codes[j][p] = codes[p];
      }
    }
    block.error += best;
  }
}

inline float as_half(float value) { return half_to_float(float_to_half(value)); }

/** The d and dmin that are best for what `block` has. */
inline void best_steps(const Run<2>* runs, const AffineBlock& block, float& d, float& dmin) {
  double uu = 0.0, uv = 0.0, vv = 0.0, xu = 0.0, xv = 0.0;
  for (int j = 0; j < 8; ++j) {
    const double s = block.scales[j], m = block.mins[j];
    uu += s * s * Run<2>::sum([&](int p) { return block.codes[j][p] * block.codes[j][p]; });
    uv += s * m * Run<2>::sum([&](int p) { return block.codes[j][p]; });
    vv += 32.0 * m * m;
    xu += s * Run<2>::sum([&](int p) { return runs[j].x[p] * block.codes[j][p]; });
    xv += m * Run<2>::sum([&](int p) { return runs[j].x[p]; });
  }
  const double spread = uu * vv - uv * uv;
  d = block.d;
  dmin = block.dmin;
  if (vv > 0.0 && spread > 0.0) {
    d = static_cast<float>((xu * vv - xv * uv) / spread);
    dmin = static_cast<float>((xu * uv - xv * uu) / spread);
  } else if (uu > 0.0) {
    d = static_cast<float>(xu / uu);
  }
}

/** Whether squares of all elements can be added; scales of larger ones would not fit into a half by far. */
inline bool can_be_squared(const float* x) {
  Vec16 widest = zero();
  for (int i = 0; i < 256; i += 16) widest = max(widest, abs(load(x + i)));
  return reduce_max(widest) < 0x1p40f;
}

/** Q4_K (top 15) or Q5_K (top 31) of 256 elements. */
inline bool encode_affine(const float* x, int top, uint8_t* to) {
  if (!can_be_squared(x)) return false;
  const Run<2> runs[8] = {Run<2>(x), Run<2>(x + 32), Run<2>(x + 64), Run<2>(x + 96), Run<2>(x + 128), Run<2>(x + 160), Run<2>(x + 192), Run<2>(x + 224)};
  Affine fits[8];
  float widest = 0.0f, deepest = 0.0f;
  for (int j = 0; j < 8; ++j) {
    fits[j] = search_affine(runs[j], static_cast<float>(top));
    widest = std::max(widest, fits[j].scale);
    deepest = std::max(deepest, fits[j].least);
  }
  if (!fits_half(widest / 63.0f) || !fits_half(deepest / 63.0f)) return false;
  AffineBlock best;
  best.error = INFINITY;
  float d = widest / 63.0f, dmin = deepest / 63.0f;
  for (int turn = 0; turn < 4; ++turn) {
    AffineBlock next;
    next.d = as_half(d);
    next.dmin = as_half(dmin);
    if (!fits_half(next.d) || !fits_half(next.dmin) || next.d < 0.0f || next.dmin < 0.0f) break;
    for (int j = 0; j < 8; ++j) {
      next.scales[j] = next.d > 0.0f ? static_cast<int>(std::min(std::round(fits[j].scale / next.d), 63.0f)) : 0;
      next.mins[j] = next.dmin > 0.0f ? static_cast<int>(std::min(std::round(fits[j].least / next.dmin), 63.0f)) : 0;
    }
    settle(runs, static_cast<float>(top), next);
    if (!(next.error < best.error)) break;
    best = next;
    best_steps(runs, best, d, dmin);
  }
  uint8_t codes[256];
  for (int j = 0; j < 8; ++j) {
    for (int p = 0; p < 2; ++p) {
      int32_t values[16];
      store_int(values, to_int(best.codes[j][p]));
      for (int i = 0; i < 16; ++i) codes[j * 32 + p * 16 + i] = static_cast<uint8_t>(values[i]);
    }
  }
  join_affine(best.d, best.dmin, best.scales, best.mins, codes, top == 31, to);
  return true;
}

/** The codes of Q6_K, from -32 to 31, that are nearest to x / scale. */
inline Vec16 assign_centred(Vec16 x, float scale) {
  return whole(x * splat(std::fabs(scale) > 0x1p-120f ? 1.0f / scale : 0.0f), -32.0f, 31.0f);
}

inline float centred_error(Vec16 x, float scale, Vec16 codes) {
  const Vec16 off = fma(codes, splat(scale), negate(x));
  return reduce_add(off * off);
}

inline float search_centred(Vec16 x) {
  const float high = reduce_max(x), low = -reduce_max(negate(x));
  const float widest = high > -low ? high : low;
  float best = 0.0f;
  float least_error = reduce_add(x * x);
  if (std::fabs(widest) < 0x1p-100f) return 0.0f;
  // The widest element gets a code from -34 to -28, or the highest code: the sign of a scale is free.
  for (int start = 0; start < 14; ++start) {
    float scale = widest / (start < 13 ? -34.0f + 0.5f * static_cast<float>(start) : 31.0f);
    float before = INFINITY;
    for (int turn = 0; turn < 4; ++turn) {
      const Vec16 codes = assign_centred(x, scale);
      const float cc = reduce_add(codes * codes);
      if (!(cc > 0.0f)) break;
      scale = reduce_add(x * codes) / cc;
      const float error = centred_error(x, scale, codes);
      if (error < least_error) {
        least_error = error;
        best = scale;
      }
      if (!(error < before)) break;
      before = error;
    }
  }
  return best;
}

/** Q6_K of 256 elements. */
inline bool encode_six(const float* x, uint8_t* to) {
  if (!can_be_squared(x)) return false;
  float scales[16];
  float widest = 0.0f;
  for (int i = 0; i < 16; ++i) {
    scales[i] = search_centred(load(x + i * 16));
    if (std::fabs(scales[i]) > std::fabs(widest)) widest = scales[i];
  }
  float d = widest / -128.0f, best_d = 0.0f, best_error = INFINITY;
  if (!fits_half(d)) return false;
  int best_scales[16] = {};
  Vec16 best_codes[16];
  for (Vec16& codes : best_codes) codes = zero();
  for (int turn = 0; turn < 4; ++turn) {
    const float step = as_half(d);
    if (!fits_half(step)) break;
    int whole_scales[16];
    Vec16 codes[16];
    float error = 0.0f;
    double uu = 0.0, xu = 0.0;
    for (int i = 0; i < 16; ++i) {
      const Vec16 values = load(x + i * 16);
      const float middle = step != 0.0f ? std::min(std::max(std::round(scales[i] / step), -128.0f), 127.0f) : 0.0f;
      float best = INFINITY;
      for (int s = std::max(static_cast<int>(middle) - 1, -128); s <= std::min(static_cast<int>(middle) + 1, 127); ++s) {
        const float scale = step * static_cast<float>(s);
        const Vec16 trial = assign_centred(values, scale);
        const float off = centred_error(values, scale, trial);
        if (!(off < best)) continue;
        best = off;
        whole_scales[i] = s;
        codes[i] = trial;
      }
      error += best;
      uu += static_cast<double>(whole_scales[i]) * whole_scales[i] * reduce_add(codes[i] * codes[i]);
      xu += static_cast<double>(whole_scales[i]) * reduce_add(values * codes[i]);
    }
    if (!(error < best_error)) break;
    best_error = error;
    best_d = step;
    for (int i = 0; i < 16; ++i) {
      best_scales[i] = whole_scales[i];
      best_codes[i] = codes[i];
    }
    if (!(uu > 0.0)) break;
    d = static_cast<float>(xu / uu);
  }
  uint8_t bytes[256];
  for (int i = 0; i < 16; ++i) {
    int32_t values[16];
    store_int(values, to_int(best_codes[i]));
    for (int j = 0; j < 16; ++j) bytes[i * 16 + j] = static_cast<uint8_t>(values[j] + 32);
  }
  join_centred(best_d, best_scales, bytes, to);
  return true;
}

}  // namespace wl::WL_ISA
