// Operations on single elements, copies of rows and the sum: exact results, activations against float64, and equal bits everywhere.
#include "reference/activation.h"
#include "tests/every-isa.h"

namespace {

using every::Floats;
using every::Integers;
using every::same_everywhere;
using every::wide;

constexpr double u = every::roundoff;

/** Values whose activations are neither all flat nor all linear, and the corners. */
Floats activation_inputs(int64_t n) {
  Floats x = every::values(n, 21);
  const float corners[] = {0.0f, -0.0f, 1e-30f, -1e-30f, 20.0f, -20.0f, 88.0f, -88.0f, 1000.0f, -1000.0f};
  for (size_t i = 0; i < x.size() && i < 10; ++i) x[i] = corners[i];
  return x;
}

}  // namespace

TEST("fill, copy, add and scale give the rounded results of single operations, for every length") {
  for (const int64_t n : every::ragged_lengths()) {
    const Floats a = every::values(n, 1), b = every::values(n, 2);
    const auto filled = same_everywhere(EVERY_ISA(fill), "fill", [&](auto run, wl::Context& on) {
      Floats y(a.size());
      run(on, {y.data(), 2.5f, n});
      return std::vector<Floats>{y};
    });
    const auto copied = same_everywhere(EVERY_ISA(copy), "copy", [&](auto run, wl::Context& on) {
      Floats y(a.size());
      run(on, {a.data(), y.data(), n});
      return std::vector<Floats>{y};
    });
    const auto added = same_everywhere(EVERY_ISA(add), "add", [&](auto run, wl::Context& on) {
      Floats y = a;
      run(on, {y.data(), b.data(), y.data(), n});
      return std::vector<Floats>{y};
    });
    const auto scaled = same_everywhere(EVERY_ISA(scale), "scale", [&](auto run, wl::Context& on) {
      Floats y = a;
      run(on, {y.data(), y.data(), 0.3f, n});
      return std::vector<Floats>{y};
    });
    for (size_t i = 0; i < a.size(); ++i) {
      CHECK_EQUAL(filled[0][i], 2.5f);
      CHECK_EQUAL(copied[0][i], a[i]);
      CHECK_EQUAL(added[0][i], a[i] + b[i]);
      CHECK_EQUAL(scaled[0][i], 0.3f * a[i]);
    }
  }
}

TEST("nothing is written beyond the last element") {
  for (const auto& variant : EVERY_ISA(fill)) {
    for (const int64_t n : every::ragged_lengths()) {
      Floats y(static_cast<size_t>(n + 32), 7.0f);
      variant.run(every::context_of(1), {y.data(), 1.0f, n});
      for (size_t i = static_cast<size_t>(n); i < y.size(); ++i) CHECK_EQUAL(y[i], 7.0f);
    }
  }
}

TEST("gathered rows are those asked for, and a row that does not exist is refused") {
  const int64_t rows = 11, columns = 19;
  const Floats x = every::values(rows * columns, 3);
  const Integers wanted = {10, 0, 3, 3, 7};
  for (const auto& variant : EVERY_ISA(gather_rows)) {
    Floats y(wanted.size() * columns);
    variant.run(every::context_of(2), {x.data(), wanted.data(), y.data(), rows, columns, 5});
    for (size_t i = 0; i < y.size(); ++i) CHECK_EQUAL(y[i], x[static_cast<size_t>(wanted[i / columns]) * columns + i % columns]);
    for (const int32_t bad : {-1, 11}) {
      const Integers one = {bad};
      every::refused("gather_rows: a row number is out of range", [&] { variant.run(every::context_of(1), {x.data(), one.data(), y.data(), rows, columns, 1}); });
    }
  }
}

TEST("the sum is that of 16 double lanes in chunks of 4,096, rounded once") {
  for (const int64_t n : every::ragged_lengths()) {
    const Floats x = every::values(n, 4);
    const auto seen = same_everywhere(EVERY_ISA(sum), "sum", [&](auto run, wl::Context& on) {
      Floats y(1);
      run(on, {x.data(), y.data(), n});
      return std::vector<Floats>{y};
    });
    double total = 0;
    for (int64_t first = 0; first < n; first += 4096) {
      double lane[16] = {}, chunk = 0;
      for (int64_t i = first; i < std::min(n, first + 4096); ++i) lane[i % 16] += static_cast<double>(x[i]);
      for (const double value : lane) chunk += value;
      total += chunk;
    }
    CHECK(every::same_bits(seen[0][0], static_cast<float>(total)));
  }
}

TEST("GELU and its slope are within rounding of float64, for every length") {
  for (const bool is_tanh : {false, true}) {
    for (const int64_t n : every::ragged_lengths()) {
      const Floats x = activation_inputs(n), dy = every::values(n, 5);
      const auto seen = same_everywhere(EVERY_ISA(gelu_forward), "gelu_forward", [&](auto run, wl::Context& on) {
        Floats y(x.size());
        run(on, {x.data(), y.data(), is_tanh ? 1 : 0, n});
        return std::vector<Floats>{y};
      });
      const auto slopes = same_everywhere(EVERY_ISA(gelu_backward), "gelu_backward", [&](auto run, wl::Context& on) {
        Floats dx(x.size());
        run(on, {dy.data(), x.data(), dx.data(), is_tanh ? 1 : 0, n});
        return std::vector<Floats>{dx};
      });
      every::Doubles y(x.size()), dx(x.size());
      for (size_t i = 0; i < x.size(); ++i) {
        y[i] = wl::reference::gelu(static_cast<double>(x[i]), is_tanh);
        dx[i] = static_cast<double>(dy[i]) * wl::reference::gelu_slope(static_cast<double>(x[i]), is_tanh);
      }
      // The distribution function is rounded near 1; its slope's argument carries a few roundings, which x^2 steepens.
      every::within(seen[0], y, "gelu", [&](size_t i) { return 4 * u * std::abs(static_cast<double>(x[i])); });
      every::within(slopes[0], dx, "gelu slope", [&](size_t i) { return 16 * u * std::abs(static_cast<double>(dy[i])); });
    }
  }
}

TEST("SiLU, its slope and the gated form are within rounding of float64, for every length") {
  for (const int64_t n : every::ragged_lengths()) {
    const Floats x = activation_inputs(n), up = every::values(n, 6), dy = every::values(n, 7);
    const auto plain = same_everywhere(EVERY_ISA(silu_forward), "silu_forward", [&](auto run, wl::Context& on) {
      Floats y(x.size());
      run(on, {x.data(), y.data(), n});
      return std::vector<Floats>{y};
    });
    const auto slopes = same_everywhere(EVERY_ISA(silu_backward), "silu_backward", [&](auto run, wl::Context& on) {
      Floats dx(x.size());
      run(on, {dy.data(), x.data(), dx.data(), n});
      return std::vector<Floats>{dx};
    });
    const auto gated = same_everywhere(EVERY_ISA(gated_silu_forward), "gated_silu_forward", [&](auto run, wl::Context& on) {
      Floats y(x.size());
      run(on, {x.data(), up.data(), y.data(), n});
      return std::vector<Floats>{y};
    });
    const auto gradients = same_everywhere(EVERY_ISA(gated_silu_backward), "gated_silu_backward", [&](auto run, wl::Context& on) {
      Floats dgate(x.size()), dup(x.size());
      run(on, {dy.data(), x.data(), up.data(), dgate.data(), dup.data(), n});
      return std::vector<Floats>{dgate, dup};
    });
    const auto a = wide(x), b = wide(up), g = wide(dy);
    every::Doubles y(x.size()), dx(x.size()), product(x.size()), dgate(x.size()), dup(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      y[i] = wl::reference::silu(a[i]);
      dx[i] = g[i] * wl::reference::silu_slope(a[i]);
      product[i] = y[i] * b[i];
      dup[i] = g[i] * y[i];
      dgate[i] = g[i] * b[i] * wl::reference::silu_slope(a[i]);
    }
    // Relative: sigmoid is 2.5 ulp off. Below -88.7 it is 0 where silu is -1e-37.
    const auto bound = [](const every::Doubles& wanted, const every::Doubles& factor, double ulps) {
      return [&, ulps](size_t i) { return ulps * u * std::abs(wanted[i]) + 1e-35 * std::abs(factor[i]); };
    };
    const every::Doubles one(x.size(), 1.0);
    every::within(plain[0], y, "silu", bound(y, one, 8));
    every::within(gated[0], product, "gated silu", bound(product, b, 10));
    every::within(gradients[1], dup, "dup", bound(dup, g, 10));
    every::within(slopes[0], dx, "silu slope", [&](size_t i) { return 12 * u * std::abs(g[i]); });
    every::within(gradients[0], dgate, "dgate", [&](size_t i) { return 14 * u * std::abs(g[i] * b[i]); });
  }
}

TEST("the form gated by GELU is within rounding of float64, for every length") {
  for (const int64_t n : every::ragged_lengths()) {
    const Floats x = activation_inputs(n), up = every::values(n, 6), dy = every::values(n, 7);
    const auto gated = same_everywhere(EVERY_ISA(gated_gelu_forward), "gated_gelu_forward", [&](auto run, wl::Context& on) {
      Floats y(x.size());
      run(on, {x.data(), up.data(), y.data(), n});
      return std::vector<Floats>{y};
    });
    const auto gradients = same_everywhere(EVERY_ISA(gated_gelu_backward), "gated_gelu_backward", [&](auto run, wl::Context& on) {
      Floats dgate(x.size()), dup(x.size());
      run(on, {dy.data(), x.data(), up.data(), dgate.data(), dup.data(), n});
      return std::vector<Floats>{dgate, dup};
    });
    const auto a = wide(x), b = wide(up), g = wide(dy);
    every::Doubles product(x.size()), dgate(x.size()), dup(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      product[i] = wl::reference::gelu(a[i], true) * b[i];
      dup[i] = g[i] * wl::reference::gelu(a[i], true);
      dgate[i] = g[i] * b[i] * wl::reference::gelu_slope(a[i], true);
    }
    every::within(gated[0], product, "gated gelu", [&](size_t i) { return 5 * u * std::abs(a[i] * b[i]); });
    every::within(gradients[1], dup, "dup", [&](size_t i) { return 5 * u * std::abs(a[i] * g[i]); });
    every::within(gradients[0], dgate, "dgate", [&](size_t i) { return 18 * u * std::abs(g[i] * b[i]); });
  }
}

TEST("ReLU and its gradient are exact, for every length") {
  for (const int64_t n : every::ragged_lengths()) {
    Floats x = activation_inputs(n);
    const Floats dy = every::values(n, 7);
    x[0] = 0;
    const auto seen = same_everywhere(EVERY_ISA(relu_forward), "relu_forward", [&](auto run, wl::Context& on) {
      Floats y(x.size());
      run(on, {x.data(), y.data(), n});
      return std::vector<Floats>{y};
    });
    const auto slopes = same_everywhere(EVERY_ISA(relu_backward), "relu_backward", [&](auto run, wl::Context& on) {
      Floats dx(x.size());
      run(on, {dy.data(), seen[0].data(), dx.data(), n});
      return std::vector<Floats>{dx};
    });
    for (size_t i = 0; i < x.size(); ++i) {
      CHECK_EQUAL(static_cast<double>(seen[0][i]), wl::reference::relu(static_cast<double>(x[i])));
      CHECK_EQUAL(slopes[0][i], x[i] > 0 ? dy[i] : 0.0f);
    }
  }
}

TEST("slopes equal central differences of the float64 functions") {
  const Floats x = every::values(257, 8), ones(257, 1.0f);
  Floats gelu(257), approximate(257), silu(257), gated(257), up(257);
  EVERY_ISA(gelu_backward).back().run(every::context_of(1), {ones.data(), x.data(), gelu.data(), 0, 257});
  EVERY_ISA(gelu_backward).back().run(every::context_of(1), {ones.data(), x.data(), approximate.data(), 1, 257});
  EVERY_ISA(silu_backward).back().run(every::context_of(1), {ones.data(), x.data(), silu.data(), 257});
  EVERY_ISA(gated_silu_backward).back().run(every::context_of(1), {ones.data(), x.data(), ones.data(), gated.data(), up.data(), 257});
  // Step^2 / 6 times a third derivative of at most 2, and the rounding of the slope, at most 2 in size.
  const double step = 1e-4, bound = step * step + 32 * u;
  for (size_t i = 0; i < x.size(); ++i) {
    const double at = static_cast<double>(x[i]);
    const auto slope = [&](auto f) { return (f(at + step) - f(at - step)) / (2 * step); };
    CHECK(std::abs(static_cast<double>(gelu[i]) - slope([](double v) { return wl::reference::gelu(v, false); })) <= bound);
    CHECK(std::abs(static_cast<double>(approximate[i]) - slope([](double v) { return wl::reference::gelu(v, true); })) <= bound);
    CHECK(std::abs(static_cast<double>(silu[i]) - slope(wl::reference::silu)) <= bound);
    CHECK(std::abs(static_cast<double>(gated[i]) - slope(wl::reference::silu)) <= bound);
    CHECK(std::abs(static_cast<double>(up[i]) - wl::reference::silu(at)) <= bound);
  }
}

TEST("activations of an element do not depend on where it stands") {
  const Floats x = every::values(100, 9);
  Floats whole(100), one(1);
  for (const auto& variant : EVERY_ISA(gelu_forward)) {
    variant.run(every::context_of(1), {x.data(), whole.data(), 1, 100});
    for (size_t i = 0; i < x.size(); ++i) {
      variant.run(every::context_of(1), {x.data() + i, one.data(), 1, 1});
      CHECK(every::same_bits(one[0], whole[i]));
    }
  }
}

TEST_MAIN
