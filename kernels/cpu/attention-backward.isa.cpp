// attention_backward: softmax entries are computed again from the log-sum-exps, block by block, never kept.
//
// The order of operations, with p = exp(scale * score - lse), score as in the forward pass, and with a slope in place of -lse one FMA of the
// slope, the distance of the key, and -lse; +0 where the key is masked:
//   delta[row] = dout . out over 16 lanes, FMA in index order, lanes added by the fixed tree
//   dp[j] = one FMA chain over the head's elements        ds[j] = p[j] * (dp[j] - delta)
//   dq[d] = scale * (one FMA chain of ds[j] * k[j][d] over the keys in index order) + 0
//   dk[d] = scale * (one FMA chain of ds * q[d] over the query heads of the group in order, in each over the rows in index order) + 0
//   dv[d] = the same chain of p * dout[d], + 0
// An item of work is one key-value head of one sequence, so nothing is shared between workers.
#include <utility>

#include "core/ops.gen.h"
#include "cpu/attention-block.h"
#include "cpu/attention-distance.h"
#include "cpu/attention-tile.h"
#include "cpu/copy-reals.h"
#include "cpu/math.h"
#include "cpu/simd.h"

namespace wl::WL_ISA {
namespace attention {
namespace {

constexpr int64_t square = block_keys * block_keys;

// What one item works in. Rows are copied once, to whole vectors side by side.
struct Buffers {
  int64_t size, width;
  float *q, *dout, *dq;              // one query head: [length][width]
  float *dk, *dv;                    // the key-value head: [length][width]
  float* delta;                      // of the query head: [length]
  float *keys, *keys_t, *values_t;   // the key block: [64][width], [size][64], [size][64]
  float *p, *ds;                     // a query block against it: [query][key]
};

int64_t buffer_floats(int64_t size, int64_t length) {
  const int64_t width = 16 * vectors_of(size);
  return 5 * length * width + 16 * vectors_of(length) + block_keys * (width + 2 * size) + 2 * square;
}

Buffers place(int64_t size, int64_t length, float* scratch) {
  Buffers b = {};
  b.size = size;
  b.width = 16 * vectors_of(size);
  const auto take = [&](int64_t floats) { return std::exchange(scratch, scratch + floats); };
  for (float** rows : {&b.q, &b.dout, &b.dq, &b.dk, &b.dv}) *rows = take(length * b.width);
  b.delta = take(16 * vectors_of(length));
  b.keys = take(block_keys * b.width);
  b.keys_t = take(block_keys * size);
  b.values_t = take(block_keys * size);
  b.p = take(square);
  b.ds = take(square);
  return b;
}

void fill_zero(float* to, int64_t count) {
  for (int64_t i = 0; i < count; i += lanes) store(to + i, zero());
}

// Every `stride` floats of `from` a row of `size`.
void gather(const float* from, int64_t stride, int64_t length, int64_t size, float* to) {
  for (int64_t first = 0; first < length; first += block_keys) {
    copy_values(block_rows(float_rows(nullptr, from, size, stride), first, length), size, to + first * 16 * vectors_of(size));
  }
}

// The way back, each element times `factor` plus 0.
void scatter(const float* from, float factor, int64_t length, int64_t size, float* to, int64_t stride) {
  const Vec16 times = splat(factor);
  for (int64_t j = 0; j < length; j++, to += stride) {
    for (int64_t d = 0; d < size; d += lanes, from += lanes) {
      store_first(size - d < lanes ? size - d : lanes, to + d, load(from) * times + zero());
    }
  }
}

float dot(const float* a, const float* b, int64_t width) {
  Vec16 sum = splat(0.0f);
  for (int64_t d = 0; d < width; d += 16) sum = fma(load(a + d), load(b + d), sum);
  return reduce_add(sum);
}

// A row against a key block: the keys [begin, end) of it that it sees, and how far key 0 of the block is away, <= 0.
struct RowView {
  int64_t begin, end, distance;
};

// Turns a row of scores and of dp into p and ds; entries of keys that it does not see become +0.
void row_gradient(float* p, float* ds, const RowView& view, float scale, float lse, float delta, const float* slope) {
  const Vec16 factor = splat(scale), shift = splat(-lse), mean = splat(delta);
  for (int64_t j = 0; j < block_keys; j += 16) {
    if (j >= view.end || j + 16 <= view.begin) {
      store(p + j, splat(0.0f));
      store(ds + j, splat(0.0f));
      continue;
    }
    const Vec16 less = slope == nullptr ? shift : fma(splat(*slope), counting(view.distance + j), shift);
    Vec16 entry = exp_16(fma(load(p + j), factor, less));
    Vec16 gradient = entry * (load(ds + j) - mean);
    if (view.end - j < 16) {
      entry = select_first(int(view.end - j), entry, splat(0.0f));
      gradient = select_first(int(view.end - j), gradient, splat(0.0f));
    }
    if (view.begin > j) {
      entry = select_first(int(view.begin - j), splat(0.0f), entry);
      gradient = select_first(int(view.begin - j), splat(0.0f), gradient);
    }
    store(p + j, entry);
    store(ds + j, gradient);
  }
}

// The key block at position `first`, and a query head's block at or after it.
struct Pair {
  int64_t first, keys;   // position and count of the keys
  int64_t begin, rows;   // position and count of the query rows
};

// What scores are made of beside the products.
struct Scoring {
  float scale;
  int64_t window;      // keys that a row sees up to its own; 0: all
  const float* slope;  // of the query head; null: none
};

// Adds what a pair gives to dq, dk and dv. On the diagonal a row sees the keys up to its own. lse [rows], every `lse_stride` floats.
void step(const Buffers& b, const Pair& pair, const Scoring& scoring, const float* lse, int64_t lse_stride) {
  const int64_t vectors = b.width / 16, begin = pair.begin * b.width;
  const float *q = b.q + begin, *dout = b.dout + begin, *delta = b.delta + pair.begin;
  float *dq = b.dq + begin, *dk = b.dk + pair.first * b.width, *dv = b.dv + pair.first * b.width;
  const bool diagonal = pair.first == pair.begin;
  for (int64_t r = 0; r < pair.rows; r += tile_rows) {
    const int64_t height = pair.rows - r < tile_rows ? pair.rows - r : tile_rows;
    const int64_t seen = diagonal ? r + height : pair.keys;
    float *p = b.p + r * block_keys, *ds = b.ds + r * block_keys;
    product(Start::zero, height, vectors_of(seen), b.size, {q + r * b.width, b.width, 1}, {b.keys_t, block_keys}, {p, block_keys});
    product(Start::zero, height, vectors_of(seen), b.size, {dout + r * b.width, b.width, 1}, {b.values_t, block_keys}, {ds, block_keys});
    for (int64_t i = 0; i < height; i++) {
      const int64_t position = pair.begin + r + i;
      const int64_t begin = scoring.window == 0 ? 0 : position - scoring.window + 1 - pair.first;
      const RowView view = {begin < 0 ? 0 : begin, diagonal ? r + i + 1 : pair.keys, pair.first - position};
      row_gradient(p + i * block_keys, ds + i * block_keys, view, scoring.scale, lse[(r + i) * lse_stride], delta[r + i], scoring.slope);
    }
    product(Start::keep, height, vectors, seen, {ds, block_keys, 1}, {b.keys, b.width}, {dq + r * b.width, b.width});
  }
  for (int64_t j = 0; j < pair.keys; j += tile_rows) {
    const int64_t height = pair.keys - j < tile_rows ? pair.keys - j : tile_rows;
    const int64_t r = diagonal ? j : 0;  // rows before it don't see these keys
    const int64_t corner = r * block_keys + j, terms = pair.rows - r;
    product(Start::keep, height, vectors, terms, {b.p + corner, 1, block_keys}, {dout + r * b.width, b.width}, {dv + j * b.width, b.width});
    product(Start::keep, height, vectors, terms, {b.ds + corner, 1, block_keys}, {q + r * b.width, b.width}, {dk + j * b.width, b.width});
  }
}

int64_t at_most_block(int64_t rest) { return rest < block_keys ? rest : block_keys; }

// What the forward pass read and wrote.
struct Forward {
  const float *q, *k, *v, *out;
};

// All gradients of key-value head `kv_head` of the sequence whose first row is `row`.
void gradients(const attention_backward_args& args, const Forward& forward, int64_t row, int64_t kv_head, const Buffers& b) {
  const int64_t group = args.H / args.kv_heads, length = args.length, size = b.size;
  const int64_t kv_at = row * args.E + kv_head * size;
  fill_zero(b.dk, length * b.width);
  fill_zero(b.dv, length * b.width);
  for (int64_t head = kv_head * group; head < (kv_head + 1) * group; head++) {
    const int64_t q_at = row * args.Q + head * size;
    gather(forward.q + q_at, args.Q, length, size, b.q);
    gather(args.dout + q_at, args.Q, length, size, b.dout);
    gather(forward.out + q_at, args.Q, length, size, b.dq);
    for (int64_t i = 0; i < length; i++) b.delta[i] = dot(b.dout + i * b.width, b.dq + i * b.width, b.width);
    fill_zero(b.dq, length * b.width);
    const Scoring scoring = {args.scale, args.window, args.slopes == nullptr ? nullptr : args.slopes + args.first_head + head};
    for (int64_t first = 0; first < length; first += block_keys) {
      const BlockRows keys = block_rows(float_rows(nullptr, forward.k + kv_at, size, args.E), first, length);
      copy_values(keys, size, b.keys);
      transpose_rows(forward.k + kv_at + first * args.E, args.E, keys.count, size, b.keys_t);
      transpose_rows(forward.v + kv_at + first * args.E, args.E, keys.count, size, b.values_t);
      // The first row that sees nothing of these keys any more.
      const int64_t after = args.window == 0 ? length : first + keys.count + args.window - 1, end = after < length ? after : length;
      for (int64_t begin = first; begin < end; begin += block_keys) {
        const Pair pair = {first, keys.count, begin, at_most_block(end - begin)};
        step(b, pair, scoring, args.lse + (row + begin) * args.H + head, args.H);
      }
    }
    scatter(b.dq, args.scale, length, size, args.dq + q_at, args.Q);
  }
  scatter(b.dk, args.scale, length, size, args.dk + kv_at, args.E);
  scatter(b.dv, 1.0f, length, size, args.dv + kv_at, args.E);
}

}  // namespace
}  // namespace attention

void attention_backward(Context& context, const attention_backward_args& args) {
  using namespace attention;
  const int64_t size = args.Q / args.H, sequences = args.M / args.length;
  const int64_t floats = buffer_floats(size, args.length);
  float* scratch = context.scratch(floats * context.threads());
  const int64_t queries = args.M * args.Q, keys = args.M * args.E;
  const Forward forward = {as_floats(context, args.q, queries), as_floats(context, args.k, keys), as_floats(context, args.v, keys),
                           as_floats(context, args.out, queries)};
  context.parallel_for(sequences * args.kv_heads, 1, [&](int64_t begin, int64_t end, int worker) {
    const Buffers buffers = place(size, args.length, scratch + worker * floats);
    for (int64_t i = begin; i < end; i++) gradients(args, forward, i / args.kv_heads * args.length, i % args.kv_heads, buffers);
  });
}

}  // namespace wl::WL_ISA
