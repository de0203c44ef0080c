// Linear layers: y = x wT + bias and its gradients, each one product whose contraction is cut into spans.
#include "core/ops.gen.h"
#include "cpu/bias.h"
#include "cpu/gemm.h"

namespace wl::WL_ISA {
namespace {

using gemm::Layout;
using gemm::Product;

// The product of up to three pairs (dy, w) as one: a span holds its terms of the first pair, then of the second, then of the third.
class Pairs {
 public:
  Pairs(int64_t unit, int64_t limit, int64_t cols) : unit_(unit), limit_(limit), cols_(cols) {}

  void add(const float* dy, Reals w, int64_t terms) {
    pairs_[count_++] = {dy, w, terms};
    const int fit = span_count((terms + unit_ - 1) / unit_, limit_);
    if (fit < limit_) limit_ = fit;
  }

  /** Sets the contraction of `p`, which reads this object's memory from then on. */
  void give(Product& p) {
    p.left = {pairs_[0].dy, pairs_[0].terms, Layout::rows};
    p.right = {pairs_[0].w, cols_, Layout::terms};
    p.spans = spans_of(pairs_[0].terms, unit_, limit_);
    if (count_ == 1) return;
    const Spans first = p.spans;
    Spans of[most_pairs];
    for (int i = 0; i < count_; ++i) of[i] = spans_of(pairs_[i].terms, unit_, limit_);
    int at = 0;
    int64_t term = 0;
    for (int s = 0; s < first.count; ++s) {
      for (int i = 0; i < count_; ++i, ++at) {
        const int64_t begin = of[i].begin[s];
        left_[at] = {term, pairs_[i].dy + begin, pairs_[i].terms};
        right_[at] = {term, pairs_[i].w + begin * cols_, cols_};
        term += of[i].begin[s + 1] - begin;
      }
      p.spans.begin[s + 1] = term;
    }
    left_[at].begin = right_[at].begin = term;
    p.left.segments = left_;
    p.right.segments = right_;
  }

 private:
  static constexpr int most_pairs = 3;
  struct Pair {
    const float* dy = nullptr;
    Reals w;
    int64_t terms = 0;
  };

  const int64_t unit_;
  int64_t limit_;
  const int64_t cols_;
  Pair pairs_[most_pairs] = {};
  int count_ = 0;
  gemm::Segment left_[most_pairs * most_spans + 1] = {};
  gemm::Segment right_[most_pairs * most_spans + 1] = {};
};

}  // namespace

void linear_forward(Context& context, const linear_forward_args& a) {
  Product p{};
  p.rows = a.M;
  p.cols = a.N;
  p.spans = spans_of(a.K, a.unit, a.spans);
  p.left = {a.x, a.K, Layout::rows};
  p.right = {a.w, a.K, Layout::rows};
  p.out = a.y;
  p.bias = a.bias;
  gemm::multiply(context, p);
}

void linear_packed_forward(Context& context, const linear_packed_forward_args& a) {
  Product p{};
  p.rows = a.M;
  p.cols = a.N;
  p.spans = spans_of(a.K, a.unit, a.spans);
  p.left = {a.x, a.K, Layout::rows};
  p.panels = a.packed;
  p.out = a.y;
  p.bias = a.bias;
  gemm::multiply(context, p);
}

void linear_pack(Context& context, const linear_pack_args& a) {
  gemm::pack_right(context, {a.w, a.K, Layout::rows}, a.N, a.K, a.packed);
}

int64_t packed_size(int64_t N, int64_t K) { return gemm::packed_floats(N, K); }

void linear_backward_input(Context& context, const linear_backward_input_args& a) {
  if ((a.dy2 == nullptr) != (a.w2 == nullptr) || (a.dy3 == nullptr) != (a.w3 == nullptr)) {
    throw BadInput{"linear_backward_input: a gradient and its weight come together"};
  }
  if ((a.w2 != nullptr && a.w2.as != a.w.as) || (a.w3 != nullptr && a.w3.as != a.w.as)) {
    throw BadInput{"linear_backward_input: weights are stored in one way"};
  }
  Pairs pairs(a.unit, a.spans, a.K);
  pairs.add(a.dy, a.w, a.N);
  if (a.dy2 != nullptr) pairs.add(a.dy2, a.w2, a.N2);
  if (a.dy3 != nullptr) pairs.add(a.dy3, a.w3, a.N3);
  Product p{};
  p.rows = a.M;
  p.cols = a.K;
  pairs.give(p);
  p.out = a.dx;
  if (a.accumulate != 0) p.addend[p.addends++] = a.dx;
  gemm::multiply(context, p);
}

void linear_backward_weight(Context& context, const linear_backward_weight_args& a) {
  int32_t* order = context.scratch_of<int32_t>(a.M);
  Product p{};
  p.rows = a.N;
  p.cols = a.K;
  p.spans = gemm::token_spans(a.M, a.length, a.spans, order);
  p.left = {a.dy, a.N, Layout::terms, order};
  p.right = {a.x, a.K, Layout::terms, order};
  p.out = a.dw;
  if (a.accumulate != 0) p.addend[p.addends++] = a.dw;
  gemm::multiply(context, p);
  if (a.dbias == nullptr) return;
  add_columns(context, a.dy, a.N, p.spans, order, a.dbias, a.accumulate != 0);
}

}  // namespace wl::WL_ISA
