// Distances of keys for slopes: whole numbers as floats.
#pragma once

#include <cstdint>

#include "cpu/simd.h"

namespace wl::WL_ISA::attention {

/** first, first + 1, ... first + 15; exact where magnitudes are below 2^24. */
inline Vec16 counting(int64_t first) {
  static constexpr float steps[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return splat(static_cast<float>(first)) + load(steps);
}

}  // namespace wl::WL_ISA::attention
