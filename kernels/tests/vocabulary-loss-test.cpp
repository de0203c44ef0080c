// The loss with the vocabulary on several ranks: together they have the bits of the fused loss on one, for shares of unequal size too.
#include "tests/every-isa.h"

namespace {

using every::Floats;
using every::Integers;
using every::same_bits;

struct Shape {
  int64_t rows, size, vocabulary, length;
};

struct Inputs {
  Floats h, w;
  Integers targets;
  float weight = 1.0f / 37;

  explicit Inputs(const Shape& s) {
    every::Numbers numbers(static_cast<uint64_t>(s.rows * 1009 + s.vocabulary));
    h = numbers.many(s.rows * s.size);
    w = numbers.many(s.vocabulary * s.size);
    // About one in five tokens doesn't count; the first and the last row of the vocabulary are targets.
    for (int64_t i = 0; i < s.rows; ++i) targets.push_back(numbers.below(5) == 0 ? -1 : static_cast<int32_t>(numbers.below(s.vocabulary)));
    targets[0] = 0;
    targets.back() = static_cast<int32_t>(s.vocabulary - 1);
  }
};

struct Results {
  Floats losses, dh, dw;
};

// The operations of one instruction set.
struct Loss {
  const char* isa;
  void (*fused)(wl::Context&, const wl::cross_entropy_fused_args&);
  void (*logits)(wl::Context&, const wl::cross_entropy_logits_args&);
  void (*exponentials)(wl::Context&, const wl::cross_entropy_exponentials_args&);
  void (*finish)(wl::Context&, const wl::cross_entropy_finish_args&);
  void (*backward_input)(wl::Context&, const wl::cross_entropy_backward_input_args&);
  void (*backward_weight)(wl::Context&, const wl::linear_backward_weight_args&);
};

std::vector<Loss> each_isa() {
  const auto fused = EVERY_ISA(cross_entropy_fused);
  const auto logits = EVERY_ISA(cross_entropy_logits);
  const auto exponentials = EVERY_ISA(cross_entropy_exponentials);
  const auto finish = EVERY_ISA(cross_entropy_finish);
  const auto input = EVERY_ISA(cross_entropy_backward_input);
  const auto weight = EVERY_ISA(linear_backward_weight);
  std::vector<Loss> all;
  for (size_t i = 0; i < fused.size(); ++i) {
    all.push_back({fused[i].isa, fused[i].run, logits[i].run, exponentials[i].run, finish[i].run, input[i].run, weight[i].run});
  }
  return all;
}

Results alone(const Loss& loss, int threads, const Shape& s, const Inputs& in) {
  Results out{Floats(in.targets.size()), Floats(in.h.size()), Floats(in.w.size())};
  loss.fused(every::context_of(threads), {in.h.data(), in.w.data(), in.targets.data(), out.losses.data(), out.dh.data(), out.dw.data(), in.weight,
                                          s.length, 0, s.rows, s.size, s.vocabulary});
  return out;
}

/** The four steps on `ranks` ranks, with the reductions between them; dw is the ranks' rows one after the other. */
Results together(const Loss& loss, int threads, int64_t ranks, const Shape& s, const Inputs& in) {
  const auto on = [&]() -> wl::Context& { return every::context_of(threads); };
  const int64_t units = (s.vocabulary + 15) / 16;
  std::vector<int64_t> first;
  for (int64_t r = 0; r <= ranks; ++r) first.push_back(std::min(r * units / ranks * 16, s.vocabulary));
  std::vector<Floats> logits, maxima, sums, dh;
  for (int64_t r = 0; r < ranks; ++r) {
    const int64_t here = first[r + 1] - first[r];
    logits.push_back(Floats(static_cast<size_t>(s.rows * here)));
    maxima.push_back(Floats(static_cast<size_t>(s.rows)));
    loss.logits(on(), {in.h.data(), in.w.data() + first[r] * s.size, logits[r].data(), maxima[r].data(), s.rows, s.size, here});
  }
  Floats most = maxima[0];
  for (const Floats& each : maxima) {
    for (size_t t = 0; t < most.size(); ++t) most[t] = std::max(most[t], each[t]);
  }
  for (int64_t r = 0; r < ranks; ++r) {
    sums.push_back(Floats(static_cast<size_t>(2 * s.rows)));
    loss.exponentials(on(), {logits[r].data(), most.data(), in.targets.data(), sums[r].data(), first[r], s.vocabulary, s.rows, first[r + 1] - first[r]});
  }
  const Floats sum = contract::added(sums);
  Results out;
  for (int64_t r = 0; r < ranks; ++r) {
    const int64_t here = first[r + 1] - first[r];
    const float* w = in.w.data() + first[r] * s.size;
    Floats losses(in.targets.size()), dw(static_cast<size_t>(here * s.size));
    loss.finish(on(), {logits[r].data(), most.data(), sum.data(), in.targets.data(), losses.data(), first[r], in.weight, s.rows, here});
    if (r == 0) out.losses = losses;
    CHECK(same_bits(losses, out.losses));
    dh.push_back(Floats(in.h.size()));
    loss.backward_input(on(), {logits[r].data(), w, dh[r].data(), first[r], s.vocabulary, s.rows, here, s.size});
    loss.backward_weight(on(), {logits[r].data(), in.h.data(), dw.data(), nullptr, s.length, 8, 0, s.rows, here, s.size});
    out.dw.insert(out.dw.end(), dw.begin(), dw.end());
  }
  out.dh = contract::added(dh);
  return out;
}

// Spans of equal and unequal length, a last unit that isn't full, fewer units than eight, more rows than a block.
const Shape shapes[] = {{30, 40, 259, 15}, {12, 33, 1000, 4}, {9, 24, 4096, 9}, {5, 17, 130, 5}, {420, 12, 259, 60}, {3, 20, 50257, 1}};

void check_same(const Results& seen, const Results& wanted, const std::string& where) {
  if (!same_bits(seen.losses, wanted.losses)) check::fault(__FILE__, __LINE__, "losses: " + where);
  if (!same_bits(seen.dh, wanted.dh)) check::fault(__FILE__, __LINE__, "dh: " + where);
  if (!same_bits(seen.dw, wanted.dw)) check::fault(__FILE__, __LINE__, "dw: " + where);
}

}  // namespace

TEST("1, 2, 4 and 8 ranks get the losses and gradients of the fused loss to the bit") {
  for (const Shape& s : shapes) {
    const Inputs in(s);
    const Results wanted = alone(each_isa().back(), 2, s, in);
    for (const Loss& loss : each_isa()) {
      for (const int64_t ranks : {1, 2, 4, 8}) {
        const int threads = 1 + static_cast<int>(ranks) % 3;
        check_same(together(loss, threads, ranks, s, in), wanted, std::string(loss.isa) + ", " + std::to_string(ranks) + " ranks, " + std::to_string(s.vocabulary));
      }
    }
  }
}

TEST("tokens that don't count have loss 0 and gradient +0 on every rank") {
  const Shape s{7, 16, 200, 7};
  Inputs in(s);
  std::fill(in.targets.begin(), in.targets.end(), -1);
  for (const Loss& loss : each_isa()) {
    const Results out = together(loss, 1, 4, s, in);
    for (const Floats* values : {&out.losses, &out.dh, &out.dw}) {
      for (const float value : *values) CHECK(same_bits(value, 0.0f));
    }
  }
}

TEST("a logit that is no number makes the loss of its row none, and no other") {
  const Shape s{20, 24, 300, 10};
  Inputs in(s);
  std::fill(in.targets.begin(), in.targets.end(), 290);
  in.h[7 * 24 + 5] = INFINITY;
  for (const Loss& loss : each_isa()) {
    const Results out = together(loss, 2, 2, s, in);
    for (int64_t t = 0; t < s.rows; ++t) CHECK(std::isnan(out.losses[t]) == (t == 7));
  }
}

TEST("rows that are no rank's share, and targets outside of the vocabulary, are refused") {
  Floats logits(64), maxima(1), sums(2);
  for (const Loss& loss : each_isa()) {
    // Of 259 rows: spans begin at 0, 32, 64, 96, 128, 160, 192, 224.
    for (const auto& [first, rows] : {std::pair<int64_t, int64_t>{0, 31}, {16, 32}, {32, 64}, {0, 16}}) {
      const int32_t target = 0;
      every::refused("cross_entropy: the rows that are here are not the share of one of 1, 2, 4 or 8 ranks", [&, first = first, rows = rows] {
        loss.exponentials(every::context_of(1), {logits.data(), maxima.data(), &target, sums.data(), first, 259, 1, rows});
      });
    }
    const int32_t target = 259;
    every::refused("cross_entropy: a target is outside the vocabulary", [&] {
      loss.exponentials(every::context_of(1), {logits.data(), maxima.data(), &target, sums.data(), 32, 259, 1, 32});
    });
  }
}

TEST_MAIN
