// attention_backward: softmax entries are computed again from the log-sum-exps, block by block, never kept.
//
// The order of operations, with p = exp(scale * score - lse), score as in the forward pass:
//   delta[row] = dout . out over 16 lanes, FMA in index order, lanes added by the fixed tree
//   dp[j] = one FMA chain over the head's elements        ds[j] = p[j] * (dp[j] - delta)
//   dq[d] = scale * (one FMA chain of ds[j] * k[j][d] over the keys in index order) + 0
//   dk[d] = scale * (one FMA chain of ds * q[d] over the query heads of the group in order, in each over the rows in index order) + 0
//   dv[d] = the same chain of p * dout[d], + 0
// An item of work is one key-value head of one sequence, so nothing is shared between workers.
#include "core/ops.gen.h"
#include "cpu/attention-block.h"
#include "cpu/attention-tile.h"
#include "cpu/math.h"
#include "cpu/simd.h"

namespace wl::WL_ISA {
namespace attention {
namespace {

constexpr int64_t square = block_keys * block_keys;

// Query rows come in blocks of 64 at the same positions as the keys; all matrices below have 64 rows.
struct Buffers {
  int64_t size, width;
  float *keys, *keys_t, *values_t;  // the key block: [64][width], [size][64]
  float *dk, *dv;                   // [64][width]
  float *q, *dout, *dq;             // the query block: [64][width]
  float *p, *ds;                    // [query][key]
  float* delta;                     // [group][length]
};

int64_t buffer_floats(int64_t size, int64_t group, int64_t length) {
  return block_keys * (6 * 16 * vectors_of(size) + 2 * size) + 2 * square + 16 * vectors_of(group * length);
}

Buffers place(int64_t size, float* scratch) {
  const int64_t width = 16 * vectors_of(size), rows = block_keys * width;
  Buffers b = {};
  b.size = size;
  b.width = width;
  float** const of_rows[] = {&b.keys, &b.dk, &b.dv, &b.q, &b.dout, &b.dq};
  for (float** part : of_rows) {
    *part = scratch;
    scratch += rows;
  }
  b.keys_t = scratch;
  b.values_t = b.keys_t + block_keys * size;
  b.p = b.values_t + block_keys * size;
  b.ds = b.p + square;
  b.delta = b.ds + square;
  return b;
}

void fill_zero(float* to, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) store(to + i, splat(0.0f));
}

// Rows from `first` up to `end`, 64 at most, of a tensor that is read from row 0 on with this stride.
BlockRows rows_between(int64_t first, int64_t end, int64_t stride) { return block_rows({nullptr, nullptr, stride, nullptr, 0}, first, end); }

// Row j of `rows` = factor * from[j] + 0, without the columns that only fill up vectors.
void write_rows(const float* from, int64_t width, float factor, const BlockRows& rows, int64_t size, float* base) {
  for (int64_t j = 0; j < rows.count; j++) {
    for (int64_t d = 0; d < size; d++) base[rows.at[j] + d] = factor * from[j * width + d] + 0.0f;
  }
}

float dot(const float* a, const float* b, int64_t width) {
  Vec16 sum = splat(0.0f);
  for (int64_t d = 0; d < width; d += 16) sum = fma(load(a + d), load(b + d), sum);
  return reduce_add(sum);
}

// Turns a row of scores and of dp into p and ds; entries from `limit` to 64 become +0.
void row_gradient(float* p, float* ds, int64_t limit, float scale, float lse, float delta) {
  const Vec16 factor = splat(scale), shift = splat(-lse), mean = splat(delta);
  for (int64_t j = 0; j < block_keys; j += 16) {
    if (j >= limit) {
      store(p + j, splat(0.0f));
      store(ds + j, splat(0.0f));
      continue;
    }
    Vec16 entry = exp_16(fma(load(p + j), factor, shift));
    Vec16 gradient = entry * (load(ds + j) - mean);
    if (limit - j < 16) {
      entry = select_first(int(limit - j), entry, splat(0.0f));
      gradient = select_first(int(limit - j), gradient, splat(0.0f));
    }
    store(p + j, entry);
    store(ds + j, gradient);
  }
}

// One query block against one key block: adds to dq, dk and dv. On the diagonal a row sees the keys up to its own.
void step(const Buffers& b, bool diagonal, int64_t rows, int64_t keys, float scale, const float* lse, int64_t lse_stride,
          const float* delta) {
  const int64_t vectors = b.width / 16;
  for (int64_t r = 0; r < rows; r += tile_rows) {
    const int64_t height = rows - r < tile_rows ? rows - r : tile_rows;
    const int64_t seen = diagonal ? r + height : keys;
    float* p = b.p + r * block_keys;
    float* ds = b.ds + r * block_keys;
    product(Start::zero, height, vectors_of(seen), b.size, {b.q + r * b.width, b.width, 1}, {b.keys_t, block_keys}, {p, block_keys});
    product(Start::zero, height, vectors_of(seen), b.size, {b.dout + r * b.width, b.width, 1}, {b.values_t, block_keys},
            {ds, block_keys});
    for (int64_t i = 0; i < height; i++) {
      row_gradient(p + i * block_keys, ds + i * block_keys, diagonal ? r + i + 1 : keys, scale, lse[(r + i) * lse_stride], delta[r + i]);
    }
    product(Start::keep, height, vectors, seen, {ds, block_keys, 1}, {b.keys, b.width}, {b.dq + r * b.width, b.width});
  }
  for (int64_t j = 0; j < keys; j += tile_rows) {
    const int64_t height = keys - j < tile_rows ? keys - j : tile_rows;
    const int64_t first = diagonal ? j : 0;  // rows before it don't see these keys
    const int64_t corner = first * block_keys + j;
    product(Start::keep, height, vectors, rows - first, {b.p + corner, 1, block_keys}, {b.dout + first * b.width, b.width},
            {b.dv + j * b.width, b.width});
    product(Start::keep, height, vectors, rows - first, {b.ds + corner, 1, block_keys}, {b.q + first * b.width, b.width},
            {b.dk + j * b.width, b.width});
  }
}

// The part of one query head against the key block at `first`. dq grows in its own memory, one key block after the other.
void head_gradients(const attention_backward_args& args, int64_t row, int64_t head, int64_t first, const BlockRows& keys, float* delta,
                    const Buffers& b) {
  const int64_t origin = row * args.Q + head * b.size, length = args.length;
  for (int64_t begin = first; begin < length; begin += block_keys) {
    const BlockRows rows = rows_between(begin, length, args.Q);
    copy_rows(args.q + origin, rows, b.size, b.q);
    copy_rows(args.dout + origin, rows, b.size, b.dout);
    if (first == 0) {
      copy_rows(args.out + origin, rows, b.size, b.dq);
      for (int64_t i = 0; i < rows.count; i++) delta[begin + i] = dot(b.dout + i * b.width, b.dq + i * b.width, b.width);
      fill_zero(b.dq, rows.count * b.width);
    } else {
      copy_rows(args.dq + origin, rows, b.size, b.dq);
    }
    const float* lse = args.lse + (row + begin) * args.H + head;
    step(b, begin == first, rows.count, keys.count, args.scale, lse, args.H, delta + begin);
    write_rows(b.dq, b.width, begin == first ? args.scale : 1.0f, rows, b.size, args.dq + origin);  // the diagonal is the last
  }
}

// All gradients of key-value head `kv_head` of the sequence whose first row is `row`.
void gradients(const attention_backward_args& args, int64_t row, int64_t kv_head, const Buffers& b) {
  const int64_t group = args.H / args.kv_heads, length = args.length, origin = row * args.E + kv_head * b.size;
  for (int64_t first = 0; first < length; first += block_keys) {
    const BlockRows keys = rows_between(first, length, args.E);
    copy_transposed(args.k + origin, keys, b.size, b.keys_t);
    copy_transposed(args.v + origin, keys, b.size, b.values_t);
    copy_rows(args.k + origin, keys, b.size, b.keys);
    fill_zero(b.dk, block_keys * b.width);
    fill_zero(b.dv, block_keys * b.width);
    for (int64_t g = 0; g < group; g++) {
      head_gradients(args, row, kv_head * group + g, first, keys, b.delta + g * length, b);
    }
    write_rows(b.dk, b.width, args.scale, keys, b.size, args.dk + origin);
    write_rows(b.dv, b.width, 1.0f, keys, b.size, args.dv + origin);
  }
}

}  // namespace
}  // namespace attention

void attention_backward(Context& context, const attention_backward_args& args) {
  using namespace attention;
  const int64_t size = args.Q / args.H, sequences = args.M / args.length;
  const int64_t floats = buffer_floats(size, args.H / args.kv_heads, args.length);
  float* scratch = context.scratch(floats * context.threads());
  context.parallel_for(sequences * args.kv_heads, 1, [&](int64_t begin, int64_t end, int worker) {
    const Buffers buffers = place(size, scratch + worker * floats);
    for (int64_t i = begin; i < end; i++) gradients(args, i / args.kv_heads * args.length, i % args.kv_heads, buffers);
  });
}

}  // namespace wl::WL_ISA
