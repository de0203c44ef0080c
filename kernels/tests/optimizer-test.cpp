// The global norm against its fixed order of sums, AdamW against float64, and lists of tensors against one at a time.
#include "reference/optimizer.h"

#include "tests/every-isa.h"

namespace {

using every::Doubles;
using every::Floats;

using Lists = std::vector<Floats>;

struct Settings {
  float clip = 1.0f, rate = 1e-2f, beta1 = 0.9f, beta2 = 0.95f, eps = 1e-8f, decay = 0.1f;
};

wl::reference::AdamWSettings wide(const Settings& s) {
  return {static_cast<double>(s.rate), static_cast<double>(s.beta1), static_cast<double>(s.beta2), static_cast<double>(s.eps),
          static_cast<double>(s.decay)};
}

struct State {
  Lists params, first, second;
};

std::vector<float*> pointers(Lists& tensors) {
  std::vector<float*> all;
  for (Floats& tensor : tensors) all.push_back(tensor.data());
  return all;
}

std::vector<int64_t> sizes_of(const Lists& tensors) {
  std::vector<int64_t> sizes;
  for (const Floats& tensor : tensors) sizes.push_back(static_cast<int64_t>(tensor.size()));
  return sizes;
}

/** Tensors of odd sizes around the vector width and the chunks. */
Lists odd_tensors(uint64_t seed) {
  Lists tensors;
  for (const int64_t n : {1, 15, 16, 17, 4095, 4096, 4097, 2, 10007, 3}) tensors.push_back(every::values(n, seed++));
  return tensors;
}

State fresh(const Lists& params) {
  State state{params, params, params};
  for (Lists* moments : {&state.first, &state.second}) {
    for (Floats& tensor : *moments) tensor.assign(tensor.size(), 0.0f);
  }
  return state;
}

template <class Run>
float norm_with(Run run, wl::Context& context, Lists tensors) {
  const auto data = pointers(tensors);
  const auto sizes = sizes_of(tensors);
  float norm = -1.0f;
  run(context, {data.data(), sizes.data(), static_cast<int64_t>(sizes.size()), &norm});
  return norm;
}

float norm_of(const Lists& tensors) { return norm_with(EVERY_ISA(global_norm).back().run, every::context_of(2), tensors); }

template <class Run>
void step_with(Run run, wl::Context& context, State& state, Lists grads, const float* norm, const Settings& s, int64_t step) {
  const auto p = pointers(state.params), g = pointers(grads), m = pointers(state.first), v = pointers(state.second);
  const auto sizes = sizes_of(grads);
  const int64_t count = static_cast<int64_t>(sizes.size());
  run(context, {p.data(), sizes.data(), count, g.data(), sizes.data(), count, m.data(), sizes.data(), count, v.data(), sizes.data(), count,
                norm, s.clip, s.rate, s.beta1, s.beta2, s.eps, s.decay, step});
}

void step_of(State& state, const Lists& grads, const float* norm, const Settings& s, int64_t step) {
  step_with(EVERY_ISA(adamw).back().run, every::context_of(1), state, grads, norm, s, step);
}

/** The sum of squares as documented: chunks of 4,096, 16 lanes in each, all added in order. */
float scalar_norm(const Lists& tensors) {
  double total = 0;
  for (const Floats& tensor : tensors) {
    for (size_t at = 0; at < tensor.size(); at += 4096) {
      double lanes[16] = {};
      for (size_t i = at; i < std::min(tensor.size(), at + 4096); ++i) {
        lanes[i % 16] += static_cast<double>(tensor[i]) * static_cast<double>(tensor[i]);
      }
      double chunk = 0;
      for (const double lane : lanes) chunk += lane;
      total += chunk;
    }
  }
  return static_cast<float>(std::sqrt(total));
}

}  // namespace

TEST("the global norm is the documented sum in its order, on every instruction set and thread count") {
  for (const Lists& tensors : {odd_tensors(1), Lists{{3.0f, 4.0f}}, Lists{every::values(100003, 9)}}) {
    const auto seen = every::same_everywhere(EVERY_ISA(global_norm), "global_norm", [&](auto run, wl::Context& context) {
      return std::vector<Floats>{{norm_with(run, context, tensors)}};
    });
    CHECK(every::same_bits(seen[0][0], scalar_norm(tensors)));
  }
  CHECK_EQUAL(norm_of({{3.0f}, {4.0f}}), 5.0f);
}

TEST("the global norm stays finite where squares leave the range of floats, and has NaN and infinity") {
  CHECK_EQUAL(norm_of({{3e30f}, {4e30f}}), static_cast<float>(std::hypot(static_cast<double>(3e30f), static_cast<double>(4e30f))));
  CHECK_EQUAL(norm_of({{3e-30f}, {4e-30f}}), static_cast<float>(std::hypot(static_cast<double>(3e-30f), static_cast<double>(4e-30f))));
  CHECK(std::isnan(norm_of({{1.0f, std::nanf("")}, {2.0f}})));
  CHECK(std::isinf(norm_of({{1.0f, -INFINITY}, {2.0f}})));
}

TEST("ten steps stay within the rounding bounds of AdamW in float64, with clipping and decay") {
  for (const float clip : {0.5f, 1e6f}) {
    for (const float decay : {0.0f, 0.1f}) {
      const Settings s{.clip = clip, .decay = decay};
      const Floats start = every::values(10007, 3);
      State state = fresh({start});
      wl::reference::AdamWState wanted(every::wide(start));
      for (int64_t step = 1; step <= 10; ++step) {
        const Floats grads = every::values(10007, 100 + static_cast<uint64_t>(step));
        const float norm = norm_of({grads});
        CHECK((norm > clip) == (clip < 1));
        step_of(state, {grads}, &norm, s, step);
        const double factor = std::min(1.0, static_cast<double>(clip) / (static_cast<double>(norm) + 1e-6));
        wl::reference::adamw(wanted, every::wide(grads), wide(s), factor, step);
      }
      // A moment after ten steps has rounded each gradient at most 5 and each sum at most 10 times; its square counts twice.
      every::within(state.first[0], wanted.first, "first", [&](size_t i) { return 20 * every::roundoff * wanted.magnitude[i]; });
      every::within(state.second[0], wanted.second, "second", [&](size_t i) { return 30 * every::roundoff * wanted.second[i]; });
      every::within(state.params[0], wanted.params, "params", [&](size_t i) { return wanted.drift[i]; });
    }
  }
}

TEST("the first step moves a parameter by the rate against the sign of its gradient") {
  const Settings s{.rate = 0.25f, .eps = 1e-12f, .decay = 0.0f};
  State state = fresh({{1.0f, 1.0f, 1.0f, 1.0f}});
  step_of(state, {{5.0f, -0.001f, 0.0f, 1e4f}}, nullptr, s, 1);
  every::within(state.params[0], {0.75, 1.25, 1.0, 0.75}, "params", [](size_t) { return 4 * every::roundoff; });
}

TEST("a parameter without a gradient only decays, and one without decay rests") {
  State state = fresh({{1.5f, -3.0f}});
  step_of(state, {{0.0f, 0.0f}}, nullptr, {.rate = 0.5f, .decay = 0.5f}, 1);
  CHECK((state.params[0] == Floats{1.125f, -2.25f}));
  step_of(state, {{0.0f, 0.0f}}, nullptr, {.rate = 0.5f, .decay = 0.0f}, 2);
  CHECK((state.params[0] == Floats{1.125f, -2.25f}));
}

TEST("many tensors in one call have the bits of one call each, on every instruction set and thread count") {
  const float norm = 3.0f;
  const auto seen = every::same_everywhere(EVERY_ISA(adamw), "adamw", [&](auto run, wl::Context& context) {
    State state = fresh(odd_tensors(7));
    for (int64_t step = 1; step <= 3; ++step) step_with(run, context, state, odd_tensors(20 + static_cast<uint64_t>(step)), &norm, {}, step);
    Lists all = state.params;
    all.insert(all.end(), state.first.begin(), state.first.end());
    all.insert(all.end(), state.second.begin(), state.second.end());
    return all;
  });
  const size_t count = odd_tensors(7).size();
  for (size_t t = 0; t < count; ++t) {
    State one = fresh({odd_tensors(7)[t]});
    for (int64_t step = 1; step <= 3; ++step) step_of(one, {odd_tensors(20 + static_cast<uint64_t>(step))[t]}, &norm, {}, step);
    CHECK(every::same_bits(one.params[0], seen[t]));
    CHECK(every::same_bits(one.first[0], seen[count + t]));
    CHECK(every::same_bits(one.second[0], seen[2 * count + t]));
  }
}

TEST("a norm within the clip leaves the bits of no norm at all, and a NaN norm is not hidden") {
  const Lists grads = {every::values(1000, 5)};
  State without = fresh({every::values(1000, 6)}), within = without, broken = without;
  const float small = 0.5f, nan = std::nanf("");
  step_of(without, grads, nullptr, {}, 1);
  step_of(within, grads, &small, {}, 1);
  CHECK(every::same_bits(without.params[0], within.params[0]));
  step_of(broken, grads, &nan, {}, 1);
  for (const float value : broken.params[0]) CHECK(std::isnan(value));
}

TEST("bias corrections hold at steps far into a run") {
  const Settings s{.rate = 0.125f, .eps = 0.0f, .decay = 0.0f};
  for (const int64_t step : {int64_t{1}, int64_t{2}, int64_t{1000}, int64_t{1} << 40}) {
    State state = fresh({{0.0f}});
    step_of(state, {{2.0f}}, nullptr, s, step);
    const double b1 = static_cast<double>(s.beta1), b2 = static_cast<double>(s.beta2), t = static_cast<double>(step);
    const double first = (1 - b1) * 2 / (1 - std::pow(b1, t)), second = (1 - b2) * 4 / (1 - std::pow(b2, t));
    every::within(state.params[0], {-0.125 * first / std::sqrt(second)}, "params", [](size_t) { return 0.25 * 8 * every::roundoff; });
  }
}

TEST("step 0 is refused") {
  State state = fresh({{1.0f}});
  every::refused("adamw: steps count from 1", [&] { step_of(state, {{1.0f}}, nullptr, {}, 0); });
}

TEST_MAIN
