// Panels of quantised weights: 16 rows of the weight (columns of the product) side by side, the codes of 32 terms at a time where the
// kernel wants them, and the scales in a run of their own behind all codes.
//
// Codes of 32 terms are 8 words for each column, word g holding terms 4 g to 4 g + 3 of it. Types of 4 to 6 bits keep their low halves in
// 4 rows of words, row g with word g in the low and word g + 4 in the high halves of bytes; a fifth bit is bit g of the bytes of one more
// row, the fifth and sixth are bits 2 (g % 4) and up of the bytes of row g / 4 of two more.
#pragma once

#include "core/quant-types.h"
#include "cpu/quant-vector.h"

namespace wl::WL_ISA {

/** How a type is multiplied: its bits, the code of 0, whether it has minima, whether 16 terms have a scale, and terms per block. */
template <Quant type>
struct Traits;
template <int b, int o, bool m, bool h, int e>
struct TraitsOf {
  static constexpr int bits = b, offset = o, elements = e;
  static constexpr bool has_min = m, halves = h;
};
template <>
struct Traits<Quant::q4_0> : TraitsOf<4, 8, false, false, 32> {};
template <>
struct Traits<Quant::q4_1> : TraitsOf<4, 0, true, false, 32> {};
template <>
struct Traits<Quant::q5_0> : TraitsOf<5, 16, false, false, 32> {};
template <>
struct Traits<Quant::q5_1> : TraitsOf<5, 0, true, false, 32> {};
template <>
struct Traits<Quant::q8_0> : TraitsOf<8, byte_offset, false, false, 32> {};
template <>
struct Traits<Quant::q4_k> : TraitsOf<4, 0, true, false, 256> {};
template <>
struct Traits<Quant::q5_k> : TraitsOf<5, 0, true, false, 256> {};
template <>
struct Traits<Quant::q6_k> : TraitsOf<6, 32, false, true, 256> {};

constexpr int64_t code_bytes(int bits) { return bits == 8 ? 512 : bits == 6 ? 384 : bits == 5 ? 320 : 256; }

/** The eight words of 32 terms, from the codes at `at` (of the part of the columns that is wanted). */
template <int bits>
inline void load_codes(const uint8_t* at, Words* u) {
  if constexpr (bits == 8) {
#pragma GCC unroll 8
    for (int g = 0; g < 8; ++g) {
      u[g] = load_words(at + 64 * g);
      if constexpr (byte_offset == 0) u[g] = u[g] ^ splat_word(static_cast<int32_t>(0x80808080));
    }
  } else {
    const Words low = splat_word(0x0f0f0f0f);
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
      const Words both = load_words(at + 64 * g);
      u[g] = both & low;
      u[g + 4] = shift_right<4>(both) & low;
    }
  }
  if constexpr (bits == 5) {
    const Words high = load_words(at + 256), fifth = splat_word(0x10101010);
    u[0] = u[0] | (shift_left<4>(high) & fifth);
    u[1] = u[1] | (shift_left<3>(high) & fifth);
    u[2] = u[2] | (shift_left<2>(high) & fifth);
    u[3] = u[3] | (shift_left<1>(high) & fifth);
    u[4] = u[4] | (high & fifth);
    u[5] = u[5] | (shift_right<1>(high) & fifth);
    u[6] = u[6] | (shift_right<2>(high) & fifth);
    u[7] = u[7] | (shift_right<3>(high) & fifth);
  }
  if constexpr (bits == 6) {
    const Words two = splat_word(0x30303030);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const Words high = load_words(at + 256 + 64 * half);
      Words* of = u + 4 * half;
      of[0] = of[0] | (shift_left<4>(high) & two);
      of[1] = of[1] | (shift_left<2>(high) & two);
      of[2] = of[2] | (high & two);
      of[3] = of[3] | (shift_right<2>(high) & two);
    }
  }
}

/** Scales of 32 terms: of all, or of each half of them; and the minimum. */
struct Scales {
  Reals a[2], least;
};

/** The scales of terms 32 b to 32 b + 31, from the scales of the panel. */
template <Quant type>
inline Scales load_scales(const uint8_t* scales, int64_t b, int part) {
  Scales s;
  const int col = part * part_cols;
  if constexpr (type == Quant::q4_k || type == Quant::q5_k) {
    const uint8_t* at = scales + b / 8 * 320;
    const int64_t j = b % 8 * 16 + col;
    s.a[0] = load_halves(at + 2 * col) * load_unsigned(at + 64 + j);
    s.least = load_halves(at + 32 + 2 * col) * load_unsigned(at + 192 + j);
  } else if constexpr (type == Quant::q6_k) {
    const uint8_t* at = scales + b / 8 * 288;
    const int64_t j = b % 8 * 32 + col;
    const Reals d = load_halves(at + 2 * col);
    s.a[0] = d * load_signed(at + 32 + j);
    s.a[1] = d * load_signed(at + 48 + j);
  } else if constexpr (Traits<type>::has_min) {
    s.a[0] = load_halves(scales + b * 64 + 2 * col);
    s.least = load_halves(scales + b * 64 + 32 + 2 * col);
  } else {
    s.a[0] = load_halves(scales + b * 32 + 2 * col);
  }
  return s;
}

/** Reads a packed panel. */
template <Quant type>
struct Packed : Traits<type> {
  const uint8_t *codes, *scales;

  Packed(const uint8_t* panel, int64_t terms)
      : codes(panel), scales(panel + terms / Traits<type>::elements * quant_shape(static_cast<int64_t>(type)).panel_codes) {}

  void load(int64_t b, int part, Words* u, Scales& s) const {
    load_codes<Traits<type>::bits>(codes + b * code_bytes(Traits<type>::bits) + part * 32, u);
    s = load_scales<type>(scales, b, part);
  }
};

/** A panel with a byte for each code and floats for scales, made once and read for many rows. */
template <int b, bool m, bool h>
struct Unpacked {
  static constexpr int bits = b;
  static constexpr bool has_min = m, halves = h;
  /** Floats of the scales of 32 terms. */
  static constexpr int64_t scale_floats = 16 * (1 + (has_min || halves ? 1 : 0));

  uint8_t* codes;
  float* scales;

  static int64_t bytes(int64_t terms) { return terms * 16 + terms / 32 * scale_floats * 4; }
  Unpacked(uint8_t* memory, int64_t terms) : codes(memory), scales(reinterpret_cast<float*>(memory + terms * 16)) {}

  template <class Source>
  void fill(const Source& from, int64_t terms) const {
    for (int64_t at = 0; at < terms / 32; ++at) {
      for (int part = 0; part < panel_parts; ++part) {
        Words u[8];
        Scales s;
        from.load(at, part, u, s);
        for (int g = 0; g < 8; ++g) store_words(codes + at * 512 + g * 64 + part * 32, u[g]);
        float* to = scales + at * scale_floats + part * part_cols;
        store_reals(to, s.a[0]);
        if constexpr (halves) store_reals(to + 16, s.a[1]);
        if constexpr (has_min) store_reals(to + 16, s.least);
      }
    }
  }

  void load(int64_t at, int part, Words* u, Scales& s) const {
#pragma GCC unroll 8
    for (int g = 0; g < 8; ++g) u[g] = load_words(codes + at * 512 + g * 64 + part * 32);
    const float* from = scales + at * scale_floats + part * part_cols;
    s.a[0] = load_reals(from);
    if constexpr (halves) s.a[1] = load_reals(from + 16);
    if constexpr (has_min) s.least = load_reals(from + 16);
  }
};

}  // namespace wl::WL_ISA
