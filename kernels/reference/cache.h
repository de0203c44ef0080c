// What a cache of few bits makes of keys and values, in float64: each rounded value, and how far attention over such values may be from
// attention over the exact ones.
#pragma once

#include <vector>

#include "core/cache-types.h"
#include "reference/attention.h"

namespace wl::reference {

// Heads of `head_size` values, each as the type holds it.
std::vector<float> cached(CacheType type, const std::vector<float>& values, int64_t head_size);

// Exact attention, with the bound of what rounding k and v to the type and computing in float32 may change.
Bounded cached_attention(CacheType type, const AttentionShape& shape, const std::vector<double>& q, const std::vector<double>& k,
                         const std::vector<double>& v, double scale);

}  // namespace wl::reference
