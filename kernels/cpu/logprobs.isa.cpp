// Log-probabilities out of logits: of given ids, and of the largest entries of a row.
#include <algorithm>
#include <atomic>
#include <cmath>

#include "core/ops.gen.h"
#include "cpu/groups.h"
#include "cpu/row-lse.h"

namespace wl::WL_ISA {
namespace {

struct Entry {
  float logit;
  int32_t id;
};

/** Larger logits first, lower ids first among equals. */
bool before(const Entry& a, const Entry& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; }

/** The k largest of a row without NaN, in order: a heap of the best so far, whose worst entry is what the rest is held against. */
void largest_of(const float* row, int64_t n, int64_t k, Entry* best) {
  for (int64_t i = 0; i < k; ++i) best[i] = {row[i], static_cast<int32_t>(i)};
  std::make_heap(best, best + k, before);
  const auto consider = [&](int64_t i) {
    // An equal entry that comes later is worse.
    if (!(row[i] > best->logit)) return;
    std::pop_heap(best, best + k, before);
    best[k - 1] = {row[i], static_cast<int32_t>(i)};
    std::push_heap(best, best + k, before);
  };
  int64_t i = k;
  for (; i + 16 <= n; i += 16) {
    if (!any(less(splat(best->logit), load(row + i)))) continue;
    for (int64_t lane = 0; lane < 16; ++lane) consider(i + lane);
  }
  for (; i < n; ++i) consider(i);
  std::sort_heap(best, best + k, before);
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
  Entry* scratch = context.scratch_of<Entry>(context.threads() * a.K);
  std::atomic<bool> is_bad{false};
  context.parallel_for(a.M, 1, [&](int64_t begin, int64_t end, int worker) {
    Entry* best = scratch + worker * a.K;
    for (int64_t t = begin; t < end; ++t) {
      const float* row = a.logits + t * a.V;
      const float lse = row_sum(row, a.V).lse;
      if (!std::isfinite(lse)) {
        is_bad = true;
        continue;
      }
      largest_of(row, a.V, a.K, best);
      for (int64_t k = 0; k < a.K; ++k) {
        a.logprobs[t * a.K + k] = best[k].logit - lse;
        a.indices[t * a.K + k] = best[k].id;
      }
    }
  });
  if (is_bad) throw BadInput{"top_k: a row of logits has NaN, infinity, or nothing else than -infinity"};
}

}  // namespace wl::WL_ISA
