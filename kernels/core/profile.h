// A table of wall time per operation, off by default.
#pragma once

#include <atomic>
#include <cstdint>

namespace wl {

inline std::atomic<bool> profile_on{false};
inline bool profiling() { return profile_on.load(std::memory_order_relaxed); }

/** Adds one run of the operation `op`, a string that lives as long as the process. */
void add_to_profile(const char* op, int64_t nanoseconds);

}  // namespace wl
