// Operations that treat each element by itself, the sum over all, and copies of rows.
#include "core/ops.gen.h"
#include "cpu/chunk-sum.h"
#include "cpu/copy-reals.h"
#include "cpu/groups.h"

namespace wl::WL_ISA {

void fill(Context& context, const fill_args& a) {
  each_group_parallel(context, a.M, [&](int64_t i, auto group) { group.put(a.x + i, splat(a.value)); });
}

void copy(Context& context, const copy_args& a) {
  copy_reals_parallel(context, a.x, a.M, a.y);
}

void add(Context& context, const add_args& args) {
  each_group_parallel(context, args.M, [&](int64_t i, auto group) { group.put(args.y + i, group(args.a + i) + group(args.b + i)); });
}

void scale(Context& context, const scale_args& a) {
  each_group_parallel(context, a.M, [&](int64_t i, auto group) { group.put(a.y + i, group(a.x + i) * splat(a.factor)); });
}

void gather_rows(Context& context, const gather_rows_args& a) {
  for (int64_t i = 0; i < a.M; ++i) {
    if (a.rows[i] < 0 || a.rows[i] >= a.R) throw BadInput{"gather_rows: a row number is out of range"};
  }
  context.parallel_for(a.M, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) copy_reals(a.x + a.rows[i] * a.K, a.K, a.y + i * a.K);
  });
}

void sum(Context& context, const sum_args& a) {
  const int64_t chunks = chunks_of(a.M);
  double* partial = context.scratch_of<double>(chunks);
  context.parallel_for(chunks, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t c = begin; c < end; ++c) {
      const int64_t at = c * chunk_elements, left = a.M - at;
      partial[c] = chunk_sum(a.x + at, left < chunk_elements ? left : chunk_elements, [](double x) { return x; });
    }
  });
  double total = 0;
  for (int64_t c = 0; c < chunks; ++c) total += partial[c];
  a.y[0] = static_cast<float>(total);
}

}  // namespace wl::WL_ISA
