// Tensors of bf16: an operation gives the bits of the same operation on widened numbers, its result rounded once; on every instruction set.
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

TEST("a linear layer and its gradients read bf16, or f32 as bf16, as the numbers that they are") {
  struct Shape {
    int64_t rows, outputs, inputs, unit, length;
  };
  // Few and many rows, ragged tiles and panels, contractions of one step and of several.
  for (const Shape s : {Shape{1, 5, 7, 16, 1}, Shape{7, 33, 40, 16, 7}, Shape{24, 96, 64, 16, 8}, Shape{130, 50, 129, 16, 65}, Shape{6, 40, 6500, 16, 6},
                        Shape{900, 70, 48, 8, 100}}) {
    const std::string of = " of " + std::to_string(s.rows) + " x " + std::to_string(s.outputs) + " x " + std::to_string(s.inputs);
    const Both x(every::values(s.rows * s.inputs, 1));
    const Floats masters = every::values(s.outputs * s.inputs, 2), bias = every::values(s.outputs, 3), dy = every::values(s.rows * s.outputs, 4);
    const Both w(masters);
    for (const bool by_masters : {false, true}) {
      const auto weight = [&](bool bf16) { return bf16 && by_masters ? as_rounded(masters) : w.in(bf16); };
      same_as_f32(EVERY_ISA(linear_forward), "linear_forward" + of, [&](auto run, wl::Context& on, bool bf16) {
        Place y(s.rows * s.outputs);
        run(on, {x.in(bf16), weight(bf16), bias.data(), y.out(bf16), s.unit, 8, s.rows, s.inputs, s.outputs});
        return std::vector<Floats>{y.values(bf16)};
      });
      same_as_f32(EVERY_ISA(linear_backward_input), "linear_backward_input" + of, [&](auto run, wl::Context& on, bool bf16) {
        Floats dx = x.floats;
        run(on, {dy.data(), weight(bf16), dy.data(), weight(bf16), nullptr, nullptr, dx.data(), s.unit, 8, 1, s.rows, s.outputs, s.inputs, s.outputs, 0});
        return std::vector<Floats>{dx};
      });
    }
    same_as_f32(EVERY_ISA(linear_backward_weight), "linear_backward_weight" + of, [&](auto run, wl::Context& on, bool bf16) {
      Floats dw(w.floats.size()), dbias(bias.size());
      run(on, {dy.data(), x.in(bf16), dw.data(), dbias.data(), s.length, 8, 0, s.rows, s.outputs, s.inputs});
      return std::vector<Floats>{dw, dbias};
    });
  }
}

TEST("the loss and its gradients read hidden states of bf16 and weights as bf16 as the numbers that they are") {
  const int64_t rows = 24, size = 40, vocabulary = 133, length = 12;
  const Both h(every::values(rows * size, 5));
  const Floats masters = every::values(vocabulary * size, 6);
  const Both w(masters);
  Integers targets;
  for (int64_t i = 0; i < rows; ++i) targets.push_back(i % 7 == 3 ? -1 : static_cast<int32_t>(i * 37 % vocabulary));
  const auto weight = [&](bool bf16) { return bf16 ? as_rounded(masters) : w.in(false); };
  same_as_f32(EVERY_ISA(cross_entropy_forward), "cross_entropy_forward", [&](auto run, wl::Context& on, bool bf16) {
    Floats losses(targets.size());
    run(on, {h.in(bf16), weight(bf16), targets.data(), losses.data(), rows, size, vocabulary});
    return std::vector<Floats>{losses};
  });
  same_as_f32(EVERY_ISA(cross_entropy_fused), "cross_entropy_fused", [&](auto run, wl::Context& on, bool bf16) {
    Floats losses(targets.size()), dh(h.floats.size()), dw(masters.size());
    run(on, {h.in(bf16), weight(bf16), targets.data(), losses.data(), dh.data(), dw.data(), 0.25f, length, 0, rows, size, vocabulary});
    return std::vector<Floats>{losses, dh, dw};
  });
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
