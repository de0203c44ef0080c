// Softmax cross-entropy on the vocabulary projection, with its gradients: logits exist for a chunk of tokens at a time.
#include "cpu/cross-entropy.h"

#include <cstring>
#include <initializer_list>

#include "cpu/copy-reals.h"
#include "cpu/gemm-steps.h"
#include "cpu/gemm.h"
#include "cpu/row-lse.h"

namespace wl::WL_ISA {
namespace {

using gemm::Cut;
using gemm::Layout;
using gemm::Product;
using gemm::Step;

// What spans of the hidden size are made of.
constexpr int64_t unit = 16;
// Logits of one chunk in the forward pass: with the chunk's part of the weight they stay in the L3 cache.
constexpr int64_t forward_logits = 4 << 20;
// Fewer rows than this would read the weight from memory for too little work.
constexpr int64_t least_rows = 128;
// Scratch of the fused loss where there is a choice.
constexpr int64_t fused_floats = 16 << 20;

int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
int64_t aligned(int64_t floats) { return (floats + 15) / 16 * 16; }

int64_t rows_of_chunk(int64_t rows, int64_t vocabulary) {
  return least(rows, most(least_rows, forward_logits / vocabulary / 12 * 12));
}

// logits = h wT for `rows` rows of h.
Product logits_product(Reals h, Reals w, int64_t rows, int64_t vocabulary, int64_t size, float* logits) {
  Product p{};
  p.rows = rows;
  p.cols = vocabulary;
  p.spans = spans_of(size, unit, most_spans);
  p.left = {h, size, Layout::rows};
  p.right = {w, size, Layout::rows};
  p.out = logits;
  return p;
}

float loss_of(const RowSum& row, const float* logits, int32_t target) { return target < 0 ? 0.0f : row.lse - logits[target]; }

// logits -> weight * (softmax - onehot), in place; +0 where the token doesn't count. Returns the loss.
float loss_and_gradient(float* logits, int64_t n, int32_t target, float weight) {
  if (target < 0) {
    for (int64_t i = 0; i < n; ++i) logits[i] = 0.0f;
    return 0.0f;
  }
  const float logit = logits[target];
  const RowSum row = row_sum<true>(logits, n, logits);
  gradient_of_row(logits, n, row.sum, target, weight);
  return row.lse - logit;
}

// Floats that a way of cutting the tokens needs: logits of the largest step, and partial sums of dw.
int64_t floats_of(const Spans& spans, const Cut& cut, int64_t vocabulary, int64_t size, bool accumulate) {
  const int64_t rows = cut.part > 0 ? cut.part : spans.longest(cut.group);
  const int sums = cut.levels + (cut.chain ? 1 : 0) - (!accumulate && cut.levels > 0 ? 1 : 0);
  return rows * vocabulary + sums * vocabulary * size;
}

// Steps of whole spans need many logits, smaller ones need partial sums of dw. Takes the largest steps that need no more
// than step_floats, or, where all need more, those that need the least.
Cut cut_of_tokens(const Spans& spans, int64_t vocabulary, int64_t size, bool accumulate, int64_t step_floats) {
  const int64_t longest = spans.longest(1);
  Cut best = gemm::cut_of(spans, most_spans, 0);
  const auto consider = [&](const Cut& cut) {
    const int64_t now = floats_of(spans, best, vocabulary, size, accumulate);
    if (now > step_floats && floats_of(spans, cut, vocabulary, size, accumulate) < now) best = cut;
  };
  for (int group = most_spans / 2; group > 0; group /= 2) consider(gemm::cut_of(spans, group, 0));
  constexpr int64_t chunk = gemm::chunk_terms;
  const auto half = [](int64_t terms) { return (terms + 2 * chunk - 1) / (2 * chunk) * chunk; };
  for (int64_t part = half(longest); part >= least_rows; part = half(part)) consider(gemm::cut_of(spans, 1, part));
  return best;
}

}  // namespace

void cross_entropy_forward(Context& context, const cross_entropy_forward_args& a) {
  const int64_t chunk = rows_of_chunk(a.M, a.V);
  float* logits = context.scratch(chunk * a.V);
  float* workspace = context.scratch(gemm::workspace_floats(logits_product(a.h, a.w, chunk, a.V, a.D, logits), context.threads()));
  for (int64_t first = 0; first < a.M; first += chunk) {
    const int64_t rows = least(chunk, a.M - first);
    gemm::multiply(context, logits_product(a.h + first * a.D, a.w, rows, a.V, a.D, logits), workspace);
    context.parallel_for(rows, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const float* row = logits + i * a.V;
        a.losses[first + i] = loss_of(row_sum(row, a.V), row, a.targets[first + i]);
      }
    });
  }
}

void cross_entropy_fused(Context& context, const cross_entropy_fused_args& a) {
  cross_entropy_fused_within(context, a, fused_floats);
}

void cross_entropy_fused_within(Context& context, const cross_entropy_fused_args& a, int64_t step_floats) {
  int32_t* order = context.scratch_of<int32_t>(a.M);
  const Spans spans = gemm::token_spans(a.M, a.length, most_spans, order);
  const bool accumulate = a.accumulate != 0;
  const Cut cut = cut_of_tokens(spans, a.V, a.D, accumulate, step_floats);
  const int64_t dw_size = aligned(a.V * a.D);
  float* level[3] = {};
  for (int l = 0; l < cut.levels; ++l) level[l] = l + 1 == cut.levels && !accumulate ? a.dw : context.scratch(dw_size);
  float* chain = cut.chain ? context.scratch(dw_size) : nullptr;

  const int64_t chunk = cut.part > 0 ? cut.part : spans.longest(cut.group);
  float* logits = context.scratch(chunk * a.V);
  float* h = context.scratch(chunk * a.D);
  float* dh = context.scratch(chunk * a.D);

  const auto products = [&](int64_t rows, const Step& step) {
    struct {
      Product forward, input, weight;
    } p{logits_product(h, a.w, rows, a.V, a.D, logits), {}, {}};
    p.input.rows = rows;
    p.input.cols = a.D;
    p.input.spans = spans_of(a.V, vocabulary_unit, most_spans);
    p.input.left = {logits, a.V, Layout::rows};
    p.input.right = {a.w, a.D, Layout::terms};
    p.input.out = dh;

    p.weight.rows = a.V;
    p.weight.cols = a.D;
    p.weight.spans = step.spans;
    for (int s = 0; s <= step.spans.count; ++s) p.weight.spans.begin[s] -= step.spans.first();
    p.weight.left = {logits, a.V, Layout::terms};
    p.weight.right = {a.h.as == Stored::f32 ? Reals{h} : in_bf16(h), a.D, Layout::terms};
    p.weight.out = step.out;
    p.weight.start = step.start;
    for (int i = 0; i < step.addends; ++i) p.weight.addend[p.weight.addends++] = step.addend[i];
    if (step.last && accumulate) p.weight.addend[p.weight.addends++] = a.dw;
    return p;
  };

  Step step;
  int64_t floats = 0;
  for (gemm::Steps steps(spans, cut, level, chain, a.dw); steps.next(step);) {
    const auto p = products(step.spans.terms(), step);
    for (const Product& each : {p.forward, p.input, p.weight}) floats = most(floats, gemm::workspace_floats(each, context.threads()));
  }
  float* workspace = context.scratch(floats);

  for (gemm::Steps steps(spans, cut, level, chain, a.dw); steps.next(step);) {
    const int64_t rows = step.spans.terms();
    const int32_t* tokens = order + step.spans.first();
    const auto p = products(rows, step);
    context.parallel_for(rows, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) copy_reals(a.h + tokens[i] * a.D, a.D, h + i * a.D);
    });
    gemm::multiply(context, p.forward, workspace);
    context.parallel_for(rows, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        a.losses[tokens[i]] = loss_and_gradient(logits + i * a.V, a.V, a.targets[tokens[i]], a.weight);
      }
    });
    gemm::multiply(context, p.input, workspace);
    context.parallel_for(rows, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) std::memcpy(a.dh + tokens[i] * a.D, dh + i * a.D, sizeof(float) * a.D);
    });
    gemm::multiply(context, p.weight, workspace);
  }
}

}  // namespace wl::WL_ISA
