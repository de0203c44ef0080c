// A bias on its own, for layers whose product is not the end of the sum: the bits are those of a bias inside the product.
#include "cpu/bias.h"

#include "core/ops.gen.h"
#include "cpu/gemm-vector.h"
#include "cpu/gemm.h"
#include "cpu/groups.h"

namespace wl::WL_ISA {
namespace {

// Columns whose sums are kept in registers while a worker goes down the rows.
constexpr int64_t sum_vectors = 4;
constexpr int64_t sum_cols = sum_vectors * gemm::lanes;

// Sums of up to sum_cols columns of dy over the rows, by spans.
void column_sums(const float* dy, int64_t stride, int64_t cols, const Spans& spans, const int32_t* order, float* out, bool accumulate) {
  float partial[3][sum_cols];
  float total[sum_cols] = {};
  for (int s = 0; s < spans.count; ++s) {
    if (cols == sum_cols) {
      gemm::Vector sums[sum_vectors];
      for (int64_t v = 0; v < sum_vectors; ++v) sums[v] = gemm::zero();
      for (int64_t i = spans.begin[s]; i < spans.begin[s + 1]; ++i) {
        const float* row = dy + order[i] * stride;
        for (int64_t v = 0; v < sum_vectors; ++v) sums[v] = gemm::add(sums[v], gemm::load(row + v * gemm::lanes));
      }
      for (int64_t v = 0; v < sum_vectors; ++v) gemm::store(total + v * gemm::lanes, sums[v]);
    } else {
      for (int64_t j = 0; j < cols; ++j) {
        float sum = 0.0f;
        for (int64_t i = spans.begin[s]; i < spans.begin[s + 1]; ++i) sum += dy[order[i] * stride + j];
        total[j] = sum;
      }
    }
    const bool last = s + 1 == spans.count;
    for (int l = 0; l < 3; ++l) {
      if ((s >> l & 1) != 0) {
        for (int64_t j = 0; j < cols; ++j) total[j] = partial[l][j] + total[j];
      } else if (!last) {
        for (int64_t j = 0; j < cols; ++j) partial[l][j] = total[j];
        break;
      }
    }
  }
  for (int64_t j = 0; j < cols; ++j) {
    out[j] = accumulate ? out[j] + total[j] : total[j];
  }
}

}  // namespace

void add_columns(Context& context, const float* dy, int64_t cols, const Spans& spans, const int32_t* order, float* out, bool accumulate) {
  const int64_t blocks = (cols + sum_cols - 1) / sum_cols;
  context.parallel_for(blocks, [&](int64_t begin, int64_t end, int) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t col = block * sum_cols;
      column_sums(dy + col, cols, cols - col < sum_cols ? cols - col : sum_cols, spans, order, out + col, accumulate);
    }
  });
}

void add_bias(Context& context, const add_bias_args& a) {
  context.parallel_for(a.M, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const Reals x = a.x + row * a.N;
      const RealsOut y = a.y + row * a.N;
      each_group(0, a.N, [&](int64_t i, auto group) { group.put(y + i, group(a.bias + i) + group(x + i)); });
    }
  });
}

void bias_backward(Context& context, const bias_backward_args& a) {
  int32_t* order = context.scratch_of<int32_t>(a.M);
  const Spans spans = gemm::token_spans(a.M, a.length, a.spans, order);
  add_columns(context, a.dy, a.N, spans, order, a.db, a.accumulate != 0);
}

}  // namespace wl::WL_ISA
