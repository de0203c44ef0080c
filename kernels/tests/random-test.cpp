// Philox against published words, normal numbers by their moments and their keys, dropout by its mask.
#include "tests/every-isa.h"
#include "tests/probes.h"

namespace {

using every::Floats;

Floats normal(int64_t n, int64_t seed, int64_t stream, float mean = 0.0f, float std = 1.0f) {
  Floats x(static_cast<size_t>(n));
  EVERY_ISA(normal).back().run(every::context_of(1), {x.data(), mean, std, seed, stream, n});
  return x;
}

struct Site {
  int64_t seed = 1, step = 2, site = 3, first_token = 0;
};

Floats dropout(const Floats& x, int64_t columns, float p, const Site& at) {
  Floats y(x.size());
  const int64_t rows = static_cast<int64_t>(x.size()) / columns;
  EVERY_ISA(dropout).back().run(every::context_of(1), {x.data(), y.data(), p, at.seed, at.step, at.site, at.first_token, rows, rows, rows, columns});
  return y;
}

}  // namespace

TEST("Philox gives the known answers of its authors, one by one and side by side") {
  struct Known {
    uint32_t counter[4];
    uint64_t key;
    uint32_t words[4];
  };
  const Known known[] = {
      {{0, 0, 0, 0}, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, 0xffffffffffffffff, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (const auto& variant : EVERY_ISA(probe_philox)) {
    for (const Known& k : known) {
      uint32_t counter[4][16], scalar[4][16], vector[4][16];
      for (int w = 0; w < 4; ++w) {
        for (int lane = 0; lane < 16; ++lane) counter[w][lane] = k.counter[w] + static_cast<uint32_t>(lane == 5 ? 0 : lane * 77 + w);
      }
      variant.run(counter, k.key, scalar, vector);
      for (int w = 0; w < 4; ++w) {
        CHECK_EQUAL(scalar[w][5], k.words[w]);
        for (int lane = 0; lane < 16; ++lane) CHECK_EQUAL(vector[w][lane], scalar[w][lane]);
      }
    }
  }
}

TEST("normal numbers have the bits of their index, whatever the length, threads and instruction set") {
  const Floats whole = normal(20011, 7, 9);
  for (const int64_t n : every::ragged_lengths()) {
    const auto seen = every::same_everywhere(EVERY_ISA(normal), "normal", [&](auto run, wl::Context& context) {
      Floats x(static_cast<size_t>(n));
      run(context, {x.data(), 0.0f, 1.0f, 7, 9, n});
      return std::vector<Floats>{x};
    });
    CHECK(every::same_bits(seen[0], Floats(whole.begin(), whole.begin() + n)));
  }
}

TEST("four normal numbers are two Box-Muller pairs of one counter's words") {
  const int64_t n = 64 * 257, seed = 3 | int64_t{8} << 32, stream = 5 | int64_t{6} << 32;
  const Floats x = normal(n, seed, stream);
  for (int64_t block = 0; block < n / 4; ++block) {
    uint32_t counter[4][16] = {}, word[4][16], vector[4][16];
    const uint32_t known[4] = {static_cast<uint32_t>(block), 1u << 24, 5, 6};
    for (int w = 0; w < 4; ++w) counter[w][0] = known[w];
    wl::generic::probe_philox(counter, static_cast<uint64_t>(seed), word, vector);
    for (int pair = 0; pair < 4; pair += 2) {
      const double u = (word[pair][0] >> 8) * 0x1p-24, turn = (word[pair + 1][0] >> 8) * 0x1p-24;
      const double radius = std::sqrt(-2 * std::log(1 - u));
      const size_t at = static_cast<size_t>(4 * block + pair);
      // Sine and cosine are within 1.5e-7, the radius within some roundings.
      const double bound = (1.5e-7 + 4 * every::roundoff) * radius;
      CHECK(std::abs(static_cast<double>(x[at]) - radius * std::cos(2 * M_PI * turn)) <= bound);
      CHECK(std::abs(static_cast<double>(x[at + 1]) - radius * std::sin(2 * M_PI * turn)) <= bound);
    }
  }
}

TEST("normal numbers have the moments and the tails of the distribution") {
  const int64_t n = 1 << 20;
  const Floats x = normal(n, 123, 4, 2.0f, 3.0f);
  double mean = 0, second = 0, third = 0, fourth = 0, beyond = 0;
  for (const float value : x) {
    const double z = (static_cast<double>(value) - 2) / 3;
    mean += z;
    second += z * z;
    third += z * z * z;
    fourth += z * z * z * z;
    beyond += std::abs(z) > 3 ? 1 : 0;
  }
  // Five standard errors of each moment: of n draws, variances 1, 2, 15, 96; of the tail, binomial.
  const double unit = 5 / std::sqrt(static_cast<double>(n)), tail = 0.0026997960633;
  CHECK(std::abs(mean / n) < unit);
  CHECK(std::abs(second / n - 1) < unit * std::sqrt(2.0));
  CHECK(std::abs(third / n) < unit * std::sqrt(15.0));
  CHECK(std::abs(fourth / n - 3) < unit * std::sqrt(96.0));
  CHECK(std::abs(beyond / n - tail) < unit * std::sqrt(tail));
}

TEST("another seed or stream gives other numbers, in the upper words too") {
  const Floats one = normal(64, 1, 1);
  for (const auto& [seed, stream] : {std::pair<int64_t, int64_t>{2, 1}, {1, 2}, {1 + (int64_t{1} << 32), 1}, {1, 1 + (int64_t{1} << 32)}}) {
    const Floats other = normal(64, seed, stream);
    int equal = 0;
    for (size_t i = 0; i < one.size(); ++i) equal += one[i] == other[i] ? 1 : 0;
    CHECK_EQUAL(equal, 0);
  }
}

TEST("dropout keeps the share 1 - p, rescales it, and drops to +0") {
  const int64_t rows = 1000, columns = 130;
  const Floats x(static_cast<size_t>(rows * columns), -2.0f);
  for (const float p : {0.0f, 0.1f, 0.5f, 0.9f}) {
    const Floats y = dropout(x, columns, p, {});
    const float kept = -2.0f * (1.0f / (1.0f - p));
    int64_t count = 0;
    for (const float value : y) {
      CHECK(every::same_bits(value, kept) || every::same_bits(value, 0.0f));
      count += value != 0.0f ? 1 : 0;
    }
    const double n = static_cast<double>(x.size()), share = 1 - static_cast<double>(p);
    CHECK(std::abs(static_cast<double>(count) - n * share) <= 5 * std::sqrt(n * share * (1 - share)));
  }
}

TEST("the mask belongs to the global token and the column: not to rows, row length, threads or instruction set") {
  const int64_t rows = 37, columns = 203;
  const Floats x = every::values(rows * columns, 5);
  const auto whole = every::same_everywhere(EVERY_ISA(dropout), "dropout", [&](auto run, wl::Context& context) {
    Floats y(x.size());
    run(context, {x.data(), y.data(), 0.3f, 1, 2, 3, 1000, rows, rows, rows, columns});
    return std::vector<Floats>{y};
  })[0];
  for (int64_t row = 0; row < rows; ++row) {
    const Floats part(x.begin() + row * columns, x.begin() + (row + 1) * columns);
    const Floats wanted(whole.begin() + row * columns, whole.begin() + (row + 1) * columns);
    CHECK(every::same_bits(dropout(part, columns, 0.3f, {1, 2, 3, 1000 + row}), wanted));
    const Floats shorter(part.begin(), part.begin() + 101);
    CHECK(every::same_bits(dropout(shorter, 101, 0.3f, {1, 2, 3, 1000 + row}), Floats(wanted.begin(), wanted.begin() + 101)));
  }
}

TEST("rows in runs take the masks of their tokens: a part of every sequence drops what the whole batch drops there") {
  const int64_t length = 12, sequences = 3, columns = 37, part = 4;
  const Floats x = every::values(sequences * length * columns, 6);
  const Floats whole = dropout(x, columns, 0.4f, {1, 2, 3, 500});
  for (int64_t begin = 0; begin < length; begin += part) {
    const Floats own = contract::positions(x, length, columns, begin, begin + part);
    const auto seen = every::same_everywhere(EVERY_ISA(dropout), "dropout", [&](auto run, wl::Context& on) {
      Floats y(own.size());
      run(on, {own.data(), y.data(), 0.4f, 1, 2, 3, 500 + begin, part, length, sequences * part, columns});
      return std::vector<Floats>{y};
    })[0];
    CHECK(every::same_bits(seen, contract::positions(whole, length, columns, begin, begin + part)));
  }
}

TEST("seed, step, site and token each give another mask") {
  const Floats x(512, 1.0f);
  const Floats one = dropout(x, 512, 0.5f, {});
  for (const Site& at : {Site{2, 2, 3, 0}, Site{1, 3, 3, 0}, Site{1, 2, 4, 0}, Site{1, 2, 3, 1}, Site{1, 2, 3, int64_t{1} << 32}}) {
    const Floats other = dropout(x, 512, 0.5f, at);
    int equal = 0;
    for (size_t i = 0; i < x.size(); ++i) equal += one[i] == other[i] ? 1 : 0;
    // Half of 512 agree by chance, standard deviation 11.3.
    CHECK(std::abs(equal - 256) < 57);
  }
}

TEST("what is dropped is +0 even where x is NaN, and keys that don't fit are refused") {
  const Floats y = dropout(Floats(64, std::nanf("")), 64, 0.5f, {});
  int zeros = 0;
  for (const float value : y) zeros += every::same_bits(value, 0.0f) ? 1 : 0;
  CHECK(zeros > 0 && zeros < 64);
  every::refused("dropout: the site does not fit into 16 bits", [] { dropout(Floats(4), 4, 0.5f, {1, 2, 1 << 16, 0}); });
  every::refused("dropout: the step does not fit into 32 bits", [] { dropout(Floats(4), 4, 0.5f, {1, int64_t{1} << 32, 3, 0}); });
  every::refused("dropout: the token index does not fit into 48 bits", [] { dropout(Floats(4), 4, 0.5f, {1, 2, 3, int64_t{1} << 48}); });
  every::refused("dropout: the token index does not fit into 48 bits", [] {
    Floats x(8);
    EVERY_ISA(dropout).back().run(every::context_of(1), {x.data(), x.data(), 0.5f, 1, 2, 3, 0, 1, INT64_MAX, 2, 4});
  });
}

TEST_MAIN
