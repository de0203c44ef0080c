// Embeddings: rows copied to the bit, and the gradient of the table against the contract of token spans.
#include <set>

#include "tests/every-isa.h"

namespace {

using every::Floats;
using every::Integers;

struct Case {
  int64_t sequences, length, size, vocabulary;

  int64_t rows() const { return sequences * length; }
};

// Sequences shorter than the 8 spans, with a short last span, and whole; rows of less than, as much as and more than a vector.
const Case cases[] = {{1, 1, 1, 1},   {3, 1, 7, 5},    {2, 5, 15, 3},   {4, 7, 16, 100},  {1, 8, 17, 2},
                      {3, 9, 48, 11}, {2, 64, 33, 40}, {5, 13, 130, 1}, {7, 31, 257, 23}, {1, 1000, 19, 5000}};

Integers ids_of(const Case& c, uint64_t seed) {
  every::Numbers numbers(seed);
  Integers ids;
  // Half of the tokens are one of two ids, as frequent words are.
  for (int64_t t = 0; t < c.rows(); ++t) {
    ids.push_back(static_cast<int32_t>(numbers.below(2) == 0 ? numbers.below(std::min<int64_t>(2, c.vocabulary)) : numbers.below(c.vocabulary)));
  }
  return ids;
}

template <class Run>
Floats backward_with(Run run, wl::Context& context, const Case& c, const Integers& ids, const Floats& dy, Floats dw, bool accumulate) {
  run(context, {ids.data(), dy.data(), dw.data(), c.length, accumulate, c.rows(), c.size, c.vocabulary});
  return dw;
}

/** The gradient as the contract has it, one scalar at a time. */
Floats scalar_backward(const Case& c, const Integers& ids, const Floats& dy) {
  Floats dw;
  for (int64_t v = 0; v < c.vocabulary; ++v) {
    for (int64_t i = 0; i < c.size; ++i) {
      // Adding +0 for a token of another id changes no bit of a chain that began at +0.
      dw.push_back(contract::token_dot(
          c.rows(), c.length, [&](int64_t t) { return ids[t] == v ? dy[t * c.size + i] : 0.0f; }, [](int64_t) { return 1.0f; }));
    }
  }
  return dw;
}

Floats slice(const Floats& x, int64_t first, int64_t count) { return {x.begin() + first, x.begin() + first + count}; }

}  // namespace

TEST("an embedding is its row of the table, NaN and signed zero included") {
  for (const Case& c : cases) {
    Floats w = every::values(c.vocabulary * c.size, 3);
    w[0] = -0.0f;
    w.back() = std::nanf("");
    const Integers ids = ids_of(c, 5);
    const auto seen = every::same_everywhere(EVERY_ISA(embedding_forward), "embedding_forward", [&](auto run, wl::Context& context) {
      Floats y(static_cast<size_t>(c.rows() * c.size), -7.0f);
      run(context, {ids.data(), w.data(), y.data(), c.rows(), c.vocabulary, c.size});
      return std::vector<Floats>{y};
    });
    for (int64_t t = 0; t < c.rows(); ++t) {
      CHECK(every::same_bits(slice(seen[0], t * c.size, c.size), slice(w, ids[t] * c.size, c.size)));
    }
  }
}

TEST("the gradient of the table has the bits of the token spans, on every instruction set and thread count") {
  for (const Case& c : cases) {
    const Integers ids = ids_of(c, 7);
    const Floats dy = every::values(c.rows() * c.size, 8);
    const Floats unset(static_cast<size_t>(c.vocabulary * c.size), std::nanf(""));
    const auto seen = every::same_everywhere(EVERY_ISA(embedding_backward), "embedding_backward", [&](auto run, wl::Context& context) {
      return std::vector<Floats>{backward_with(run, context, c, ids, dy, unset, false)};
    });
    CHECK(every::same_bits(seen[0], scalar_backward(c, ids, dy)));
  }
}

TEST("an accumulated gradient is the old one plus the new one, in that one rounding") {
  for (const Case& c : cases) {
    const Integers ids = ids_of(c, 9);
    const Floats dy = every::values(c.rows() * c.size, 10), old = every::values(c.vocabulary * c.size, 11);
    Floats wanted = scalar_backward(c, ids, dy);
    for (size_t i = 0; i < wanted.size(); ++i) wanted[i] = old[i] + wanted[i];
    const auto seen = every::same_everywhere(EVERY_ISA(embedding_backward), "accumulated", [&](auto run, wl::Context& context) {
      return std::vector<Floats>{backward_with(run, context, c, ids, dy, old, true)};
    });
    CHECK(every::same_bits(seen[0], wanted));
  }
}

TEST("forward and backward are adjoint: <dy, w[ids]> is <dw, w>") {
  for (const Case& c : cases) {
    const Integers ids = ids_of(c, 13);
    const Floats dy = every::values(c.rows() * c.size, 14), w = every::values(c.vocabulary * c.size, 15);
    const Floats dw = backward_with(EVERY_ISA(embedding_backward).back().run, every::context_of(1), c, ids, dy, Floats(w.size()), false);
    double outer = 0, inner = 0, magnitude = 0;
    for (int64_t t = 0; t < c.rows(); ++t) {
      for (int64_t i = 0; i < c.size; ++i) {
        const double term = static_cast<double>(dy[t * c.size + i]) * static_cast<double>(w[ids[t] * c.size + i]);
        outer += term;
        magnitude += std::abs(term);
      }
    }
    for (size_t i = 0; i < w.size(); ++i) inner += static_cast<double>(dw[i]) * static_cast<double>(w[i]);
    // A chain is at most a span of every sequence long, the tree has three more sums.
    const double longest = static_cast<double>(c.sequences * ((c.length + 7) / 8) + 3);
    CHECK(std::abs(outer - inner) <= longest * every::roundoff * magnitude);
  }
}

TEST("an id outside the table is refused on both ways, at any place, and nothing is written") {
  const Case c{2, 40, 4, 10};
  const Floats w(40, 1.0f), dy(static_cast<size_t>(c.rows() * c.size), 1.0f);
  for (const int32_t wrong : {-1, 10, INT32_MIN, INT32_MAX}) {
    for (const size_t at : {size_t{0}, size_t{37}, size_t{79}}) {
      Integers ids(static_cast<size_t>(c.rows()), 3);
      ids[at] = wrong;
      Floats y(dy.size(), -7.0f), dw(w.size(), -7.0f);
      every::refused("embedding: an id is outside the table", [&] {
        EVERY_ISA(embedding_forward).back().run(every::context_of(2), {ids.data(), w.data(), y.data(), c.rows(), c.vocabulary, c.size});
      });
      every::refused("embedding: an id is outside the table", [&] {
        EVERY_ISA(embedding_backward).back().run(every::context_of(2), {ids.data(), dy.data(), dw.data(), c.length, 0, c.rows(), c.size, c.vocabulary});
      });
      CHECK((std::set<float>(y.begin(), y.end()) == std::set<float>{-7.0f}));
      CHECK((std::set<float>(dw.begin(), dw.end()) == std::set<float>{-7.0f}));
    }
  }
}

TEST_MAIN
