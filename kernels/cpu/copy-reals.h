// Copies of real numbers from one way of storing to another: exact towards f32, rounded to the nearest towards bf16.
#pragma once

#include <cstring>

#include "cpu/groups.h"

namespace wl::WL_ISA {

/** to[i] = from[i]; the same place or apart. */
inline void copy_reals(Reals from, int64_t count, RealsOut to) {
  if (from.as == to.as) std::memmove(to.data, from.data, static_cast<size_t>(count * size_of(from.as)));
  else each_group(0, count, [&](int64_t i, auto group) { group.put(to + i, group(from + i)); });
}

inline void copy_reals_parallel(Context& context, Reals from, int64_t count, RealsOut to) {
  constexpr int64_t block = 8192;
  context.parallel_for((count + block - 1) / block, 1, [&](int64_t begin, int64_t end, int) {
    const int64_t first = begin * block, last = end * block < count ? end * block : count;
    copy_reals(from + first, last - first, to + first);
  });
}

/** The numbers as f32: themselves where they are stored so, else a copy in scratch memory. */
inline const float* as_floats(Context& context, Reals from, int64_t count) {
  if (from.as == Stored::f32) return from.floats();
  float* const copy = context.scratch(count);
  copy_reals_parallel(context, from, count, copy);
  return copy;
}

}  // namespace wl::WL_ISA
