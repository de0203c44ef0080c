// Panels of quantised weights: 16 rows of the weight (columns of the product) side by side, one stretch of memory in the order in which it is
// read: the codes of 32 terms (a run) after each other, and before each, two or eight of them a head with their scales.
//
// Codes of a run are 8 words for each column, word g holding terms 4 g to 4 g + 3 of it. Types of 4 to 6 bits keep their low halves in
// 4 rows of words, row g with word g in the low and word g + 4 in the high halves of bytes; a fifth bit is bit g of the bytes of one more
// row, the fifth and sixth are bits 2 (g % 4) and up of the bytes of row g / 4 of two more.
//
// Heads: 16 scales as halves, of two runs; or 16 scales and 16 minima, of one. Q4_K and Q5_K: 16 of both, then for each run 16 factors
// of scales and 16 of minima in bytes. Q6_K: 16 scales as floats, then for each half of a run 16 signed factors.
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

/** How far ahead of its use memory is asked for; the next panel follows, so this goes past the end of one. */
inline constexpr int64_t prefetch_bytes = 4096;

/** Shifts bits to the left, or to the right where `by` is negative. */
template <int by>
inline Words shifted(Words a) {
  if constexpr (by > 0) return shift_left<by>(a);
  else if constexpr (by < 0) return shift_right<-by>(a);
  else return a;
}

/** The low halves of word g with their fifth bits, or their fifth and sixth, from the row of these that word g is in. */
template <int bits, int g>
inline Words with_high(Words low, Words high) {
  if constexpr (bits == 5) return or_masked(low, shifted<4 - g>(high), splat_word(0x10101010));
  else return or_masked(low, shifted<4 - g % 4 * 2>(high), splat_word(0x30303030));
}

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
    const Words high = load_words(at + 256);
    unrolled<8>([&](auto g) { u[g] = with_high<5, g>(u[g], high); });
  }
  if constexpr (bits == 6) {
    const Words high[2] = {load_words(at + 256), load_words(at + 320)};
    unrolled<8>([&](auto g) { u[g] = with_high<6, g>(u[g], high[g / 4]); });
  }
}

#if defined(WL_ISA_AVX2)
/** Words i and i + 4 of a run. */
template <int bits, int i>
inline void load_pair(const uint8_t* at, __m256i (&u)[2]) {
  if constexpr (bits == 8) {
    const Words sign = splat_word(static_cast<int32_t>(0x80808080));
    u[0] = (load_words(at + 64 * i) ^ sign).v;
    u[1] = (load_words(at + 64 * (i + 4)) ^ sign).v;
  } else {
    const Words low = splat_word(0x0f0f0f0f), both = load_words(at + 64 * i);
    Words w[2] = {both & low, shift_right<4>(both) & low};
    if constexpr (bits == 5) {
      const Words high = load_words(at + 256);
      w[0] = with_high<5, i>(w[0], high);
      w[1] = with_high<5, i + 4>(w[1], high);
    } else if constexpr (bits == 6) {
      w[0] = with_high<6, i>(w[0], load_words(at + 256));
      w[1] = with_high<6, i>(w[1], load_words(at + 320));
    }
    u[0] = w[0].v;
    u[1] = w[1].v;
  }
}
#endif

/** Scales of a run: of all, or of each half of it; and the minimum. */
struct Scales {
  Reals a[2], least;
};

/** What the scales of all runs behind a head have in common. */
struct Common {
  Reals scale, least;
};

/** Reads a packed panel, as a rule from memory, in order. */
template <Quant type>
struct Packed : Traits<type> {
  static constexpr bool is_wide = false;
  static constexpr QuantShape shape = quant_shape(static_cast<int64_t>(type));
  static constexpr bool is_k = shape.elements == 256;
  /** Runs that share what `common` gives. Spans are made of whole blocks, so of as many runs. */
  static constexpr int64_t together = is_k ? shape.head_runs : 1;

  const uint8_t* panel;

  /** The codes of run first + i, where `first` is a multiple of `together` and i less. */
  const uint8_t* run(int64_t first, int64_t i, int part) const {
    if constexpr (is_k) return head(first) + shape.head_bytes + i * shape.run_bytes + part * 32;
    else return panel + quant_run_at(shape, first) + part * 32;
  }

  void load(int64_t first, int64_t i, int part, Words* u) const { load_codes<Traits<type>::bits>(run(first, i, part), u); }

  Common common(int64_t first, int part) const {
    Common c;
    const int col = part * part_cols;
    if constexpr (type == Quant::q6_k) {
      c.scale = load_reals(reinterpret_cast<const float*>(head(first)) + col);
    } else if constexpr (is_k) {
      c.scale = load_halves(head(first) + 2 * col);
      c.least = load_halves(head(first) + 32 + 2 * col);
    }
    return c;
  }

  Scales load_scales(const Common& c, int64_t first, int64_t i, int part) const {
    Scales s;
    const int col = part * part_cols;
    if constexpr (is_k) {
      const uint8_t* at = head(first) + 64 + i * 32 + col;
      if constexpr (Traits<type>::halves) {
        s.a[0] = c.scale * load_signed(at);
        s.a[1] = c.scale * load_signed(at + 16);
      } else {
        s.a[0] = c.scale * load_unsigned(at);
        s.least = c.least * load_unsigned(at + 16);
      }
    } else if constexpr (Traits<type>::has_min) {
      s.a[0] = load_halves(head(first) + 2 * col);
      s.least = load_halves(head(first) + 32 + 2 * col);
    } else {
      s.a[0] = load_halves(head(first) + first % 2 * 32 + 2 * col);
    }
    return s;
  }

  /** Asks for what is used some runs later. */
  void prefetch(int64_t run) const {
    constexpr int64_t bytes = shape.run_bytes + shape.head_bytes / shape.head_runs;
    const uint8_t* at = panel + run * bytes + prefetch_bytes;
#pragma GCC unroll 16
    for (int64_t line = 0; line < bytes; line += 64) __builtin_prefetch(at + line);
  }

 private:
  const uint8_t* head(int64_t run) const { return panel + quant_head_at(shape, run); }
};

/** A panel with a byte for each code and floats for scales, made once and read for many rows. */
template <int b, bool m, bool h>
struct Unpacked {
  static constexpr bool is_wide = true;
  static constexpr int bits = b;
  static constexpr bool has_min = m, halves = h;
  static constexpr int64_t together = 1;
  /** Floats of the scales of a run. */
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
        const int64_t i = at % Source::together, first = at - i;
        from.load(first, i, part, u);
        const Scales s = from.load_scales(from.common(first, part), first, i, part);
        for (int g = 0; g < 8; ++g) store_words(codes + at * 512 + g * 64 + part * 32, u[g]);
        float* to = scales + at * scale_floats + part * part_cols;
        store_reals(to, s.a[0]);
        if constexpr (halves) store_reals(to + 16, s.a[1]);
        if constexpr (has_min) store_reals(to + 16, s.least);
      }
    }
  }

  Words word(int64_t at, int part, int g) const { return load_words(codes + at * 512 + g * 64 + part * 32); }

  void load(int64_t at, int64_t, int part, Words* u) const {
#pragma GCC unroll 8
    for (int g = 0; g < 8; ++g) u[g] = word(at, part, g);
  }

  Common common(int64_t, int) const { return Common(); }

  Scales load_scales(const Common&, int64_t at, int64_t, int part) const {
    Scales s;
    const float* from = scales + at * scale_floats + part * part_cols;
    s.a[0] = load_reals(from);
    if constexpr (halves) s.a[1] = load_reals(from + 16);
    if constexpr (has_min) s.least = load_reals(from + 16);
    return s;
  }

  void prefetch(int64_t) const {}
};

}  // namespace wl::WL_ISA
