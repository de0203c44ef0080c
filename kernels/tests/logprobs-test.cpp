// Log-probabilities of given ids and of the largest entries: float64, the loss's bits, a full sort, and bad values.
#include "reference/sampling.h"
#include "tests/every-isa.h"

namespace {

using every::Floats;
using every::Integers;
using every::same_bits;
using every::same_everywhere;

const std::vector<int64_t> vocabularies = {1, 2, 15, 16, 17, 100, 127, 129, 1000, 4099};

/** Rows with many equal entries among others. */
Floats logits_of(int64_t rows, int64_t vocabulary) {
  Floats logits = every::values(rows * vocabulary, static_cast<uint64_t>(vocabulary));
  for (size_t i = 0; i < logits.size(); i += 3) logits[i] = std::round(logits[i] * 2.0f);
  return logits;
}

/** Of the largest logit in size, which everything else is added to, and the roundings of a sum in 16 lanes and 8 spans. */
double bound(int64_t vocabulary) { return every::roundoff * (8 * 9 + static_cast<double>(vocabulary) / 128); }

}  // namespace

TEST("log-probabilities are within rounding of float64, with the same bits everywhere") {
  for (const int64_t vocabulary : vocabularies) {
    const int64_t rows = 5;
    const Floats logits = logits_of(rows, vocabulary);
    Integers ids;
    for (int64_t t = 0; t < rows; ++t) ids.push_back(static_cast<int32_t>(t * 7 % vocabulary));
    const auto seen = same_everywhere(EVERY_ISA(log_softmax_gather), "log_softmax_gather", [&](auto run, wl::Context& on) {
      Floats out(static_cast<size_t>(rows));
      run(on, {logits.data(), ids.data(), out.data(), rows, vocabulary});
      return std::vector<Floats>{out};
    });
    every::Doubles wanted;
    for (int64_t t = 0; t < rows; ++t) {
      const every::Doubles row(logits.begin() + t * vocabulary, logits.begin() + (t + 1) * vocabulary);
      wanted.push_back(row[static_cast<size_t>(ids[static_cast<size_t>(t)])] - wl::reference::log_sum_exp(row));
    }
    every::within(seen[0], wanted, "log-probability", [&](size_t) { return bound(vocabulary); });
  }
}

TEST("a log-probability is the negated loss of the same logits, to the bit") {
  const int64_t vocabulary = 1003;
  const Floats w = every::values(vocabulary, 6), h = {1.0f};
  for (int32_t target : {0, 17, 1002}) {
    float logprob, loss;
    EVERY_ISA(log_softmax_gather).back().run(every::context_of(1), {w.data(), &target, &logprob, 1, vocabulary});
    EVERY_ISA(cross_entropy_forward).back().run(every::context_of(1), {h.data(), w.data(), &target, &loss, 1, 1, vocabulary});
    CHECK(same_bits(logprob, -loss));
  }
}

TEST("the largest entries are those of a full stable sort, lower ids first among equals") {
  for (const int64_t vocabulary : vocabularies) {
    for (const int64_t k : {int64_t{1}, int64_t{2}, int64_t{20}, vocabulary}) {
      if (k > vocabulary) continue;
      const int64_t rows = 4;
      const Floats logits = logits_of(rows, vocabulary);
      const auto seen = same_everywhere(EVERY_ISA(top_k), "top_k", [&](auto run, wl::Context& on) {
        Floats logprobs(static_cast<size_t>(rows * k));
        Integers ids(logprobs.size());
        run(on, {logits.data(), logprobs.data(), ids.data(), rows, vocabulary, k});
        return std::vector<Floats>{logprobs, Floats(ids.begin(), ids.end())};
      });
      for (int64_t t = 0; t < rows; ++t) {
        const float* row = logits.data() + t * vocabulary;
        Integers ranked;
        for (int64_t i = 0; i < vocabulary; ++i) ranked.push_back(static_cast<int32_t>(i));
        std::stable_sort(ranked.begin(), ranked.end(), [&](int32_t a, int32_t b) { return row[a] > row[b]; });
        for (int64_t i = 0; i < k; ++i) {
          const int32_t id = ranked[static_cast<size_t>(i)];
          float logprob;
          EVERY_ISA(log_softmax_gather).back().run(every::context_of(1), {row, &id, &logprob, 1, vocabulary});
          CHECK_EQUAL(seen[1][static_cast<size_t>(t * k + i)], static_cast<float>(id));
          CHECK(same_bits(seen[0][static_cast<size_t>(t * k + i)], logprob));
        }
      }
    }
  }
}

TEST("ascending and descending rows have their largest entries found too") {
  const int64_t vocabulary = 2001, k = 13;
  for (const bool ascending : {true, false}) {
    Floats row(vocabulary);
    for (int64_t i = 0; i < vocabulary; ++i) row[static_cast<size_t>(i)] = 0.01f * static_cast<float>(ascending ? i : vocabulary - 1 - i);
    Floats logprobs(k);
    Integers ids(k);
    EVERY_ISA(top_k).back().run(every::context_of(1), {row.data(), logprobs.data(), ids.data(), 1, vocabulary, k});
    for (int64_t i = 0; i < k; ++i) CHECK_EQUAL(ids[static_cast<size_t>(i)], ascending ? vocabulary - 1 - i : i);
  }
}

TEST("an id outside the vocabulary and rows without a distribution are refused") {
  const Floats row = {1.0f, 2.0f, 3.0f};
  float out[3];
  int32_t ids[3];
  for (const int32_t bad : {-1, 3}) {
    every::refused("log_softmax_gather: an id is outside the vocabulary", [&] {
      EVERY_ISA(log_softmax_gather).back().run(every::context_of(1), {row.data(), &bad, out, 1, 3});
    });
  }
  for (const Floats& bad : {Floats{1.0f, std::nanf(""), 3.0f}, Floats{1.0f, INFINITY, 3.0f}, Floats(3, -INFINITY)}) {
    every::refused("top_k: a row of logits has NaN, infinity, or nothing else than -infinity", [&] {
      EVERY_ISA(top_k).back().run(every::context_of(1), {bad.data(), out, ids, 1, 3, 2});
    });
  }
}

TEST_MAIN
