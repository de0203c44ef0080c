// Cuts a long contraction into steps whose results pass through memory, without changing the order of a single addition.
#pragma once

#include "cpu/gemm.h"

namespace wl::WL_ISA::gemm {

/** One step: a run of whole spans (an aligned subtree), or a part of one span. Its fields are those of Product. */
struct Step {
  Spans spans;
  const float* start = nullptr;
  const float* addend[3] = {};
  int addends = 0;
  float* out = nullptr;
  bool last = false;
};

/** How a contraction is cut: steps of `group` whole spans, or, where even one span is too long, of `part` terms, in whole chunks. */
struct Cut {
  int group = most_spans;
  int64_t part = 0;
  /** Arrays of the result's shape that steps need: one for each level of the tree over groups, one for an unfinished chain. */
  int levels = 0;
  bool chain = false;
};

inline Cut cut_of(const Spans& spans, int group, int64_t part) {
  Cut cut;
  cut.group = group;
  cut.part = part;
  const int nodes = (spans.count + group - 1) / group;
  while ((1 << cut.levels) < nodes) ++cut.levels;
  cut.chain = part > 0;
  return cut;
}

/** The cut into the largest steps of at most `most` terms. */
inline Cut cut_into(const Spans& spans, int64_t most) {
  int group = most_spans;
  while (group > 1 && spans.longest(group) > most) group /= 2;
  const int64_t longest = spans.longest(group);
  if (longest <= most) return cut_of(spans, group, 0);
  const int64_t parts = (longest + most - 1) / most;
  return cut_of(spans, 1, ((longest + parts - 1) / parts + chunk_terms - 1) / chunk_terms * chunk_terms);
}

/** Walks the steps in order. level[cut.levels - 1] may be `out` itself, unless the last step reads `out` for something else. */
class Steps {
 public:
  Steps(const Spans& spans, const Cut& cut, float* const* level, float* chain, float* out)
      : spans_(spans), cut_(cut), level_(level), chain_(chain), out_(out) {}

  bool next(Step& step) {
    if (span_ >= spans_.count) return false;
    step = {};
    if (cut_.part > 0 && !take_part(step)) return true;
    if (cut_.part == 0) take_group(step);
    const int node = span_ / cut_.group;
    span_ += cut_.group;
    at_ = 0;
    step.last = span_ >= spans_.count;
    step.out = out_;
    for (int l = 0; l < cut_.levels; ++l) {
      if ((node >> l & 1) != 0) {
        step.addend[step.addends++] = level_[l];
      } else if (!step.last) {
        step.out = level_[l];
        break;
      }
    }
    return true;
  }

 private:
  void take_group(Step& step) const {
    const int end = span_ + cut_.group < spans_.count ? span_ + cut_.group : spans_.count;
    step.spans.count = end - span_;
    for (int s = span_; s <= end; ++s) step.spans.begin[s - span_] = spans_.begin[s];
  }

  // The next part of the span in hand; true where it ends the span.
  bool take_part(Step& step) {
    const int64_t begin = spans_.begin[span_] + at_;
    const int64_t end = begin + cut_.part < spans_.begin[span_ + 1] ? begin + cut_.part : spans_.begin[span_ + 1];
    step.spans.count = 1;
    step.spans.begin[0] = begin;
    step.spans.begin[1] = end;
    step.start = at_ > 0 ? chain_ : nullptr;
    at_ += end - begin;
    if (end == spans_.begin[span_ + 1]) return true;
    step.out = chain_;
    return false;
  }

  const Spans& spans_;
  const Cut cut_;
  float* const* level_;
  float* chain_;
  float* out_;
  int span_ = 0;
  int64_t at_ = 0;
};

}  // namespace wl::WL_ISA::gemm
