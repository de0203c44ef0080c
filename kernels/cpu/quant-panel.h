// Panels of quantised weights: 16 rows of the weight (columns of the product) side by side, one stretch of memory in the order in which it is
// read: the codes of 32 terms (a run) after each other, and before each, two or eight of them a head with their scales.
//
// Codes of a run are 8 words for each column, word g holding terms 4 g to 4 g + 3 of it, in rows of words. With 4 bits row g has word g in
// the low and word g + 4 in the high halves of its bytes. With 5 or 6 bits the low bits of row g are word g as far as there are rows; the
// bits above them hold the words for which there is none (`word_of`), so that most words take one instruction.
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

inline Words splat_byte(int x) { return splat_word(x * 0x01010101); }

/** Word g of a run, from its codes at `at` (of the part of the columns that is wanted). */
template <int bits, int g>
inline Words word_of(const uint8_t* at) {
  const auto row = [=](int i) { return load_words(at + 64 * i); };
  if constexpr (bits == 8) {
    if constexpr (byte_offset == 0) return row(g) ^ splat_word(static_cast<int32_t>(0x80808080));
    else return row(g);
  } else if constexpr (bits == 4) {
    return shifted<g < 4 ? 0 : -4>(row(g % 4)) & splat_byte(15);
  } else if constexpr (bits == 5 && g < 5) {
    return row(g) & splat_byte(31);
  } else if constexpr (bits == 5) {
    // The upper three bits of row 0, 2 or 4, and two that are left elsewhere.
    const Words upper = shifted<-3>(row(2 * (g - 5))) & splat_byte(0x1c);
    if constexpr (g < 7) return or_masked(upper, shifted<-6>(row(2 * (g - 5) + 1)), splat_byte(3));
    else return or_masked(or_masked(upper, shifted<-4>(row(3)), splat_byte(2)), shifted<-5>(row(1)), splat_byte(1));
  } else if constexpr (g < 6) {
    return row(g) & splat_byte(63);
  } else {
    // The upper two bits of three rows.
    constexpr int first = 3 * (g - 6);
    const Words upper = shifted<-2>(row(first)) & splat_byte(0x30);
    return or_masked(or_masked(upper, shifted<-4>(row(first + 1)), splat_byte(0x0c)), shifted<-6>(row(first + 2)), splat_byte(3));
  }
}

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

  void load(int64_t first, int64_t i, int part, Words* u) const {
    const uint8_t* at = run(first, i, part);
    unrolled<8>([&](auto g) { u[g] = word_of<Traits<type>::bits, g>(at); });
  }

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

/** A panel with a byte for each code, less `subtract`, and floats for scales, made once and read for many rows. */
template <int b, bool m, bool h, int subtract = 0>
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
        for (int g = 0; g < 8; ++g) {
          if constexpr (subtract != 0) u[g] = less<subtract>(u[g]);
          store_words(codes + at * 512 + g * 64 + part * 32, u[g]);
        }
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
