// Quantising by the rounding that defines the types with one scale for 32 elements, and how blocks of all types are put together.
#pragma once

#include <algorithm>
#include <cmath>

#include "cpu/quant-blocks.h"

namespace wl::WL_ISA {

/** False where a scale does not fit into a half. */
inline bool fits_half(float value) { return std::fabs(value) < 65520.0f; }

inline void join_halves(const uint8_t* codes, uint8_t* to) {
  for (int i = 0; i < 16; ++i) to[i] = static_cast<uint8_t>((codes[i] & 15) | (codes[i + 16] & 15) << 4);
}

inline void join_fifth_bits(const uint8_t* codes, uint8_t* to) {
  uint32_t bits = 0;
  for (int i = 0; i < 32; ++i) bits |= uint32_t{codes[i]} >> 4 << i;
  std::memcpy(to, &bits, sizeof bits);
}

/** Q4_0 and Q5_0: the value of the largest magnitude gets the lowest code exactly. */
inline bool encode_centred(const float* x, int top, uint8_t* to) {
  float widest = 0.0f;
  for (int i = 0; i < 32; ++i) {
    if (std::fabs(x[i]) > std::fabs(widest)) widest = x[i];
  }
  const float half = static_cast<float>((top + 1) / 2);
  const float d = widest / -half;
  const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
  uint8_t codes[32];
  for (int i = 0; i < 32; ++i) {
    // Where the inverse of a tiny scale is infinite the code does not matter: the scale is 0 as a half.
    const float code = x[i] * inverse + (half + 0.5f);
    codes[i] = static_cast<uint8_t>(code >= 0.0f ? std::min(code, static_cast<float>(top)) : 0.0f);
  }
  store_half(to, d);
  if (top == 31) join_fifth_bits(codes, to + 2);
  join_halves(codes, to + (top == 31 ? 6 : 2));
  return fits_half(d);
}

/** Q4_1 and Q5_1: the smallest value gets code 0, the largest the highest. */
inline bool encode_ranged(const float* x, int top, uint8_t* to) {
  float least = x[0], most = x[0];
  for (int i = 1; i < 32; ++i) {
    least = std::min(least, x[i]);
    most = std::max(most, x[i]);
  }
  const float d = (most - least) / static_cast<float>(top);
  const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
  uint8_t codes[32];
  for (int i = 0; i < 32; ++i) {
    const float code = (x[i] - least) * inverse + 0.5f;
    codes[i] = static_cast<uint8_t>(code >= 0.0f ? std::min(code, static_cast<float>(top)) : 0.0f);
  }
  store_half(to, d);
  store_half(to + 2, least);
  if (top == 31) join_fifth_bits(codes, to + 4);
  join_halves(codes, to + (top == 31 ? 8 : 4));
  return fits_half(d) && fits_half(least);
}

/** Q8_0: the largest magnitude gets 127; halves are rounded away from zero. */
inline bool encode_bytes(const float* x, uint8_t* to) {
  float widest = 0.0f;
  for (int i = 0; i < 32; ++i) widest = std::max(widest, std::fabs(x[i]));
  const float d = widest / 127.0f;
  const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
  for (int i = 0; i < 32; ++i) {
    const float code = std::round(x[i] * inverse);
    to[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(std::fabs(code) <= 127.0f ? code : 0.0f));
  }
  store_half(to, d);
  return fits_half(d);
}

/** Q4_K and Q5_K from whole scales and minima below 64. */
inline void join_affine(float d, float dmin, const int* scales, const int* mins, const uint8_t* codes, bool five, uint8_t* to) {
  store_half(to, d);
  store_half(to + 2, dmin);
  pack_six_bits(scales, mins, to + 4);
  uint8_t* low = to + (five ? 48 : 16);
  if (five) std::memset(to + 16, 0, 32);
  for (int run = 0; run < 4; ++run) {
    for (int i = 0; i < 32; ++i) {
      const uint8_t first = codes[run * 64 + i], second = codes[run * 64 + 32 + i];
      low[run * 32 + i] = static_cast<uint8_t>((first & 15) | (second & 15) << 4);
      if (five) to[16 + i] = static_cast<uint8_t>(to[16 + i] | (first >> 4) << (2 * run) | (second >> 4) << (2 * run + 1));
    }
  }
}

/** Q6_K from whole scales and codes from 0 to 63. */
inline void join_centred(float d, const int* scales, const uint8_t* codes, uint8_t* to) {
  for (int half = 0; half < 2; ++half) {
    uint8_t *low = to + half * 64, *high = to + 128 + half * 32;
    const uint8_t* from = codes + half * 128;
    for (int i = 0; i < 32; ++i) {
      low[i] = static_cast<uint8_t>((from[i] & 15) | (from[i + 64] & 15) << 4);
      low[i + 32] = static_cast<uint8_t>((from[i + 32] & 15) | (from[i + 96] & 15) << 4);
      high[i] = static_cast<uint8_t>(from[i] >> 4 | (from[i + 32] >> 4) << 2 | (from[i + 64] >> 4) << 4 | (from[i + 96] >> 4) << 6);
    }
  }
  for (int i = 0; i < 16; ++i) to[192 + i] = static_cast<uint8_t>(static_cast<int8_t>(scales[i]));
  store_half(to + 208, d);
}

}  // namespace wl::WL_ISA
