// Drawing tokens: the distribution by chi-square, the exact token by a sampler that sorts everything, edge cases, and bad values.
#include "reference/sampling.h"
#include "tests/every-isa.h"
#include "tests/probes.h"

namespace {

using every::Floats;
using every::Integers;
using every::same_bits;
using wl::reference::SamplingRule;

struct Drawn {
  Integers ids;
  Floats logprobs;
};

auto variants() { return EVERY_ISA(sample); }

/** One draw per row of logits, by the same rule; row t has seed {seed, 77} and position first + t. */
template <class Run>
Drawn draw(Run run, wl::Context& on, const Floats& logits, int64_t rows, const SamplingRule& rule, int32_t seed, int32_t first = 0) {
  const size_t m = static_cast<size_t>(rows);
  const Floats temperature(m, static_cast<float>(rule.temperature)), top_p(m, static_cast<float>(rule.top_p)), min_p(m, static_cast<float>(rule.min_p));
  const Integers top_k(m, static_cast<int32_t>(rule.top_k));
  Integers seeds, positions;
  for (int32_t t = 0; t < rows; ++t) {
    seeds.insert(seeds.end(), {seed, 77});
    positions.push_back(first + t);
  }
  Drawn drawn{Integers(m, -1), Floats(m)};
  run(on, {logits.data(), temperature.data(), top_k.data(), top_p.data(), min_p.data(), seeds.data(), positions.data(), drawn.ids.data(),
           drawn.logprobs.data(), rows, static_cast<int64_t>(logits.size()) / rows, 2});
  return drawn;
}

int32_t draw_one(const Floats& logits, const SamplingRule& rule, int32_t position) {
  return draw(variants().back().run, every::context_of(1), logits, 1, rule, 5, position).ids[0];
}

Floats repeated(const Floats& row, int64_t times) {
  Floats all;
  for (int64_t t = 0; t < times; ++t) all.insert(all.end(), row.begin(), row.end());
  return all;
}

/** The rule written out: all tokens ranked, masses in units of 2^-40, a 64-bit number scaled to what is kept. */
int32_t ranked_draw(const Floats& logits, const SamplingRule& rule, int32_t seed, int32_t position) {
  const float largest = *std::max_element(logits.begin(), logits.end()), cooling = 1.0f / static_cast<float>(rule.temperature);
  Floats x((logits.size() + 15) / 16 * 16), weight(x.size());
  for (size_t i = 0; i < logits.size(); ++i) x[i] = (logits[i] - largest) * cooling;
  wl::generic::probe_elementary(wl::Elementary::exp, x.data(), weight.data(), static_cast<int64_t>(x.size()));
  const auto mass = [&](size_t id) { return static_cast<uint64_t>(static_cast<double>(weight[id]) * 0x1p40); };
  std::vector<size_t> ranked;
  for (size_t i = 0; i < logits.size(); ++i) ranked.push_back(i);
  std::stable_sort(ranked.begin(), ranked.end(), [&](size_t a, size_t b) { return weight[a] > weight[b]; });
  if (rule.top_k > 0 && rule.top_k < static_cast<int64_t>(ranked.size())) ranked.resize(static_cast<size_t>(rule.top_k));
  uint64_t total = 0, sum = 0;
  for (const size_t id : ranked) total += mass(id);
  if (static_cast<float>(rule.top_p) < 1.0f) {
    const double wanted = static_cast<double>(static_cast<float>(rule.top_p)) * static_cast<double>(total);
    size_t kept = 0;
    for (; kept < ranked.size() && (kept == 0 || static_cast<double>(sum) < wanted); ++kept) sum += mass(ranked[kept]);
    ranked.resize(kept);
  }
  while (weight[ranked.back()] < static_cast<float>(rule.min_p)) ranked.pop_back();
  total = 0;
  for (const size_t id : ranked) total += mass(id);

  uint32_t counter[4][16] = {}, words[4][16], other[4][16];
  counter[0][0] = static_cast<uint32_t>(position);
  counter[3][0] = 3;
  wl::generic::probe_philox(counter, static_cast<uint32_t>(seed) | uint64_t{77} << 32, words, other);
  const uint64_t random = uint64_t{words[0][0]} << 32 | words[1][0];
  const uint64_t target = static_cast<uint64_t>(static_cast<unsigned __int128>(random) * total >> 64);
  sum = 0;
  for (const size_t id : ranked) {
    sum += mass(id);
    if (sum > target) return static_cast<int32_t>(id);
  }
  return -1;
}

const std::vector<SamplingRule>& rules() {
  static const std::vector<SamplingRule> all = {
      {1, 0, 1, 0},    {0.7, 0, 1, 0},    {1.3, 5, 1, 0},    {1, 0, 0.8, 0},    {1, 0, 1, 0.1},   {1, 12, 0.6, 0},
      {1, 12, 1, 0.2}, {1, 0, 0.9, 0.05}, {2, 20, 0.9, 0.1}, {0.5, 1, 0.5, 0},  {5, 7, 1, 0},     {3, 1000000, 0.999, 0},
      {1, 0, 1e-4, 0}, {1, 3, 1, 1},      {50, 0, 0.5, 0},   {0.05, 0, 1, 0.5}, {20, 100, 0.97, 0}, {1, -1, 1, 0},
  };
  return all;
}

}  // namespace

TEST("tokens are drawn with the probabilities of the rule (chi-square, 0.01 %)") {
  const int64_t draws = 20000;
  Floats row = every::values(37, 3);
  row[5] = row[9];
  for (const SamplingRule& rule : rules()) {
    const auto wanted = wl::reference::sampling_distribution(every::wide(row), rule);
    const Drawn drawn = draw(variants().back().run, every::context_of(2), repeated(row, draws), draws, rule, 12345);
    std::vector<double> seen(row.size());
    for (const int32_t id : drawn.ids) seen[static_cast<size_t>(id)] += 1;
    // Cells of less than 5 expected draws are put together.
    double square = 0, rare_seen = 0, rare_wanted = 0;
    int cells = 0;
    const auto add = [&](double s, double w) {
      square += (s - w) * (s - w) / w;
      cells += 1;
    };
    for (size_t i = 0; i < row.size(); ++i) {
      const double expected = wanted[i] * draws;
      if (expected == 0) CHECK_EQUAL(seen[i], 0.0);
      if (expected >= 5) {
        add(seen[i], expected);
      } else {
        rare_seen += seen[i];
        rare_wanted += expected;
      }
    }
    if (rare_wanted >= 1) add(rare_seen, rare_wanted);
    // Wilson and Hilferty's approximation of the quantile, z = 3.72.
    const double freedom = std::max(1, cells - 1), spread = 2 / (9 * freedom);
    CHECK(square <= freedom * std::pow(1 - spread + 3.72 * std::sqrt(spread), 3));
  }
}

TEST("every instruction set and thread count draws what sorting everything and walking the list gives") {
  for (const int64_t vocabulary : {1, 2, 15, 17, 257, 4099}) {
    const int64_t rows = 6;
    Floats logits = every::values(rows * vocabulary, static_cast<uint64_t>(vocabulary));
    for (size_t i = 0; i < logits.size(); ++i) logits[i] = i % 5 == 0 ? std::round(logits[i]) : 3.0f * logits[i];
    for (const SamplingRule& rule : rules()) {
      for (const auto& variant : variants()) {
        for (int threads = 1; threads <= 3; ++threads) {
          const Drawn drawn = draw(variant.run, every::context_of(threads), logits, rows, rule, 9, 100);
          for (int32_t t = 0; t < rows; ++t) {
            const Floats row(logits.begin() + t * vocabulary, logits.begin() + (t + 1) * vocabulary);
            CHECK_EQUAL(drawn.ids[static_cast<size_t>(t)], ranked_draw(row, rule, 9, 100 + t));
          }
        }
      }
    }
  }
}

TEST("temperature 0 takes the first of the largest logits, and so do top-k 1 and top-p 0") {
  const Floats row = {1.0f, 4.0f, -2.0f, 4.0f, 4.0f, 0.0f, 3.999f};
  for (int32_t position = 0; position < 50; ++position) {
    CHECK_EQUAL(draw_one(row, {0, 0, 1, 0}, position), 1);
    CHECK_EQUAL(draw_one(row, {1e-7, 0, 1, 0}, position), 1);
    CHECK_EQUAL(draw_one(row, {1, 1, 1, 0}, position), 1);
    CHECK_EQUAL(draw_one(row, {1, 0, 0, 0}, position), 1);
  }
  CHECK_EQUAL(draw_one({-0.0f, 0.0f}, {0, 0, 1, 0}, 0), 0);
}

TEST("min-p 1 leaves exactly the largest logits, and top-k counts lower ids first among equals") {
  const Floats row = {1.0f, 4.0f, -2.0f, 4.0f, 4.0f, 0.0f};
  std::vector<int> largest(6), two(6);
  for (int32_t position = 0; position < 200; ++position) {
    largest[static_cast<size_t>(draw_one(row, {1, 0, 1, 1}, position))] += 1;
    two[static_cast<size_t>(draw_one(row, {1, 2, 1, 0}, position))] += 1;
  }
  CHECK_EQUAL(largest[1] + largest[3] + largest[4], 200);
  CHECK(largest[1] > 30 && largest[3] > 30 && largest[4] > 30);
  CHECK_EQUAL(two[1] + two[3], 200);
  CHECK(two[1] > 50 && two[3] > 50);
}

TEST("top-p keeps the token that crosses the limit, and counts what top-k has left") {
  // Probabilities 1/2, 1/4, 1/8, 1/8.
  const Floats row = {std::log(4.0f), std::log(2.0f), 0.0f, 0.0f};
  const auto reached = [&](const SamplingRule& rule) {
    int32_t last = 0;
    for (int32_t position = 0; position < 400; ++position) last = std::max(last, draw_one(row, rule, position));
    return last;
  };
  CHECK_EQUAL(reached({1, 0, 0.49, 0}), 0);
  CHECK_EQUAL(reached({1, 0, 0.51, 0}), 1);
  CHECK_EQUAL(reached({1, 0, 0.76, 0}), 2);
  CHECK_EQUAL(reached({1, 0, 0.9, 0}), 3);
  // Of the first two, the first holds two thirds.
  CHECK_EQUAL(reached({1, 2, 0.66, 0}), 0);
  CHECK_EQUAL(reached({1, 2, 0.67, 0}), 1);
}

TEST("a masked token is never drawn") {
  Floats row(300, -INFINITY);
  row[7] = -3.0f;
  row[299] = 2.0f;
  for (const SamplingRule& rule : rules()) {
    for (int32_t position = 0; position < 20; ++position) {
      const int32_t id = draw_one(row, rule, position);
      CHECK(id == 7 || id == 299);
    }
  }
}

TEST("a row draws the same token whatever row it is and whatever is beside it") {
  const int64_t rows = 16, vocabulary = 331;
  const Floats logits = every::values(rows * vocabulary, 8);
  const SamplingRule rule{0.9, 40, 0.95, 0.01};
  const Drawn together = draw(variants().back().run, every::context_of(3), logits, rows, rule, 4, 20);
  for (int32_t t = 0; t < rows; ++t) {
    const Floats row(logits.begin() + t * vocabulary, logits.begin() + (t + 1) * vocabulary);
    const Drawn alone = draw(variants().back().run, every::context_of(1), row, 1, rule, 4, 20 + t);
    CHECK_EQUAL(alone.ids[0], together.ids[static_cast<size_t>(t)]);
    CHECK(same_bits(alone.logprobs[0], together.logprobs[static_cast<size_t>(t)]));
  }
}

TEST("the log-probability of a drawn token is that of the raw logits, to the bit") {
  const int64_t rows = 9, vocabulary = 131;
  const Floats logits = every::values(rows * vocabulary, 12);
  const Drawn drawn = draw(variants().back().run, every::context_of(1), logits, rows, {0.3, 4, 0.9, 0}, 1);
  Floats gathered(static_cast<size_t>(rows));
  EVERY_ISA(log_softmax_gather).back().run(every::context_of(1), {logits.data(), drawn.ids.data(), gathered.data(), rows, vocabulary});
  CHECK(same_bits(drawn.logprobs, gathered));
}

TEST("logits that give no distribution, and settings outside their range, are refused") {
  const char* logits = "sample: a row of logits has NaN, infinity, or nothing else than -infinity";
  const float nan = std::nanf("");
  for (const double temperature : {0.0, 1.0}) {
    const SamplingRule rule{temperature, 0, 1, 0};
    for (const Floats& row : {Floats{1.0f, nan, 2.0f}, Floats{nan}, Floats{1.0f, INFINITY}, Floats(40, -INFINITY)}) {
      every::refused(logits, [&] { draw_one(row, rule, 0); });
    }
    Floats last(100, 1.0f);
    last[99] = nan;
    every::refused(logits, [&] { draw_one(last, rule, 0); });
  }
  const Floats row = {1.0f, 2.0f};
  for (const double bad : {-1.0, std::nan(""), static_cast<double>(INFINITY)}) {
    every::refused("sample: a temperature is negative or not finite", [&] { draw_one(row, {bad, 0, 1, 0}, 0); });
    every::refused("sample: a top_p is not in [0, 1]", [&] { draw_one(row, {1, 0, bad, 0}, 0); });
    every::refused("sample: a min_p is not in [0, 1]", [&] { draw_one(row, {1, 0, 1, bad}, 0); });
  }
}

TEST_MAIN
