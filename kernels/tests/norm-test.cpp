// RMSNorm and LayerNorm: the order of sums bit for bit, float64 references, gradients, and what must not change a bit.
#include "reference/norm.h"
#include "tests/every-isa.h"

namespace {

using every::Doubles;
using every::Floats;
using every::same_bits;
using every::same_everywhere;
using every::wide;
using wl::reference::NormShape;

constexpr double u = every::roundoff;
constexpr float eps = 1e-5f;

struct Shape {
  int64_t sequences, length, size;
  bool residual, shift, accumulate;
  float offset = 0;  // of RMSNorm's weights

  int64_t rows() const { return sequences * length; }
};

const std::vector<Shape>& shapes() {
  static const std::vector<Shape> all = {
      {1, 1, 1, false, false, false}, {1, 1, 16, true, true, true},   {3, 1, 7, true, false, true},   {2, 5, 15, false, true, false},
      {2, 8, 17, true, true, true},   {5, 13, 31, false, true, true}, {1, 64, 64, true, true, false}, {3, 23, 65, false, false, true},
      {2, 17, 127, true, true, true}, {4, 31, 192, true, true, true}, {1, 9, 1027, false, true, false},
  };
  return all;
}

struct Inputs {
  Floats x, residual, w, b, dy, dh, dw, db;

  explicit Inputs(const Shape& s) {
    x = every::values(s.rows() * s.size, 1);
    residual = every::values(s.rows() * s.size, 2);
    w = every::values(s.size, 3);
    b = every::values(s.size, 4);
    dy = every::values(s.rows() * s.size, 5);
    dh = every::values(s.rows() * s.size, 6);
    dw = every::values(s.size, 7);
    db = every::values(s.size, 8);
  }
};

struct Rms {
  static constexpr bool centred = false;
  static auto forward() { return EVERY_ISA(rms_norm_forward); }
  static auto backward() { return EVERY_ISA(rms_norm_backward); }

  /** h, y, inverse. */
  template <class Run>
  static std::vector<Floats> forward(Run run, wl::Context& on, const Shape& s, const Inputs& in) {
    Floats h(in.x.size()), y(in.x.size()), inverse(static_cast<size_t>(s.rows()));
    run(on, {in.x.data(), s.residual ? in.residual.data() : nullptr, in.w.data(), h.data(), y.data(), inverse.data(), eps,
             s.offset, s.rows(), s.size});
    return {h, y, inverse, Floats(inverse.size(), 0.0f)};
  }

  /** dx, dw. */
  template <class Run>
  static std::vector<Floats> backward(Run run, wl::Context& on, const Shape& s, const Inputs& in, const std::vector<Floats>& kept,
                                      int64_t spans = 8) {
    Floats dx(in.x.size()), dw = in.dw;
    run(on, {in.dy.data(), kept[0].data(), in.w.data(), kept[2].data(), s.residual ? in.dh.data() : nullptr, dx.data(), dw.data(), s.length,
             spans, s.accumulate ? 1 : 0, s.offset, s.rows(), s.size});
    return {dx, dw};
  }
};

struct Layer {
  static constexpr bool centred = true;
  static auto forward() { return EVERY_ISA(layer_norm_forward); }
  static auto backward() { return EVERY_ISA(layer_norm_backward); }

  /** h, y, inverse, mean. */
  template <class Run>
  static std::vector<Floats> forward(Run run, wl::Context& on, const Shape& s, const Inputs& in) {
    Floats h(in.x.size()), y(in.x.size()), mean(static_cast<size_t>(s.rows())), inverse(mean.size());
    run(on, {in.x.data(), s.residual ? in.residual.data() : nullptr, in.w.data(), s.shift ? in.b.data() : nullptr, h.data(), y.data(),
             mean.data(), inverse.data(), eps, s.rows(), s.size});
    return {h, y, inverse, mean};
  }

  /** dx, dw, db where there is a shift. */
  template <class Run>
  static std::vector<Floats> backward(Run run, wl::Context& on, const Shape& s, const Inputs& in, const std::vector<Floats>& kept,
                                      int64_t spans = 8) {
    Floats dx(in.x.size()), dw = in.dw, db = in.db;
    run(on, {in.dy.data(), kept[0].data(), in.w.data(), kept[3].data(), kept[2].data(), s.residual ? in.dh.data() : nullptr, dx.data(),
             dw.data(), s.shift ? db.data() : nullptr, s.length, spans, s.accumulate ? 1 : 0, s.rows(), s.size});
    if (!s.shift) return {dx, dw};
    return {dx, dw, db};
  }
};

/** The sum over a row by the contract: 16 lanes, then the tree. `step(i, lane)` gives the lane after element i. */
template <class Step>
float lanes_sum(int64_t n, Step step) {
  float lane[16] = {};
  for (int64_t i = 0; i < n; ++i) lane[i % 16] = step(i, lane[i % 16]);
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
  }
  return lane[0];
}

/** Rounding of sums over a row, by lanes. */
double chain(const Shape& s) { return static_cast<double>(s.size / 16 + 16) * u; }

template <class Norm>
void forward_is_right() {
  for (const Shape& s : shapes()) {
    const Inputs in(s);
    const auto seen = same_everywhere(Norm::forward(), "norm forward", [&](auto run, wl::Context& on) { return Norm::forward(run, on, s, in); });
    Floats h = in.x;
    for (size_t i = 0; i < h.size() && s.residual; ++i) h[i] += in.residual[i];
    CHECK(same_bits(seen[0], h));
    const NormShape shape{s.rows(), s.size, static_cast<double>(eps), Norm::centred};
    const auto wanted = wl::reference::norm_forward(shape, wide(h), wide(in.w), Norm::centred && s.shift ? wide(in.b) : Doubles());
    const double n = static_cast<double>(s.size);
    Doubles spread(static_cast<size_t>(s.rows()));
    for (size_t i = 0; i < h.size(); ++i) spread[i / s.size] += std::abs(static_cast<double>(h[i])) / n;
    // How far a normal value may be off: the mean's error in units of the spread, and the relative error of the inverse.
    const auto normal_error = [&](size_t i) {
      const size_t row = i / s.size;
      const double normal = std::abs(static_cast<double>(h[i]) - wanted.mean[row]) * wanted.inverse[row];
      return chain(s) * (normal + 2 * spread[row] * wanted.inverse[row]);
    };
    every::within(seen[2], wanted.inverse, "inverse", [&](size_t row) {
      return wanted.inverse[row] * chain(s) * (1 + 4 * spread[row] * wanted.inverse[row] * (Norm::centred ? 1 : 0));
    });
    if (Norm::centred) every::within(seen[3], wanted.mean, "mean", [&](size_t row) { return chain(s) * spread[row]; });
    every::within(seen[1], wanted.y, "y", [&](size_t i) {
      const size_t column = i % s.size;
      return 2 * normal_error(i) * std::abs(static_cast<double>(in.w[column])) + 2 * u * std::abs(static_cast<double>(in.b[column]));
    });
  }
}

template <class Norm>
void backward_is_right() {
  for (const Shape& s : shapes()) {
    const Inputs in(s);
    const auto kept = Norm::forward(Norm::forward().back().run, every::context_of(1), s, in);
    const auto seen = same_everywhere(Norm::backward(), "norm backward", [&](auto run, wl::Context& on) { return Norm::backward(run, on, s, in, kept); });
    const NormShape shape{s.rows(), s.size, static_cast<double>(eps), Norm::centred};
    const auto h = wide(kept[0]), dy = wide(in.dy), w = wide(in.w);
    auto wanted = wl::reference::norm_backward(shape, dy, h, w);
    const auto forward = wl::reference::norm_forward(shape, h, w, {});
    Doubles size_of_g(static_cast<size_t>(s.rows())), spread(size_of_g.size());
    for (size_t i = 0; i < h.size(); ++i) {
      const size_t row = i / s.size;
      const double n = static_cast<double>(s.size), normal = std::abs(h[i] - forward.mean[row]) * forward.inverse[row];
      size_of_g[row] += std::abs(dy[i] * w[i % s.size]) * (1 + normal) / n;
      spread[row] += std::abs(h[i]) * forward.inverse[row] / n;
    }
    if (s.residual) {
      for (size_t i = 0; i < h.size(); ++i) wanted.dx[i] += static_cast<double>(in.dh[i]);
    }
    every::within(seen[0], wanted.dx, "dx", [&](size_t i) {
      const size_t row = i / s.size;
      const double normal = std::abs(h[i] - forward.mean[row]) * forward.inverse[row], g = std::abs(dy[i] * w[i % s.size]);
      return 4 * chain(s) * (1 + spread[row]) * forward.inverse[row] * (g + size_of_g[row] * (1 + normal)) + 2 * u * std::abs(wanted.dx[i]);
    });
    // The gradients of the weights follow the contract to the bit.
    for (int64_t d = 0; d < s.size; ++d) {
      const auto gradient = [&](int64_t t) { return in.dy[static_cast<size_t>(t * s.size + d)]; };
      const auto normal = [&](int64_t t) {
        const float value = kept[0][static_cast<size_t>(t * s.size + d)];
        return (Norm::centred ? value - kept[3][static_cast<size_t>(t)] : value) * kept[2][static_cast<size_t>(t)];
      };
      const float dw = contract::token_dot(s.rows(), s.length, gradient, normal);
      CHECK(same_bits(seen[1][static_cast<size_t>(d)], s.accumulate ? in.dw[static_cast<size_t>(d)] + dw : dw));
      if (seen.size() < 3) continue;
      const float db = contract::token_dot(s.rows(), s.length, gradient, [](int64_t) { return 1.0f; });
      CHECK(same_bits(seen[2][static_cast<size_t>(d)], s.accumulate ? in.db[static_cast<size_t>(d)] + db : db));
    }
  }
}

template <class Norm>
void gradients_are_slopes() {
  const Shape s{2, 5, 19, false, true, false};
  const Inputs in(s);
  const auto kept = Norm::forward(Norm::forward().back().run, every::context_of(1), s, in);
  const auto seen = Norm::backward(Norm::backward().back().run, every::context_of(1), s, in, kept);
  const NormShape shape{s.rows(), s.size, static_cast<double>(eps), Norm::centred};
  const auto loss = [&](const Doubles& h, const Doubles& w, const Doubles& b) {
    const auto y = wl::reference::norm_forward(shape, h, w, b).y;
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += y[i] * static_cast<double>(in.dy[i]);
    return sum;
  };
  Doubles inputs[3] = {wide(kept[0]), wide(in.w), wide(in.b)};
  for (size_t which = 0; which < seen.size(); ++which) {
    for (size_t i = 0; i < inputs[which].size(); ++i) {
      const double step = 1e-5, at = inputs[which][i];
      inputs[which][i] = at + step;
      const double above = loss(inputs[0], inputs[1], inputs[2]);
      inputs[which][i] = at - step;
      const double below = loss(inputs[0], inputs[1], inputs[2]);
      inputs[which][i] = at;
      const double slope = (above - below) / (2 * step);
      // Float32 rounding of sums of some tens of terms of size 1 to 10.
      CHECK(std::abs(slope - static_cast<double>(seen[which][i])) <= 2e-5);
    }
  }
}

/** Rows of their own and rows of a batch: the same bits, at every position. */
template <class Norm>
void rows_stand_alone() {
  const Shape s{1, 37, 83, true, true, false}, single{1, 1, 83, true, true, false};
  const Inputs in(s);
  const auto kept = Norm::forward(Norm::forward().back().run, every::context_of(3), s, in);
  const auto dx = Norm::backward(Norm::backward().back().run, every::context_of(3), s, in, kept)[0];
  for (int64_t row = 0; row < s.rows(); ++row) {
    const auto part = [&](const Floats& all) { return Floats(all.begin() + row * s.size, all.begin() + (row + 1) * s.size); };
    Inputs one = in;
    for (Floats* values : {&one.x, &one.residual, &one.dy, &one.dh}) *values = part(*values);
    const auto alone = Norm::forward(Norm::forward().back().run, every::context_of(1), single, one);
    CHECK(same_bits(alone[1], part(kept[1])));
    CHECK(same_bits(Norm::backward(Norm::backward().back().run, every::context_of(1), single, one, alone)[0], part(dx)));
  }
}

/** Ranks that have a part of every sequence: the sums over tokens add up to those of one rank. */
template <class Norm>
void ranks_share_tokens() {
  const auto run = Norm::backward().back().run;
  for (const int64_t ranks : {2, 4, 8}) {
    const Shape s{3, 24, 67, true, true, false};
    const Inputs in(s);
    const auto kept = Norm::forward(Norm::forward().back().run, every::context_of(3), s, in);
    const auto alone = Norm::backward(run, every::context_of(3), s, in, kept);
    std::vector<std::vector<Floats>> parts(alone.size());
    for (int64_t r = 0; r < ranks; ++r) {
      const Shape local{s.sequences, s.length / ranks, s.size, true, true, false};
      const auto part = [&](const Floats& all, int64_t cols) { return contract::positions(all, s.length, cols, r * local.length, (r + 1) * local.length); };
      Inputs own = in;
      for (Floats* values : {&own.x, &own.residual, &own.dy, &own.dh}) *values = part(*values, s.size);
      const std::vector<Floats> own_kept = {part(kept[0], s.size), part(kept[1], s.size), part(kept[2], 1), part(kept[3], 1)};
      const auto seen = Norm::backward(run, every::context_of(1), local, own, own_kept, 8 / ranks);
      CHECK(same_bits(seen[0], part(alone[0], s.size)));
      for (size_t i = 1; i < seen.size(); ++i) parts[i].push_back(seen[i]);
    }
    for (size_t i = 1; i < alone.size(); ++i) CHECK(same_bits(contract::added(parts[i]), alone[i]));
  }
}

}  // namespace

TEST("ranks with a part of every sequence get the gradients of RMSNorm on one rank") { ranks_share_tokens<Rms>(); }
TEST("ranks with a part of every sequence get the gradients of LayerNorm on one rank") { ranks_share_tokens<Layer>(); }
TEST("RMSNorm is within rounding of float64, with the same bits everywhere") { forward_is_right<Rms>(); }
TEST("LayerNorm is within rounding of float64, with the same bits everywhere") { forward_is_right<Layer>(); }
TEST("RMSNorm's gradients are right: dx within rounding, dw to the bit of the contract") { backward_is_right<Rms>(); }
TEST("LayerNorm's gradients are right: dx within rounding, dw and db to the bit of the contract") { backward_is_right<Layer>(); }
TEST("RMSNorm's gradients equal central differences") { gradients_are_slopes<Rms>(); }
TEST("LayerNorm's gradients equal central differences") { gradients_are_slopes<Layer>(); }
TEST("a row's RMSNorm and gradient do not depend on its position or the batch") { rows_stand_alone<Rms>(); }
TEST("a row's LayerNorm and gradient do not depend on its position or the batch") { rows_stand_alone<Layer>(); }

TEST("an offset of RMSNorm's weights gives the bits of weights with it added") {
  for (Shape s : shapes()) {
    const Inputs in(s);
    Inputs added = in;
    s.offset = 1;
    for (float& w : added.w) w += s.offset;
    Shape plain = s;
    plain.offset = 0;
    const auto both = [&](const Shape& shape, const Inputs& inputs) {
      auto seen = Rms::forward(Rms::forward().back().run, every::context_of(2), shape, inputs);
      for (Floats& each : Rms::backward(Rms::backward().back().run, every::context_of(2), shape, inputs, seen)) seen.push_back(each);
      return seen;
    };
    const auto seen = both(s, in), wanted = both(plain, added);
    for (size_t i = 0; i < wanted.size(); ++i) CHECK(same_bits(seen[i], wanted[i]));
  }
}

TEST("the statistics of a row are sums over 16 lanes and a tree, then one division and one root") {
  for (const Shape& s : shapes()) {
    const Inputs in(s);
    const auto rms = Rms::forward(Rms::forward().back().run, every::context_of(1), s, in);
    const auto layer = Layer::forward(Layer::forward().back().run, every::context_of(1), s, in);
    const float n = static_cast<float>(s.size);
    for (int64_t row = 0; row < s.rows(); ++row) {
      const float* h = rms[0].data() + row * s.size;
      const size_t at = static_cast<size_t>(row);
      const float squares = lanes_sum(s.size, [&](int64_t i, float lane) { return std::fma(h[i], h[i], lane); });
      CHECK(same_bits(rms[2][at], 1.0f / std::sqrt(squares / n + eps)));
      const float mean = lanes_sum(s.size, [&](int64_t i, float lane) { return lane + h[i]; }) / n;
      CHECK(same_bits(layer[3][at], mean));
      const float variance = lanes_sum(s.size, [&](int64_t i, float lane) { return std::fma(h[i] - mean, h[i] - mean, lane); }) / n;
      CHECK(same_bits(layer[2][at], 1.0f / std::sqrt(variance + eps)));
    }
  }
}

TEST("a constant offset of 10,000 costs LayerNorm no more than the rounding of the input") {
  const Shape s{1, 1, 256, false, false, false};
  Inputs in(s);
  in.w.assign(in.w.size(), 1.0f);
  for (float& value : in.x) value = 10000.0f + std::round(value * 64.0f) / 64.0f;
  const auto seen = Layer::forward(Layer::forward().back().run, every::context_of(1), s, in);
  const auto wanted = wl::reference::norm_forward({1, s.size, static_cast<double>(eps), true}, wide(in.x), wide(in.w), {});
  // The mean is off by at most a few units of 2^-11, which every value shares.
  every::within(seen[1], wanted.y, "y", [&](size_t) { return 2 * 0x1p-11 * wanted.inverse[0]; });
}

TEST("a residual without a place for the sum is refused") {
  const Shape s{1, 2, 16, true, true, false};
  const Inputs in(s);
  Floats y(in.x.size()), mean(2), inverse(2);
  every::refused("rms_norm_forward: a residual needs h", [&] {
    Rms::forward().back().run(every::context_of(1), {in.x.data(), in.residual.data(), in.w.data(), nullptr, y.data(), inverse.data(), eps, 0, 2, 16});
  });
  every::refused("layer_norm_forward: a residual needs h", [&] {
    Layer::forward().back().run(every::context_of(1), {in.x.data(), in.residual.data(), in.w.data(), nullptr, nullptr, y.data(), mean.data(), inverse.data(),
                                                       eps, 2, 16});
  });
}

TEST_MAIN
