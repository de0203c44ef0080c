// The small matrix products that attention is made of, in register tiles: each element is one FMA chain in index order.
#pragma once

#include <cstdint>

namespace wl::WL_ISA::attention {

/** What the chains of a product start from: +0, the element of C, or the element of C times its row's factor. */
enum class Start { zero, keep, scale };

/** A as a product reads it: row r, term k is at data[r * row + k * term]. */
struct Left {
  const float* data;
  int64_t row, term;
};

/** Rows of whole 16-column vectors: row r starts at data[r * row]. */
struct Right {
  const float* data;
  int64_t row;
};

struct Target {
  float* data;
  int64_t row;
};

/** Rows that one register tile holds; fewer are done as quickly for each term, but not for each row. */
#if defined(WL_ISA_AVX512)
inline constexpr int64_t tile_rows = 8;
#else
inline constexpr int64_t tile_rows = 6;
#endif

/** The widest tile of `rows` rows, in vectors: few rows need many columns, so that enough chains are in flight. */
constexpr int tile_vectors(int rows) {
#if defined(WL_ISA_AVX512)
  return rows <= 4 ? 4 : 2;
#elif defined(WL_ISA_AVX2)
  return rows == 1 ? 4 : rows == 2 ? 2 : 1;
#else
  return rows == 1 ? 2 : 1;
#endif
}

/**
 * C[r][n] = start + A(r, 0) * B[0][n] + A(r, 1) * B[1][n] + ..., one FMA for each term, for r < rows, n < 16 * vectors.
 * `factors` [rows] is read for Start::scale only.
 */
void product(Start start, int64_t rows, int64_t vectors, int64_t terms, Left a, Right b, Target c, const float* factors = nullptr);

}  // namespace wl::WL_ISA::attention
