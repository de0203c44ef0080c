// A list of tensors in chunks of a fixed size, which workers share.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "cpu/chunk-sum.h"

namespace wl::WL_ISA {

/** A stretch of one tensor: elements [at, at + size). */
struct Stretch {
  int64_t tensor, at, size;
};

/** The chunks of a list of tensors, one tensor after the other. */
struct Chunks {
  const int64_t* sizes;
  const int64_t* first;  // the number of each tensor's first chunk, and the count of all
  int64_t tensors;

  int64_t count() const { return first[tensors]; }

  Stretch stretch(int64_t chunk) const {
    int64_t low = 0, high = tensors;
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      (first[middle] <= chunk ? low : high) = middle;
    }
    const int64_t at = (chunk - first[low]) * chunk_elements, left = sizes[low] - at;
    return {low, at, left < chunk_elements ? left : chunk_elements};
  }
};

inline Chunks chunks_of_list(Context& context, const int64_t* sizes, int64_t tensors) {
  int64_t* first = context.scratch_of<int64_t>(tensors + 1);
  first[0] = 0;
  for (int64_t t = 0; t < tensors; ++t) first[t + 1] = first[t] + chunks_of(sizes[t]);
  return {sizes, first, tensors};
}

}  // namespace wl::WL_ISA
