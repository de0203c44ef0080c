// Online softmax over key blocks: a tile of scores, its softmax step row by row, then a tile of weighted values.
#include "cpu/attention-rows.h"

#include <limits>

#include "cpu/attention-distance.h"
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
  int64_t first, count;  // position of its first key; keys
  const float* keys;     // [size][64]
  const float* values;   // row j at at[j], in bytes, or [count][width] where `at` is null
  const int64_t* at;
  int64_t stride;  // floats between values that lie one after the other

  const float* value(int64_t j) const {
    if (at == nullptr) return values + j * stride;
    return reinterpret_cast<const float*>(reinterpret_cast<const uint8_t*>(values) + at[j]);
  }
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

int64_t values_in_run(const Block& block, int64_t begin, int64_t end) {
  if (block.at == nullptr) return end - begin;
  int64_t j = begin + 1;
  while (j < end && block.at[j] - block.at[j - 1] == 4 * block.stride) j++;
  return j - begin;
}

// One block's step for `height` <= tile_rows rows from row r on, each of which sees at least one key of the block.
void step(const Block& block, float scale, const QueryRows& rows, int64_t r, int64_t height, float* scores) {
  auto keys_of = [&](int64_t row) {
    const int64_t position = rows.position(row), begin = rows.first_key(position) - block.first, limit = position - block.first + 1;
    return Seen{begin < 0 ? 0 : begin, limit < block.count ? limit : block.count};
  };
  const int64_t unseen = keys_of(r).vector(), seen = keys_of(r + height - 1).end;
  product(Start::zero, height, vectors_of(seen - unseen), rows.size, {rows.queries + r * rows.size, rows.size, 1},
          {block.keys + unseen, block_keys}, {scores + unseen, block_keys});

  alignas(64) float factors[16] = {};  // exp(m - m')
  float* largest = rows.largest + r;
  for (int64_t i = 0; i < height; i++) {
    float* row = scores + i * block_keys;
    const Seen keys = keys_of(r + i);
    const float in_block = rows.slopes == nullptr ? scale_and_mask(row, keys, scale)
                                                  : slant_and_mask(row, keys, scale, rows.slopes[(r + i) % rows.group],
                                                                   block.first - rows.position(r + i));
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
  int64_t run = 0;  // values one after the other
  for (int64_t j = unseen; j < seen; j += run) {
    run = values_in_run(block, j, seen);
    const Right values = {block.value(j), block.stride};
    product(j == unseen ? Start::scale : Start::keep, height, rows.width / 16, run, {scores + j, block_keys, 1}, values, acc, factors);
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
  // With few rows, memory is what counts: blocks are fetched ahead, and values read where they lie if they are whole vectors of floats.
  const bool few = rows.count <= 4 * tile_rows;
  const bool in_place = keys.type == CacheType::f32 && rows.count <= tile_rows && rows.size == rows.width;
  const int64_t head_bytes = cache_head_bytes(int64_t(keys.type), rows.size);
  begin_rows(rows);
  const int64_t begin = rows.first_key(rows.first) / block_keys * block_keys;
  BlockRows next = block_rows(keys, begin, end);
  for (int64_t first = begin; first < end; first += block_keys) {
    const BlockRows here = next;
    next = block_rows(keys, first + block_keys, end);
    Ahead next_keys = {keys.keys, &next, rows.kv_heads * head_bytes};
    Ahead next_values = {keys.values, &next, rows.kv_heads * head_bytes};
    for (int64_t h = 0; h < rows.kv_heads; h++) {
      const uint8_t* values = keys.values + h * head_bytes;
      copy_transposed(keys.type, keys.keys + h * head_bytes, here, rows.size, keys_block, few ? &next_keys : nullptr, &next_values);
      Block block = {first, here.count, keys_block, reinterpret_cast<const float*>(values), here.at, keys.stride / 4};
      if (!in_place) {
        copy_rows(keys.type, values, here, rows.size, values_block);
        block = {first, here.count, keys_block, values_block, nullptr, rows.width};
      }
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
