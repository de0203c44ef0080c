// Mixture of experts: routing against float64, gradients against differences, and products of experts bit for bit those of linear layers.
#include "reference/mixture.h"
#include "tests/every-isa.h"

namespace {

using every::Floats;
using every::Integers;
using every::same_bits;
using every::same_everywhere;
using every::wide;
using wl::reference::RouterShape;

struct Routed {
  Floats probabilities, weights;
  Integers choices, slot_of, tokens, ends;
};

template <class Run>
Routed routed(Run run, wl::Context& on, const RouterShape& s, const Floats& logits) {
  const size_t slots = static_cast<size_t>(s.tokens * s.chosen);
  Routed r{Floats(logits.size()), Floats(slots), Integers(slots), Integers(slots), Integers(slots), Integers(static_cast<size_t>(s.experts))};
  run(on, {logits.data(), r.probabilities.data(), r.choices.data(), r.weights.data(), r.slot_of.data(), r.tokens.data(), r.ends.data(), s.tokens,
           s.experts, s.chosen, s.tokens * s.chosen});
  return r;
}

Routed routed(const RouterShape& s, const Floats& logits) {
  return routed(EVERY_ISA(route_forward).back().run, every::context_of(2), s, logits);
}

const std::vector<RouterShape>& shapes() {
  static const std::vector<RouterShape> all = {{1, 1, 1}, {1, 8, 2}, {5, 3, 3}, {33, 8, 2}, {64, 17, 4}, {7, 40, 1}, {0, 4, 2}};
  return all;
}

Floats logits_of(const RouterShape& s) { return every::values(s.tokens * s.experts, 1); }

}  // namespace

TEST("a router takes the likeliest experts, weighs them to a sum of 1, and has the same bits everywhere") {
  for (const RouterShape& s : shapes()) {
    const Floats logits = logits_of(s);
    const auto wanted = wl::reference::route(s, wide(logits));
    const auto seen = same_everywhere(EVERY_ISA(route_forward), "route_forward", [&](auto run, wl::Context& on) {
      const Routed r = routed(run, on, s, logits);
      CHECK((r.choices == wanted.choices));
      return std::vector<Floats>{r.probabilities, r.weights};
    });
    every::within(seen[0], wanted.probabilities, "probabilities", [](size_t) { return 40 * every::roundoff; });
    every::within(seen[1], wanted.weights, "weights", [](size_t) { return 80 * every::roundoff; });
  }
}

TEST("slots are in order of experts, then of tokens, and lead there and back") {
  for (const RouterShape& s : shapes()) {
    const Routed r = routed(s, logits_of(s));
    int32_t begin = 0;
    for (int64_t e = 0; e < s.experts; ++e) {
      for (int32_t slot = begin; slot < r.ends[e]; ++slot) {
        CHECK(slot == begin || r.tokens[slot - 1] < r.tokens[slot]);
        bool leads_back = false;
        for (int64_t k = 0; k < s.chosen; ++k) {
          const int64_t at = r.tokens[slot] * s.chosen + k;
          leads_back = leads_back || (r.slot_of[at] == slot && r.choices[at] == e);
        }
        CHECK(leads_back);
      }
      begin = r.ends[e];
    }
    CHECK_EQUAL(int64_t(begin), s.tokens * s.chosen);
  }
}

TEST("among equal probabilities the lower expert comes first") {
  const RouterShape s{2, 4, 2};
  CHECK((routed(s, Floats(8, 0.5f)).choices == Integers{0, 1, 0, 1}));
}

TEST("the gradient of a router equals central differences, with its losses and without") {
  const RouterShape s{9, 5, 2};
  const Floats logits = logits_of(s), dweights = every::values(s.tokens * s.chosen, 2);
  const Routed r = routed(s, logits);
  for (const auto& [balance, z] : {std::pair{0.0f, 0.0f}, std::pair{0.5f, 0.0f}, std::pair{0.0f, 0.25f}, std::pair{0.5f, 0.25f}}) {
    const auto seen = same_everywhere(EVERY_ISA(route_backward), "route_backward", [&](auto run, wl::Context& on) {
      Floats dlogits(logits.size());
      run(on, {dweights.data(), logits.data(), r.probabilities.data(), r.choices.data(), r.weights.data(), r.ends.data(), dlogits.data(), balance, z,
               s.tokens, s.chosen, s.experts});
      return std::vector<Floats>{dlogits};
    });
    auto at = wide(logits);
    for (size_t i = 0; i < at.size(); ++i) {
      const double step = 1e-5, here = at[i];
      const auto loss = [&] { return wl::reference::router_loss(s, at, r.choices, wide(dweights), balance, z); };
      at[i] = here + step;
      const double above = loss();
      at[i] = here - step;
      const double below = loss();
      at[i] = here;
      // Rounding of some tens of terms of about unit size.
      CHECK(std::abs((above - below) / (2 * step) - static_cast<double>(seen[0][i])) <= 1e-5);
    }
  }
}

TEST("rows go to their slots and back: sums over the choices of a token, weighted or not") {
  for (const RouterShape& s : shapes()) {
    const int64_t width = 19, slots = s.tokens * s.chosen;
    const Routed r = routed(s, logits_of(s));
    const Floats x = every::values(s.tokens * width, 3), rows = every::values(slots * width, 4);
    const auto moved = same_everywhere(EVERY_ISA(dispatch_forward), "dispatch_forward", [&](auto run, wl::Context& on) {
      Floats y(static_cast<size_t>(slots * width));
      run(on, {x.data(), r.tokens.data(), y.data(), s.tokens, width, slots});
      return std::vector<Floats>{y};
    });
    const auto summed = same_everywhere(EVERY_ISA(dispatch_backward), "dispatch_backward", [&](auto run, wl::Context& on) {
      Floats dx(x.size());
      run(on, {rows.data(), r.slot_of.data(), dx.data(), slots, width, s.tokens, s.chosen});
      return std::vector<Floats>{dx};
    });
    const auto mixed = same_everywhere(EVERY_ISA(combine_forward), "combine_forward", [&](auto run, wl::Context& on) {
      Floats y(x.size());
      run(on, {rows.data(), r.weights.data(), r.slot_of.data(), y.data(), slots, width, s.tokens, s.chosen});
      return std::vector<Floats>{y};
    });
    const auto back = same_everywhere(EVERY_ISA(combine_backward), "combine_backward", [&](auto run, wl::Context& on) {
      Floats dx(rows.size()), dweights(static_cast<size_t>(slots));
      run(on, {x.data(), rows.data(), r.weights.data(), r.slot_of.data(), dx.data(), dweights.data(), s.tokens, width, slots, s.chosen});
      return std::vector<Floats>{dx, dweights};
    });
    for (int64_t t = 0; t < s.tokens; ++t) {
      for (int64_t d = 0; d < width; ++d) {
        float sum = 0, mix = 0;
        for (int64_t k = 0; k < s.chosen; ++k) {
          const int64_t choice = t * s.chosen + k, at = r.slot_of[choice] * width + d;
          CHECK(same_bits(moved[0][at], x[t * width + d]));
          CHECK(same_bits(back[0][at], x[t * width + d] * r.weights[choice]));
          sum += rows[at];
          mix = std::fma(r.weights[choice], rows[at], mix);
        }
        CHECK(same_bits(summed[0][t * width + d], sum));
        CHECK(same_bits(mixed[0][t * width + d], mix));
      }
      for (int64_t k = 0; k < s.chosen; ++k) {
        const int64_t choice = t * s.chosen + k;
        double dot = 0, size = 0;
        for (int64_t d = 0; d < width; ++d) {
          const double term = static_cast<double>(x[t * width + d]) * static_cast<double>(rows[r.slot_of[choice] * width + d]);
          dot += term;
          size += std::abs(term);
        }
        CHECK(std::abs(dot - static_cast<double>(back[1][choice])) <= 8 * every::roundoff * size);
      }
    }
  }
}

TEST("the products of an expert are those of a linear layer on its slots, an expert without any among them") {
  const int64_t slots = 11, in = 21, out = 37, second = 18;
  const Integers ends = {4, 4, 11};
  const Floats x = every::values(slots * in, 1), dy = every::values(slots * out, 2), dy2 = every::values(slots * second, 3);
  wl::Context& on = every::context_of(2);
  const auto rows = [&](const Floats& all, int64_t width, int64_t begin, int64_t end) {
    return Floats(all.begin() + begin * width, all.begin() + end * width);
  };
  for (int64_t expert = 0; expert < 3; ++expert) {
    const int64_t begin = expert == 0 ? 0 : ends[expert - 1], end = ends[expert], count = end - begin;
    const Floats w = every::values(out * in, 10 + expert), w2 = every::values(second * in, 20 + expert), before = every::values(out * in, 30);
    Floats packed(static_cast<size_t>(wl::op::packed_size(out, in)));
    EVERY_ISA(linear_pack).back().run(on, {w.data(), packed.data(), out, in, int64_t(packed.size())});
    Floats y(slots * out, 9.0f), by_packed = y, dx(slots * in, 9.0f), dw = before, added = before;
    const auto forward = EVERY_ISA(expert_forward).back().run;
    forward(on, {x.data(), ends.data(), w.data(), nullptr, y.data(), expert, slots, in, 3, out, 0});
    forward(on, {x.data(), ends.data(), nullptr, packed.data(), by_packed.data(), expert, slots, in, 3, out, int64_t(packed.size())});
    EVERY_ISA(expert_backward_input).back().run(on, {dy.data(), w.data(), dy2.data(), w2.data(), ends.data(), dx.data(), expert, slots, out, in, second, 3});
    EVERY_ISA(expert_backward_weight).back().run(on, {dy.data(), x.data(), ends.data(), dw.data(), expert, 0, slots, out, in, 3});
    EVERY_ISA(expert_backward_weight).back().run(on, {dy.data(), x.data(), ends.data(), added.data(), expert, 1, slots, out, in, 3});
    if (count == 0) {
      CHECK((y == Floats(y.size(), 9.0f) && dx == Floats(dx.size(), 9.0f) && dw == Floats(dw.size(), 0.0f) && added == before));
      continue;
    }
    const Floats own = rows(x, in, begin, end), own_dy = rows(dy, out, begin, end), own_dy2 = rows(dy2, second, begin, end);
    Floats wanted(count * out), wanted_dx(count * in), wanted_dw(out * in), wanted_sum = before;
    EVERY_ISA(linear_forward).back().run(on, {own.data(), w.data(), nullptr, wanted.data(), 16, 8, count, in, out});
    EVERY_ISA(linear_backward_input).back().run(on, {own_dy.data(), w.data(), own_dy2.data(), w2.data(), nullptr, nullptr, wanted_dx.data(), 16, 8, 0,
                                                     count, out, in, second, 0});
    EVERY_ISA(linear_backward_weight).back().run(on, {own_dy.data(), own.data(), wanted_dw.data(), nullptr, count, 8, 0, count, out, in});
    EVERY_ISA(linear_backward_weight).back().run(on, {own_dy.data(), own.data(), wanted_sum.data(), nullptr, count, 8, 1, count, out, in});
    CHECK(same_bits(rows(y, out, begin, end), wanted));
    CHECK(same_bits(by_packed, y));
    CHECK(same_bits(rows(dx, in, begin, end), wanted_dx));
    CHECK(same_bits(dw, wanted_dw));
    CHECK(same_bits(added, wanted_sum));
  }
}

TEST("slots and tokens outside the batch are refused") {
  const Floats x(4, 1.0f);
  Floats y(4);
  const Integers wrong = {0, 7}, ends = {3, 9};
  every::refused("the token of a slot is outside the batch", [&] {
    EVERY_ISA(dispatch_forward).back().run(every::context_of(1), {x.data(), wrong.data(), y.data(), 2, 2, 2});
  });
  every::refused("the slot of a token is outside the batch", [&] {
    EVERY_ISA(dispatch_backward).back().run(every::context_of(1), {x.data(), wrong.data(), y.data(), 2, 2, 2, 1});
  });
  every::refused("the slots of an expert are outside the batch", [&] {
    EVERY_ISA(expert_forward).back().run(every::context_of(1), {x.data(), ends.data(), x.data(), nullptr, y.data(), 1, 2, 2, 2, 2, 0});
  });
}

TEST_MAIN
