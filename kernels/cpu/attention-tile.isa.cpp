// Register tiles of R rows by C vectors, instantiated for every tile that an instruction set's registers hold.
#include "cpu/attention-tile.h"

#include <algorithm>
#include <array>
#include <utility>

#include "cpu/simd.h"

namespace wl::WL_ISA::attention {
namespace {

using Tile = void (*)(int64_t terms, Left a, Right b, Target c, const float* factors);

template <Start start, int R, int C>
void tile(int64_t terms, Left a, Right b, Target c, const float* factors) {
  Vec16 sums[R][C];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
    for (int v = 0; v < C; v++) {
      if constexpr (start == Start::zero) sums[r][v] = splat(0.0f);
      if constexpr (start != Start::zero) sums[r][v] = load(c.data + r * c.row + 16 * v);
      if constexpr (start == Start::scale) sums[r][v] = sums[r][v] * splat(factors[r]);
    }
  }
  const float* left = a.data;
  const float* right = b.data;
  for (int64_t k = 0; k < terms; k++, left += a.term, right += b.row) {
    Vec16 columns[C];
#pragma GCC unroll 4
    for (int v = 0; v < C; v++) columns[v] = load(right + 16 * v);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      const Vec16 factor = splat(left[r * a.row]);
#pragma GCC unroll 4
      for (int v = 0; v < C; v++) sums[r][v] = fma(factor, columns[v], sums[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
    for (int v = 0; v < C; v++) store(c.data + r * c.row + 16 * v, sums[r][v]);
  }
}

constexpr int most_vectors = 4;

// tiles[start][rows - 1][vectors - 1]; a tile that is wider than tile_vectors allows is the widest allowed one.
template <Start start, int R>
constexpr std::array<Tile, most_vectors> tiles_of_rows() {
  constexpr int widest = tile_vectors(R);
  return {tile<start, R, 1>, tile<start, R, std::min(2, widest)>, tile<start, R, std::min(3, widest)>, tile<start, R, widest>};
}

template <Start start, size_t... R>
constexpr auto tiles_of_start(std::index_sequence<R...>) {
  return std::array<std::array<Tile, most_vectors>, sizeof...(R)>{tiles_of_rows<start, int(R) + 1>()...};
}

using Rows = std::make_index_sequence<size_t(tile_rows)>;
constexpr auto zero_tiles = tiles_of_start<Start::zero>(Rows());
constexpr auto keep_tiles = tiles_of_start<Start::keep>(Rows());
constexpr auto scale_tiles = tiles_of_start<Start::scale>(Rows());

}  // namespace

void product(Start start, int64_t rows, int64_t vectors, int64_t terms, Left a, Right b, Target c, const float* factors) {
  const auto& tiles = start == Start::zero ? zero_tiles : start == Start::keep ? keep_tiles : scale_tiles;
  for (int64_t r = 0; r < rows; r += tile_rows) {
    const int64_t height = std::min(tile_rows, rows - r), widest = tile_vectors(int(height));
    for (int64_t v = 0; v < vectors; v += widest) {
      const int64_t width = std::min(widest, vectors - v);
      tiles[height - 1][width - 1](terms, {a.data + r * a.row, a.row, a.term}, {b.data + 16 * v, b.row},
                                   {c.data + r * c.row + 16 * v, c.row}, factors == nullptr ? nullptr : factors + r);
    }
  }
}

}  // namespace wl::WL_ISA::attention
