// From logits to tokens: log-probabilities, the largest entries, and drawing.
#include <algorithm>
#include <atomic>
#include <cmath>

#include "core/ops.gen.h"
#include "cpu/groups.h"
#include "cpu/philox.h"
#include "cpu/row-lse.h"

namespace wl::WL_ISA {
namespace {

// Below this the largest logit is all that is left, and its inverse nears the end of the number range.
constexpr float coldest = 1e-6f;

struct Candidate {
  float weight;
  int32_t id;
};

/** Larger weights first, lower ids first among equals: a total order, so that every way of sorting gives the same list. */
bool before(const Candidate& a, const Candidate& b) { return a.weight != b.weight ? a.weight > b.weight : a.id < b.id; }

int64_t argmax(const float* x, int64_t n) {
  const float largest = row_max(x, n);
  return std::find(x, x + n, largest) - x;
}

/** How a row is drawn from. */
struct Draw {
  float temperature;
  int64_t top_k;
  float top_p, min_p;
  /** In [0, 1). */
  float uniform;
};

/** The first entry, in the order given, at which the sum of weights passes uniform * total. */
template <class Weight>
int64_t pick(int64_t count, double total, float uniform, Weight&& weight) {
  const double wanted = static_cast<double>(uniform) * total;
  double sum = 0;
  int64_t last = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double w = weight(i);
    if (w <= 0) continue;
    sum += w;
    last = i;
    if (sum > wanted) return i;
  }
  return last;
}

/** Draws without a cut by rank: by index, no sorting. `weights` holds e^((logit - max) / temperature), the largest is 1. */
int64_t draw_by_index(const float* weights, int64_t n, const Draw& draw) {
  const auto weight = [&](int64_t i) { return weights[i] >= draw.min_p ? static_cast<double>(weights[i]) : 0.0; };
  double total = 0;
  for (int64_t i = 0; i < n; ++i) total += weight(i);
  return pick(n, total, draw.uniform, weight);
}

/** Draws from the head of the list sorted by weight: top-k, then the smallest head that holds top_p of what is left, then min-p. */
int64_t draw_by_rank(const float* weights, int64_t n, const Draw& draw, Candidate* list) {
  for (int64_t i = 0; i < n; ++i) list[i] = {weights[i], static_cast<int32_t>(i)};
  const int64_t limit = draw.top_k > 0 && draw.top_k < n ? draw.top_k : n;
  double total = 0;
  if (limit == n) {
    for (int64_t i = 0; i < n; ++i) total += static_cast<double>(weights[i]);
  }
  // The head is sorted in growing pieces: it is short in nearly all cases.
  int64_t sorted = 0, kept = 0;
  double sum = 0;
  for (int64_t size = std::min<int64_t>(limit < n ? limit : 64, n); sorted < limit; size = std::min(limit, size * 8)) {
    if (size < n) std::nth_element(list + sorted, list + size - 1, list + n, before);
    std::sort(list + sorted, list + size, before);
    sorted = size;
    if (limit < n) {
      for (int64_t i = 0; i < limit; ++i) total += static_cast<double>(list[i].weight);
    }
    while (kept < sorted && (kept == 0 || sum < static_cast<double>(draw.top_p) * total)) sum += static_cast<double>(list[kept++].weight);
    if (kept < sorted || sum >= static_cast<double>(draw.top_p) * total) break;
  }
  while (kept > 1 && list[kept - 1].weight < draw.min_p) sum -= static_cast<double>(list[--kept].weight);
  return list[pick(kept, sum, draw.uniform, [&](int64_t i) { return static_cast<double>(list[i].weight); })].id;
}

}  // namespace

void log_softmax_gather(Context& context, const log_softmax_gather_args& a) {
  for (int64_t t = 0; t < a.M; ++t) {
    if (a.ids[t] < 0 || a.ids[t] >= a.V) throw BadInput{"log_softmax_gather: an id is outside the vocabulary"};
  }
  context.parallel_for(a.M, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const float* row = a.logits + t * a.V;
      a.out[t] = row[a.ids[t]] - row_sum(row, a.V).lse;
    }
  });
}

void top_k(Context& context, const top_k_args& a) {
  if (a.K > a.V) throw BadInput{"top_k: more entries asked for than there are"};
  Candidate* scratch = context.scratch_of<Candidate>(context.threads() * a.V);
  context.parallel_for(a.M, 1, [&](int64_t begin, int64_t end, int worker) {
    Candidate* list = scratch + worker * a.V;
    for (int64_t t = begin; t < end; ++t) {
      const float* row = a.logits + t * a.V;
      const float lse = row_sum(row, a.V).lse;
      for (int64_t i = 0; i < a.V; ++i) list[i] = {row[i], static_cast<int32_t>(i)};
      if (a.K < a.V) std::nth_element(list, list + a.K, list + a.V, before);
      std::sort(list, list + a.K, before);
      for (int64_t k = 0; k < a.K; ++k) {
        a.logprobs[t * a.K + k] = list[k].weight - lse;
        a.indices[t * a.K + k] = list[k].id;
      }
    }
  });
}

void sample(Context& context, const sample_args& a) {
  if (a.W != 2) throw BadInput{"sample: a seed has two words"};
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
        id = argmax(row, a.V);
      } else {
        const Vec16 cooling = splat(1.0f / a.temperature[t]), largest = splat(sum.max);
        each_group(0, a.V, [&](int64_t i, auto group) { group.put(weights + i, exp_16((group(row + i) - largest) * cooling)); });
        const uint64_t seed = static_cast<uint32_t>(a.seeds[2 * t]) | static_cast<uint64_t>(static_cast<uint32_t>(a.seeds[2 * t + 1])) << 32;
        const uint32_t use = static_cast<uint32_t>(DrawFor::sampling);
        const PhiloxCounter words = philox({{static_cast<uint32_t>(a.positions[t]), 0, 0, use}}, seed);
        const Draw draw{a.temperature[t], a.top_k[t], a.top_p[t], a.min_p[t], unit_interval(words.word[0])};
        const bool by_rank = (draw.top_k > 0 && draw.top_k < a.V) || draw.top_p < 1.0f;
        id = by_rank ? draw_by_rank(weights, a.V, draw, lists + worker * a.V) : draw_by_index(weights, a.V, draw);
      }
      a.ids[t] = static_cast<int32_t>(id);
      a.logprobs[t] = row[id] - sum.lse;
    }
  });
  if (is_bad) throw BadInput{"sample: the logits of a row are not finite"};
}

}  // namespace wl::WL_ISA
