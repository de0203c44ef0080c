// How contractions are cut into spans: one chain of additions each, added in the balanced tree. A group of 2, 4 or 8 ranks that shares
// a contraction evenly has the same spans, each rank its run of them, so that its result has the bits of one rank alone.
#pragma once

#include <cstdint>

namespace wl::WL_ISA {

/** Spans of one rank alone. */
inline constexpr int most_spans = 8;

/** The largest power of two that is neither above `limit` nor above the units: no span is empty. */
inline int span_count(int64_t units, int64_t limit) {
  int count = 1;
  while (count * 2 <= limit && count * 2 <= units) count *= 2;
  return count;
}

/** The first unit of span s of `count`; span_begin(count, ...) is the end of the last. */
inline int64_t span_begin(int s, int count, int64_t units) { return s * units / count; }

/** Adds the sums of `count` spans, a power of two, by the tree ((s0+s1)+(s2+s3))+((s4+s5)+(s6+s7)); overwrites them. */
template <class T>
inline T add_spans(T* sums, int count) {
  for (; count > 1; count /= 2) {
    for (int i = 0; i < count / 2; ++i) sums[i] = sums[2 * i] + sums[2 * i + 1];
  }
  return sums[0];
}

}  // namespace wl::WL_ISA
