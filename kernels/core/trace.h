// When each command of each stream ran, and when a stream had nothing to do: a list of limited length, off by default.
#pragma once

#include <atomic>
#include <cstdint>

namespace wl {

inline std::atomic<bool> trace_on{false};
inline bool tracing() { return trace_on.load(std::memory_order_relaxed); }

/** Adds an interval of a stream; one that no longer fits is only counted. `op` is a string that lives as long as the process. */
void add_to_trace(uint32_t stream, const char* op, int64_t begin, int64_t end);

}  // namespace wl
