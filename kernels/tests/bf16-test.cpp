// Tensors of bf16: products have an order of their own; any other operation gives the bits of the same operation on widened numbers, its result
// rounded once. On every instruction set.
#include <cmath>
#include <cstring>
#include <limits>

#include "tests/every-isa.h"

namespace {

using every::Floats;
using every::Integers;
using every::same_everywhere;
using wl::Reals;
using wl::RealsOut;
using wl::Stored;

using Halves = std::vector<uint16_t>;

float widened(uint16_t half) {
  const uint32_t bits = uint32_t{half} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/** The bf16 nearest to a finite number, by comparing both neighbours in float64; of two that are as near, the even one. */
uint16_t nearest(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const auto below = static_cast<uint16_t>(bits >> 16);
  const auto above = static_cast<uint16_t>(below + 1);
  // What lies beyond the largest is as far away as if there were one more.
  const auto of = [](uint16_t half) {
    const bool beyond = (half & 0x7fff) == 0x7f80;
    return beyond ? std::copysign(0x1p128, static_cast<double>(widened(half))) : static_cast<double>(widened(half));
  };
  const double down = std::abs(static_cast<double>(value) - of(below)), up = std::abs(of(above) - static_cast<double>(value));
  if (down != up) return down < up ? below : above;
  return (below & 1) == 0 ? below : above;
}

Halves halves_of(const Floats& values) {
  Halves halves;
  for (const float value : values) halves.push_back(nearest(value));
  return halves;
}

Floats floats_of(const Halves& halves) {
  Floats values;
  for (const uint16_t half : halves) values.push_back(widened(half));
  return values;
}

Floats rounded(const Floats& values) { return floats_of(halves_of(values)); }

Reals read(const Halves& halves) { return {halves.data(), Stored::bf16}; }
RealsOut write(Halves& halves) { return {halves.data(), Stored::bf16}; }
Reals as_rounded(const Floats& values) { return {values.data(), Stored::rounded}; }

void must_equal(const Floats& seen, const Floats& wanted, const std::string& what) {
  if (!every::same_bits(seen, wanted)) check::fault(__FILE__, __LINE__, what + " has other bits");
}

/** What `run` gives with bf16 in its hands is what it gives with f32, rounded. `run(kernel, context, bf16)` gives the results. */
template <class Function, class Run>
void same_as_f32(const std::vector<every::Variant<Function>>& all, const std::string& what, Run run) {
  const auto plain = same_everywhere(all, what, [&](auto kernel, wl::Context& on) { return run(kernel, on, false); });
  const auto stored = same_everywhere(all, what + " of bf16", [&](auto kernel, wl::Context& on) { return run(kernel, on, true); });
  CHECK_EQUAL(plain.size(), stored.size());
  for (size_t i = 0; i < plain.size(); ++i) must_equal(stored[i], plain[i], what + ", result " + std::to_string(i) + ",");
}

/** Numbers that are bf16, in both forms, and which of them an operation is to read. */
struct Both {
  Halves halves;
  Floats floats;
  explicit Both(const Floats& values) : halves(halves_of(values)), floats(floats_of(halves)) {}
  Reals in(bool bf16) const { return bf16 ? read(halves) : Reals{floats.data()}; }
};

/** A place for a result in either form; `values` are those of bf16 either way. */
struct Place {
  Halves halves;
  Floats floats;
  explicit Place(int64_t count) : halves(static_cast<size_t>(count)), floats(static_cast<size_t>(count)) {}
  RealsOut out(bool bf16) { return bf16 ? write(halves) : RealsOut{floats.data()}; }
  Floats values(bool bf16) const { return bf16 ? floats_of(halves) : rounded(floats); }
};

}  // namespace

TEST("f32 becomes the bf16 nearest to it, ties to even, whatever its size; infinity and NaN stay what they are") {
  Floats values;
  // Every bf16 with the parts of a step after it that decide.
  for (uint32_t half = 0; half < 0x10000; half += 1) {
    for (const uint32_t rest : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      const uint32_t bits = half << 16 | rest;
      float value;
      std::memcpy(&value, &bits, sizeof value);
      if (std::isfinite(value)) values.push_back(value);
    }
  }
  Halves halves(values.size());
  for (const auto& variant : EVERY_ISA(copy)) {
    variant.run(every::context_of(2), {values.data(), write(halves), static_cast<int64_t>(values.size())});
    for (size_t i = 0; i < values.size(); ++i) {
      if (halves[i] == nearest(values[i])) continue;
      check::fault(__FILE__, __LINE__, std::string(variant.isa) + " rounds " + std::to_string(values[i]) + " to another bf16");
      break;
    }
    Floats back(values.size());
    variant.run(every::context_of(2), {read(halves), back.data(), static_cast<int64_t>(values.size())});
    must_equal(back, floats_of(halves), "what is widened");
    Floats at_once(values.size());
    variant.run(every::context_of(2), {as_rounded(values), at_once.data(), static_cast<int64_t>(values.size())});
    must_equal(at_once, back, "f32 that is read as bf16");

    const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    // A NaN whose payload is all in the half that goes.
    const uint32_t low = 0x7f800001u;
    float low_nan;
    std::memcpy(&low_nan, &low, sizeof low_nan);
    const Floats special = {infinity, -infinity, nan, low_nan};
    Halves seen(4);
    variant.run(every::context_of(1), {special.data(), write(seen), 4});
    CHECK_EQUAL(widened(seen[0]), infinity);
    CHECK_EQUAL(widened(seen[1]), -infinity);
    CHECK(std::isnan(widened(seen[2])));
    CHECK(std::isnan(widened(seen[3])));
  }
}

TEST("nothing is written beyond the last bf16 of any length") {
  for (const auto& variant : EVERY_ISA(copy)) {
    for (const int64_t n : every::ragged_lengths()) {
      const Floats x(static_cast<size_t>(n), 1.0f);
      Halves y(static_cast<size_t>(n + 32), 7);
      variant.run(every::context_of(2), {x.data(), write(y), n});
      for (size_t i = static_cast<size_t>(n); i < y.size(); ++i) CHECK_EQUAL(y[i], 7);
    }
  }
}

namespace {

struct Shape {
  int64_t rows, outputs, inputs, unit, length;
};

std::string text(const Shape& s) {
  return " of " + std::to_string(s.rows) + " x " + std::to_string(s.outputs) + " x " + std::to_string(s.inputs) + ", unit " + std::to_string(s.unit);
}

// Few and many rows; ragged tiles, panels and chunks; spans of no whole chunk, from odd places; contractions of several steps and in parts of a span.
const Shape shapes[] = {{1, 5, 7, 16, 1},    {7, 33, 40, 16, 7},    {24, 96, 64, 16, 8},    {130, 50, 129, 16, 65}, {6, 40, 6500, 16, 6},
                        {40, 17, 250, 1, 40}, {33, 31, 257, 24, 33}, {17, 64, 768, 96, 17}, {1200, 20, 24, 8, 60},  {20, 40, 992, 31, 20},
                        {6, 7000, 30, 16, 6}};

/** A linear layer and its gradients on numbers that are bf16, in whatever form an operation reads them. */
struct Layer {
  const Shape s;
  const Floats masters, bias, dy;
  const Both x, w;

  explicit Layer(const Shape& shape)
      : s(shape), masters(every::values(s.outputs * s.inputs, 2)), bias(every::values(s.outputs, 3)), dy(every::values(s.rows * s.outputs, 4)),
        x(every::values(s.rows * s.inputs, 1)), w(masters) {}

  /** y in f32, and what is stored of it in bf16. */
  template <class Weights>
  std::vector<Floats> forward(Weights weights) const {
    return same_everywhere(EVERY_ISA(linear_forward), "linear_forward" + text(s), [&](auto run, wl::Context& on) {
      Floats y(dy.size());
      Place stored(s.rows * s.outputs);
      run(on, {x.in(true), weights(), bias.data(), y.data(), s.unit, 8, s.rows, s.inputs, s.outputs});
      run(on, {x.in(true), weights(), bias.data(), stored.out(true), s.unit, 8, s.rows, s.inputs, s.outputs});
      return std::vector<Floats>{y, stored.values(true)};
    });
  }
  /** dx, added to x. */
  template <class Weights>
  std::vector<Floats> input_gradient(Weights weights) const {
    return same_everywhere(EVERY_ISA(linear_backward_input), "linear_backward_input" + text(s), [&](auto run, wl::Context& on) {
      Floats dx = x.floats;
      run(on, {dy.data(), weights(), nullptr, nullptr, nullptr, nullptr, dx.data(), s.unit, 8, 1, s.rows, s.outputs, s.inputs, 0, 0});
      return std::vector<Floats>{dx};
    });
  }
  std::vector<Floats> weight_gradient() const {
    return same_everywhere(EVERY_ISA(linear_backward_weight), "linear_backward_weight" + text(s), [&](auto run, wl::Context& on) {
      Floats dw(masters.size());
      run(on, {dy.data(), x.in(true), dw.data(), nullptr, s.length, 8, 0, s.rows, s.outputs, s.inputs});
      return std::vector<Floats>{dw};
    });
  }
};

/** Faults where element i of `seen` is not wanted(i): all of them, or some, if there are many terms to add up. */
template <class Wanted>
void must_be(const Floats& seen, int64_t terms, const std::string& what, Wanted wanted) {
  const int64_t count = static_cast<int64_t>(seen.size()), step = std::max<int64_t>(1, count * terms / 1'000'000);
  for (int64_t i = 0; i < count; i += step) {
    if (every::same_bits(seen[i], wanted(i))) continue;
    check::fault(__FILE__, __LINE__, what + ": element " + std::to_string(i) + " has other bits");
    return;
  }
}

}  // namespace

TEST("products of bf16 add up even and odd terms of chunks, on every instruction set, whatever form the numbers come in") {
  for (const Shape& s : shapes) {
    const Layer layer(s);
    const Floats &x = layer.x.floats, &w = layer.w.floats, dy = rounded(layer.dy);
    const auto stored = [&] { return layer.w.in(true); };
    const auto by_masters = [&] { return as_rounded(layer.masters); };

    const std::vector<Floats> results = layer.forward(stored);
    const Floats &y = results[0];
    must_equal(results[1], rounded(y), "linear_forward to bf16" + text(s));
    const Floats dx = layer.input_gradient(stored)[0], dw = layer.weight_gradient()[0];
    must_equal(layer.forward(by_masters)[0], y, "linear_forward by masters" + text(s));
    must_equal(layer.input_gradient(by_masters)[0], dx, "linear_backward_input by masters" + text(s));
    must_be(y, s.inputs, "linear_forward" + text(s), [&](int64_t i) {
      const float* row = x.data() + i / s.outputs * s.inputs;
      const float* weight = w.data() + i % s.outputs * s.inputs;
      return contract::dot<contract::PairChain>(s.inputs, s.unit, [&](int64_t k) { return row[k]; }, [&](int64_t k) { return weight[k]; }) +
             layer.bias[i % s.outputs];
    });
    must_be(dx, s.outputs, "linear_backward_input" + text(s), [&](int64_t i) {
      const int64_t m = i / s.inputs, k = i % s.inputs;
      return x[i] + contract::dot<contract::PairChain>(
                        s.outputs, s.unit, [&](int64_t n) { return dy[m * s.outputs + n]; }, [&](int64_t n) { return w[n * s.inputs + k]; });
    });
    must_be(dw, s.rows, "linear_backward_weight" + text(s), [&](int64_t i) {
      const int64_t n = i / s.inputs, k = i % s.inputs;
      return contract::token_dot<contract::PairChain>(
          s.rows, s.length, [&](int64_t t) { return dy[t * s.outputs + n]; }, [&](int64_t t) { return x[t * s.inputs + k]; });
    });
  }
}

TEST("the input gradient of several layers of bf16 takes chunks across them") {
  const int64_t rows = 9, inputs = 50, unit = 24, outputs[] = {96, 24, 24};
  Floats dy[3], masters[3];
  for (int i = 0; i < 3; ++i) {
    dy[i] = every::values(rows * outputs[i], 30 + i);
    masters[i] = every::values(outputs[i] * inputs, 40 + i);
  }
  const auto dx = same_everywhere(EVERY_ISA(linear_backward_input), "linear_backward_input of three", [&](auto run, wl::Context& on) {
    Floats sum(static_cast<size_t>(rows * inputs));
    run(on, {dy[0].data(), as_rounded(masters[0]), dy[1].data(), as_rounded(masters[1]), dy[2].data(), as_rounded(masters[2]), sum.data(), unit, 8, 0,
             rows, outputs[0], inputs, outputs[1], outputs[2]});
    return std::vector<Floats>{sum};
  })[0];
  // One unit of the smallest: one span.
  must_be(dx, 144, "linear_backward_input of three", [&](int64_t at) {
    contract::PairChain span;
    for (int i = 0; i < 3; ++i) {
      const Floats gradient = rounded(dy[i]), weight = rounded(masters[i]);
      for (int64_t n = 0; n < outputs[i]; ++n) span.add(gradient[at / inputs * outputs[i] + n], weight[n * inputs + at % inputs]);
    }
    return span.end();
  });
  const Floats plain(static_cast<size_t>(24 * inputs), 1.0f);
  for (const auto& variant : EVERY_ISA(linear_backward_input)) {
    every::refused("linear_backward_input: weights are stored in one way", [&] {
      Floats sum(dx.size());
      variant.run(every::context_of(1), {dy[0].data(), as_rounded(masters[0]), dy[1].data(), plain.data(), nullptr, nullptr, sum.data(), unit, 8, 0, rows,
                                         outputs[0], inputs, outputs[1], 0});
    });
  }
}

TEST("products of bf16 take denormal numbers as zero, keep infinities and NaN, and leave the thread as it was") {
  // Rows and columns of one size each, so that sums are around the smallest normal number; in some rows the numbers themselves are below it.
  const Shape s = {34, 40, 70, 16, 34};
  Floats x = every::values(s.rows * s.inputs, 50), w = every::values(s.outputs * s.inputs, 51);
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::ldexp(x[i], -50 - static_cast<int>(i / static_cast<size_t>(s.inputs)) * 5 / 2);
  for (size_t i = 0; i < w.size(); ++i) w[i] = std::ldexp(w[i], -20 - static_cast<int>(i / static_cast<size_t>(s.inputs)));
  const Both inputs(x), weights(w);
  const Floats y = same_everywhere(EVERY_ISA(linear_forward), "linear_forward of small numbers", [&](auto run, wl::Context& on) {
    Floats seen(static_cast<size_t>(s.rows * s.outputs));
    run(on, {inputs.in(true), weights.in(true), nullptr, seen.data(), s.unit, 8, s.rows, s.inputs, s.outputs});
    const volatile float smallest = 0x1p-126f;
    CHECK(smallest / 2 > 0);
    return std::vector<Floats>{seen};
  })[0];
  const auto dot = [&](int64_t i, auto span) {
    return contract::dot<decltype(span)>(
        s.inputs, s.unit, [&](int64_t k) { return inputs.floats[i / s.outputs * s.inputs + k]; },
        [&](int64_t k) { return weights.floats[i % s.outputs * s.inputs + k]; });
  };
  must_be(y, s.inputs, "linear_forward of small numbers", [&](int64_t i) { return dot(i, contract::PairChain()); });
  int64_t zeros = 0, lost = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    zeros += y[i] == 0;
    lost += y[i] == 0 && dot(static_cast<int64_t>(i), contract::Chain()) != 0;
  }
  CHECK(lost > 0);
  CHECK(zeros < static_cast<int64_t>(y.size()));

  // Two chunks leave -0; the third, whose terms are lost as -0 each, adds +0 where it is not whole.
  for (const int64_t rest : {0, 1, 2, 31, 32}) {
    Floats row(static_cast<size_t>(64 + rest)), column(row.size(), 1.0f);
    row[0] = -0x1.8p-126f;
    row[32] = 0x1p-126f;
    for (size_t k = 64; k < row.size(); ++k) {
      row[k] = -0x1p-80f;
      column[k] = 0x1p-80f;
    }
    const int64_t terms = static_cast<int64_t>(row.size());
    const Both a(row), b(column);
    const float sum = same_everywhere(EVERY_ISA(linear_forward), "linear_forward of -0", [&](auto run, wl::Context& on) {
      Floats seen(1);
      run(on, {a.in(true), b.in(true), nullptr, seen.data(), terms, 8, 1, terms, 1});
      return std::vector<Floats>{seen};
    })[0][0];
    const float wanted = contract::dot<contract::PairChain>(terms, terms, [&](int64_t k) { return row[k]; }, [&](int64_t k) { return column[k]; });
    CHECK(every::same_bits(sum, wanted));
    CHECK(every::same_bits(sum, rest == 0 || rest == 32 ? -0.0f : 0.0f));
  }

  const float infinity = std::numeric_limits<float>::infinity();
  for (const auto& variant : EVERY_ISA(linear_forward)) {
    const Halves row = halves_of({1.0f, 2.0f, 3.0f});
    Halves columns = halves_of({0.0f, 1.0f, 1.0f, 0.0f, 0.0f, 1.0f});
    columns[0] = columns[3] = 0x7f80;
    columns[4] = 0xff80;
    Floats out(2);
    variant.run(every::context_of(1), {read(row), read(columns), nullptr, out.data(), 16, 8, 1, 3, 2});
    CHECK_EQUAL(out[0], infinity);
    CHECK(std::isnan(out[1]));
  }
}

TEST("the loss of bf16 is what its products give one after the other, and the gradient of the logits is read as bf16") {
  const int64_t rows = 24, size = 40, vocabulary = 133, length = 12;
  const float weight = 0.25f;
  const Both h(every::values(rows * size, 5));
  const Floats masters = every::values(vocabulary * size, 6);
  const Both w(masters);
  Integers targets;
  for (int64_t i = 0; i < rows; ++i) targets.push_back(i % 7 == 3 ? -1 : static_cast<int32_t>(i * 37 % vocabulary));
  const auto fused = same_everywhere(EVERY_ISA(cross_entropy_fused), "cross_entropy_fused", [&](auto run, wl::Context& on) {
    Floats losses(targets.size()), dh(h.floats.size()), dw(masters.size());
    run(on, {h.in(true), as_rounded(masters), targets.data(), losses.data(), dh.data(), dw.data(), weight, length, 0, rows, size, vocabulary});
    return std::vector<Floats>{losses, dh, dw};
  });
  const auto forward = same_everywhere(EVERY_ISA(cross_entropy_forward), "cross_entropy_forward", [&](auto run, wl::Context& on) {
    Floats losses(targets.size());
    run(on, {h.in(true), as_rounded(masters), targets.data(), losses.data(), rows, size, vocabulary});
    return std::vector<Floats>{losses};
  });
  must_equal(forward[0], fused[0], "cross_entropy_forward");

  const auto first = same_everywhere(EVERY_ISA(cross_entropy_logits), "cross_entropy_logits", [&](auto run, wl::Context& on) {
    Floats logits(static_cast<size_t>(rows * vocabulary)), maxima(targets.size());
    run(on, {h.in(true), w.in(true), logits.data(), maxima.data(), rows, size, vocabulary});
    return std::vector<Floats>{logits, maxima};
  });
  must_be(first[0], size, "a logit", [&](int64_t i) {
    return contract::dot<contract::PairChain>(
        size, 16, [&](int64_t k) { return h.floats[i / vocabulary * size + k]; }, [&](int64_t k) { return w.floats[i % vocabulary * size + k]; });
  });
  Floats dlogits = first[0], sums(2 * targets.size()), losses(targets.size()), dh(h.floats.size()), dw(masters.size());
  wl::Context& on = every::context_of(2);
  EVERY_ISA(cross_entropy_exponentials).back().run(on, {dlogits.data(), first[1].data(), targets.data(), sums.data(), 0, vocabulary, rows, vocabulary});
  EVERY_ISA(cross_entropy_finish).back().run(on, {dlogits.data(), first[1].data(), sums.data(), targets.data(), losses.data(), 0, weight, rows, vocabulary});
  must_equal(losses, fused[0], "cross_entropy_finish");
  EVERY_ISA(cross_entropy_backward_input).back().run(on, {dlogits.data(), as_rounded(masters), dh.data(), 0, vocabulary, rows, vocabulary, size});
  must_equal(dh, fused[1], "cross_entropy_backward_input");
  EVERY_ISA(linear_backward_weight).back().run(on, {dlogits.data(), h.in(true), dw.data(), nullptr, length, 8, 0, rows, vocabulary, size});
  must_equal(dw, fused[2], "linear_backward_weight of logits");
  const Floats read = rounded(dlogits);
  must_be(dh, vocabulary, "cross_entropy_backward_input", [&](int64_t i) {
    return contract::dot<contract::PairChain>(
        vocabulary, 16, [&](int64_t n) { return read[i / size * vocabulary + n]; }, [&](int64_t n) { return w.floats[n * size + i % size]; });
  });
}

TEST("the loss of bf16 has the same bits with less memory, where steps are parts of a span") {
  const int64_t rows = 2600, size = 16, vocabulary = 33;
  const Both h(every::values(rows * size, 60));
  const Floats masters = every::values(vocabulary * size, 61);
  Integers targets;
  for (int64_t i = 0; i < rows; ++i) targets.push_back(static_cast<int32_t>(i * 37 % vocabulary));
  std::vector<Floats> first;
  for (const int64_t step_floats : {int64_t{1} << 24, int64_t{1}}) {
    const auto seen = same_everywhere(EVERY_ISA(cross_entropy_fused_within), "cross_entropy_fused_within", [&](auto run, wl::Context& on) {
      Floats losses(targets.size()), dh(h.floats.size()), dw(masters.size());
      run(on, {h.in(true), as_rounded(masters), targets.data(), losses.data(), dh.data(), dw.data(), 0.25f, rows, 0, rows, size, vocabulary}, step_floats);
      return std::vector<Floats>{losses, dh, dw};
    });
    if (first.empty()) first = seen;
    for (size_t i = 0; i < seen.size(); ++i) must_equal(seen[i], first[i], "result " + std::to_string(i) + " with less memory");
  }
}

TEST("norms give rounded sums and results, and take their statistics from the rounded sum") {
  for (const int64_t size : {1, 13, 48, 200}) {
    const int64_t rows = 9;
    const Both x(every::values(rows * size, 7)), residual(every::values(rows * size, 8));
    const Floats w = every::values(size, 9), b = every::values(size, 10), dy = every::values(rows * size, 11), dh = every::values(rows * size, 12);
    Floats sums(x.floats.size());
    for (size_t i = 0; i < sums.size(); ++i) sums[i] = x.floats[i] + residual.floats[i];
    const Both sum(sums);
    // What the norm of the rounded sum is in f32, without a residual of its own.
    same_as_f32(EVERY_ISA(layer_norm_forward), "layer_norm_forward", [&](auto run, wl::Context& on, bool bf16) {
      Place h(rows * size), y(rows * size);
      Floats mean(rows), inverse(rows);
      if (bf16) run(on, {x.in(true), residual.in(true), w.data(), b.data(), h.out(true), y.out(true), mean.data(), inverse.data(), 1e-5f, rows, size});
      else run(on, {sum.in(false), nullptr, w.data(), b.data(), h.out(false), y.out(false), mean.data(), inverse.data(), 1e-5f, rows, size});
      return std::vector<Floats>{h.values(bf16), y.values(bf16), mean, inverse};
    });
    same_as_f32(EVERY_ISA(rms_norm_forward), "rms_norm_forward", [&](auto run, wl::Context& on, bool bf16) {
      Place h(rows * size), y(rows * size);
      Floats inverse(rows);
      if (bf16) run(on, {x.in(true), residual.in(true), w.data(), h.out(true), y.out(true), inverse.data(), 1e-5f, 1.0f, rows, size});
      else run(on, {sum.in(false), nullptr, w.data(), h.out(false), y.out(false), inverse.data(), 1e-5f, 1.0f, rows, size});
      return std::vector<Floats>{h.values(bf16), y.values(bf16), inverse};
    });
    const Floats mean(rows, 0.125f), inverse(rows, 0.75f);
    same_as_f32(EVERY_ISA(layer_norm_backward), "layer_norm_backward", [&](auto run, wl::Context& on, bool bf16) {
      Floats dx(sums.size()), dw(w.size()), db(w.size());
      run(on, {dy.data(), sum.in(bf16), w.data(), mean.data(), inverse.data(), dh.data(), dx.data(), dw.data(), db.data(), 3, 8, 0, rows, size});
      return std::vector<Floats>{dx, dw, db};
    });
    same_as_f32(EVERY_ISA(rms_norm_backward), "rms_norm_backward", [&](auto run, wl::Context& on, bool bf16) {
      Floats dx(sums.size()), dw(w.size());
      run(on, {dy.data(), sum.in(bf16), w.data(), inverse.data(), dh.data(), dx.data(), dw.data(), 3, 8, 0, 0.0f, rows, size});
      return std::vector<Floats>{dx, dw};
    });
  }
}

TEST("attention and its gradients read bf16, and attention gives bf16") {
  const int64_t length = 70, rows = 2 * length, heads = 4, kv_heads = 2, size = 24, q_size = heads * size, kv_size = kv_heads * size;
  const Both q(every::values(rows * q_size, 13)), k(every::values(rows * kv_size, 14)), v(every::values(rows * kv_size, 15));
  const Both out(every::values(rows * q_size, 16));
  const Floats dout = every::values(rows * q_size, 17), lse(static_cast<size_t>(rows * heads), 40.0f);
  same_as_f32(EVERY_ISA(attention_forward), "attention_forward", [&](auto run, wl::Context& on, bool bf16) {
    Place y(rows * q_size);
    Floats sums(lse.size());
    run(on, {q.in(bf16), k.in(bf16), v.in(bf16), y.out(bf16), sums.data(), nullptr, length, kv_heads, 0.2f, 0, 0, rows, q_size, kv_size, heads, 0});
    return std::vector<Floats>{y.values(bf16), sums};
  });
  same_as_f32(EVERY_ISA(attention_backward), "attention_backward", [&](auto run, wl::Context& on, bool bf16) {
    Floats dq(q.floats.size()), dk(k.floats.size()), dv(v.floats.size());
    run(on, {dout.data(), q.in(bf16), k.in(bf16), v.in(bf16), out.in(bf16), lse.data(), nullptr, dq.data(), dk.data(), dv.data(), length, kv_heads,
             0.2f, 0, 0, rows, q_size, kv_size, heads, 0});
    return std::vector<Floats>{dq, dk, dv};
  });
}

TEST("embeddings, rotations and what works on single elements read bf16 and give bf16") {
  const int64_t rows = 9, columns = 48, n = rows * columns;
  const Both x(every::values(n, 18)), z(every::values(n, 19));
  const Floats dy = every::values(n, 20), bias = every::values(columns, 21), masters = every::values(11 * columns, 22);
  const Both table(masters);
  const Integers ids = {10, 0, 3, 3, 7, 1, 2, 9, 8};
  const Floats cos = every::values(4 * 8, 23), sin = every::values(4 * 8, 24);
  const Integers positions = {0, 1, 2, 3, 0, 1, 2, 3, 0};
  const auto gives = [&](const auto& all, const char* what, auto call) {
    same_as_f32(all, what, [&](auto run, wl::Context& on, bool bf16) {
      Place y(n);
      call(run, on, bf16, y.out(bf16));
      return std::vector<Floats>{y.values(bf16)};
    });
  };
  gives(EVERY_ISA(embedding_forward), "embedding_forward", [&](auto run, wl::Context& on, bool bf16, RealsOut y) {
    run(on, {ids.data(), bf16 ? as_rounded(masters) : table.in(false), y, 0, 11, rows, 11, columns});
  });
  gives(EVERY_ISA(gather_rows), "gather_rows", [&](auto run, wl::Context& on, bool bf16, RealsOut y) {
    const Integers order = {8, 7, 6, 5, 4, 3, 2, 1, 0};
    run(on, {x.in(bf16), order.data(), y, rows, columns, rows});
  });
  gives(EVERY_ISA(rope), "rope", [&](auto run, wl::Context& on, bool bf16, RealsOut y) {
    run(on, {x.in(bf16), positions.data(), cos.data(), sin.data(), y, 0, rows, columns, 4, 8});
  });
  gives(EVERY_ISA(add), "add", [&](auto run, wl::Context& on, bool bf16, RealsOut y) { run(on, {x.in(bf16), z.in(bf16), y, n}); });
  gives(EVERY_ISA(scale), "scale", [&](auto run, wl::Context& on, bool bf16, RealsOut y) { run(on, {x.in(bf16), y, 0.3f, n}); });
  gives(EVERY_ISA(add_bias), "add_bias", [&](auto run, wl::Context& on, bool bf16, RealsOut y) { run(on, {x.in(bf16), bias.data(), y, rows, columns}); });
  gives(EVERY_ISA(dropout), "dropout", [&](auto run, wl::Context& on, bool bf16, RealsOut y) {
    run(on, {x.in(bf16), y, 0.3f, 5, 6, 7, 8, 4, 4, rows, columns});
  });
  gives(EVERY_ISA(relu_forward), "relu_forward", [&](auto run, wl::Context& on, bool bf16, RealsOut y) { run(on, {x.in(bf16), y, n}); });
  for (const int64_t tanh : {0, 1}) {
    gives(EVERY_ISA(gelu_forward), "gelu_forward", [&](auto run, wl::Context& on, bool bf16, RealsOut y) { run(on, {x.in(bf16), y, tanh, n}); });
    same_as_f32(EVERY_ISA(gelu_backward), "gelu_backward", [&](auto run, wl::Context& on, bool bf16) {
      Floats dx(dy.size());
      run(on, {dy.data(), x.in(bf16), dx.data(), tanh, n});
      return std::vector<Floats>{dx};
    });
  }
  same_as_f32(EVERY_ISA(relu_backward), "relu_backward", [&](auto run, wl::Context& on, bool bf16) {
    Floats dx(dy.size());
    run(on, {dy.data(), x.in(bf16), dx.data(), n});
    return std::vector<Floats>{dx};
  });
  gives(EVERY_ISA(gated_silu_forward), "gated_silu_forward", [&](auto run, wl::Context& on, bool bf16, RealsOut y) { run(on, {x.in(bf16), z.in(bf16), y, n}); });
  gives(EVERY_ISA(gated_gelu_forward), "gated_gelu_forward", [&](auto run, wl::Context& on, bool bf16, RealsOut y) { run(on, {x.in(bf16), z.in(bf16), y, n}); });
  const auto gated = [&](const auto& all, const char* what) {
    same_as_f32(all, what, [&](auto run, wl::Context& on, bool bf16) {
      Floats dgate(dy.size()), dup(dy.size());
      run(on, {dy.data(), x.in(bf16), z.in(bf16), dgate.data(), dup.data(), n});
      return std::vector<Floats>{dgate, dup};
    });
  };
  gated(EVERY_ISA(gated_silu_backward), "gated_silu_backward");
  gated(EVERY_ISA(gated_gelu_backward), "gated_gelu_backward");
}

TEST_MAIN
