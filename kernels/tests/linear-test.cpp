// Linear layers: the contract of spans bit for bit, float64 references, gradients, and what must not change a bit.
#include "reference/linear.h"
#include "tests/check.h"
#include "tests/contract.h"
#include "tests/every-isa.h"

#include <string>

namespace {

using contract::Kernels;
using contract::Numbers;
using contract::same_bits;

struct Shape {
  int64_t rows, outputs, inputs, unit, length;
  bool accumulate;
};

std::string text(const Shape& s, const char* what, const Kernels& kernels, int threads) {
  return std::string(what) + " of " + kernels.isa + ", " + std::to_string(threads) + " threads: " + std::to_string(s.rows) + " x " +
         std::to_string(s.outputs) + " x " + std::to_string(s.inputs) + ", unit " + std::to_string(s.unit) + ", length " +
         std::to_string(s.length);
}

struct Inputs {
  std::vector<float> x, w, bias, dy, old_dx, old_dw, old_dbias;

  explicit Inputs(const Shape& s) {
    Numbers numbers(static_cast<uint64_t>(s.rows * 1009 + s.outputs * 31 + s.inputs));
    x = numbers.many(s.rows * s.inputs);
    w = numbers.many(s.outputs * s.inputs);
    bias = numbers.many(s.outputs);
    dy = numbers.many(s.rows * s.outputs);
    old_dx = numbers.many(s.rows * s.inputs);
    old_dw = numbers.many(s.outputs * s.inputs);
    old_dbias = numbers.many(s.outputs);
  }
};

struct Results {
  std::vector<float> y, packed_y, dx, dw, dbias;

  bool operator==(const Results& other) const {
    return same_bits(y, other.y) && same_bits(packed_y, other.packed_y) && same_bits(dx, other.dx) && same_bits(dw, other.dw) &&
           same_bits(dbias, other.dbias);
  }
};

Results run(const Kernels& kernels, int threads, const Shape& s, const Inputs& in) {
  Results out;
  out.y.resize(in.dy.size());
  out.packed_y.resize(in.dy.size());
  out.dx = in.old_dx;
  out.dw = in.old_dw;
  out.dbias = in.old_dbias;
  const auto context = [&]() -> wl::Context& { return contract::context_of(threads); };
  const int64_t size = kernels.packed_size(s.outputs, s.inputs);
  std::vector<float> packed(static_cast<size_t>(size));
  const int64_t rows = s.rows, outputs = s.outputs, inputs = s.inputs;
  kernels.linear_forward(context(), {in.x.data(), in.w.data(), in.bias.data(), out.y.data(), s.unit, 8, rows, inputs, outputs});
  kernels.linear_pack(context(), {in.w.data(), packed.data(), outputs, inputs, size});
  kernels.linear_packed_forward(context(), {in.x.data(), packed.data(), in.bias.data(), out.packed_y.data(), s.unit, 8, rows, inputs, size, outputs});
  kernels.linear_backward_input(context(), {in.dy.data(), in.w.data(), nullptr, nullptr, nullptr, nullptr, out.dx.data(), s.unit, 8, s.accumulate, rows, outputs, inputs, 0, 0});
  kernels.linear_backward_weight(context(), {in.dy.data(), in.x.data(), out.dw.data(), out.dbias.data(), s.length, 8, s.accumulate, rows, outputs, inputs});
  return out;
}

// The elements to look at: all, or as many as a scalar loop does in good time.
template <class Visit>
void each_element(int64_t rows, int64_t cols, int64_t terms, Visit visit) {
  const int64_t most = 4000000 / std::max<int64_t>(terms, 1);
  if (rows * cols <= most) {
    for (int64_t i = 0; i < rows * cols; ++i) visit(i / cols, i % cols);
    return;
  }
  Numbers numbers(7);
  for (int64_t i = 0; i < most; ++i) visit(numbers.below(rows), numbers.below(cols));
  visit(rows - 1, cols - 1);
}

int64_t off_contract(const Shape& s, const Inputs& in, const Results& out) {
  int64_t wrong = 0;
  each_element(s.rows, s.outputs, s.inputs, [&](int64_t m, int64_t n) {
    const float* x = in.x.data() + m * s.inputs;
    const float* w = in.w.data() + n * s.inputs;
    const float sum = contract::dot(s.inputs, s.unit, [&](int64_t k) { return x[k]; }, [&](int64_t k) { return w[k]; });
    wrong += !same_bits(out.y[m * s.outputs + n], sum + in.bias[n]) + !same_bits(out.packed_y[m * s.outputs + n], sum + in.bias[n]);
  });
  each_element(s.rows, s.inputs, s.outputs, [&](int64_t m, int64_t k) {
    const int64_t at = m * s.inputs + k;
    const float sum = contract::dot(
        s.outputs, s.unit, [&](int64_t n) { return in.dy[m * s.outputs + n]; }, [&](int64_t n) { return in.w[n * s.inputs + k]; });
    wrong += !same_bits(out.dx[at], s.accumulate ? in.old_dx[at] + sum : sum);
  });
  each_element(s.outputs, s.inputs, s.rows, [&](int64_t n, int64_t k) {
    const int64_t at = n * s.inputs + k;
    const float sum = contract::token_dot(
        s.rows, s.length, [&](int64_t t) { return in.dy[t * s.outputs + n]; }, [&](int64_t t) { return in.x[t * s.inputs + k]; });
    wrong += !same_bits(out.dw[at], s.accumulate ? in.old_dw[at] + sum : sum);
  });
  each_element(s.outputs, 1, s.rows, [&](int64_t n, int64_t) {
    const float sum = contract::token_dot(
        s.rows, s.length, [&](int64_t t) { return in.dy[t * s.outputs + n]; }, [](int64_t) { return 1.0f; });
    wrong += !same_bits(out.dbias[n], s.accumulate ? in.old_dbias[n] + sum : sum);
  });
  return wrong;
}

// One to a few rows, with work for one worker and for several; spans that are empty, short or no multiple of 16; primes; more
// columns than a panel, fewer than a vector.
const Shape small_shapes[] = {
    {1, 1, 1, 16, 1, false},      {1, 32, 16, 16, 1, true},    {2, 33, 17, 16, 2, false},    {3, 5, 7, 16, 3, true},
    {4, 70, 200, 16, 2, false},   {5, 129, 100, 16, 5, true},  {6, 257, 61, 16, 3, false},   {7, 130, 129, 1, 7, true},
    {12, 64, 192, 64, 12, false}, {13, 96, 127, 16, 13, true}, {40, 17, 1000, 16, 8, false}, {65, 37, 300, 16, 13, true},
    {63, 31, 65, 32, 9, false},   {1, 2000, 200, 16, 1, true}, {3, 1500, 100, 16, 3, false},
};
// Blocks of rows in private panels; right panels in several blocks; contractions in several steps and within one span.
const Shape large_shapes[] = {
    {1201, 40, 50, 16, 1201, true}, {97, 200, 9001, 16, 97, false},   {420, 1100, 4100, 16, 60, true},
    {9000, 14, 18, 16, 90, false},  {40000, 7, 5, 16, 40000, true},
};

TEST("every element is the FMA chains of its spans, added in the fixed tree") {
  for (const Kernels& kernels : contract::each_isa()) {
    for (const int threads : {1, 2, 3}) {
      for (const Shape& shape : small_shapes) {
        const Inputs in(shape);
        const int64_t wrong = off_contract(shape, in, run(kernels, threads, shape, in));
        if (wrong != 0) check::fault(__FILE__, __LINE__, text(shape, "bits", kernels, threads));
      }
    }
  }
}

TEST("large products keep to the contract, whatever they are cut into") {
  const Kernels kernels = contract::each_isa().back();
  // Scalar code takes seconds for the largest; its driver is the same.
  const int64_t most = kernels.isa == std::string("generic") ? 10'000'000 : INT64_MAX;
  for (const Shape& shape : large_shapes) {
    if (shape.rows * shape.outputs * shape.inputs > most) continue;
    const Inputs in(shape);
    const Results one = run(kernels, 1, shape, in);
    if (off_contract(shape, in, one) != 0) check::fault(__FILE__, __LINE__, text(shape, "bits", kernels, 1));
    for (const int threads : {2, 3}) {
      if (!(run(kernels, threads, shape, in) == one)) check::fault(__FILE__, __LINE__, text(shape, "bits", kernels, threads));
    }
  }
}

TEST("each instruction set gives the same bits") {
  const Shape shapes[] = {{130, 70, 90, 16, 65, true}, {600, 20, 33, 16, 100, false}, {30, 40, 4500, 16, 10, false}};
  const std::vector<Kernels> all = contract::each_isa();
  for (const Shape& shape : shapes) {
    const Inputs in(shape);
    const Results first = run(all[0], 2, shape, in);
    for (const Kernels& kernels : all) CHECK(run(kernels, 2, shape, in) == first);
  }
}

TEST("a row has the same bits alone, in a batch and at any place in it") {
  const Shape batch = {64, 101, 192, 16, 64, false};
  for (const Kernels& kernels : contract::each_isa()) {
    const Inputs in(batch);
    const Results all = run(kernels, 2, batch, in);
    for (const int64_t count : {1, 2, 3, 5, 11, 13, 27}) {
      for (int64_t first = 0; first + count <= batch.rows; first += count) {
        Shape part = batch;
        part.rows = part.length = count;
        Inputs rows = in;
        rows.x.assign(in.x.begin() + first * part.inputs, in.x.begin() + (first + count) * part.inputs);
        rows.dy.assign(in.dy.begin() + first * part.outputs, in.dy.begin() + (first + count) * part.outputs);
        rows.old_dx.resize(rows.x.size());
        const Results some = run(kernels, 1, part, rows);
        const size_t y_bytes = some.y.size() * sizeof(float);
        CHECK(std::memcmp(some.y.data(), all.y.data() + first * part.outputs, y_bytes) == 0);
        CHECK(std::memcmp(some.packed_y.data(), all.y.data() + first * part.outputs, y_bytes) == 0);
        CHECK(std::memcmp(some.dx.data(), all.dx.data() + first * part.inputs, some.dx.size() * sizeof(float)) == 0);
      }
    }
  }
}

TEST("a sum that underflows to -0 stays -0, whatever the number of its spans") {
  for (const Kernels& kernels : contract::each_isa()) {
    for (const int64_t inputs : {1, 8}) {
      const Shape shape = {3, 40, inputs, 1, 3, false};
      Inputs in(shape);
      std::fill(in.x.begin(), in.x.end(), -1e-30f);
      std::fill(in.w.begin(), in.w.end(), 1e-30f);
      std::vector<float> y(in.dy.size());
      kernels.linear_forward(contract::context_of(1), {in.x.data(), in.w.data(), nullptr, y.data(), 1, 8, 3, inputs, 40});
      for (const float value : y) CHECK(same_bits(value, -0.0f));
    }
  }
}

struct Shared {
  int64_t ranks, rows, outputs, inputs, unit, length;
};
// Units of 16, of heads, and of one; spans of equal and of different lengths; fewer spans than eight; spans of many steps.
const Shared shared_shapes[] = {
    {2, 12, 32, 96, 16, 4}, {4, 24, 64, 192, 16, 12}, {8, 40, 128, 384, 16, 40}, {2, 6, 48, 144, 24, 6},
    {4, 32, 96, 32, 8, 16}, {2, 10, 64, 64, 32, 10},  {4, 8, 64, 9280, 16, 4},
};

TEST("ranks that share a contraction evenly get the bits of one rank alone") {
  for (const Shared& s : shared_shapes) {
    const Shape whole = {s.rows, s.outputs, s.inputs, s.unit, s.length, false};
    Inputs in(whole);
    in.bias.assign(in.bias.size(), 0.0f);
    for (const Kernels& kernels : contract::each_isa()) {
      const Results alone = run(kernels, 2, whole, in);
      std::vector<std::vector<float>> y, packed_y, dx, dw, dbias;
      const int64_t n = s.outputs / s.ranks, k = s.inputs / s.ranks, length = s.length / s.ranks, rows = s.rows / s.ranks, spans = 8 / s.ranks;
      for (int64_t r = 0; r < s.ranks; ++r) {
        const auto x_k = contract::columns(in.x, s.inputs, r * k, (r + 1) * k), w_k = contract::columns(in.w, s.inputs, r * k, (r + 1) * k);
        std::vector<float> sum(in.dy.size());
        kernels.linear_forward(contract::context_of(1), {x_k.data(), w_k.data(), nullptr, sum.data(), s.unit, spans, s.rows, k, s.outputs});
        y.push_back(sum);
        const int64_t size = kernels.packed_size(s.outputs, k);
        std::vector<float> packed(static_cast<size_t>(size));
        kernels.linear_pack(contract::context_of(1), {w_k.data(), packed.data(), s.outputs, k, size});
        kernels.linear_packed_forward(contract::context_of(1), {x_k.data(), packed.data(), nullptr, sum.data(), s.unit, spans, s.rows, k, size, s.outputs});
        packed_y.push_back(sum);

        const auto dy_n = contract::columns(in.dy, s.outputs, r * n, (r + 1) * n);
        sum.assign(in.x.size(), 0.0f);
        kernels.linear_backward_input(contract::context_of(1), {dy_n.data(), in.w.data() + r * n * s.inputs, nullptr, nullptr, nullptr, nullptr, sum.data(), s.unit, spans, 0, s.rows, n, s.inputs, 0, 0});
        dx.push_back(sum);

        const auto dy_t = contract::positions(in.dy, s.length, s.outputs, r * length, (r + 1) * length);
        const auto x_t = contract::positions(in.x, s.length, s.inputs, r * length, (r + 1) * length);
        std::vector<float> sum_w(in.w.size()), sum_b(in.bias.size());
        kernels.linear_backward_weight(contract::context_of(1), {dy_t.data(), x_t.data(), sum_w.data(), sum_b.data(), length, spans, 0, rows, s.outputs, s.inputs});
        dw.push_back(sum_w);
        dbias.push_back(sum_b);
        std::vector<float> own_sum(in.bias.size());
        EVERY_ISA(bias_backward).back().run(contract::context_of(1), {dy_t.data(), own_sum.data(), length, spans, 0, rows, s.outputs});
        CHECK(same_bits(own_sum, sum_b));
      }
      CHECK(same_bits(contract::added(y), alone.y));
      CHECK(same_bits(contract::added(packed_y), alone.packed_y));
      CHECK(same_bits(contract::added(dx), alone.dx));
      CHECK(same_bits(contract::added(dw), alone.dw));
      CHECK(same_bits(contract::added(dbias), alone.dbias));
    }
  }
}

// Layers with the same input; 0 outputs: no such layer.
struct Siblings {
  int64_t rows, inputs, unit;
  int64_t outputs[3];
  bool accumulate;
};
struct SiblingInputs {
  std::vector<float> dy[3], w[3], old_dx;

  explicit SiblingInputs(const Siblings& s) {
    Numbers numbers(static_cast<uint64_t>(s.rows * 1009 + s.inputs));
    for (int i = 0; i < 3; ++i) {
      dy[i] = numbers.many(s.rows * s.outputs[i]);
      w[i] = numbers.many(s.outputs[i] * s.inputs);
    }
    old_dx = numbers.many(s.rows * s.inputs);
  }
};

std::vector<float> siblings_dx(const Kernels& kernels, int threads, const Siblings& s, const SiblingInputs& in, int64_t spans) {
  std::vector<float> dx = in.old_dx;
  const auto data = [&](int i, const std::vector<float>& of) { return s.outputs[i] > 0 ? of.data() : nullptr; };
  kernels.linear_backward_input(contract::context_of(threads),
                                {in.dy[0].data(), in.w[0].data(), data(1, in.dy[1]), data(1, in.w[1]), data(2, in.dy[2]), data(2, in.w[2]),
                                 dx.data(), s.unit, spans, s.accumulate, s.rows, s.outputs[0], s.inputs, s.outputs[1], s.outputs[2]});
  return dx;
}

// Heads of 8, 24 and 32, with fewer for keys and values; gate and up; a layer of few units; packed by blocks; steps within a span.
const Siblings sibling_shapes[] = {
    {5, 33, 8, {32, 16, 16}, false},     {7, 50, 24, {96, 24, 24}, true},       {12, 40, 32, {256, 64, 64}, false}, {3, 64, 16, {300, 300, 0}, true},
    {9, 20, 16, {200, 17, 0}, false},    {13, 31, 24, {72, 48, 96}, false},     {1, 70, 8, {64, 64, 64}, false},    {1200, 40, 24, {96, 48, 48}, true},
    {97, 36, 16, {5000, 4999, 0}, true}, {4, 12, 24, {7200, 30000, 24}, false},
};

TEST("the input gradient of several layers is one contraction: in each span the terms of the first, the second, the third") {
  for (const Siblings& s : sibling_shapes) {
    const SiblingInputs in(s);
    std::vector<std::vector<int64_t>> begin;
    int64_t limit = 8;
    for (const int64_t outputs : s.outputs) {
      if (outputs > 0) limit = std::min(limit, static_cast<int64_t>(contract::spans_of(outputs, s.unit).size()) - 1);
    }
    for (const int64_t outputs : s.outputs) begin.push_back(outputs > 0 ? contract::spans_of(outputs, s.unit, limit) : std::vector<int64_t>());
    std::vector<float> wanted;
    for (int64_t at = 0; at < s.rows * s.inputs; ++at) {
      std::vector<float> sums;
      for (int64_t span = 0; span < limit; ++span) {
        sums.push_back(0.0f);
        for (int i = 0; i < 3 && s.outputs[i] > 0; ++i) {
          const float *dy = in.dy[i].data() + at / s.inputs * s.outputs[i], *w = in.w[i].data() + at % s.inputs;
          for (int64_t n = begin[i][span]; n < begin[i][span + 1]; ++n) sums.back() = std::fma(dy[n], w[n * s.inputs], sums.back());
        }
      }
      const float sum = contract::tree(sums);
      wanted.push_back(s.accumulate ? in.old_dx[at] + sum : sum);
    }
    for (const Kernels& kernels : contract::each_isa()) {
      for (const int threads : {1, 2, 3}) {
        if (!same_bits(siblings_dx(kernels, threads, s, in, 8), wanted)) {
          check::fault(__FILE__, __LINE__, std::string(kernels.isa) + ", " + std::to_string(s.rows) + " x " + std::to_string(s.outputs[0]) + " x " + std::to_string(s.inputs));
        }
      }
    }
  }
}

TEST("ranks that share several layers evenly get the input gradient of one rank") {
  for (const Siblings& s : {Siblings{6, 33, 24, {96, 48, 48}, false}, {6, 33, 16, {192, 192, 0}, false}, {5, 40, 8, {64, 16, 16}, false}}) {
    const SiblingInputs in(s);
    const Kernels kernels = contract::each_isa().back();
    std::vector<std::vector<float>> parts;
    for (int64_t r = 0; r < 2; ++r) {
      Siblings local = s;
      SiblingInputs own = in;
      for (int i = 0; i < 3 && s.outputs[i] > 0; ++i) {
        local.outputs[i] = s.outputs[i] / 2;
        own.dy[i] = contract::columns(in.dy[i], s.outputs[i], r * local.outputs[i], (r + 1) * local.outputs[i]);
        own.w[i].assign(in.w[i].begin() + r * local.outputs[i] * s.inputs, in.w[i].begin() + (r + 1) * local.outputs[i] * s.inputs);
      }
      parts.push_back(siblings_dx(kernels, 1, local, own, 4));
    }
    CHECK(same_bits(contract::added(parts), siblings_dx(kernels, 2, s, in, 8)));
  }
}

TEST("a gradient without its weight is refused") {
  for (const Kernels& kernels : contract::each_isa()) {
    const float one = 1.0f;
    float dx;
    try {
      kernels.linear_backward_input(contract::context_of(1), {&one, &one, &one, nullptr, nullptr, nullptr, &dx, 16, 8, 0, 1, 1, 1, 1, 0});
      check::fault(__FILE__, __LINE__, "not refused");
    } catch (const wl::BadInput& bad) {
      CHECK_EQUAL(std::string(bad.message), std::string("linear_backward_input: a gradient and its weight come together"));
    }
  }
}

TEST("a bias on its own has the bits of a bias inside the layer, forward and backward") {
  for (const Shape& s : small_shapes) {
    const Inputs in(s);
    const Results inside = run(contract::each_isa().back(), 2, s, in);
    const auto y = every::same_everywhere(EVERY_ISA(add_bias), "add_bias", [&](auto add, wl::Context& on) {
      std::vector<float> y(in.dy.size());
      contract::each_isa().back().linear_forward(on, {in.x.data(), in.w.data(), nullptr, y.data(), s.unit, 8, s.rows, s.inputs, s.outputs});
      add(on, {y.data(), in.bias.data(), y.data(), s.rows, s.outputs});
      return std::vector<std::vector<float>>{y};
    });
    CHECK(same_bits(y[0], inside.y));
    const auto db = every::same_everywhere(EVERY_ISA(bias_backward), "bias_backward", [&](auto backward, wl::Context& on) {
      std::vector<float> db = in.old_dbias;
      backward(on, {in.dy.data(), db.data(), s.length, 8, s.accumulate, s.rows, s.outputs});
      return std::vector<std::vector<float>>{db};
    });
    CHECK(same_bits(db[0], inside.dbias));
  }
}

TEST("what isn't a number in one row or column stays there") {
  const float nan = std::nanf("");
  for (const Kernels& kernels : contract::each_isa()) {
    const Shape shape = {29, 45, 50, 16, 29, false};
    Inputs in(shape);
    in.x[17 * 50 + 3] = nan;
    in.w[44 * 50 + 9] = nan;
    const Results out = run(kernels, 2, shape, in);
    for (int64_t i = 0; i < 29 * 45; ++i) CHECK(std::isnan(out.y[i]) == (i / 45 == 17 || i % 45 == 44));
  }
}

std::vector<double> widen(const std::vector<float>& values) { return {values.begin(), values.end()}; }

// Rounding errors of a sum of n terms behave like a random walk: a few times sqrt(n) units of the sum of absolute terms.
void check_close(const std::vector<float>& seen, const wl::reference::Sums& wanted, int64_t terms) {
  const double bound = 4 * std::sqrt(static_cast<double>(terms) / 8 + 4) * 0x1p-24;
  CHECK_EQUAL(seen.size(), wanted.value.size());
  for (size_t i = 0; i < seen.size(); ++i) {
    if (!(std::abs(seen[i] - wanted.value[i]) <= bound * wanted.magnitude[i])) CHECK_EQUAL(double{seen[i]}, wanted.value[i]);
  }
}

TEST("forward and gradients are as near to float64 as the rounding of their sums allows") {
  for (const Kernels& kernels : contract::each_isa()) {
    for (Shape shape : small_shapes) {
      shape.accumulate = false;
      const Inputs in(shape);
      const Results out = run(kernels, 2, shape, in);
      const wl::reference::LinearShape dims = {shape.rows, shape.outputs, shape.inputs};
      check_close(out.y, wl::reference::linear_forward(dims, widen(in.x), widen(in.w), widen(in.bias)), shape.inputs);
      const auto gradients = wl::reference::linear_backward(dims, widen(in.dy), widen(in.x), widen(in.w));
      check_close(out.dx, gradients.dx, shape.outputs);
      check_close(out.dw, gradients.dw, shape.rows);
      check_close(out.dbias, gradients.dbias, shape.rows);
    }
  }
}

double inner(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * b[i];
  return sum;
}

TEST("the gradients are the adjoints of the forward pass") {
  const Kernels kernels = contract::each_isa().back();
  const Shape shape = {75, 110, 93, 16, 25, false};
  const Inputs in(shape);
  std::vector<float> y(in.dy.size());
  kernels.linear_forward(contract::context_of(2), {in.x.data(), in.w.data(), nullptr, y.data(), 16, 8, 75, 93, 110});
  const Results out = run(kernels, 2, shape, in);
  const double forward = inner(y, in.dy);
  // All three sums add the same 767,250 products of about 0.1 with relative errors of a few 2^-24 each.
  CHECK(std::abs(inner(out.dx, in.x) - forward) < 1e-3);
  CHECK(std::abs(inner(out.dw, in.w) - forward) < 1e-3);
}

TEST("the float64 gradients are those of central differences") {
  const Shape shape = {5, 4, 3, 16, 5, false};
  const Inputs in(shape);
  const wl::reference::LinearShape dims = {5, 4, 3};
  const std::vector<double> x = widen(in.x), w = widen(in.w), bias = widen(in.bias), dy = widen(in.dy);
  const auto loss = [&](const std::vector<double>& x, const std::vector<double>& w, const std::vector<double>& bias) {
    const auto y = wl::reference::linear_forward(dims, x, w, bias);
    double sum = 0;
    for (size_t i = 0; i < dy.size(); ++i) sum += dy[i] * y.value[i];
    return sum;
  };
  const auto difference = [&](const std::vector<double>& at, size_t i, auto loss_at) {
    std::vector<double> up = at, down = at;
    up[i] += 1e-4;
    down[i] -= 1e-4;
    return (loss_at(up) - loss_at(down)) / 2e-4;
  };
  const auto g = wl::reference::linear_backward(dims, dy, x, w);
  // Linear in each argument, so that only the rounding of a sum of about 60 is left: 60 * 2^-53 / 1e-4.
  for (size_t i = 0; i < x.size(); ++i) CHECK(std::abs(difference(x, i, [&](auto& at) { return loss(at, w, bias); }) - g.dx.value[i]) < 1e-9);
  for (size_t i = 0; i < w.size(); ++i) CHECK(std::abs(difference(w, i, [&](auto& at) { return loss(x, at, bias); }) - g.dw.value[i]) < 1e-9);
  for (size_t i = 0; i < bias.size(); ++i) CHECK(std::abs(difference(bias, i, [&](auto& at) { return loss(x, w, at); }) - g.dbias.value[i]) < 1e-9);
}

TEST("packed weights take as many floats on every instruction set") {
  for (const Kernels& kernels : contract::each_isa()) {
    CHECK_EQUAL(kernels.packed_size(768, 192), int64_t{768} * 192);
    CHECK_EQUAL(kernels.packed_size(33, 7), int64_t{64} * 7);
  }
}

}  // namespace

TEST_MAIN
