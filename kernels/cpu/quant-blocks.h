// How blocks lie in a file: each type takes a block apart into unsigned codes, scales and offsets, and says what a code is worth.
#pragma once

#include "core/quant-types.h"
#include "cpu/half.h"

namespace wl::WL_ISA {

/**
 * A block taken apart. An element is worth scale * (code - offset) - minimum * min_scale, with the scale, the minimum and their whole
 * numbers of its sub-block; types with one scale for the whole block have whole numbers of 1.
 */
struct Block {
  uint8_t codes[256];
  float d = 0.0f, dmin = 0.0f;
  uint16_t d_bits = 0, dmin_bits = 0;
  int8_t scales[16];
  uint8_t mins[8];
};

inline uint16_t load_bits(const uint8_t* at) {
  uint16_t bits;
  std::memcpy(&bits, at, sizeof bits);
  return bits;
}

/** 16 bytes whose low halves are elements 0 to 15 and whose high halves are 16 to 31. */
inline void split_halves(const uint8_t* from, uint8_t* codes) {
  for (int i = 0; i < 16; ++i) {
    codes[i] = from[i] & 15;
    codes[i + 16] = from[i] >> 4;
  }
}

inline void add_fifth_bits(const uint8_t* from, uint8_t* codes) {
  uint32_t bits;
  std::memcpy(&bits, from, sizeof bits);
  for (int i = 0; i < 32; ++i) codes[i] = static_cast<uint8_t>(codes[i] | ((bits >> i) & 1) << 4);
}

/** The 6-bit scales and minima of a super-block, from 12 bytes: 4 + 4 in the low bits, the other 4 + 4 split. */
inline void unpack_six_bits(const uint8_t* from, int8_t* scales, uint8_t* mins) {
  for (int i = 0; i < 4; ++i) {
    scales[i] = static_cast<int8_t>(from[i] & 63);
    mins[i] = from[i + 4] & 63;
    scales[i + 4] = static_cast<int8_t>((from[i + 8] & 15) | (from[i] >> 6) << 4);
    mins[i + 4] = static_cast<uint8_t>((from[i + 8] >> 4) | (from[i + 4] >> 6) << 4);
  }
}

inline void pack_six_bits(const int* scales, const int* mins, uint8_t* to) {
  for (int i = 0; i < 4; ++i) {
    to[i] = static_cast<uint8_t>(scales[i] | (scales[i + 4] >> 4) << 6);
    to[i + 4] = static_cast<uint8_t>(mins[i] | (mins[i + 4] >> 4) << 6);
    to[i + 8] = static_cast<uint8_t>((scales[i + 4] & 15) | (mins[i + 4] & 15) << 4);
  }
}

/** Codes, scales and minima of one block; what a type does not have is left as it is. */
inline void take_apart(Quant type, const uint8_t* from, Block& block) {
  switch (type) {
    case Quant::q4_0:
      block.d_bits = load_bits(from);
      split_halves(from + 2, block.codes);
      break;
    case Quant::q4_1:
      block.d_bits = load_bits(from);
      block.dmin_bits = load_bits(from + 2);
      split_halves(from + 4, block.codes);
      break;
    case Quant::q5_0:
      block.d_bits = load_bits(from);
      split_halves(from + 6, block.codes);
      add_fifth_bits(from + 2, block.codes);
      break;
    case Quant::q5_1:
      block.d_bits = load_bits(from);
      block.dmin_bits = load_bits(from + 2);
      split_halves(from + 8, block.codes);
      add_fifth_bits(from + 4, block.codes);
      break;
    case Quant::q8_0:
      block.d_bits = load_bits(from);
      for (int i = 0; i < 32; ++i) block.codes[i] = from[2 + i] ^ 0x80;
      break;
    case Quant::q4_k:
    case Quant::q5_k: {
      const bool five = type == Quant::q5_k;
      block.d_bits = load_bits(from);
      block.dmin_bits = load_bits(from + 2);
      unpack_six_bits(from + 4, block.scales, block.mins);
      const uint8_t* high = from + 16;
      const uint8_t* low = from + (five ? 48 : 16);
      for (int run = 0; run < 4; ++run) {
        for (int i = 0; i < 32; ++i) {
          const int fifth = five ? high[i] >> (2 * run) : 0;
          block.codes[run * 64 + i] = static_cast<uint8_t>((low[run * 32 + i] & 15) | (fifth & 1) << 4);
          block.codes[run * 64 + 32 + i] = static_cast<uint8_t>((low[run * 32 + i] >> 4) | (fifth >> 1 & 1) << 4);
        }
      }
      break;
    }
    case Quant::q6_k:
      block.d_bits = load_bits(from + 208);
      std::memcpy(block.scales, from + 192, 16);
      for (int half = 0; half < 2; ++half) {
        const uint8_t *low = from + half * 64, *high = from + 128 + half * 32;
        uint8_t* codes = block.codes + half * 128;
        for (int i = 0; i < 32; ++i) {
          codes[i] = static_cast<uint8_t>((low[i] & 15) | (high[i] & 3) << 4);
          codes[i + 32] = static_cast<uint8_t>((low[i + 32] & 15) | (high[i] >> 2 & 3) << 4);
          codes[i + 64] = static_cast<uint8_t>((low[i] >> 4) | (high[i] >> 4 & 3) << 4);
          codes[i + 96] = static_cast<uint8_t>((low[i + 32] >> 4) | (high[i] >> 6) << 4);
        }
      }
      break;
    case Quant::f16:
    case Quant::bf16: break;
  }
  block.d = half_to_float(block.d_bits);
  block.dmin = half_to_float(block.dmin_bits);
}

/** The code that is worth nothing. */
inline int code_offset(Quant type) {
  switch (type) {
    case Quant::q4_0: return 8;
    case Quant::q5_0: return 16;
    case Quant::q8_0: return 128;
    case Quant::q6_k: return 32;
    default: return 0;
  }
}

/** What the elements of a block are worth. Each has one rounding at most, so the order of its operations does not matter. */
inline void values_of(Quant type, const uint8_t* from, float* values) {
  if (type == Quant::f16) {
    *values = load_half(from);
    return;
  }
  if (type == Quant::bf16) {
    *values = bfloat_to_float(load_bits(from));
    return;
  }
  Block block;
  take_apart(type, from, block);
  const int offset = code_offset(type);
  if (type == Quant::q4_k || type == Quant::q5_k) {
    for (int i = 0; i < 256; ++i) {
      const float scale = block.d * static_cast<float>(block.scales[i / 32]);
      const float least = block.dmin * static_cast<float>(block.mins[i / 32]);
      values[i] = scale * static_cast<float>(block.codes[i]) - least;
    }
  } else if (type == Quant::q6_k) {
    for (int i = 0; i < 256; ++i) values[i] = block.d * static_cast<float>(block.scales[i / 16]) * static_cast<float>(block.codes[i] - offset);
  } else if (type == Quant::q4_1 || type == Quant::q5_1) {
    for (int i = 0; i < 32; ++i) values[i] = static_cast<float>(block.codes[i]) * block.d + block.dmin;
  } else {
    for (int i = 0; i < 32; ++i) values[i] = static_cast<float>(block.codes[i] - offset) * block.d;
  }
}

}  // namespace wl::WL_ISA
