// Mixture of experts (Shazeer et al. 2017): the router's choice, the way of tokens to their experts and back, and products per expert.
// What a token gets depends on its own logits alone; sums over choices run in their order, products are those of cpu/linear.isa.cpp.
#include <cmath>

#include "core/ops.gen.h"
#include "cpu/groups.h"
#include "cpu/math.h"

namespace wl::WL_ISA {
namespace {

/** to = softmax of a row, as exp(x - largest) over the sum of 16 lanes and the fixed tree. Gives the log-sum-exp. */
float softmax_row(const float* x, int64_t n, float* to) {
  float largest = x[0];
  for (int64_t e = 1; e < n; ++e) largest = x[e] > largest ? x[e] : largest;
  Vec16 sums = zero();
  each_group(0, n, [&](int64_t e, auto group) {
    const int64_t count = n - e < 16 ? n - e : 16;
    const Vec16 p = select_first(count, exp_16(group(x + e) - splat(largest)), zero());
    group.put(to + e, p);
    sums = sums + p;
  });
  const float sum = reduce_add(sums);
  each_group(0, n, [&](int64_t e, auto group) { group.put(to + e, group(to + e) / splat(sum)); });
  float log_sum[16];
  store(log_sum, log_16(splat(sum)));
  return largest + log_sum[0];
}

/** The `count` largest of a row, largest first, the lower index first among equals. */
void choose(const float* p, int64_t n, int64_t count, int32_t* choices) {
  for (int64_t k = 0; k < count; ++k) {
    int64_t best = -1;
    for (int64_t e = 0; e < n; ++e) {
      bool taken = false;
      for (int64_t earlier = 0; earlier < k; ++earlier) taken = taken || choices[earlier] == e;
      if (!taken && (best < 0 || p[e] > p[best])) best = e;
    }
    choices[k] = static_cast<int32_t>(best);
  }
}

/** Slots [begin, end) of an expert. */
struct Slots {
  int64_t begin, end;
  int64_t count() const { return end - begin; }
};

Slots slots_of(const int32_t* ends, int64_t expert, int64_t all) {
  const Slots slots = {expert == 0 ? 0 : ends[expert - 1], ends[expert]};
  if (slots.begin < 0 || slots.begin > slots.end || slots.end > all) throw BadInput{"the slots of an expert are outside the batch"};
  return slots;
}

void check_slots(const int32_t* slot_of, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    if (slot_of[i] < 0 || slot_of[i] >= count) throw BadInput{"the slot of a token is outside the batch"};
  }
}

}  // namespace

void route_forward(Context& context, const route_forward_args& a) {
  context.parallel_for(a.M, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      float* p = a.probabilities + t * a.E;
      int32_t* choices = a.choices + t * a.K;
      softmax_row(a.logits + t * a.E, a.E, p);
      choose(p, a.E, a.K, choices);
      float sum = 0;
      for (int64_t k = 0; k < a.K; ++k) sum += p[choices[k]];
      for (int64_t k = 0; k < a.K; ++k) a.weights[t * a.K + k] = p[choices[k]] / sum;
    }
  });
  for (int64_t e = 0; e < a.E; ++e) a.ends[e] = 0;
  for (int64_t i = 0; i < a.S; ++i) ++a.ends[a.choices[i]];
  int32_t* next = context.scratch_of<int32_t>(a.E);
  int32_t total = 0;
  for (int64_t e = 0; e < a.E; ++e) {
    next[e] = total;
    a.ends[e] = total += a.ends[e];
  }
  for (int64_t i = 0; i < a.S; ++i) {
    const int32_t slot = next[a.choices[i]]++;
    a.slot_of[i] = slot;
    a.tokens[slot] = static_cast<int32_t>(i / a.K);
  }
}

void route_backward(Context& context, const route_backward_args& a) {
  const float tokens = static_cast<float>(a.M), experts = static_cast<float>(a.E);
  float* pull = context.scratch(a.E);  // of the balance on the probabilities of each expert
  for (int64_t e = 0; e < a.E; ++e) {
    const float share = static_cast<float>(a.ends[e] - (e == 0 ? 0 : a.ends[e - 1])) / tokens;
    pull[e] = a.balance * experts * share / tokens;
  }
  float* scratch = context.scratch(2 * a.E * context.threads());
  context.parallel_for(a.M, [&](int64_t begin, int64_t end, int worker) {
    float *dp = scratch + 2 * a.E * worker, *again = dp + a.E;
    for (int64_t t = begin; t < end; ++t) {
      const float *p = a.probabilities + t * a.E, *g = a.dweights + t * a.K, *w = a.weights + t * a.K;
      const int32_t* choices = a.choices + t * a.K;
      float chosen = 0, mean = 0;
      for (int64_t k = 0; k < a.K; ++k) {
        chosen += p[choices[k]];
        mean += g[k] * w[k];
      }
      for (int64_t e = 0; e < a.E; ++e) dp[e] = pull[e];
      for (int64_t k = 0; k < a.K; ++k) dp[choices[k]] += (g[k] - mean) / chosen;
      float dot = 0;
      for (int64_t e = 0; e < a.E; ++e) dot += p[e] * dp[e];
      const float rise = a.z == 0 ? 0.0f : 2 * a.z * softmax_row(a.logits + t * a.E, a.E, again) / tokens;
      for (int64_t e = 0; e < a.E; ++e) a.dlogits[t * a.E + e] = p[e] * (dp[e] - dot + rise);
    }
  });
}

void dispatch_forward(Context& context, const dispatch_forward_args& a) {
  for (int64_t s = 0; s < a.S; ++s) {
    if (a.tokens[s] < 0 || a.tokens[s] >= a.M) throw BadInput{"the token of a slot is outside the batch"};
  }
  context.parallel_for(a.S, [&](int64_t begin, int64_t end, int) {
    for (int64_t s = begin; s < end; ++s) {
      const float* from = a.x + a.tokens[s] * a.D;
      each_group(0, a.D, [&](int64_t i, auto group) { group.put(a.y + s * a.D + i, group(from + i)); });
    }
  });
}

void dispatch_backward(Context& context, const dispatch_backward_args& a) {
  check_slots(a.slot_of, a.S);
  context.parallel_for(a.M, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      each_group(0, a.D, [&](int64_t i, auto group) {
        Vec16 sum = zero();
        for (int64_t k = 0; k < a.K; ++k) sum = sum + group(a.dy + a.slot_of[t * a.K + k] * a.D + i);
        group.put(a.dx + t * a.D + i, sum);
      });
    }
  });
}

void combine_forward(Context& context, const combine_forward_args& a) {
  check_slots(a.slot_of, a.S);
  context.parallel_for(a.M, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      each_group(0, a.D, [&](int64_t i, auto group) {
        Vec16 sum = zero();
        for (int64_t k = 0; k < a.K; ++k) {
          sum = fma(splat(a.weights[t * a.K + k]), group(a.x + a.slot_of[t * a.K + k] * a.D + i), sum);
        }
        group.put(a.y + t * a.D + i, sum);
      });
    }
  });
}

void combine_backward(Context& context, const combine_backward_args& a) {
  check_slots(a.slot_of, a.S);
  context.parallel_for(a.S, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const float *dy = a.dy + i / a.K * a.D, *x = a.x + a.slot_of[i] * a.D;
      float* dx = a.dx + a.slot_of[i] * a.D;
      Vec16 sums = zero();
      each_group(0, a.D, [&](int64_t d, auto group) {
        sums = fma(group(dy + d), group(x + d), sums);
        group.put(dx + d, group(dy + d) * splat(a.weights[i]));
      });
      a.dweights[i] = reduce_add(sums);
    }
  });
}

void expert_forward(Context& context, const expert_forward_args& a) {
  const Slots slots = slots_of(a.ends, a.expert, a.S);
  if (slots.count() == 0) return;
  const float* x = a.x + slots.begin * a.I;
  float* y = a.y + slots.begin * a.O;
  if (a.packed != nullptr) linear_packed_forward(context, {x, a.packed, nullptr, y, 16, 8, slots.count(), a.I, a.P, a.O});
  else if (a.w != nullptr) linear_forward(context, {x, a.w, nullptr, y, 16, 8, slots.count(), a.I, a.O});
  else throw BadInput{"expert_forward: w or packed is needed"};
}

void expert_backward_input(Context& context, const expert_backward_input_args& a) {
  const Slots slots = slots_of(a.ends, a.expert, a.S);
  if (slots.count() == 0) return;
  const float* second = a.dy2 == nullptr ? nullptr : a.dy2 + slots.begin * a.O2;
  linear_backward_input(context, {a.dy + slots.begin * a.O, a.w, second, a.w2, nullptr, nullptr, a.dx + slots.begin * a.I, 16, 8, 0,
                                  slots.count(), a.O, a.I, a.O2, 0});
}

void expert_backward_weight(Context& context, const expert_backward_weight_args& a) {
  const Slots slots = slots_of(a.ends, a.expert, a.S);
  if (slots.count() > 0) {
    linear_backward_weight(context, {a.dy + slots.begin * a.O, a.x + slots.begin * a.I, a.dw, nullptr, slots.count(), 8, a.accumulate,
                                     slots.count(), a.O, a.I});
  } else if (a.accumulate == 0) {
    each_group_parallel(context, a.O * a.I, [&](int64_t i, auto group) { group.put(a.dw + i, zero()); });
  }
}

}  // namespace wl::WL_ISA
