// Register tiles of R rows by C vectors whose right side is read from pages, for every type of the cache.
#include "cpu/attention-pages.h"

#include <type_traits>

#include "cpu/cache-rows.h"
#include "cpu/simd.h"

namespace wl::WL_ISA::attention {
namespace {

// C vectors of keys, each from its page.
template <int C>
struct Columns {
  const uint8_t* heads[C];
  int64_t slots[C];
};

template <class Rows, int R, int C>
void score(const Columns<C>& keys, int64_t tokens, int64_t size, Left queries, float* scores, Ahead& ahead, int64_t lines) {
  Vec16 sums[R][C], scales[C];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
    for (int v = 0; v < C; v++) sums[r][v] = zero();
  }
  for (int64_t begin = 0; begin < size; begin += cache_block) {
#pragma GCC unroll 4
    for (int v = 0; v < C; v++) scales[v] = Rows::scales(keys.heads[v], tokens, keys.slots[v], begin);
    const int64_t end = begin + cache_block < size ? begin + cache_block : size;
    for (int64_t d = begin; d < end; d++) {
      Vec16 columns[C];
#pragma GCC unroll 4
      for (int v = 0; v < C; v++) columns[v] = Rows::column(keys.heads[v], tokens, keys.slots[v], d, scales[v]);
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) {
        const Vec16 query = splat(queries.data[r * queries.row + d]);
#pragma GCC unroll 4
        for (int v = 0; v < C; v++) sums[r][v] = fma(query, columns[v], sums[r][v]);
      }
      ahead.fetch(lines);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
    for (int v = 0; v < C; v++) store(scores + r * block_keys + 16 * v, sums[r][v]);
  }
}

// Values from element d on of `count` keys one after the other.
template <class Rows, int R, int C>
void add(const uint8_t* values, int64_t stride, int64_t d, int64_t count, const float* weights, Target c, const float* factors) {
  Vec16 sums[R][C];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
    for (int v = 0; v < C; v++) {
      sums[r][v] = load(c.data + r * c.row + d + 16 * v);
      if (factors != nullptr) sums[r][v] = sums[r][v] * splat(factors[r]);
    }
  }
  for (int64_t j = 0; j < count; j++, values += stride) {
    Vec16 columns[C];
#pragma GCC unroll 4
    for (int v = 0; v < C; v++) columns[v] = Rows::vector(values, d + 16 * v);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      const Vec16 weight = splat(weights[r * block_keys + j]);
#pragma GCC unroll 4
      for (int v = 0; v < C; v++) sums[r][v] = fma(weight, columns[v], sums[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
    for (int v = 0; v < C; v++) store(c.data + r * c.row + d + 16 * v, sums[r][v]);
  }
}

template <int value>
using Constant = std::integral_constant<int, value>;

// Calls body(Constant<R>) for R = rows.
template <int R = 1, class Body>
void with_height(int64_t rows, Body body) {
  if constexpr (R < tile_rows) {
    if (rows > R) return with_height<R + 1>(rows, body);
  }
  body(Constant<R>());
}

// Cuts `vectors` into tiles as wide as R rows have them: body(Constant<C>, first vector).
template <int R, class Body>
void each_width(int64_t vectors, Body body) {
  int64_t v = 0;
  if constexpr (tile_vectors(R) >= 4) {
    for (; v + 4 <= vectors; v += 4) body(Constant<4>(), v);
  }
  if constexpr (tile_vectors(R) >= 2) {
    for (; v + 2 <= vectors; v += 2) body(Constant<2>(), v);
  }
  for (; v < vectors; v++) body(Constant<1>(), v);
}

}  // namespace

void score_columns(const BlockRows& block, int64_t begin, int64_t end, int64_t size, int64_t rows, Left queries, float* scores, Ahead& ahead) {
  const KeyRows& from = block.rows;
  const int64_t vectors = vectors_of(end - begin), lines = lines_ahead(from, size);
  with_rows_of(from.type, [&](auto reader) {
    with_height(rows, [&](auto R) {
      each_width<R>(vectors, [&](auto C, int64_t v) {
        Columns<C> keys;
        for (int i = 0; i < C; i++) {
          const int64_t position = block.first + begin + 16 * (v + i);
          keys.heads[i] = from.keys + from.page(position);
          keys.slots[i] = position % from.page_size;
        }
        score<decltype(reader), R, C>(keys, from.page_size, size, queries, scores + begin + 16 * v, ahead, (lines * C + 3) / 4);
      });
    });
  });
}

void add_values(const BlockRows& block, int64_t begin, int64_t end, int64_t vectors, int64_t rows, const float* weights, Target c,
                const float* factors) {
  const KeyRows& from = block.rows;
  with_rows_of(from.type, [&](auto reader) {
    with_height(rows, [&](auto R) {
      each_width<R>(vectors, [&](auto C, int64_t v) {
        int64_t run = 0;  // values one after the other: those of a page
        for (int64_t j = begin; j < end; j += run) {
          const int64_t position = block.first + j, in_page = from.page_size - position % from.page_size;
          run = in_page < end - j ? in_page : end - j;
          add<decltype(reader), R, C>(from.values + from.at(position), from.stride, 16 * v, run, weights + j, c, j == begin ? factors : nullptr);
        }
      });
    });
  });
}

}  // namespace wl::WL_ISA::attention
