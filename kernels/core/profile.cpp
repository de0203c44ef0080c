// A table of wall time per operation, filled by the streams while it is on.
#include "core/profile.h"

#include <algorithm>
#include <mutex>
#include <vector>

#include "wl.h"

namespace wl {
namespace {

std::mutex lock;
std::vector<wl_profile_entry>& entries() {
  static auto* const table = new std::vector<wl_profile_entry>;
  return *table;
}

}  // namespace

void add_to_profile(const char* op, int64_t nanoseconds) {
  const std::lock_guard guard(lock);
  auto& table = entries();
  auto entry = std::ranges::find(table, op, &wl_profile_entry::op);
  if (entry == table.end()) entry = table.insert(entry, {op, 0, 0});
  entry->calls += 1;
  entry->nanoseconds += nanoseconds;
}

}  // namespace wl

extern "C" {

void wl_profile(int on) {
  const std::lock_guard guard(wl::lock);
  if (on != 0) wl::entries().clear();
  wl::profile_on.store(on != 0);
}

int64_t wl_profile_read(wl_profile_entry* out, int64_t capacity) {
  const std::lock_guard guard(wl::lock);
  auto& table = wl::entries();
  std::ranges::sort(table, std::ranges::greater{}, &wl_profile_entry::nanoseconds);
  const int64_t count = static_cast<int64_t>(table.size());
  std::copy_n(table.begin(), std::min(count, capacity), out);
  return count;
}

}  // extern "C"
