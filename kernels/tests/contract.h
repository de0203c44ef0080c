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

/** The spans of a contraction: where each begins, and where the last one ends. The number of spans is a power of two. */
inline std::vector<int64_t> spans_of(int64_t terms, int64_t unit, int64_t limit = 8) {
  const int64_t units = (terms + unit - 1) / unit;
  int64_t count = limit;
  while (count > units) count /= 2;
  std::vector<int64_t> begin;
  for (int64_t s = 0; s <= count; ++s) begin.push_back(std::min(terms, s * units / count * unit));
  return begin;
}

/** A span of f32: one chain of FMAs. */
struct Chain {
  float sum = 0.0f;
  void add(float a, float b) { sum = std::fma(a, b, sum); }
  float end() const { return sum; }
  static float of(float sum) { return sum; }
};

/**
 * A span of bf16: chunks of 32 terms, in each of which two chains of FMAs from +0 take the even and the odd terms, those beyond the end of the span
 * +0; their sum is added to the chunks before. Denormal numbers are zero.
 */
class PairChain {
 public:
  void add(float a, float b) {
    float& chain = chains_[terms_ % 2];
    chain = of(std::fma(of(a), of(b), chain));
    if (++terms_ == 32) close();
  }
  float end() {
    while (terms_ > 0) add(0.0f, 0.0f);
    return sum_;
  }
  /** Numbers too small for a normal one are zero of their sign. */
  static float of(float value) { return std::fpclassify(value) == FP_SUBNORMAL ? std::copysign(0.0f, value) : value; }

 private:
  void close() {
    sum_ = of(sum_ + of(chains_[0] + chains_[1]));
    chains_[0] = chains_[1] = 0.0f;
    terms_ = 0;
  }

  float sum_ = 0.0f;
  float chains_[2] = {};
  int terms_ = 0;
};

/** The sums of spans, or of ranks, added in the balanced tree of the contract. */
template <class Span = Chain>
float tree(std::vector<float> sums) {
  for (; sums.size() > 1; sums.resize(sums.size() / 2)) {
    for (size_t i = 0; i < sums.size() / 2; ++i) sums[i] = Span::of(sums[2 * i] + sums[2 * i + 1]);
  }
  return sums[0];
}

/** Sum over k of a(k) * b(k). */
template <class Span = Chain, class A, class B>
float dot(int64_t terms, int64_t unit, A a, B b) {
  const std::vector<int64_t> begin = spans_of(terms, unit);
  std::vector<float> sums;
  for (size_t s = 0; s + 1 < begin.size(); ++s) {
    Span span;
    for (int64_t k = begin[s]; k < begin[s + 1]; ++k) span.add(a(k), b(k));
    sums.push_back(span.end());
  }
  return tree<Span>(sums);
}

/** The same over `rows` tokens in sequences of `length`: a span holds its part of every sequence, sequence after sequence. */
template <class Span = Chain, class A, class B>
float token_dot(int64_t rows, int64_t length, A a, B b) {
  const std::vector<int64_t> begin = spans_of(length, 1);
  std::vector<float> sums;
  for (size_t s = 0; s + 1 < begin.size(); ++s) {
    Span span;
    for (int64_t first = 0; first < rows; first += length) {
      for (int64_t t = begin[s]; t < begin[s + 1]; ++t) span.add(a(first + t), b(first + t));
    }
    sums.push_back(span.end());
  }
  return tree<Span>(sums);
}

/** Element by element, what ranks add up to. */
inline std::vector<float> added(const std::vector<std::vector<float>>& ranks) {
  std::vector<float> total;
  for (size_t i = 0; i < ranks[0].size(); ++i) {
    std::vector<float> each;
    for (const auto& rank : ranks) each.push_back(rank[i]);
    total.push_back(tree(each));
  }
  return total;
}

/** Columns [begin, end) of a matrix of `cols`. */
inline std::vector<float> columns(const std::vector<float>& of, int64_t cols, int64_t begin, int64_t end) {
  std::vector<float> part;
  for (size_t row = 0; row < of.size(); row += static_cast<size_t>(cols)) part.insert(part.end(), of.begin() + row + begin, of.begin() + row + end);
  return part;
}

/** Positions [begin, end) of every sequence of `length` rows of `cols` each. */
template <class T>
std::vector<T> positions(const std::vector<T>& of, int64_t length, int64_t cols, int64_t begin, int64_t end) {
  std::vector<T> part;
  for (size_t at = 0; at < of.size(); at += static_cast<size_t>(length * cols)) {
    part.insert(part.end(), of.begin() + at + begin * cols, of.begin() + at + end * cols);
  }
  return part;
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
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
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
