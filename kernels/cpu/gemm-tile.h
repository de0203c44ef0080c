// The register tile of the matrix product: a few rows times one to four panels, over all spans of a contraction.
#pragma once

#include "cpu/bfloat.h"
#include "cpu/gemm-vector.h"
#include "cpu/gemm.h"

namespace wl::WL_ISA::gemm {

/**
 * How a left panel lies: `lines` of 16 terms, [terms / 16][rows][16], is what copying rows gives;
 * `terms`, [terms][rows], is what copying columns gives.
 */
template <int rows, Layout layout>
struct LeftPanel {
  static constexpr int64_t row_step = layout == Layout::rows ? 16 : 1;
  static constexpr int64_t term_step = layout == Layout::rows ? 1 : rows;
  // Terms that lie `term_step` apart, from a multiple of it.
  static constexpr int64_t run = layout == Layout::rows ? 16 : INT64_MAX;

  static const float* at(const float* panel, int64_t term) {
    if constexpr (layout == Layout::rows) return panel + (term & ~int64_t{15}) * rows + (term & 15);
    return panel + term * rows;
  }
};

/** How far ahead of its use a panel is asked for: where rows are few the right one comes from memory, faster than the CPU looks ahead on its own. */
inline constexpr int terms_ahead = 16;
/** Vectors of a cache line. */
inline constexpr int line_vectors = 16 / lanes;

/** One register tile at a time; `right` points at consecutive panels, `panel` floats apart. */
template <int rows, int panels, Layout layout, Chains chains>
struct Tile {
  static constexpr int vectors = panels * panel_vectors;
  static constexpr int width = vectors * lanes;
  using Left = LeftPanel<rows, layout>;
  using Sums = Vector[rows][vectors];

  static void run(const Product& p, const float* left, const float* right, int64_t panel, int64_t row, int64_t col) {
    Sums sums;
    alignas(64) float partial[3][rows * width];
    const int64_t offset = row * p.cols + col;
    const bool whole = p.cols - col >= panels * panel_cols;
    // The lines of C are on their way while the chains run.
    for (int r = 0; r < rows; ++r)
      for (int v = 0; v < width; v += 16) __builtin_prefetch((p.out + (offset + r * p.cols + v)).data, 1);
    clear(sums);
    if (p.start != nullptr) {
      if (whole) read(sums, p.start + offset, p.cols);
      else {
        fetch_narrow(partial[0], p.start + offset, p.cols, p.cols - col);
        read(sums, partial[0], width);
      }
    }
    const int64_t first = p.spans.first();
    for (int s = 0; s < p.spans.count; ++s) {
      const int64_t begin = p.spans.begin[s] - first, end = p.spans.begin[s + 1] - first;
      if constexpr (chains == Chains::pairs) {
        const bool goes_on = s == 0 && p.start != nullptr;
        if (goes_on) write(sums, partial[0], width);
        add_chunks(sums, goes_on ? partial[0] : zeros, goes_on ? width : 0, left, right, panel, begin, end);
      } else {
        if (s > 0) clear(sums);
        chain<1>(sums, left, right, panel, begin, end);
      }
      const bool last = s + 1 == p.spans.count;
      for (int l = 0; l < 3; ++l) {
        if ((s >> l & 1) != 0) {
          merge(sums, partial[l], width);
        } else if (!last) {
          write(sums, partial[l], width);
          break;
        }
      }
    }
    if (whole) {
      for (int i = 0; i < p.addends; ++i) merge(sums, p.addend[i] + offset, p.cols);
      if (p.bias != nullptr) merge(sums, p.bias + col, 0);
      if (p.out.as == Stored::f32) {
        write(sums, p.out.floats() + offset, p.cols);
      } else {
        write(sums, partial[0], width);
        write_bf16(partial[0], p.out.halves() + offset, p.cols);
      }
    } else {
      write(sums, partial[0], width);
      finish_narrow(partial[0], p, offset, col);
    }
  }

 private:
  alignas(64) static constexpr float zeros[width] = {};

  // Up to where the left panel's terms from `begin` on lie in one run.
  static int64_t end_of_run(int64_t begin, int64_t end) {
    if constexpr (Left::run == INT64_MAX) return end;
    const int64_t edge = (begin | (Left::run - 1)) + 1;
    return edge < end ? edge : end;
  }

  // One term: sums += a b.
  static inline __attribute__((always_inline)) void term(Sums& sums, const float* a, const float* b, int64_t panel) {
    Vector columns[vectors];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v += line_vectors) __builtin_prefetch(b + terms_ahead * panel_cols + v / panel_vectors * panel + v % panel_vectors * lanes);
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) columns[v] = load(b + v / panel_vectors * panel + v % panel_vectors * lanes);
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
      const Vector value = splat(a + r * Left::row_step);
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) sums[r][v] = fma(value, columns[v], sums[r][v]);
    }
  }

  // The sums of a span of bf16, which goes on from those at `before`, in rows of `stride`, 0 where they are zeros. What waits does so in memory, so
  // that the registers are for the chain in hand.
  static inline __attribute__((always_inline)) void add_chunks(Sums& sums, const float* before, int64_t stride, const float* left,
                                                               const float* right, int64_t panel, int64_t begin, int64_t end) {
    alignas(64) float even[rows * width], total[rows * width];
    for (;; begin += chunk_terms) {
      const int64_t stop = end - begin < chunk_terms ? end : begin + chunk_terms;
      for (int64_t parity = 0;; ++parity) {
        clear(sums);
        chain<2>(sums, left, right, panel, begin + parity, stop);
        if (parity == 1) break;
        write_away(sums, even);
      }
      // The missing terms of a chunk are +0, which makes +0 of -0; if even ones are missing too, that of the odd ones sees to both. So do the zeros.
      if (stop - begin < chunk_terms && stride != 0) add_zero(sums);
      merge(sums, even, width);
      merge(sums, before, stride);
      if (stop == end) return;
      write_away(sums, total);
      before = total;
      stride = width;
    }
  }

  static inline __attribute__((always_inline)) void add_zero(Sums& sums) {
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) sums[r][v] = add(sums[r][v], zero());
  }

  // Every `step`-th of terms [begin, end).
  template <int step>
  static inline __attribute__((always_inline)) void chain(Sums& sums, const float* left, const float* right, int64_t panel, int64_t begin,
                                                          int64_t end) {
    const float* b = right + begin * panel_cols;
    for (int64_t k = begin; k < end;) {
      const int64_t edge = end_of_run(k, end);
      const float* a = Left::at(left, k);
      for (; k < edge; k += step) {
        if constexpr (rows > tile_rows / 2) __builtin_prefetch(left + (k + terms_ahead) * rows);
        term(sums, a, b, panel);
        a += step * Left::term_step;
        b += step * panel_cols;
      }
    }
  }

  static inline __attribute__((always_inline)) void clear(Sums& sums) {
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) sums[r][v] = zero();
  }

  static inline __attribute__((always_inline)) void read(Sums& sums, const float* from, int64_t stride) {
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) sums[r][v] = load(from + r * stride + v * lanes);
  }

  static inline __attribute__((always_inline)) void merge(Sums& sums, const float* with, int64_t stride) {
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) sums[r][v] = add(load(with + r * stride + v * lanes), sums[r][v]);
  }

  static inline __attribute__((always_inline)) void write(const Sums& sums, float* to, int64_t stride) {
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) store(to + r * stride + v * lanes, sums[r][v]);
  }

  // Frees the registers for what comes next: a compiler that knows what lies at `to` would keep copies, for which there is no register.
  static inline __attribute__((always_inline)) void write_away(const Sums& sums, float* to) {
    write(sums, to, width);
    asm volatile("" : : "r"(to) : "memory");
  }

  static __attribute__((noinline)) void write_bf16(const float* block, uint16_t* to, int64_t stride) {
    for (int r = 0; r < rows; ++r) {
      if constexpr (width % 16 == 0) {
        for (int j = 0; j < width; j += 16) store_bf16(to + r * stride + j, WL_ISA::load(block + r * width + j));
      } else {
        for (int j = 0; j < width; ++j) to[r * stride + j] = float_to_bfloat(block[r * width + j]);
      }
    }
  }

  // The last columns, where they don't fill the panels, go by way of memory: the same operations, one element at a time.
  static __attribute__((noinline)) void fetch_narrow(float* block, const float* from, int64_t stride, int64_t cols) {
    for (int r = 0; r < rows; ++r)
      for (int64_t j = 0; j < width; ++j) block[r * width + j] = j < cols ? from[r * stride + j] : 0.0f;
  }

  static __attribute__((noinline)) void finish_narrow(const float* block, const Product& p, int64_t offset, int64_t col) {
    for (int r = 0; r < rows; ++r) {
      for (int64_t j = 0; j < p.cols - col; ++j) {
        const int64_t at = offset + r * p.cols + j;
        float value = block[r * width + j];
        for (int i = 0; i < p.addends; ++i) value = p.addend[i][at] + value;
        if (p.bias != nullptr) value = p.bias[col + j] + value;
        if (p.out.as == Stored::f32) p.out.floats()[at] = value;
        else p.out.halves()[at] = float_to_bfloat(value);
      }
    }
  }
};

}  // namespace wl::WL_ISA::gemm
