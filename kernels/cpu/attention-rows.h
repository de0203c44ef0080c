// Query rows against the keys of one key-value head: the online softmax that training, prefill and decoding share.
//
// The order of operations for one row, whatever rows are in work beside it and wherever its keys lie. Over key blocks of 64 at
// absolute positions, in index order:
//   score[j] = scale * (one FMA chain over the head's elements, from +0, in index order)
//              with a slope: one FMA of that chain's result, scale, and slope * (j - position of the row)
//   m' = max(m, scores of the block)        p[j] = exp(score[j] - m'), +0 where key j is masked        c = exp(m - m')
//   sum = fma(sum, c, p over 16 lanes by key index, lanes added by the fixed tree)
//   acc[d] = acc[d] * c, then one FMA chain over the block's keys in index order
// and at the end out[d] = acc[d] / sum + 0, lse = m + log(sum). Masked are the keys after the row, and with a window those before the
// last `window` up to it. A masked key changes no bit, so it may be skipped or not: blocks in which a row sees no key are.
#pragma once

#include <cstdint>

#include "cpu/attention-block.h"

namespace wl::WL_ISA::attention {

/** Query rows that an item of work has at most, unless one position alone has more: enough to make copying a key block cheap. */
inline constexpr int64_t most_rows = 256;

/**
 * The query rows of `kv_heads` key-value heads, for each of them `count` rows in order of their positions: row r stands at
 * position `first` + r / `group`.
 */
struct QueryRows {
  int64_t kv_heads, count, group, first;
  int64_t size, width;  // of a head; the same in whole vectors
  float* queries;       // [kv_heads][count][size]
  float* acc;           // [kv_heads][count][width]
  float* largest;       // [kv_heads][count]
  float* sums;          // [kv_heads][count]
  int64_t window;       // keys that a row sees up to its own; 0: all
  const float* slopes;  // [kv_heads][group]; null: none

  int64_t position(int64_t row) const { return first + row / group; }
  /** The first key that a row at `position` sees. */
  int64_t first_key(int64_t position) const { return window == 0 || position < window ? 0 : position - window + 1; }
};

/** Floats of scratch memory for `rows` query rows in all, and what `attend` needs beside them. */
int64_t rows_scratch(int64_t rows, int64_t size);

/** Sets the pointers of rows into scratch memory. */
void place_rows(QueryRows& rows, float* scratch);

/** Leaves in rows.acc the outputs, in rows.largest and rows.sums what their log-sum-exps are made of. `scratch` as for place_rows. */
void attend(const KeyRows& keys, float scale, const QueryRows& rows, float* scratch);

}  // namespace wl::WL_ISA::attention
