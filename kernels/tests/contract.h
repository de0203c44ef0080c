// The determinism contract of contractions written out one scalar at a time, and the kernels of each instruction set to hold against it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/context.h"
#include "core/isa.h"
#include "core/ops.gen.h"
#include "core/pool.h"
#include "core/scratch.h"
#include "cpu/cross-entropy.h"

namespace contract {

/** The partial sums of 8 spans, added in the tree of the contract. */
inline float tree(const float (&s)[8]) { return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7])); }

/** Sum over k of a(k) * b(k): 8 spans rounded up to `unit`, one FMA chain in each. */
template <class A, class B>
float dot(int64_t terms, int64_t unit, A a, B b) {
  const int64_t length = ((terms + unit - 1) / unit + 7) / 8 * unit;
  float spans[8] = {};
  for (int64_t s = 0; s < 8; ++s) {
    for (int64_t k = s * length; k < std::min(terms, (s + 1) * length); ++k) spans[s] = std::fma(a(k), b(k), spans[s]);
  }
  return tree(spans);
}

/** The same over `rows` tokens in sequences of `length`: span s holds eighth s of every sequence, sequence after sequence. */
template <class A, class B>
float token_dot(int64_t rows, int64_t length, A a, B b) {
  const int64_t eighth = (length + 7) / 8;
  float spans[8] = {};
  for (int64_t s = 0; s < 8; ++s) {
    for (int64_t first = 0; first < rows; first += length) {
      for (int64_t t = s * eighth; t < std::min(length, (s + 1) * eighth); ++t) {
        spans[s] = std::fma(a(first + t), b(first + t), spans[s]);
      }
    }
  }
  return tree(spans);
}

/** Numbers between -1 and 1, the same for the same seed. */
class Numbers {
 public:
  explicit Numbers(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}

  uint32_t next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 32);
  }
  float one() { return static_cast<float>(next() >> 8) / 8388608.0f - 1.0f; }
  int64_t below(int64_t n) { return static_cast<int64_t>(next() % static_cast<uint64_t>(n)); }
  std::vector<float> many(int64_t n) {
    std::vector<float> values(static_cast<size_t>(n));
    for (float& value : values) value = one();
    return values;
  }

 private:
  uint64_t state_;
};

inline bool same_bits(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0; }
inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/** A context on `threads` workers of its own; they live as long as the process, as the pool's do. */
inline wl::Context& context_of(int threads) {
  struct Own {
    explicit Own(int n) : pool(n), context(pool, scratch) {}
    wl::Pool pool;
    wl::Scratch scratch;
    wl::Context context;
  };
  static Own* own[4] = {};
  if (own[threads] == nullptr) own[threads] = new Own(threads);
  own[threads]->scratch.reset();
  return own[threads]->context;
}

/** The kernels under test, compiled for one instruction set. */
struct Kernels {
  const char* isa;
  void (*linear_forward)(wl::Context&, const wl::linear_forward_args&);
  void (*linear_backward_input)(wl::Context&, const wl::linear_backward_input_args&);
  void (*linear_backward_weight)(wl::Context&, const wl::linear_backward_weight_args&);
  void (*linear_pack)(wl::Context&, const wl::linear_pack_args&);
  void (*linear_packed_forward)(wl::Context&, const wl::linear_packed_forward_args&);
  void (*cross_entropy_forward)(wl::Context&, const wl::cross_entropy_forward_args&);
  void (*cross_entropy_fused)(wl::Context&, const wl::cross_entropy_fused_args&);
  void (*cross_entropy_fused_within)(wl::Context&, const wl::cross_entropy_fused_args&, int64_t step_floats);
  int64_t (*packed_size)(int64_t, int64_t);
};

#define CONTRACT_KERNELS(ns)                                                                                          \
  contract::Kernels {                                                                                                 \
    #ns, wl::ns::linear_forward, wl::ns::linear_backward_input, wl::ns::linear_backward_weight, wl::ns::linear_pack,  \
        wl::ns::linear_packed_forward, wl::ns::cross_entropy_forward, wl::ns::cross_entropy_fused,                    \
        wl::ns::cross_entropy_fused_within, wl::ns::packed_size                                                       \
  }

/** Those that this CPU can run, up to the one in use, which is last. */
inline std::vector<Kernels> each_isa() {
  std::vector<Kernels> kernels = {CONTRACT_KERNELS(generic)};
#if defined(__x86_64__)
  if (wl::isa() >= wl::Isa::avx2) kernels.push_back(CONTRACT_KERNELS(avx2));
  if (wl::isa() >= wl::Isa::avx512) kernels.push_back(CONTRACT_KERNELS(avx512));
#endif
  return kernels;
}

}  // namespace contract
