// Online softmax over key blocks: a tile of scores, its softmax step row by row, then a tile of weighted values.
#include "cpu/attention-rows.h"

#include <limits>

#include "cpu/attention-distance.h"
#include "cpu/attention-pages.h"
#include "cpu/attention-tile.h"
#include "cpu/math.h"
#include "cpu/simd.h"

namespace wl::WL_ISA::attention {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

// The keys [begin, end) of a block that a row sees; the vectors that hold them begin at a multiple of 16.
struct Seen {
  int64_t begin, end;
  int64_t vector() const { return begin / 16 * 16; }
};

// `inside` in the lanes of the vector at j whose keys are seen, `outside` in the others.
inline Vec16 where_seen(const Seen& seen, int64_t j, Vec16 inside, Vec16 outside) {
  if (seen.end - j < 16) inside = select_first(int(seen.end - j), inside, outside);
  if (seen.begin > j) inside = select_first(int(seen.begin - j), outside, inside);
  return inside;
}

// Scales the scores of a row, masks those that it does not see and gives the largest. It sees one at least; the last vector is whole in memory.
float scale_and_mask(float* scores, const Seen& seen, float scale) {
  const Vec16 factor = splat(scale);
  Vec16 largest = splat(-infinity);
  for (int64_t j = seen.vector(); j < seen.end; j += 16) {
    const Vec16 s = where_seen(seen, j, load(scores + j) * factor, splat(-infinity));
    store(scores + j, s);
    largest = max(largest, s);
  }
  return reduce_max(largest);
}

// The same with slope * distance added, where key 0 of the block is `distance` <= 0 away from the row.
float slant_and_mask(float* scores, const Seen& seen, float scale, float slope, int64_t distance) {
  const Vec16 factor = splat(scale), rise = splat(slope);
  Vec16 largest = splat(-infinity);
  for (int64_t j = seen.vector(); j < seen.end; j += 16) {
    const Vec16 biased = fma(load(scores + j), factor, rise * counting(distance + j));
    const Vec16 s = where_seen(seen, j, biased, splat(-infinity));
    store(scores + j, s);
    largest = max(largest, s);
  }
  return reduce_max(largest);
}

// Turns scores into exp(score - largest), masked ones into +0 in [begin, end), and gives their sum.
float exponentials(float* scores, const Seen& seen, int64_t begin, int64_t end, float largest) {
  const Vec16 m = splat(largest);
  Vec16 sum = splat(0.0f);
  int64_t j = begin;
  for (; j < seen.vector(); j += 16) store(scores + j, splat(0.0f));
  for (; j < seen.end; j += 16) {
    const Vec16 p = where_seen(seen, j, exp_16(load(scores + j) - m), splat(0.0f));
    store(scores + j, p);
    sum = sum + p;
  }
  for (; j < end; j += 16) store(scores + j, splat(0.0f));
  return reduce_add(sum);
}

struct Block {
  BlockRows where;
  const float* keys;    // [size][64]; null: where they lie
  const float* values;  // [count][width]; null: where they lie
  Ahead* ahead;         // fetched while keys are read where they lie
};

// The rows of one key-value head.
QueryRows rows_of(const QueryRows& all, int64_t kv_head) {
  QueryRows rows = all;
  const int64_t before = kv_head * all.count;
  rows.queries += before * all.size;
  rows.acc += before * all.width;
  rows.largest += before;
  rows.sums += before;
  if (rows.slopes != nullptr) rows.slopes += kv_head * all.group;
  return rows;
}

// Whether a block of a head is read where it lies rather than copied: where few rows read it.
bool in_place(const KeyRows& keys, const QueryRows& rows) { return rows.count <= tile_rows && keys.pages != nullptr; }

// One block's step for `height` <= tile_rows rows from row r on, each of which sees at least one key of the block.
void step(const Block& block, float scale, const QueryRows& rows, int64_t r, int64_t height, float* scores) {
  const BlockRows& where = block.where;
  auto keys_of = [&](int64_t row) {
    const int64_t position = rows.position(row), begin = rows.first_key(position) - where.first, limit = position - where.first + 1;
    return Seen{begin < 0 ? 0 : begin, limit < where.count ? limit : where.count};
  };
  const int64_t unseen = keys_of(r).vector(), seen = keys_of(r + height - 1).end;
  const Left queries = {rows.queries + r * rows.size, rows.size, 1};
  if (block.keys == nullptr) {
    score_columns(where, unseen, seen, rows.size, height, queries, scores, *block.ahead);
  } else {
    product(Start::zero, height, vectors_of(seen - unseen), rows.size, queries, {block.keys + unseen, block_keys}, {scores + unseen, block_keys});
  }

  alignas(64) float factors[16] = {};  // exp(m - m')
  float* largest = rows.largest + r;
  for (int64_t i = 0; i < height; i++) {
    float* row = scores + i * block_keys;
    const Seen keys = keys_of(r + i);
    const float in_block = rows.slopes == nullptr ? scale_and_mask(row, keys, scale)
                                                  : slant_and_mask(row, keys, scale, rows.slopes[(r + i) % rows.group],
                                                                   where.first - rows.position(r + i));
    const float now = largest[i] < in_block ? in_block : largest[i];
    factors[i] = largest[i] - now;
    largest[i] = now;
  }
  store(factors, exp_16(load(factors)));
  for (int64_t i = 0; i < height; i++) {
    const float sum = exponentials(scores + i * block_keys, keys_of(r + i), unseen, seen, largest[i]);
    rows.sums[r + i] = fma(rows.sums[r + i], factors[i], sum);
  }
  const Target acc = {rows.acc + r * rows.width, rows.width};
  if (block.values == nullptr) {
    add_values(where, unseen, seen, rows.width / 16, height, scores, acc, factors);
  } else {
    product(Start::scale, height, rows.width / 16, seen - unseen, {scores + unseen, block_keys, 1}, {block.values + unseen * rows.width, rows.width},
            acc, factors);
  }
}

// The block's memory comes first, the rows' after it; all parts begin at whole vectors.
int64_t block_floats(int64_t size) { return block_keys * (size + 16 * vectors_of(size) + tile_rows); }

void begin_rows(const QueryRows& rows) {
  for (int64_t i = 0; i < rows.kv_heads * rows.count * rows.width; i++) rows.acc[i] = 0;
  for (int64_t r = 0; r < rows.kv_heads * rows.count; r++) {
    rows.largest[r] = -infinity;
    rows.sums[r] = 0;
  }
}

void end_rows(const QueryRows& rows) {
  for (int64_t r = 0; r < rows.kv_heads * rows.count; r++) {
    const Vec16 sum = splat(rows.sums[r]);
    for (int64_t d = 0; d < rows.width; d += 16) {
      float* acc = rows.acc + r * rows.width + d;
      store(acc, load(acc) / sum + splat(0.0f));
    }
  }
}

}  // namespace

int64_t rows_scratch(int64_t rows, int64_t size) {
  return block_floats(size) + rows * (16 * vectors_of(size)) + 16 * vectors_of(rows * size) + 32 * vectors_of(rows);
}

void place_rows(QueryRows& rows, float* scratch) {
  const int64_t all = rows.kv_heads * rows.count;
  rows.width = 16 * vectors_of(rows.size);
  rows.acc = scratch + block_floats(rows.size);
  rows.queries = rows.acc + all * rows.width;
  rows.largest = rows.queries + 16 * vectors_of(all * rows.size);
  rows.sums = rows.largest + 16 * vectors_of(all);
}

void attend(const KeyRows& keys, float scale, const QueryRows& rows, float* scratch) {
  float* keys_block = scratch;
  float* values_block = keys_block + block_keys * rows.size;
  float* scores = values_block + block_keys * rows.width;
  const int64_t end = rows.first + (rows.count - 1) / rows.group + 1;
  const bool keys_in_place = in_place(keys, rows) && keys.has_columns(), values_in_place = in_place(keys, rows) && rows.size == rows.width;
  begin_rows(rows);
  const int64_t begin = rows.first_key(rows.first) / block_keys * block_keys;
  for (int64_t first = begin; first < end; first += block_keys) {
    for (int64_t h = 0; h < rows.kv_heads; h++) {
      const BlockRows here = block_rows(keys.from_head(h), first, end);
      const BlockRows next = h + 1 < rows.kv_heads ? block_rows(keys.from_head(h + 1), first, end) : block_rows(keys, first + block_keys, end);
      Ahead ahead = rows.count <= 4 * tile_rows ? Ahead(next) : Ahead();
      if (!keys_in_place) copy_keys(here, rows.size, keys_block, ahead);
      if (!values_in_place) copy_values(here, rows.size, values_block);
      const Block block = {here, keys_in_place ? nullptr : keys_block, values_in_place ? nullptr : values_block, &ahead};
      const QueryRows head = rows_of(rows, h);
      // Rows that stand before the block see nothing of it, nor do those whose window begins after it.
      const int64_t rows_end = rows.window == 0 ? rows.count : (first + here.count + rows.window - 1 - rows.first) * rows.group;
      const int64_t last = rows_end < rows.count ? rows_end : rows.count;
      int64_t r = first > rows.first ? (first - rows.first) * rows.group : 0;
      for (; r < last; r += tile_rows) step(block, scale, head, r, last - r < tile_rows ? last - r : tile_rows, scores);
    }
  }
  end_rows(rows);
}

}  // namespace wl::WL_ISA::attention
