// The list of what streams did, filled by them while it is on.
#include "core/trace.h"

#include <algorithm>
#include <mutex>
#include <vector>

#include "wl.h"

namespace wl {
namespace {

struct Trace {
  std::mutex lock;
  std::vector<wl_trace_event> events;
  int64_t capacity = 0;
  int64_t seen = 0;
};

Trace& trace() {
  static auto* const instance = new Trace;
  return *instance;
}

}  // namespace

void add_to_trace(uint32_t stream, const char* op, int64_t begin, int64_t end) {
  Trace& all = trace();
  const std::lock_guard guard(all.lock);
  if (!tracing()) return;
  all.seen += 1;
  if (static_cast<int64_t>(all.events.size()) < all.capacity) all.events.push_back({op, stream, begin, end});
}

}  // namespace wl

extern "C" {

void wl_trace(int64_t capacity) {
  wl::Trace& all = wl::trace();
  const std::lock_guard guard(all.lock);
  wl::trace_on.store(capacity > 0);
  if (capacity <= 0) return;
  all.capacity = capacity;
  all.seen = 0;
  all.events.clear();
  // Room for all of them at once: what is traced shall not wait for memory.
  all.events.reserve(static_cast<size_t>(capacity));
}

int64_t wl_trace_read(wl_trace_event* out, int64_t capacity) {
  wl::Trace& all = wl::trace();
  const std::lock_guard guard(all.lock);
  std::copy_n(all.events.begin(), std::min(static_cast<int64_t>(all.events.size()), capacity), out);
  return all.seen;
}

}  // extern "C"
