// Copies factors into panels: [terms][panel_cols] on the right; rows by 16 terms, or terms by rows, on the left.
#pragma once

#include <cstring>
#include <type_traits>

#include "cpu/bfloat.h"
#include "cpu/gemm-vector.h"
#include "cpu/gemm.h"

namespace wl::WL_ISA::gemm {

inline int64_t source_row(const Factor& f, int64_t term) { return f.order != nullptr ? f.order[term] : term; }

/**
 * Calls visit(factor, first, last, at) for each part of terms [begin, end) that lies in one matrix: it is terms [first, last) of
 * that factor, and comes `at` terms after `begin`.
 */
template <class Visit>
inline void each_part(const Factor& f, int64_t begin, int64_t end, Visit&& visit) {
  if (f.segments == nullptr) {
    if (begin < end) visit(f, begin, end, int64_t{0});
    return;
  }
  const Segment* segment = f.segments;
  for (int64_t k = begin; k < end; ++segment) {
    if (segment[1].begin <= k) continue;
    const int64_t stop = segment[1].begin < end ? segment[1].begin : end;
    const Reals data = f.data.as == Stored::f32 ? segment->data : in_bf16(segment->data);
    visit(Factor{data, segment->stride, f.layout}, k - segment->begin, stop - segment->begin, k - begin);
    k = stop;
  }
}

template <Stored as>
inline float one(Reals from, int64_t at) {
  if constexpr (as == Stored::bf16) return bfloat_to_float(from.halves()[at]);
  const float value = from.floats()[at];
  return as == Stored::rounded ? bfloat_to_float(float_to_bfloat(value)) : value;
}

/** Elements [at, at + count) as f32. */
template <Stored as, int count>
inline void fetch(Reals from, int64_t at, float* to) {
  if constexpr (as == Stored::f32) {
    std::memcpy(to, from.floats() + at, sizeof(float) * count);
    return;
  }
  int i = 0;
  for (; i + 16 <= count; i += 16) {
    if constexpr (as == Stored::bf16) WL_ISA::store(to + i, load_bf16(from.halves() + at + i));
    else WL_ISA::store(to + i, round_bf16(WL_ISA::load(from.floats() + at + i)));
  }
  constexpr int rest = count % 16;
  if constexpr (rest > 0) {
    if constexpr (as == Stored::bf16) WL_ISA::store_first(rest, to + i, load_bf16_first(rest, from.halves() + at + i));
    else WL_ISA::store_first(rest, to + i, round_bf16(WL_ISA::load_first(rest, from.floats() + at + i)));
  }
}

/** Calls visit with how the numbers are stored as a type. */
template <class Visit>
inline void by_storage(Stored as, Visit&& visit) {
  if (as == Stored::f32) visit(std::integral_constant<Stored, Stored::f32>{});
  else if (as == Stored::bf16) visit(std::integral_constant<Stored, Stored::bf16>{});
  else visit(std::integral_constant<Stored, Stored::rounded>{});
}

template <Stored as, int rows>
void pack_left_of(const Factor& f, int64_t row, int64_t begin, int64_t end, float* panel, int64_t at) {
  if (f.layout == Layout::terms) {
    float* to = panel + at * rows;
    for (int64_t k = begin; k < end; ++k, to += rows) fetch<as, rows>(f.data, source_row(f, k) * f.stride + row, to);
    return;
  }
  const int64_t from = row * f.stride;
  int64_t k = begin;
  // Up to the next line of the panel.
  for (; at % 16 != 0 && k < end; ++k, ++at) {
    for (int r = 0; r < rows; ++r) panel[at / 16 * 16 * rows + 16 * r + at % 16] = one<as>(f.data, from + r * f.stride + k);
  }
  float* to = panel + at * rows;
  for (; k + 16 <= end; k += 16, to += 16 * rows) {
    for (int r = 0; r < rows; ++r) fetch<as, 16>(f.data, from + r * f.stride + k, to + 16 * r);
  }
  if (k == end) return;
  for (int r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < end - k; ++i) to[16 * r + i] = one<as>(f.data, from + r * f.stride + k + i);
  }
}

/** Rows [row, row + rows), terms [begin, end) of a factor in one matrix, to a left panel from its term `at` on. */
template <int rows>
void pack_left(const Factor& f, int64_t row, int64_t begin, int64_t end, float* panel, int64_t at) {
  by_storage(f.data.as, [&](auto as) { pack_left_of<as(), rows>(f, row, begin, end, panel, at); });
}

#if defined(WL_ISA_AVX512)

// 4 x 4 blocks of floats, one in each 128-bit quarter: term i of blocks a to d goes to row i of `to`.
template <int stride>
inline void store_columns(Vector a, Vector b, Vector c, Vector d, float* to) {
  const auto low = [](Vector x, Vector y) {
    return __builtin_shufflevector(x, y, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
  };
  const auto high = [](Vector x, Vector y) {
    return __builtin_shufflevector(x, y, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
  };
  const auto first = [](Vector x, Vector y) {
    return __builtin_shufflevector(x, y, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
  };
  const auto second = [](Vector x, Vector y) {
    return __builtin_shufflevector(x, y, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
  };
  store(to, first(low(a, b), low(c, d)));
  store(to + stride, second(low(a, b), low(c, d)));
  store(to + 2 * stride, first(high(a, b), high(c, d)));
  store(to + 3 * stride, second(high(a, b), high(c, d)));
}

// Writes 16 rows of 16 terms as columns, `to_stride` apart. What the 32 bits of each are does not matter.
template <int to_stride = panel_cols>
inline void transpose_square(const float* from, int64_t stride, float* to) {
  for (int j = 0; j < 4; ++j) {
    Vector block[4];
    for (int i = 0; i < 4; ++i) {
      // Terms 4j to 4j + 3 of rows i, i + 4, i + 8, i + 12.
      const float* p = from + i * stride + 4 * j;
      Vector v = _mm512_castps128_ps512(_mm_loadu_ps(p));
      v = _mm512_mask_broadcast_f32x4(v, 0x00f0, _mm_loadu_ps(p + 4 * stride));
      v = _mm512_mask_broadcast_f32x4(v, 0x0f00, _mm_loadu_ps(p + 8 * stride));
      block[i] = _mm512_mask_broadcast_f32x4(v, 0xf000, _mm_loadu_ps(p + 12 * stride));
    }
    store_columns<to_stride>(block[0], block[1], block[2], block[3], to + 4 * j * to_stride);
  }
}

#elif defined(WL_ISA_AVX2)

// 4 x 4 blocks of floats, one in each 128-bit half: term i of blocks a to d goes to row i of `to`.
inline void store_columns(Vector a, Vector b, Vector c, Vector d, float* to) {
  const Vector low01 = _mm256_unpacklo_ps(a, b);
  const Vector high01 = _mm256_unpackhi_ps(a, b);
  const Vector low23 = _mm256_unpacklo_ps(c, d);
  const Vector high23 = _mm256_unpackhi_ps(c, d);
  store(to, _mm256_shuffle_ps(low01, low23, 0x44));
  store(to + panel_cols, _mm256_shuffle_ps(low01, low23, 0xee));
  store(to + 2 * panel_cols, _mm256_shuffle_ps(high01, high23, 0x44));
  store(to + 3 * panel_cols, _mm256_shuffle_ps(high01, high23, 0xee));
}

// Writes 8 rows of 8 terms as columns.
inline void transpose_square(const float* from, int64_t stride, float* to) {
  for (int j = 0; j < 2; ++j) {
    Vector block[4];
    for (int i = 0; i < 4; ++i) {
      const float* p = from + i * stride + 4 * j;
      block[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + 4 * stride), 1);
    }
    store_columns(block[0], block[1], block[2], block[3], to + 4 * j * panel_cols);
  }
}

#else

inline void transpose_square(const float* from, int64_t, float* to) { *to = *from; }

#endif

// Columns [row, row + lanes) of the panel from rows of memory, as many terms as whole vectors have; returns the term after them.
template <Stored as>
inline int64_t pack_columns(const Factor& f, int64_t row, int64_t begin, int64_t end, float* to) {
  const int64_t from = row * f.stride;
  int64_t k = begin;
  if constexpr (as == Stored::f32) {
    for (; k + lanes <= end; k += lanes) transpose_square(f.data.floats() + from + k, f.stride, to + (k - begin) * panel_cols);
  } else if constexpr (lanes > 1) {
    alignas(64) float terms[lanes][16];
    for (; k + 16 <= end; k += 16) {
      for (int64_t i = 0; i < lanes; ++i) fetch<as, 16>(f.data, from + i * f.stride + k, terms[i]);
      for (int64_t part = 0; part < 16; part += lanes) transpose_square(terms[0] + part, 16, to + (k - begin + part) * panel_cols);
    }
  }
  return k;
}

template <Stored as>
void pack_right_panel_of(const Factor& f, int64_t col, int64_t cols, int64_t begin, int64_t end, float* to) {
  const int64_t width = cols - col < panel_cols ? cols - col : panel_cols;
  if (f.layout == Layout::terms) {
    for (int64_t k = begin; k < end; ++k, to += panel_cols) {
      const int64_t from = source_row(f, k) * f.stride + col;
      if (width == panel_cols) {
        fetch<as, panel_cols>(f.data, from, to);
      } else {
        for (int64_t j = 0; j < panel_cols; ++j) to[j] = j < width ? one<as>(f.data, from + j) : 0.0f;
      }
    }
    return;
  }
  for (int64_t j = 0; j < panel_cols; j += lanes) {
    const int64_t from = (col + j) * f.stride;
    int64_t k = j + lanes <= width ? pack_columns<as>(f, col + j, begin, end, to + j) : begin;
    for (; k < end; ++k) {
      for (int64_t i = 0; i < lanes; ++i) {
        to[(k - begin) * panel_cols + j + i] = j + i < width ? one<as>(f.data, from + i * f.stride + k) : 0.0f;
      }
    }
  }
}

/** One right panel: columns [col, col + panel_cols) of `cols`, those beyond are zero; terms [begin, end) of a factor in one matrix. */
inline void pack_right_panel(const Factor& f, int64_t col, int64_t cols, int64_t begin, int64_t end, float* to) {
  by_storage(f.data.as, [&](auto as) { pack_right_panel_of<as()>(f, col, cols, begin, end, to); });
}

}  // namespace wl::WL_ISA::gemm
