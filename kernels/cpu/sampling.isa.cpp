// Drawing one token per row of logits: temperature, then top-k, top-p, min-p, then the draw.
//
// A token's mass is e^((logit - max) / temperature) in units of 2^-40, an integer, so that sums are exact in any order. Tokens are ranked
// by that weight, lower ids first among equals. top-k keeps the first k; top-p the shortest head of those that holds at least p of
// their mass; min-p what weighs at least p times the first. The draw is a 64-bit number keyed by (seed, position), scaled to the mass
// kept: the token is the first one in rank order at which the running sum passes it.
#include <algorithm>
#include <atomic>
#include <cmath>

#include "core/ops.gen.h"
#include "cpu/groups.h"
#include "cpu/philox.h"
#include "cpu/row-lse.h"

namespace wl::WL_ISA {
namespace {

// Below this only the largest logit is left, and the inverse nears the end of the number range.
constexpr float coldest = 1e-6f;

struct Candidate {
  float weight;
  int32_t id;
};

bool before(const Candidate& a, const Candidate& b) { return a.weight != b.weight ? a.weight > b.weight : a.id < b.id; }

uint64_t mass_of(float weight) { return static_cast<uint64_t>(static_cast<int64_t>(weight * 0x1p40f)); }

/** A head of the ranking: all of the buckets before `bucket`, and the first `rest` tokens of that one. */
struct Head {
  int bucket;
  int64_t rest;
  uint64_t mass;
};

/**
 * The ranking of a row's weights in [0, 1], of which at least one is 1. Tokens are counted into buckets of descending weight, eight to an
 * octave; only the few buckets in which a head ends or the draw falls are ever sorted.
 */
class Ranking {
 public:
  Ranking(const float* weights, int64_t n, Candidate* list) : weights_(weights), n_(n), list_(list) {
    for (int64_t i = 0; i < n; ++i) {
      const int b = bucket_of(weights[i]);
      mass_[b] += mass_of(weights[i]);
      count_[b] += 1;
    }
  }

  Head all() const {
    Head head{buckets - 1, count_[buckets - 1], 0};
    for (const uint64_t mass : mass_) head.mass += mass;
    return head;
  }

  /** The first k tokens. */
  Head first(int64_t k) {
    Head head{0, k, 0};
    while (head.bucket < buckets - 1 && head.rest > count_[head.bucket]) {
      head.rest -= count_[head.bucket];
      head.mass += mass_[head.bucket++];
    }
    sort(head.bucket);
    for (int64_t i = 0; i < head.rest; ++i) head.mass += mass_of(list_[i].weight);
    return head;
  }

  /** The shortest head of at least one token that holds `wanted` of the mass, or `within`. */
  Head holding(double wanted, const Head& within) {
    Head head{0, 0, 0};
    while (head.bucket < within.bucket && static_cast<double>(head.mass + mass_[head.bucket]) < wanted) head.mass += mass_[head.bucket++];
    sort(head.bucket);
    const int64_t limit = head.bucket == within.bucket ? within.rest : count_[head.bucket];
    while (head.rest < limit && (head.mass == 0 || static_cast<double>(head.mass) < wanted)) head.mass += mass_of(list_[head.rest++].weight);
    return head;
  }

  /** What of `within` weighs at least `least`, which is at most 1. */
  Head at_least(float least, const Head& within) {
    const int b = bucket_of(least);
    if (b > within.bucket) return within;
    Head head{b, 0, 0};
    for (int i = 0; i < b; ++i) head.mass += mass_[i];
    sort(b);
    const int64_t limit = b == within.bucket ? within.rest : count_[b];
    while (head.rest < limit && list_[head.rest].weight >= least) head.mass += mass_of(list_[head.rest++].weight);
    return head;
  }

  /** The token of `head` at which the running sum of masses passes `target`, which is less than the head's mass. */
  int32_t token_at(uint64_t target, const Head& head) {
    int b = 0;
    while (b < head.bucket && mass_[b] <= target) target -= mass_[b++];
    sort(b);
    int64_t i = 0;
    for (; mass_of(list_[i].weight) <= target; ++i) target -= mass_of(list_[i].weight);
    return list_[i].id;
  }

 private:
  static constexpr int buckets = 256;

  // The upper bits of a float, from those of 1 downwards; all that is below 2^-31 shares the last bucket.
  static int bucket_of(float weight) {
    int32_t pattern;
    __builtin_memcpy(&pattern, &weight, sizeof pattern);
    return std::min((0x3f800000 - pattern + 0xfffff) >> 20, buckets - 1);
  }

  /** Lists the tokens of a bucket in rank order. */
  void sort(int bucket) {
    if (bucket == sorted_) return;
    sorted_ = bucket;
    Candidate* end = list_;
    for (int64_t i = 0; i < n_; ++i) {
      if (bucket_of(weights_[i]) == bucket) *end++ = {weights_[i], static_cast<int32_t>(i)};
    }
    std::sort(list_, end, before);
  }

  const float* weights_;
  const int64_t n_;
  Candidate* const list_;
  int sorted_ = -1;
  uint64_t mass_[buckets] = {};
  int64_t count_[buckets] = {};
};

/** How a row is drawn from. */
struct Draw {
  int64_t top_k;
  float top_p, min_p;
  uint64_t random;
};

int32_t draw_from(Ranking& ranking, int64_t n, const Draw& draw) {
  Head head = draw.top_k > 0 && draw.top_k < n ? ranking.first(draw.top_k) : ranking.all();
  if (draw.top_p < 1.0f) head = ranking.holding(static_cast<double>(draw.top_p) * static_cast<double>(head.mass), head);
  if (draw.min_p > 0.0f) head = ranking.at_least(draw.min_p, head);
  const unsigned __int128 product = static_cast<unsigned __int128>(draw.random) * head.mass;
  return ranking.token_at(static_cast<uint64_t>(product >> 64), head);
}

uint64_t random_of(const int32_t* seed, int32_t position) {
  const uint64_t key = static_cast<uint32_t>(seed[0]) | static_cast<uint64_t>(static_cast<uint32_t>(seed[1])) << 32;
  uint32_t word[4] = {static_cast<uint32_t>(position), 0, 0, static_cast<uint32_t>(DrawFor::sampling)};
  philox(word, key);
  return static_cast<uint64_t>(word[0]) << 32 | word[1];
}

}  // namespace

void sample(Context& context, const sample_args& a) {
  if (a.W != 2) throw BadInput{"sample: a seed has two words"};
  for (int64_t t = 0; t < a.M; ++t) {
    if (!(a.temperature[t] >= 0.0f && std::isfinite(a.temperature[t]))) throw BadInput{"sample: a temperature is negative or not finite"};
    if (!(a.top_p[t] >= 0.0f && a.top_p[t] <= 1.0f)) throw BadInput{"sample: a top_p is not in [0, 1]"};
    if (!(a.min_p[t] >= 0.0f && a.min_p[t] <= 1.0f)) throw BadInput{"sample: a min_p is not in [0, 1]"};
  }
  Candidate* lists = context.scratch_of<Candidate>(context.threads() * a.V);
  float* scratch = context.scratch(context.threads() * a.V);
  std::atomic<bool> is_bad{false};
  context.parallel_for(a.M, 1, [&](int64_t begin, int64_t end, int worker) {
    float* weights = scratch + worker * a.V;
    for (int64_t t = begin; t < end; ++t) {
      const float* row = a.logits + t * a.V;
      const RowSum sum = row_sum(row, a.V);
      if (!std::isfinite(sum.lse)) {
        is_bad = true;
        continue;
      }
      int64_t id;
      if (a.temperature[t] < coldest) {
        id = std::find(row, row + a.V, sum.max) - row;
      } else {
        const Vec16 cooling = splat(1.0f / a.temperature[t]), largest = splat(sum.max);
        each_group(0, a.V, [&](int64_t i, auto group) { group.put(weights + i, exp_16((group(row + i) - largest) * cooling)); });
        Ranking ranking(weights, a.V, lists + worker * a.V);
        id = draw_from(ranking, a.V, {a.top_k[t], a.top_p[t], a.min_p[t], random_of(a.seeds + 2 * t, a.positions[t])});
      }
      a.ids[t] = static_cast<int32_t>(id);
      a.logprobs[t] = row[id] - sum.lse;
    }
  });
  if (is_bad) throw BadInput{"sample: a row of logits has NaN, infinity, or nothing else than -infinity"};
}

}  // namespace wl::WL_ISA
