// AdamW over lists of tensors: the float64 reference, and what must not change a bit.
#include "reference/optimizer.h"
#include "tests/every-isa.h"
#include "tests/tensor-list.h"

namespace {

using every::Floats;
using every::same_bits;
using every::same_everywhere;
using every::List;
using wl::reference::AdamWSettings;

constexpr double u = every::roundoff;

struct State {
  List params, grads, first, second;

  explicit State(const std::vector<int64_t>& sizes) : params(sizes, 10), grads(sizes, 20, 0.1f), first(sizes, 30, 0.01f), second(sizes, 40, 0.01f) {
    for (Floats& tensor : second.tensors) {
      for (float& value : tensor) value = std::abs(value);
    }
  }
};

struct Step {
  float clip, rate, beta1, beta2, eps, decay;
  int64_t step;
};

template <class Run>
State stepped(Run run, wl::Context& on, State state, const Step& s, const float* norm) {
  const auto& [params, grads, first, second] = state;
  run(on, {params.data.data(), params.sizes.data(), params.count(), grads.data.data(), grads.sizes.data(), grads.count(), first.data.data(),
           first.sizes.data(), first.count(), second.data.data(), second.sizes.data(), second.count(), norm, s.clip, s.rate, s.beta1, s.beta2,
           s.eps, s.decay, s.step});
  return state;
}

std::vector<Floats> outputs_of(const State& state) {
  std::vector<Floats> all = state.params.tensors;
  all.insert(all.end(), state.first.tensors.begin(), state.first.tensors.end());
  all.insert(all.end(), state.second.tensors.begin(), state.second.tensors.end());
  return all;
}

const std::vector<int64_t> sizes = {1, 4096, 17, 4097, 8191, 3, 16, 20000};
const Step usual = {1.0f, 3e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 7};

auto best() { return EVERY_ISA(adamw).back().run; }

}  // namespace

TEST("AdamW is within rounding of float64, with the same bits everywhere") {
  const State before(sizes);
  for (const int64_t step : {1, 2, 7, 1000, 1000000}) {
    for (const float norm : {0.25f, 40.0f}) {
      Step s = usual;
      s.step = step;
      const auto seen = same_everywhere(EVERY_ISA(adamw), "adamw", [&](auto run, wl::Context& on) {
        return outputs_of(stepped(run, on, before, s, &norm));
      });
      const double clip = std::min(1.0, 1.0 / (static_cast<double>(norm) + 1e-6));
      const AdamWSettings settings{static_cast<double>(s.rate), static_cast<double>(s.beta1), static_cast<double>(s.beta2),
                                   static_cast<double>(s.eps), static_cast<double>(s.decay), step};
      const size_t count = sizes.size();
      for (size_t t = 0; t < count; ++t) {
        every::Doubles wanted[3], moved, scale[2];
        for (size_t i = 0; i < before.params.tensors[t].size(); ++i) {
          const double p = static_cast<double>(before.params.tensors[t][i]), g = static_cast<double>(before.grads.tensors[t][i]) * clip;
          const double m = static_cast<double>(before.first.tensors[t][i]), v = static_cast<double>(before.second.tensors[t][i]);
          const auto after = wl::reference::adamw(settings, {p, m, v}, g);
          wanted[0].push_back(after.parameter);
          wanted[1].push_back(after.first);
          wanted[2].push_back(after.second);
          scale[0].push_back(std::abs(settings.beta1 * m) + std::abs((1 - settings.beta1) * g));
          scale[1].push_back(after.second);
          // What the update would be with the first moment's terms all of one sign: what its rounding is relative to.
          const double correction = 1 - std::pow(settings.beta1, static_cast<double>(step));
          const double root = std::sqrt(after.second / (1 - std::pow(settings.beta2, static_cast<double>(step)))) + settings.eps;
          moved.push_back(settings.rate * scale[0].back() / correction / root);
        }
        every::within(seen[t], wanted[0], "parameter", [&](size_t i) { return 3 * u * std::abs(wanted[0][i]) + 16 * u * moved[i]; });
        every::within(seen[count + t], wanted[1], "first moment", [&](size_t i) { return 4 * u * scale[0][i]; });
        every::within(seen[2 * count + t], wanted[2], "second moment", [&](size_t i) { return 8 * u * scale[1][i]; });
      }
    }
  }
}

TEST("a tensor's step does not depend on what else is in the list") {
  const State whole(sizes);
  const float norm = 2.0f;
  const State together = stepped(best(), every::context_of(3), whole, usual, &norm);
  for (size_t t = 0; t < sizes.size(); ++t) {
    State alone({sizes[t]});
    alone.params.tensors[0].assign(whole.params.tensors[t].begin(), whole.params.tensors[t].end());
    alone.grads.tensors[0].assign(whole.grads.tensors[t].begin(), whole.grads.tensors[t].end());
    alone.first.tensors[0].assign(whole.first.tensors[t].begin(), whole.first.tensors[t].end());
    alone.second.tensors[0].assign(whole.second.tensors[t].begin(), whole.second.tensors[t].end());
    CHECK(same_bits(stepped(best(), every::context_of(1), alone, usual, &norm).params.tensors[0], together.params.tensors[t]));
  }
}

TEST("a norm below the limit, and no norm, leave gradients as they are") {
  const State before(sizes);
  const float below = 0.5f;
  const auto clipped = outputs_of(stepped(best(), every::context_of(1), before, usual, &below));
  const auto unclipped = outputs_of(stepped(best(), every::context_of(1), before, usual, nullptr));
  for (size_t i = 0; i < clipped.size(); ++i) CHECK(same_bits(clipped[i], unclipped[i]));
}

TEST("without gradient, moments and decay a parameter stays as it is") {
  State before(sizes);
  for (List* list : {&before.grads, &before.first, &before.second}) {
    for (Floats& tensor : list->tensors) std::fill(tensor.begin(), tensor.end(), 0.0f);
  }
  Step s = usual;
  s.decay = 0.0f;
  const State after = stepped(best(), every::context_of(1), before, s, nullptr);
  for (size_t t = 0; t < sizes.size(); ++t) CHECK(same_bits(after.params.tensors[t], before.params.tensors[t]));
}

TEST("a NaN norm reaches the parameters instead of passing for no clipping") {
  const State before({5});
  const float norm = std::nanf("");
  const State after = stepped(best(), every::context_of(1), before, usual, &norm);
  for (const float p : after.params.tensors[0]) CHECK(std::isnan(p));
}

TEST("step 0 is refused") {
  Step s = usual;
  s.step = 0;
  every::refused("adamw: steps count from 1", [&] { stepped(best(), every::context_of(1), State({5}), s, nullptr); });
}

TEST_MAIN
