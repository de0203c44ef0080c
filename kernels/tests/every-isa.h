// The variants of an operation for the instruction sets of this CPU, and how results are compared with float64.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "core/isa.h"
#include "tests/check.h"
#include "tests/contract.h"

namespace every {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;
using Integers = std::vector<int32_t>;
using contract::context_of;
using contract::Numbers;
using contract::same_bits;

inline constexpr double roundoff = 0x1p-24;

template <class Function>
struct Variant {
  const char* isa;
  Function* run;
};

/** Those that this CPU can run, up to the one in use, which is last. */
template <class Function>
std::vector<Variant<Function>> variants(Function* generic, [[maybe_unused]] Function* avx2, [[maybe_unused]] Function* avx512) {
  std::vector<Variant<Function>> all = {{"generic", generic}};
  if (wl::isa() >= wl::Isa::avx2) all.push_back({"avx2", avx2});
  if (wl::isa() >= wl::Isa::avx512) all.push_back({"avx512", avx512});
  return all;
}

#if defined(__x86_64__)
#define EVERY_ISA(name) every::variants(&wl::generic::name, &wl::avx2::name, &wl::avx512::name)
#else
#define EVERY_ISA(name) every::variants(&wl::generic::name, &wl::generic::name, &wl::generic::name)
#endif

/** Lengths around the vector width and the blocks that work is shared out in. */
inline const std::vector<int64_t>& ragged_lengths() {
  static const std::vector<int64_t> lengths = {1, 2, 3, 7, 13, 15, 16, 17, 31, 33, 63, 64, 65, 127, 131, 257, 1021, 8191, 8192, 8193, 20011};
  return lengths;
}

inline Doubles wide(const Floats& values) { return {values.begin(), values.end()}; }

/** Normal-looking numbers of about unit size, with a few large and small ones. */
inline Floats values(int64_t n, uint64_t seed) {
  Numbers numbers(seed);
  Floats x(static_cast<size_t>(n));
  for (float& value : x) value = (numbers.one() + numbers.one() + numbers.one()) * (numbers.below(8) == 0 ? 3.0f : 1.0f);
  return x;
}

/** Faults where seen[i] is further than bound(i) from wanted[i]; NaN is further than anything. */
template <class Bound>
void within(const Floats& seen, const Doubles& wanted, const std::string& what, Bound bound) {
  if (seen.size() != wanted.size()) check::fault(__FILE__, __LINE__, what + ": sizes differ");
  for (size_t i = 0; i < seen.size() && i < wanted.size(); ++i) {
    const double off = std::abs(static_cast<double>(seen[i]) - wanted[i]);
    if (off <= bound(i)) continue;
    char text[200];
    std::snprintf(text, sizeof text, "%s[%zu] is %.9g, not %.9g: %.3g off, bound %.3g", what.c_str(), i, static_cast<double>(seen[i]),
                  wanted[i], off, bound(i));
    check::fault(__FILE__, __LINE__, text);
    return;
  }
}

/**
 * Runs `work(variant, context)`, which gives the results as a list of float vectors, with every instruction set on 1, 2 and 3 threads;
 * faults where a bit differs. Gives the results.
 */
template <class Function, class Work>
std::vector<Floats> same_everywhere(const std::vector<Variant<Function>>& all, const std::string& what, Work work) {
  std::vector<Floats> first;
  for (const Variant<Function>& variant : all) {
    for (int threads = 1; threads <= 3; ++threads) {
      std::vector<Floats> seen = work(variant.run, context_of(threads));
      if (first.empty()) {
        first = std::move(seen);
        continue;
      }
      for (size_t i = 0; i < first.size(); ++i) {
        if (!same_bits(first[i], seen[i])) {
          check::fault(__FILE__, __LINE__, what + ", output " + std::to_string(i) + ": " + variant.isa + " on " + std::to_string(threads) +
                                               " threads gives other bits than generic on 1");
        }
      }
    }
  }
  return first;
}

/** Runs `work` and faults unless it throws BadInput with these words. */
template <class Work>
void refused(const char* words, Work work) {
  try {
    work();
  } catch (const wl::BadInput& bad) {
    CHECK_EQUAL(std::string(bad.message), std::string(words));
    return;
  }
  check::fault(__FILE__, __LINE__, std::string("not refused: ") + words);
}

}  // namespace every
