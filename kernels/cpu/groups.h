// Loops over elements in groups of 16, the last one partial: the same vector code for every element, whatever the length.
#pragma once

#include "core/context.h"
#include "cpu/bfloat.h"
#include "cpu/simd.h"

namespace wl::WL_ISA {

/** A whole group of 16 elements. */
struct WholeGroup {
  Vec16 operator()(const float* p) const { return load(p); }
  void put(float* p, Vec16 v) const { store(p, v); }
  Vec16 operator()(Reals p) const { return load(p); }
  void put(RealsOut p, Vec16 v) const { store(p, v); }
};

/** The first `count` elements of a group; the other lanes read zero and are not written. */
struct PartGroup {
  int64_t count;
  Vec16 operator()(const float* p) const { return load_first(count, p); }
  void put(float* p, Vec16 v) const { store_first(count, p, v); }
  Vec16 operator()(Reals p) const { return load_first(count, p); }
  void put(RealsOut p, Vec16 v) const { store_first(count, p, v); }
};

/** Calls f(first element, group) for the groups of [begin, end); `begin` is a multiple of 16 away from where lanes are counted. */
template <class F>
inline void each_group(int64_t begin, int64_t end, F&& f) {
  int64_t i = begin;
  for (; i + 16 <= end; i += 16) f(i, WholeGroup{});
  if (i < end) f(i, PartGroup{end - i});
}

/** each_group over [0, n) on all workers. */
template <class F>
inline void each_group_parallel(Context& context, int64_t n, F&& f) {
  constexpr int64_t block = 8192;
  context.parallel_for((n + block - 1) / block, 1, [&](int64_t begin, int64_t end, int) {
    each_group(begin * block, end * block < n ? end * block : n, f);
  });
}

}  // namespace wl::WL_ISA
