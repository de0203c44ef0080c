// attention_forward and attention_paged: cut the query rows into items of work, each of which `attend` does on its own.
#include <algorithm>

#include "core/ops.gen.h"
#include "cpu/attention-rows.h"
#include "cpu/copy-reals.h"
#include "cpu/math.h"
#include "cpu/simd.h"

namespace wl::WL_ISA {
namespace attention {
namespace {

struct Heads {
  int64_t all, kv, size;
  int64_t group() const { return all / kv; }
  int64_t row() const { return all * size; }
};

// Consecutive rows of one sequence, and some of its key-value heads.
struct Item {
  int64_t sequence, kv_head, kv_heads;
  int64_t row, rows;  // first row in the batch, how many
  int64_t position;   // of the first row

  int64_t cost(int64_t window) const {
    const int64_t keys = position + rows, most = window + rows;
    return (window == 0 || keys < most ? keys : most) * rows * kv_heads;
  }
};

struct Problem {
  Heads heads;
  const float* q;
  float* out;
  float* lse;  // may be null
  float scale;
  int64_t window;       // 0: none
  const float* slopes;  // of the query heads; may be null
};

// How sequences are cut: `positions` rows and `kv_heads` key-value heads to an item. Few rows (decoding) go with many heads, so that
// whole rows of keys are read in order, as far as there are items enough for the workers.
struct Cut {
  int64_t positions, kv_heads;
};

Cut cut_of(const Heads& heads, int64_t sequences, int64_t most_positions, int threads) {
  constexpr int64_t most_floats = 1024;  // of a key row: two blocks of keys and values fit the second-level cache
  constexpr int64_t items_per_thread = 4;
  const int64_t positions = heads.group() < most_rows ? most_rows / heads.group() : 1;
  if (most_positions >= positions) return {positions, 1};
  int64_t kv_heads = std::min({heads.kv, most_rows / (most_positions * heads.group()), most_floats / heads.size});
  while (kv_heads > 1 && sequences * (heads.kv / kv_heads) < items_per_thread * threads) kv_heads = (kv_heads + 1) / 2;
  return {most_positions, std::max<int64_t>(kv_heads, 1)};
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t items_of(const Heads& heads, const Cut& cut, int64_t rows) { return ceil_div(rows, cut.positions) * ceil_div(heads.kv, cut.kv_heads); }

// Adds the items of a sequence; returns how many.
int64_t add_items(const Heads& heads, const Cut& cut, int64_t sequence, int64_t row, int64_t rows, int64_t position, Item* items) {
  int64_t count = 0;
  for (int64_t i = 0; i < rows; i += cut.positions) {
    for (int64_t h = 0; h < heads.kv; h += cut.kv_heads) {
      items[count++] = {sequence, h, std::min(cut.kv_heads, heads.kv - h), row + i, std::min(cut.positions, rows - i), position + i};
    }
  }
  return count;
}

void copy(const float* from, int64_t count, float* to) {
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) store(to + i, load(from + i));
  if (i < count) store_first(count - i, to + i, load_first(count - i, from + i));
}

// The query heads of a group share the key blocks: rows are in order of key-value head, position, head of the group.
void attend_item(const Problem& problem, const Item& item, const KeyRows& keys, float* scratch) {
  const Heads& heads = problem.heads;
  const int64_t group = heads.group(), size = heads.size;
  const float* slopes = problem.slopes == nullptr ? nullptr : problem.slopes + item.kv_head * group;
  // Aligned by us: built with AddressSanitizer for AVX-512, it was written by whole vectors to an address that was not.
  alignas(64) QueryRows rows = {item.kv_heads, item.rows * group, group, item.position, size, 0, nullptr, nullptr, nullptr, nullptr, problem.window, slopes};
  place_rows(rows, scratch);
  const auto each_slice = [&](auto body) {  // body(first row, first head of the batch's rows): `group` rows
    int64_t r = 0;
    for (int64_t h = item.kv_head; h < item.kv_head + item.kv_heads; h++) {
      for (int64_t i = item.row; i < item.row + item.rows; i++, r += group) body(r, i * heads.all + h * group);
    }
  };
  each_slice([&](int64_t r, int64_t head) { copy(problem.q + head * size, group * size, rows.queries + r * size); });
  attend(keys, problem.scale, rows, scratch);
  each_slice([&](int64_t r, int64_t head) {
    for (int64_t g = 0; g < group; g++) copy(rows.acc + (r + g) * rows.width, size, problem.out + (head + g) * size);
  });
  if (problem.lse == nullptr) return;
  for (int64_t r = 0; r < item.kv_heads * rows.count; r += lanes) {
    store(rows.sums + r, load(rows.largest + r) + log_16(load(rows.sums + r)));  // both have room for whole vectors
  }
  each_slice([&](int64_t r, int64_t head) {
    for (int64_t g = 0; g < group; g++) problem.lse[head + g] = rows.sums[r + g];
  });
}

// Does the items, the costly ones first, so that no worker is left with one at the end. keys(sequence): where its keys lie.
template <class Keys>
void run(Context& context, const Problem& problem, const Cut& cut, Item* items, int64_t count, Keys keys_of) {
  std::sort(items, items + count, [&](const Item& a, const Item& b) {
    const int64_t cost_a = a.cost(problem.window), cost_b = b.cost(problem.window);
    if (cost_a != cost_b) return cost_a > cost_b;
    return a.row != b.row ? a.row < b.row : a.kv_head < b.kv_head;  // heads of a row lie side by side in memory
  });
  const Heads& heads = problem.heads;
  const int64_t floats = rows_scratch(cut.positions * heads.group() * cut.kv_heads, heads.size);
  float* scratch = context.scratch(floats * context.threads());
  context.parallel_for(count, 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t i = begin; i < end; i++) {
      attend_item(problem, items[i], keys_of(items[i].sequence).from_head(items[i].kv_head), scratch + worker * floats);
    }
  });
}

template <class Args>
const float* slopes_of(const Args& args) {
  return args.slopes == nullptr ? nullptr : args.slopes + args.first_head;
}

// The kernel follows these numbers to memory, so they are checked first.
void check_paged(const attention_paged_args& args) {
  for (int64_t b = 0; b < args.B; b++) {
    const int32_t* sequence = args.sequences + b * args.C;
    const int64_t first = sequence[0], rows = sequence[1], position = sequence[2], end = position + rows;
    if (first < 0 || rows < 0 || first + rows > args.M) throw BadInput{"attention_paged: rows of a sequence are outside the batch"};
    if (position < 0 || end > args.W * args.S) throw BadInput{"attention_paged: a position is outside the page list of its sequence"};
    for (int64_t w = 0; rows > 0 && w * args.S < end; w++) {
      const int32_t page = args.pages[b * args.W + w];
      if (page < 0 || page >= args.P) throw BadInput{"attention_paged: a page is outside the cache"};
    }
  }
}

}  // namespace
}  // namespace attention

void attention_forward(Context& context, const attention_forward_args& args) {
  using namespace attention;
  const Heads heads = {args.H, args.kv_heads, args.Q / args.H};
  const int64_t sequences = args.M / args.length, sequence_floats = args.length * args.E;
  const Cut cut = cut_of(heads, sequences, args.length, context.threads());
  Item* items = context.scratch_of<Item>(sequences * items_of(heads, cut, args.length));
  int64_t count = 0;
  for (int64_t b = 0; b < sequences; b++) count += add_items(heads, cut, b, b * args.length, args.length, 0, items + count);
  const float* q = as_floats(context, args.q, args.M * args.Q);
  const float* k = as_floats(context, args.k, args.M * args.E);
  const float* v = as_floats(context, args.v, args.M * args.E);
  float* out = args.out.as == Stored::f32 ? args.out.floats() : context.scratch(args.M * args.Q);
  run(context, {heads, q, out, args.lse, args.scale, args.window, slopes_of(args)}, cut, items, count, [&](int64_t b) {
    return float_rows(k + b * sequence_floats, v + b * sequence_floats, heads.size, args.E);
  });
  if (args.out.as != Stored::f32) copy_reals_parallel(context, out, args.M * args.Q, args.out);
}

void attention_paged(Context& context, const attention_paged_args& args) {
  using namespace attention;
  check_paged(args);
  const Heads heads = {args.heads, args.kv_heads, args.Q / args.heads};
  const auto sequence = [&](int64_t b) { return args.sequences + b * args.C; };
  int64_t most = 1;
  for (int64_t b = 0; b < args.B; b++) most = std::max<int64_t>(most, sequence(b)[1]);
  const Cut cut = cut_of(heads, args.B, most, context.threads());
  int64_t room = 0;
  for (int64_t b = 0; b < args.B; b++) room += items_of(heads, cut, sequence(b)[1]);
  Item* items = context.scratch_of<Item>(room);
  int64_t count = 0;
  for (int64_t b = 0; b < args.B; b++) {
    count += add_items(heads, cut, b, sequence(b)[0], sequence(b)[1], sequence(b)[2], items + count);
  }
  run(context, {heads, args.q, args.out, nullptr, args.scale, args.window, slopes_of(args)}, cut, items, count, [&](int64_t b) {
    const int64_t head_bytes = cache_head_bytes(args.type, heads.size);
    return KeyRows{CacheType{args.type}, args.keys, args.values, head_bytes, head_bytes, args.pages + b * args.W, args.S, args.S * args.R};
  });
}

}  // namespace wl::WL_ISA
