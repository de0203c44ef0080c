// Softmax cross-entropy where each rank has some rows of the vocabulary: the steps between which ranks exchange a few numbers per token.
// Logits and local maxima | maximum over ranks | exponentials and local sums | sums over ranks | losses and gradient of the logits.
// With one rank, or ranks that hold whole spans and add in the tree, the bits are those of cross_entropy_fused.
#include "core/ops.gen.h"
#include "cpu/gemm.h"
#include "cpu/row-lse.h"

namespace wl::WL_ISA {
namespace {

using gemm::Layout;
using gemm::Product;

// What spans of the hidden size are made of.
constexpr int64_t unit = 16;

/** The spans of the vocabulary whose rows are here. */
Spans vocabulary_spans(int64_t table_rows, int64_t first_row, int64_t rows) {
  const Spans spans = share_of_spans(table_rows, vocabulary_unit, first_row, rows);
  if (spans.count == 0) throw BadInput{"cross_entropy: the rows that are here are not the share of one of 1, 2, 4 or 8 ranks"};
  return spans;
}

}  // namespace

void cross_entropy_logits(Context& context, const cross_entropy_logits_args& a) {
  Product p{};
  p.rows = a.M;
  p.cols = a.V;
  p.spans = spans_of(a.D, unit, most_spans);
  p.left = {a.h, a.D, Layout::rows};
  p.right = {a.w, a.D, Layout::rows};
  p.out = a.logits;
  gemm::multiply(context, p);
  context.parallel_for(a.M, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) a.maxima[t] = row_max(a.logits + t * a.V, a.V);
  });
}

void cross_entropy_exponentials(Context& context, const cross_entropy_exponentials_args& a) {
  const Spans spans = vocabulary_spans(a.table_rows, a.first_row, a.V);
  for (int64_t t = 0; t < a.M; ++t) {
    if (a.targets[t] >= a.table_rows) throw BadInput{"cross_entropy: a target is outside the vocabulary"};
  }
  context.parallel_for(a.M, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      float* logits = a.logits + t * a.V;
      const int64_t target = a.targets[t] - a.first_row;
      // Adding -0 changes no value, not even -0 itself.
      a.sums[2 * t + 1] = a.targets[t] >= 0 && target >= 0 && target < a.V ? logits[target] : -0.0f;
      a.sums[2 * t] = exponentials_sum<true>(logits, spans, a.maxima[t], logits);
    }
  });
}

void cross_entropy_finish(Context& context, const cross_entropy_finish_args& a) {
  context.parallel_for(a.M, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      float* row = a.exponentials + t * a.V;
      if (a.targets[t] < 0) {
        for (int64_t i = 0; i < a.V; ++i) row[i] = 0.0f;
        a.losses[t] = 0.0f;
        continue;
      }
      const RowSum sum = row_sum_of(a.maxima[t], a.sums[2 * t]);
      a.losses[t] = sum.lse - a.sums[2 * t + 1];
      gradient_of_row(row, a.V, sum.sum, a.targets[t] - a.first_row, a.weight);
    }
  });
}

void cross_entropy_backward_input(Context& context, const cross_entropy_backward_input_args& a) {
  Product p{};
  p.rows = a.M;
  p.cols = a.D;
  p.spans = vocabulary_spans(a.table_rows, a.first_row, a.V);
  p.left = {a.dlogits, a.V, Layout::rows};
  p.right = {a.w, a.D, Layout::terms};
  p.out = a.dh;
  gemm::multiply(context, p);
}

}  // namespace wl::WL_ISA
