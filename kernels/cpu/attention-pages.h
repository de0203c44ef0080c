// The two products of attention on a block of keys and values where it lies in pages, each element converted as it is read.
#pragma once

#include "cpu/attention-block.h"
#include "cpu/attention-tile.h"

namespace wl::WL_ISA::attention {

/**
 * scores[r][j] of `rows` <= tile_rows query rows of `size` elements for the vectors that hold the keys j from `begin`, a multiple of 16, to
 * `end`: the product of attention-tile.h with the keys as B. Rows of scores lie 64 floats apart. Fetches as it goes.
 */
void score_columns(const BlockRows& block, int64_t begin, int64_t end, int64_t size, int64_t rows, Left queries, float* scores, Ahead& ahead);

/** c = c * factor + weights[r][j] times the values j from `begin` to `end`, 16 * `vectors` elements each: the product with the values as B. */
void add_values(const BlockRows& block, int64_t begin, int64_t end, int64_t vectors, int64_t rows, const float* weights, Target c,
                const float* factors);

}  // namespace wl::WL_ISA::attention
