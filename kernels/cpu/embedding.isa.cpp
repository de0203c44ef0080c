// Token embeddings: rows of a table by id, and the gradient of the table.
#include <cstring>

#include "core/ops.gen.h"
#include "cpu/copy-reals.h"
#include "cpu/token-spans.h"

namespace wl::WL_ISA {
namespace {

void check_ids(const int32_t* ids, int64_t count, int64_t rows) {
  for (int64_t t = 0; t < count; ++t) {
    if (ids[t] < 0 || ids[t] >= rows) throw BadInput{"embedding: an id is outside the table"};
  }
}

/** The rows of the table that are here. */
struct Shard {
  int64_t first, rows;

  bool has(int32_t id) const { return id >= first && id < first + rows; }
};

}  // namespace

void embedding_forward(Context& context, const embedding_forward_args& a) {
  const Shard shard{a.first_row, a.V};
  check_ids(a.ids, a.M, a.table_rows);
  context.parallel_for(a.M, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const RealsOut y = a.y + t * a.D;
      if (shard.has(a.ids[t])) {
        copy_reals(a.w + (a.ids[t] - shard.first) * a.D, a.D, y);
      } else {
        // Adding -0 changes no value, not even -0 itself.
        each_group(0, a.D, [&](int64_t i, auto group) { group.put(y + i, splat(-0.0f)); });
      }
    }
  });
}

// The tokens of each id are listed in the order of the sum (span by span), by counting. Then each row of the table is its own sum:
// a chain per span from +0, the spans in the fixed tree, spans without the token counting as +0. What is added to keeps its rows without
// tokens, which are most of a large table.
void embedding_backward(Context& context, const embedding_backward_args& a) {
  const Shard shard{a.first_row, a.V};
  check_ids(a.ids, a.M, a.table_rows);
  const TokenSpans spans{a.M, a.length, a.spans};
  const int span_total = spans.count();
  int32_t* first = context.scratch_of<int32_t>(a.V + 1);
  int32_t* next = context.scratch_of<int32_t>(a.V);
  int32_t* tokens = context.scratch_of<int32_t>(a.M);
  int8_t* span_of = context.scratch_of<int8_t>(a.M);
  std::memset(first, 0, sizeof(int32_t) * (a.V + 1));
  for (int64_t t = 0; t < a.M; ++t) {
    if (shard.has(a.ids[t])) ++first[a.ids[t] - shard.first + 1];
  }
  for (int64_t v = 0; v < a.V; ++v) first[v + 1] += first[v];
  std::memcpy(next, first, sizeof(int32_t) * a.V);
  for (int s = 0; s < span_total; ++s) {
    spans.each_row(s, [&](int64_t row) {
      if (!shard.has(a.ids[row])) return;
      span_of[row] = static_cast<int8_t>(s);
      tokens[next[a.ids[row] - shard.first]++] = static_cast<int32_t>(row);
    });
  }
  context.parallel_for(a.V, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t v = begin; v < end; ++v) {
      if (a.accumulate != 0 && first[v] == first[v + 1]) continue;
      float* dw = a.dw + v * a.D;
      each_group(0, a.D, [&](int64_t i, auto group) {
        Vec16 total = zero();
        if (first[v] < first[v + 1]) {
          Vec16 sums[most_spans];
          for (Vec16& chain : sums) chain = zero();
          for (int32_t n = first[v]; n < first[v + 1]; ++n) {
            Vec16& chain = sums[span_of[tokens[n]]];
            chain = chain + group(a.dy + tokens[n] * a.D + i);
          }
          total = add_spans(sums, span_total);
        }
        group.put(dw + i, a.accumulate != 0 ? group(dw + i) + total : total);
      });
    }
  });
}

}  // namespace wl::WL_ISA
