// What the attention tests share: seeded tensors, every instruction set of this CPU, pools of several sizes, comparison by bits.
#pragma once

#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "check.h"
#include "core/isa.h"
#include "core/ops.gen.h"
#include "reference/attention.h"

namespace cases {

using Floats = std::vector<float>;

/** Numbers of about unit size, the same on every machine: a linear congruential generator, twelve draws summed. */
inline Floats random(int64_t count, uint32_t seed) {
  Floats values(count);
  uint64_t state = seed * 2654435761u + 12345u;
  for (float& value : values) {
    double sum = -6;
    for (int i = 0; i < 12; i++) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      sum += double(state >> 40) * 0x1p-24;
    }
    value = float(sum);
  }
  return values;
}

inline std::vector<double> wide(const Floats& values) { return {values.begin(), values.end()}; }

inline bool same_bits(const Floats& a, const Floats& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

/** Faults where a value is further from the reference than the bound; NaN is further than anything. */
inline void within(const Floats& seen, const wl::reference::Bounded& wanted, const char* what) {
  CHECK_EQUAL(seen.size(), wanted.value.size());
  for (size_t i = 0; i < seen.size(); i++) {
    const double off = std::abs(double(seen[i]) - wanted.value[i]);
    if (off <= wanted.bound[i] + 1e-30) continue;
    char text[160];
    std::snprintf(text, sizeof text, "%s[%zu] is %.9g, not %.9g: %.3g off, bound %.3g", what, i, double(seen[i]), wanted.value[i], off,
                  wanted.bound[i]);
    check::fault(__FILE__, __LINE__, text);
    return;
  }
}

/** The kernels under test, compiled for one instruction set. */
struct Kernels {
  void (*rope)(wl::Context&, const wl::rope_args&);
  void (*forward)(wl::Context&, const wl::attention_forward_args&);
  void (*backward)(wl::Context&, const wl::attention_backward_args&);
  void (*write)(wl::Context&, const wl::kv_write_args&);
  void (*paged)(wl::Context&, const wl::attention_paged_args&);
};

/** Those up to the instruction set in use: all that this CPU has, unless WL_ISA asks for less. */
inline std::vector<Kernels> every_isa() {
  std::vector<Kernels> all = {{wl::generic::rope, wl::generic::attention_forward, wl::generic::attention_backward,
                               wl::generic::kv_write, wl::generic::attention_paged}};
#if defined(__x86_64__)
  if (wl::isa() >= wl::Isa::avx2) {
    all.push_back({wl::avx2::rope, wl::avx2::attention_forward, wl::avx2::attention_backward, wl::avx2::kv_write,
                   wl::avx2::attention_paged});
  }
  if (wl::isa() >= wl::Isa::avx512) {
    all.push_back({wl::avx512::rope, wl::avx512::attention_forward, wl::avx512::attention_backward, wl::avx512::kv_write,
                   wl::avx512::attention_paged});
  }
#endif
  return all;
}

inline Kernels best_isa() { return every_isa().back(); }

/** A context on a pool of its own, which lives as long as the process. */
inline wl::Context& context_of(int threads) {
  struct Machine {
    wl::Pool pool;
    wl::Scratch scratch;
    wl::Context context;
    explicit Machine(int count) : pool(count), context(pool, scratch) {}
  };
  static Machine* machines[4] = {};
  Machine*& machine = machines[threads];
  if (machine == nullptr) machine = new Machine(threads);
  machine->scratch.reset();
  return machine->context;
}

}  // namespace cases
