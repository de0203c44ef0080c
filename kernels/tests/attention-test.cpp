// Attention of whole sequences: forward and gradients against float64, and the same bits for every instruction set and thread count.
#include "attention-cases.h"

using namespace cases;
using wl::reference::AttentionShape;

namespace {

struct Inputs {
  AttentionShape shape;
  Floats q, k, v, dout;
  float scale;

  Floats slopes() const { return {shape.slopes.begin(), shape.slopes.end()}; }
};

struct Outputs {
  Floats out, lse, dq, dk, dv;
  bool operator==(const Outputs& other) const {
    return same_bits(out, other.out) && same_bits(lse, other.lse) && same_bits(dq, other.dq) && same_bits(dk, other.dk) &&
           same_bits(dv, other.dv);
  }
};

Inputs inputs_of(const AttentionShape& shape) {
  return {shape,
          random(shape.query_size(), 1),
          random(shape.key_size(), 2),
          random(shape.key_size(), 3),
          random(shape.query_size(), 4),
          1.0f / std::sqrt(float(shape.head_size))};
}

Outputs run(const Kernels& kernels, wl::Context& context, const Inputs& in) {
  const AttentionShape& s = in.shape;
  const int64_t rows = s.rows(), q_size = s.heads * s.head_size, k_size = s.kv_heads * s.head_size;
  const float unset = std::nanf("");  // shows what a kernel left out
  Outputs o{Floats(s.query_size(), unset), Floats(s.lse_size(), unset), Floats(s.query_size(), unset), Floats(s.key_size(), unset),
            Floats(s.key_size(), unset)};
  const Floats all = in.slopes();
  const float* slopes = all.empty() ? nullptr : all.data();
  const int64_t count = int64_t(all.size());
  kernels.forward(context, {in.q.data(), in.k.data(), in.v.data(), o.out.data(), o.lse.data(), slopes, s.length, s.kv_heads, in.scale,
                            s.window, 0, rows, q_size, k_size, s.heads, count});
  kernels.backward(context, {in.dout.data(), in.q.data(), in.k.data(), in.v.data(), o.out.data(), o.lse.data(), slopes, o.dq.data(),
                             o.dk.data(), o.dv.data(), s.length, s.kv_heads, in.scale, s.window, 0, rows, q_size, k_size, s.heads, count});
  return o;
}

const std::vector<AttentionShape>& ragged_shapes() {
  static const std::vector<AttentionShape> shapes = {
      {1, 1, 1, 1, 8},   {3, 1, 4, 2, 24},  {2, 7, 2, 2, 32},  {2, 7, 4, 1, 5},    {1, 63, 2, 1, 64},  {2, 64, 4, 4, 16},
      {1, 65, 4, 2, 80}, {2, 65, 1, 1, 17}, {1, 129, 4, 1, 8}, {2, 129, 6, 3, 32}, {1, 200, 2, 2, 128}, {1, 130, 3, 1, 1},
      // Windows: of one key, within a block, of a block, over blocks, longer than the sequence.
      {2, 70, 2, 1, 24, 1}, {1, 200, 4, 2, 16, 5}, {1, 300, 2, 2, 24, 64}, {2, 260, 6, 3, 8, 65}, {1, 400, 3, 1, 16, 130}, {1, 90, 2, 2, 32, 200},
      // Slopes, alone and with a window.
      {2, 130, 2, 2, 16, 0, {0.5, 0.0625}}, {1, 200, 4, 2, 24, 0, {0.25, 0.0625, 0.015625, 0.00390625}}, {1, 300, 3, 1, 8, 90, {0.5, 0.25, 1.0}},
  };
  return shapes;
}

double loss(const Inputs& in, const std::vector<double>& q, const std::vector<double>& k, const std::vector<double>& v) {
  const auto forward = wl::reference::attention_forward(in.shape, q, k, v, in.scale);
  double sum = 0;
  for (size_t i = 0; i < forward.out.value.size(); i++) sum += forward.out.value[i] * double(in.dout[i]);
  return sum;
}

}  // namespace

TEST("attention and its gradients stay within the rounding bounds of float64") {
  for (const AttentionShape& shape : ragged_shapes()) {
    const Inputs in = inputs_of(shape);
    const auto q = wide(in.q), k = wide(in.k), v = wide(in.v);
    const auto forward = wl::reference::attention_forward(shape, q, k, v, in.scale);
    const auto gradients = wl::reference::attention_backward(shape, wide(in.dout), q, k, v, in.scale);
    const Outputs seen = run(best_isa(), context_of(1), in);
    within(seen.out, forward.out, "out");
    within(seen.lse, forward.lse, "lse");
    within(seen.dq, gradients.dq, "dq");
    within(seen.dk, gradients.dk, "dk");
    within(seen.dv, gradients.dv, "dv");
  }
}

TEST("gradients equal central differences of the float64 forward pass") {
  for (const AttentionShape& shape : {AttentionShape{1, 9, 4, 2, 8}, AttentionShape{2, 5, 3, 1, 7}, AttentionShape{1, 12, 2, 1, 8, 4},
                                      AttentionShape{1, 9, 2, 2, 8, 0, {0.5, 0.125}}}) {
    const Inputs in = inputs_of(shape);
    const auto gradients = wl::reference::attention_backward(shape, wide(in.dout), wide(in.q), wide(in.k), wide(in.v), in.scale);
    const Outputs seen = run(best_isa(), context_of(1), in);
    std::vector<double> inputs[3] = {wide(in.q), wide(in.k), wide(in.v)};
    const Floats* const grads[3] = {&seen.dq, &seen.dk, &seen.dv};
    const wl::reference::Bounded* const bounds[3] = {&gradients.dq, &gradients.dk, &gradients.dv};
    for (int which = 0; which < 3; which++) {
      for (size_t i = 0; i < inputs[which].size(); i += 3) {
        const double step = 1e-4, at = inputs[which][i];
        inputs[which][i] = at + step;
        const double above = loss(in, inputs[0], inputs[1], inputs[2]);
        inputs[which][i] = at - step;
        const double below = loss(in, inputs[0], inputs[1], inputs[2]);
        inputs[which][i] = at;
        // Beside the kernel's rounding: the third derivative times step^2, and cancellation in the difference.
        const double off = std::abs((above - below) / (2 * step) - double((*grads[which])[i]));
        CHECK(off <= bounds[which]->bound[i] + 1e-6);
      }
    }
  }
}

TEST("the gradient of the values is the adjoint of attention, which is linear in them") {
  const AttentionShape shape = {2, 130, 4, 2, 24};
  Inputs in = inputs_of(shape);
  for (Floats* x : {&in.v, &in.dout}) {
    for (float& value : *x) value = std::abs(value);  // so that the sums below don't cancel
  }
  const auto q = wide(in.q), k = wide(in.k), v = wide(in.v);
  const auto forward = wl::reference::attention_forward(shape, q, k, v, in.scale);
  const auto gradients = wl::reference::attention_backward(shape, wide(in.dout), q, k, v, in.scale);
  const Outputs seen = run(best_isa(), context_of(1), in);
  double left = 0, right = 0, bound = 0;
  for (size_t i = 0; i < seen.out.size(); i++) {
    left += double(seen.out[i]) * double(in.dout[i]);
    bound += std::abs(double(in.dout[i])) * forward.out.bound[i];
  }
  for (size_t i = 0; i < seen.dv.size(); i++) {
    right += double(seen.dv[i]) * double(in.v[i]);
    bound += std::abs(double(in.v[i])) * gradients.dv.bound[i];
  }
  CHECK(std::abs(left - right) <= bound);
  CHECK(bound < 1e-4 * left);
}

TEST("every instruction set and thread count gives the same bits") {
  for (const AttentionShape& shape : ragged_shapes()) {
    const Inputs in = inputs_of(shape);
    const Outputs first = run(every_isa().front(), context_of(1), in);
    for (const Kernels& kernels : every_isa()) {
      for (int threads = 1; threads <= 3; threads++) CHECK(run(kernels, context_of(threads), in) == first);
    }
  }
}

TEST("a sequence has the same bits alone and beside others") {
  const AttentionShape all = {5, 77, 4, 2, 24}, one = {1, 77, 4, 2, 24};
  const Inputs in = inputs_of(all);
  const Outputs together = run(best_isa(), context_of(2), in);
  for (int64_t b = 0; b < all.sequences; b++) {
    const auto part = [&](const Floats& x, int64_t size) { return Floats(x.begin() + b * size, x.begin() + (b + 1) * size); };
    const Inputs alone = {one,
                          part(in.q, one.query_size()),
                          part(in.k, one.key_size()),
                          part(in.v, one.key_size()),
                          part(in.dout, one.query_size()),
                          in.scale};
    const Outputs wanted = {part(together.out, one.query_size()), part(together.lse, one.lse_size()),
                            part(together.dq, one.query_size()), part(together.dk, one.key_size()),
                            part(together.dv, one.key_size())};
    CHECK(run(best_isa(), context_of(1), alone) == wanted);
  }
}

TEST("scores far apart neither overflow nor lose the largest one") {
  Inputs in = inputs_of({1, 100, 2, 1, 16});
  for (float& value : in.q) value *= 1000;
  const auto q = wide(in.q), k = wide(in.k), v = wide(in.v);
  for (const Kernels& kernels : every_isa()) {
    const Outputs seen = run(kernels, context_of(1), in);
    within(seen.out, wl::reference::attention_forward(in.shape, q, k, v, in.scale).out, "out");
    for (const Floats* x : {&seen.dq, &seen.dk, &seen.dv}) {
      for (const float value : *x) CHECK(std::isfinite(value));
    }
  }
}

TEST("rows have the bits of a sequence that begins where their window does") {
  // Blocks lie at absolute positions, so the shorter sequence leaves out whole blocks.
  const int64_t window = 40, left_out = 128, length = 230;
  const AttentionShape shape = {1, length, 4, 2, 24, window, {0.5, 0.25, 0.125, 0.0625}}, shorter = {1, length - left_out, 4, 2, 24, window, shape.slopes};
  const Inputs in = inputs_of(shape);
  const auto rest = [&](const Floats& x, int64_t row) { return Floats(x.begin() + left_out * row, x.end()); };
  const Inputs cut = {shorter, rest(in.q, 96), rest(in.k, 48), rest(in.v, 48), rest(in.dout, 96), in.scale};
  const Floats whole = run(best_isa(), context_of(2), in).out, part = run(best_isa(), context_of(1), cut).out;
  const int64_t first = window - 1;  // of the shorter sequence, whose window is whole
  CHECK(same_bits(Floats(whole.begin() + (left_out + first) * 96, whole.end()), Floats(part.begin() + first * 96, part.end())));
}

TEST("a window as long as the sequence changes no bit") {
  Inputs in = inputs_of({2, 150, 4, 2, 24});
  const Outputs all = run(best_isa(), context_of(1), in);
  in.shape.window = 150;
  CHECK(run(best_isa(), context_of(1), in) == all);
}

TEST("a rank with some of the heads takes their slopes") {
  const AttentionShape shape = {1, 80, 4, 4, 16, 0, {0.5, 0.25, 0.125, 0.0625}};
  const Inputs in = inputs_of(shape);
  const Floats whole = run(best_isa(), context_of(1), in).out, slopes = in.slopes();
  const auto half = [&](const Floats& x) {
    Floats part;
    for (int64_t t = 0; t < 80; t++) part.insert(part.end(), x.begin() + t * 64 + 32, x.begin() + (t + 1) * 64);
    return part;
  };
  const Floats q = half(in.q), k = half(in.k), v = half(in.v);
  Floats out(q.size()), lse(80 * 2);
  best_isa().forward(context_of(1), {q.data(), k.data(), v.data(), out.data(), lse.data(), slopes.data(), 80, 2, in.scale, 0, 2, 80, 32, 32, 2, 4});
  CHECK(same_bits(out, half(whole)));
}

TEST("zeros come out as +0") {
  Inputs in = inputs_of({1, 70, 2, 2, 20});
  in.v.assign(in.v.size(), -0.0f);
  in.dout.assign(in.dout.size(), -0.0f);
  for (const Kernels& kernels : every_isa()) {
    const Outputs seen = run(kernels, context_of(1), in);
    for (const Floats* x : {&seen.out, &seen.dq, &seen.dk, &seen.dv}) {
      for (const float value : *x) CHECK(value == 0 && !std::signbit(value));
    }
  }
}

TEST_MAIN
