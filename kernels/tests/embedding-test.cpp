// Embedding rows and the gradient of the table: exact rows, the order of the sum bit for bit, and what must not change a bit.
#include "tests/every-isa.h"

namespace {

using every::Floats;
using every::Integers;
using every::same_bits;
using every::same_everywhere;

struct Shape {
  int64_t sequences, length, vocabulary, size;
  bool accumulate;

  int64_t rows() const { return sequences * length; }
};

const std::vector<Shape>& shapes() {
  static const std::vector<Shape> all = {
      {1, 1, 1, 1, false},   {1, 1, 5, 16, true},    {3, 7, 4, 17, true},   {2, 16, 11, 15, false},
      {5, 13, 3, 31, false}, {2, 64, 1000, 8, true}, {1, 257, 2, 5, false}, {16, 9, 50, 33, true},
  };
  return all;
}

struct Inputs {
  Integers ids;
  Floats w, dy, dw;

  explicit Inputs(const Shape& s) {
    every::Numbers numbers(static_cast<uint64_t>(s.rows() * 31 + s.vocabulary));
    for (int64_t t = 0; t < s.rows(); ++t) ids.push_back(static_cast<int32_t>(numbers.below(s.vocabulary)));
    w = every::values(s.vocabulary * s.size, 1);
    dy = every::values(s.rows() * s.size, 2);
    dw = every::values(s.vocabulary * s.size, 3);
  }
};

Floats backward(void (*run)(wl::Context&, const wl::embedding_backward_args&), wl::Context& on, const Shape& s, const Inputs& in) {
  Floats dw = in.dw;
  run(on, {in.ids.data(), in.dy.data(), dw.data(), 0, s.vocabulary, s.length, 8, s.accumulate ? 1 : 0, s.rows(), s.size, s.vocabulary});
  return dw;
}

}  // namespace

TEST("the rows of the ids come out as they are") {
  for (const Shape& s : shapes()) {
    const Inputs in(s);
    const auto seen = same_everywhere(EVERY_ISA(embedding_forward), "embedding_forward", [&](auto run, wl::Context& on) {
      Floats y(in.dy.size());
      run(on, {in.ids.data(), in.w.data(), y.data(), 0, s.vocabulary, s.rows(), s.vocabulary, s.size});
      return std::vector<Floats>{y};
    });
    for (size_t i = 0; i < in.dy.size(); ++i) {
      const size_t id = static_cast<size_t>(in.ids[i / s.size]);
      CHECK(same_bits(seen[0][i], in.w[id * static_cast<size_t>(s.size) + i % s.size]));
    }
  }
}

TEST("the gradient of a row of the table is the sum of its tokens in spans, to the bit of the contract") {
  for (const Shape& s : shapes()) {
    const Inputs in(s);
    const auto seen = same_everywhere(EVERY_ISA(embedding_backward), "embedding_backward", [&](auto run, wl::Context& on) {
      return std::vector<Floats>{backward(run, on, s, in)};
    });
    const std::vector<int64_t> begin = contract::spans_of(s.length, 1);
    for (int64_t v = 0; v < s.vocabulary; ++v) {
      for (int64_t d = 0; d < s.size; ++d) {
        std::vector<float> spans;
        for (size_t part = 0; part + 1 < begin.size(); ++part) {
          spans.push_back(0.0f);
          for (int64_t b = 0; b < s.sequences; ++b) {
            for (int64_t t = begin[part]; t < begin[part + 1]; ++t) {
              const int64_t row = b * s.length + t;
              if (in.ids[static_cast<size_t>(row)] == v) spans.back() += in.dy[static_cast<size_t>(row * s.size + d)];
            }
          }
        }
        const size_t at = static_cast<size_t>(v * s.size + d);
        const float sum = contract::tree(spans);
        CHECK(same_bits(seen[0][at], s.accumulate ? in.dw[at] + sum : sum));
      }
    }
  }
}

TEST("ranks with a part of every sequence get the bits of one rank alone") {
  for (const int64_t ranks : {2, 4, 8}) {
    const Shape s{3, 40, 11, 19, false};
    const Inputs in(s);
    for (const auto& variant : EVERY_ISA(embedding_backward)) {
      std::vector<Floats> parts;
      for (int64_t r = 0; r < ranks; ++r) {
        const int64_t length = s.length / ranks;
        const Integers ids = contract::positions(in.ids, s.length, 1, r * length, (r + 1) * length);
        const Floats dy = contract::positions(in.dy, s.length, s.size, r * length, (r + 1) * length);
        Floats dw(in.dw.size());
        variant.run(every::context_of(2), {ids.data(), dy.data(), dw.data(), 0, s.vocabulary, length, 8 / ranks, 0, s.rows() / ranks, s.size, s.vocabulary});
        parts.push_back(dw);
      }
      CHECK(same_bits(contract::added(parts), backward(variant.run, every::context_of(2), s, in)));
    }
  }
}

TEST("ranks with a part of the table's rows add up to the whole table, -0 and not-a-number included, and have their rows of its gradient") {
  for (Shape s : {Shape{3, 7, 11, 17, false}, Shape{2, 16, 40, 33, true}, Shape{1, 5, 3, 4, false}}) {
    Inputs in(s);
    in.w[0] = -0.0f;
    in.w[1] = std::nanf("");
    in.w[2] = INFINITY;
    in.ids[0] = 0;
    for (const auto& forward : EVERY_ISA(embedding_forward)) {
      Floats whole(in.dy.size());
      forward.run(every::context_of(2), {in.ids.data(), in.w.data(), whole.data(), 0, s.vocabulary, s.rows(), s.vocabulary, s.size});
      Floats sum(in.dy.size(), -0.0f);
      for (int64_t first = 0; first < s.vocabulary; first += 4) {
        const int64_t rows = std::min<int64_t>(4, s.vocabulary - first);
        Floats y(in.dy.size());
        forward.run(every::context_of(1), {in.ids.data(), in.w.data() + first * s.size, y.data(), first, s.vocabulary, s.rows(), rows, s.size});
        for (size_t i = 0; i < y.size(); ++i) sum[i] += y[i];
      }
      CHECK(same_bits(sum, whole));
    }
    for (const auto& variant : EVERY_ISA(embedding_backward)) {
      Floats parts = in.dw;
      for (int64_t first = 0; first < s.vocabulary; first += 4) {
        const int64_t rows = std::min<int64_t>(4, s.vocabulary - first);
        variant.run(every::context_of(2), {in.ids.data(), in.dy.data(), parts.data() + first * s.size, first, s.vocabulary, s.length, 8,
                                           s.accumulate ? 1 : 0, s.rows(), s.size, rows});
      }
      CHECK(same_bits(parts, backward(variant.run, every::context_of(2), s, in)));
    }
  }
}

TEST("forward and backward are adjoint: <dy, lookup(w)> = <backward(dy), w>") {
  const Shape s{4, 33, 20, 24, false};
  const Inputs in(s);
  const Floats dw = backward(EVERY_ISA(embedding_backward).back().run, every::context_of(2), s, in);
  double left = 0, right = 0, magnitude = 0;
  for (size_t i = 0; i < in.dy.size(); ++i) {
    const double term = static_cast<double>(in.dy[i]) * static_cast<double>(in.w[static_cast<size_t>(in.ids[i / s.size]) * s.size + i % s.size]);
    left += term;
    magnitude += std::abs(term);
  }
  for (size_t i = 0; i < dw.size(); ++i) right += static_cast<double>(dw[i]) * static_cast<double>(in.w[i]);
  // A row of the table adds about 7 tokens, in chains and a tree of three levels.
  CHECK(std::abs(left - right) <= 16 * every::roundoff * magnitude);
}

TEST("rows of the table without a token become +0") {
  const Shape s{1, 3, 6, 17, false};
  Inputs in(s);
  in.ids = {4, 4, 1};
  in.dw.assign(in.dw.size(), std::nanf(""));
  const Floats dw = backward(EVERY_ISA(embedding_backward).back().run, every::context_of(1), s, in);
  for (const size_t v : {0, 2, 3, 5}) {
    for (size_t d = 0; d < 17; ++d) CHECK(same_bits(dw[v * 17 + d], 0.0f));
  }
}

TEST("an id outside the table is refused") {
  const Shape s{1, 3, 6, 17, true};
  for (const int32_t bad : {-1, 6, INT32_MIN, INT32_MAX}) {
    Inputs in(s);
    in.ids[1] = bad;
    for (const auto& variant : EVERY_ISA(embedding_backward)) {
      every::refused("embedding: an id is outside the table", [&] { backward(variant.run, every::context_of(1), s, in); });
    }
    Floats y(in.dy.size());
    for (const auto& variant : EVERY_ISA(embedding_forward)) {
      every::refused("embedding: an id is outside the table", [&] { variant.run(every::context_of(1), {in.ids.data(), in.w.data(), y.data(), 0, 6, 3, 6, 17}); });
    }
  }
}

TEST_MAIN
