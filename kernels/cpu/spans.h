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

/**
 * The spans of a contraction, a power of two of them: span s holds terms [begin[s], begin[s + 1]). Each is one FMA chain in index
 * order; they are added by the tree ((s0+s1)+(s2+s3))+((s4+s5)+(s6+s7)).
 */
struct Spans {
  int count = 0;
  int64_t begin[most_spans + 1] = {};

  int64_t first() const { return begin[0]; }
  int64_t terms() const { return begin[count] - begin[0]; }

  /** Terms of the longest of the aligned runs of `group` spans. */
  int64_t longest(int group) const {
    int64_t most = 0;
    for (int s = 0; s < count; s += group) {
      const int64_t end = begin[s + group < count ? s + group : count];
      if (end - begin[s] > most) most = end - begin[s];
    }
    return most;
  }
};

/** The spans of a contraction of `terms` in whole units, at most `limit` of them. */
inline Spans spans_of(int64_t terms, int64_t unit, int64_t limit) {
  const int64_t units = (terms + unit - 1) / unit;
  Spans spans;
  spans.count = span_count(units, limit);
  for (int s = 0; s <= spans.count; ++s) {
    const int64_t begin = span_begin(s, spans.count, units) * unit;
    spans.begin[s] = begin < terms ? begin : terms;
  }
  return spans;
}

/**
 * Of the spans of a contraction of `total` terms those in terms [first, first + terms), counted from `first`. None where these terms are not
 * what one of 1, 2, 4 or 8 ranks holds: an aligned run of whole spans.
 */
inline Spans share_of_spans(int64_t total, int64_t unit, int64_t first, int64_t terms) {
  const Spans all = spans_of(total, unit, most_spans);
  int begin = 0, end = 0;
  while (begin < all.count && all.begin[begin] < first) ++begin;
  while (end < all.count && all.begin[end] < first + terms) ++end;
  const int count = end - begin;
  Spans share;
  const bool is_aligned = count > 0 && (count & (count - 1)) == 0 && begin % count == 0;
  if (!is_aligned || all.begin[begin] != first || all.begin[end] != first + terms) return share;
  share.count = count;
  for (int s = 0; s <= count; ++s) share.begin[s] = all.begin[begin + s] - first;
  return share;
}

}  // namespace wl::WL_ISA
