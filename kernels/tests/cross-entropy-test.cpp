// The fused loss: the contract bit for bit, float64 references, gradients, and what must not change a bit.
#include "reference/cross-entropy.h"
#include "tests/check.h"
#include "tests/contract.h"

#define WL_ISA generic
#define WL_ISA_GENERIC
#include "cpu/row-lse.h"

#include <string>

namespace {

using contract::Kernels;
using contract::Numbers;
using contract::same_bits;

struct Shape {
  int64_t rows, size, vocabulary, length;
  bool accumulate;
};

struct Inputs {
  std::vector<float> h, w, old_dw;
  std::vector<int32_t> targets;
  float weight = 1.0f / 37;

  explicit Inputs(const Shape& s) {
    Numbers numbers(static_cast<uint64_t>(s.rows * 1009 + s.vocabulary * 31 + s.size));
    h = numbers.many(s.rows * s.size);
    w = numbers.many(s.vocabulary * s.size);
    old_dw = numbers.many(s.vocabulary * s.size);
    // About one in five tokens doesn't count.
    for (int64_t i = 0; i < s.rows; ++i) targets.push_back(numbers.below(5) == 0 ? -1 : static_cast<int32_t>(numbers.below(s.vocabulary)));
  }
};

struct Results {
  std::vector<float> forward, losses, dh, dw;

  bool operator==(const Results& other) const {
    return same_bits(forward, other.forward) && same_bits(losses, other.losses) && same_bits(dh, other.dh) && same_bits(dw, other.dw);
  }
};

Results run(const Kernels& kernels, int threads, const Shape& s, const Inputs& in) {
  const std::vector<float> unset(static_cast<size_t>(s.rows), -7.0f);
  Results out{unset, unset, std::vector<float>(in.h.size(), -7.0f), in.old_dw};
  kernels.cross_entropy_forward(contract::context_of(threads),
                                {in.h.data(), in.w.data(), in.targets.data(), out.forward.data(), s.rows, s.size, s.vocabulary});
  kernels.cross_entropy_fused(contract::context_of(threads),
                              {in.h.data(), in.w.data(), in.targets.data(), out.losses.data(), out.dh.data(), out.dw.data(), in.weight,
                               s.length, s.accumulate, s.rows, s.size, s.vocabulary});
  return out;
}

struct ScalarRow {
  std::vector<float> exponentials;
  float sum, lse;
};

// The sum of exponentials as the contract has it: 8 spans of 16 virtual lanes, both added in trees.
ScalarRow scalar_row(const std::vector<float>& logits) {
  const int64_t n = static_cast<int64_t>(logits.size());
  const std::vector<int64_t> begin = contract::spans_of(n, 16);
  const float largest = *std::max_element(logits.begin(), logits.end());
  ScalarRow row;
  std::vector<float> spans;
  for (size_t s = 0; s + 1 < begin.size(); ++s) {
    float lanes[16] = {};
    for (int64_t i = begin[s]; i < begin[s + 1]; ++i) {
      row.exponentials.push_back(wl::generic::exp_1(logits[i] - largest));
      lanes[i % 16] += row.exponentials.back();
    }
    for (const int half : {8, 4, 2, 1}) {
      for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
    }
    spans.push_back(lanes[0]);
  }
  row.sum = contract::tree(spans);
  row.lse = largest + wl::generic::log_1(row.sum);
  return row;
}

// The whole operation, one scalar at a time.
Results scalar(const Shape& s, const Inputs& in) {
  Results out{{}, {}, std::vector<float>(in.h.size()), in.old_dw};
  std::vector<float> dlogits(static_cast<size_t>(s.rows * s.vocabulary));
  for (int64_t m = 0; m < s.rows; ++m) {
    std::vector<float> logits(static_cast<size_t>(s.vocabulary));
    for (int64_t v = 0; v < s.vocabulary; ++v) {
      logits[v] = contract::dot(
          s.size, 16, [&](int64_t d) { return in.h[m * s.size + d]; }, [&](int64_t d) { return in.w[v * s.size + d]; });
    }
    const ScalarRow row = scalar_row(logits);
    const int32_t target = in.targets[m];
    out.losses.push_back(target < 0 ? 0.0f : row.lse - logits[target]);
    const float inverse = 1.0f / row.sum;
    for (int64_t v = 0; target >= 0 && v < s.vocabulary; ++v) {
      const float probability = row.exponentials[v] * inverse;
      dlogits[m * s.vocabulary + v] = (v == target ? probability - 1.0f : probability) * in.weight;
    }
  }
  out.forward = out.losses;
  for (int64_t i = 0; i < s.rows * s.size; ++i) {
    out.dh[i] = contract::dot(
        s.vocabulary, 16, [&](int64_t v) { return dlogits[i / s.size * s.vocabulary + v]; },
        [&](int64_t v) { return in.w[v * s.size + i % s.size]; });
  }
  for (int64_t i = 0; i < s.vocabulary * s.size; ++i) {
    const float sum = contract::token_dot(
        s.rows, s.length, [&](int64_t t) { return dlogits[t * s.vocabulary + i / s.size]; },
        [&](int64_t t) { return in.h[t * s.size + i % s.size]; });
    out.dw[i] = s.accumulate ? in.old_dw[i] + sum : sum;
  }
  return out;
}

// One token; tokens in steps of all, four, two and one of the spans, and of parts of a span; a vocabulary of several steps.
const Shape shapes[] = {
    {1, 1, 1, 1, false},       {1, 16, 64, 1, true},       {3, 5, 7, 3, false},        {12, 33, 130, 4, true},
    {64, 512, 40, 32, false},  {64, 512, 40, 32, true},    {180, 90, 300, 45, false},  {600, 40, 61, 100, true},
    {800, 90, 150, 100, true}, {2400, 8, 100, 300, false}, {1300, 6, 90, 1300, true},  {7, 9, 5003, 7, true},
};

TEST("losses and gradients are the scalar operations of the contract, in its order") {
  for (const Shape& shape : shapes) {
    const Inputs in(shape);
    const Results wanted = scalar(shape, in);
    for (const Kernels& kernels : contract::each_isa()) {
      for (const int threads : {1, 2, 3}) {
        const Results out = run(kernels, threads, shape, in);
        const std::string where = std::string(kernels.isa) + ", " + std::to_string(threads) + " threads, " + std::to_string(shape.rows) +
                                  " x " + std::to_string(shape.size) + " x " + std::to_string(shape.vocabulary);
        if (!same_bits(out.forward, wanted.forward)) check::fault(__FILE__, __LINE__, "losses of the forward pass: " + where);
        if (!same_bits(out.losses, wanted.losses)) check::fault(__FILE__, __LINE__, "losses: " + where);
        if (!same_bits(out.dh, wanted.dh)) check::fault(__FILE__, __LINE__, "dh: " + where);
        if (!same_bits(out.dw, wanted.dw)) check::fault(__FILE__, __LINE__, "dw: " + where);
      }
    }
  }
}

TEST("less scratch memory means smaller steps and the same bits") {
  for (const Shape& s : shapes) {
    const Inputs in(s);
    for (const Kernels& kernels : contract::each_isa()) {
      const Results wanted = run(kernels, 2, s, in);
      for (const int64_t floats : {INT64_C(0), s.rows * s.vocabulary / 2, s.rows * s.vocabulary / 4, s.rows * s.vocabulary / 6}) {
        Results out = wanted;
        out.dw = in.old_dw;
        kernels.cross_entropy_fused_within(contract::context_of(2),
                                           {in.h.data(), in.w.data(), in.targets.data(), out.losses.data(), out.dh.data(), out.dw.data(),
                                            in.weight, s.length, s.accumulate, s.rows, s.size, s.vocabulary},
                                           floats);
        CHECK(out == wanted);
      }
    }
  }
}

TEST("a token's loss and gradient don't depend on the tokens beside it") {
  const Shape batch = {96, 48, 777, 96, false};
  for (const Kernels& kernels : contract::each_isa()) {
    const Inputs in(batch);
    const Results all = run(kernels, 2, batch, in);
    for (const int64_t first : {0, 17, 95}) {
      Inputs one = in;
      one.h.assign(in.h.begin() + first * batch.size, in.h.begin() + (first + 1) * batch.size);
      one.targets = {in.targets[first]};
      const Results alone = run(kernels, 1, {1, batch.size, batch.vocabulary, 1, false}, one);
      CHECK(same_bits(alone.losses[0], all.losses[first]));
      CHECK(std::memcmp(alone.dh.data(), all.dh.data() + first * batch.size, alone.dh.size() * sizeof(float)) == 0);
    }
  }
}

TEST("the loss is the negated log-probability of the logits that a linear layer stores") {
  const Shape shape = {33, 70, 501, 33, false};
  for (const Kernels& kernels : contract::each_isa()) {
    Inputs in(shape);
    for (int32_t& target : in.targets) target = std::abs(target);
    const Results out = run(kernels, 2, shape, in);
    std::vector<float> logits(33 * 501);
    kernels.linear_forward(contract::context_of(2), {in.h.data(), in.w.data(), nullptr, logits.data(), 16, 8, 33, 70, 501});
    for (int64_t i = 0; i < 33; ++i) {
      const float* row = logits.data() + i * 501;
      CHECK(same_bits(out.losses[i], wl::generic::row_sum(row, 501).lse - row[in.targets[i]]));
    }
  }
}

TEST("tokens that don't count have loss 0 and gradient +0, and add nothing") {
  const Shape shape = {20, 24, 50, 10, false};
  for (const Kernels& kernels : contract::each_isa()) {
    Inputs in(shape);
    std::fill(in.targets.begin(), in.targets.end(), -1);
    const Results out = run(kernels, 2, shape, in);
    for (const auto* values : {&out.forward, &out.losses, &out.dh, &out.dw}) {
      for (const float value : *values) CHECK(same_bits(value, 0.0f));
    }
  }
}

TEST("a logit that is no number makes the loss of its row none, and no other") {
  const Shape shape = {20, 24, 50, 10, false};
  for (const Kernels& kernels : contract::each_isa()) {
    for (const float bad : {std::nanf(""), INFINITY}) {
      Inputs in(shape);
      std::fill(in.targets.begin(), in.targets.end(), 3);
      in.h[7 * 24 + 5] = bad;
      const Results out = run(kernels, 2, shape, in);
      for (int64_t i = 0; i < 20; ++i) {
        CHECK(std::isnan(out.losses[i]) == (i == 7));
        CHECK(std::isnan(out.forward[i]) == (i == 7));
      }
    }
  }
}

std::vector<double> widen(const std::vector<float>& values) { return {values.begin(), values.end()}; }

TEST("losses and gradients are as near to float64 as the rounding of their sums allows") {
  constexpr double rounding = 0x1p-24;
  for (const Kernels& kernels : contract::each_isa()) {
    for (Shape shape : shapes) {
      shape.accumulate = false;
      const Inputs in(shape);
      const Results out = run(kernels, 2, shape, in);
      const wl::reference::LossShape dims = {shape.rows, shape.size, shape.vocabulary};
      const auto losses = wl::reference::cross_entropy(dims, widen(in.h), widen(in.w), in.targets);
      const auto g = wl::reference::cross_entropy_backward(dims, widen(in.h), widen(in.w), in.targets, in.weight);
      // A logit is a sum of `size` products below 1, off by a few sqrt(size) roundings of about sqrt(size);
      // the loss adds a few roundings of its own value.
      const double logit_error = rounding * (4 * std::sqrt(shape.size / 8.0 + 4) * std::sqrt(shape.size / 3.0) + 4);
      for (int64_t i = 0; i < shape.rows; ++i) CHECK(std::abs(out.losses[i] - losses[i]) <= 2 * logit_error + 4 * rounding * losses[i]);
      // A probability is off by the error of its logit, which exp makes relative, and a few roundings; then sums as in a linear layer.
      const auto bound = [&](double terms) { return 2 * logit_error + rounding * (8 + 4 * std::sqrt(terms / 8 + 4)); };
      for (size_t i = 0; i < g.dh.size(); ++i) CHECK(std::abs(out.dh[i] - g.dh[i]) <= bound(shape.vocabulary) * g.dh_magnitude[i]);
      for (size_t i = 0; i < g.dw.size(); ++i) CHECK(std::abs(out.dw[i] - g.dw[i]) <= bound(shape.rows) * g.dw_magnitude[i]);
    }
  }
}

TEST("the float64 gradients are those of central differences") {
  const Shape shape = {4, 3, 5, 4, false};
  const Inputs in(shape);
  const wl::reference::LossShape dims = {4, 3, 5};
  const std::vector<double> h = widen(in.h), w = widen(in.w);
  const auto loss = [&](const std::vector<double>& h, const std::vector<double>& w) {
    double sum = 0;
    for (const double each : wl::reference::cross_entropy(dims, h, w, in.targets)) sum += in.weight * each;
    return sum;
  };
  const auto difference = [&](const std::vector<double>& at, size_t i, auto loss_at) {
    std::vector<double> up = at, down = at;
    up[i] += 1e-5;
    down[i] -= 1e-5;
    return (loss_at(up) - loss_at(down)) / 2e-5;
  };
  const auto g = wl::reference::cross_entropy_backward(dims, h, w, in.targets, in.weight);
  // Third derivatives below 1 make 1e-10 / 6; the rounding of a loss below 1 makes 1e-16 / 1e-5.
  for (size_t i = 0; i < h.size(); ++i) CHECK(std::abs(difference(h, i, [&](auto& at) { return loss(at, w); }) - g.dh[i]) < 1e-10);
  for (size_t i = 0; i < w.size(); ++i) CHECK(std::abs(difference(w, i, [&](auto& at) { return loss(h, at); }) - g.dw[i]) < 1e-10);
}

}  // namespace

TEST_MAIN
