// Waiting of operations.
#include "comm/wait.h"

#include <algorithm>
#include <sched.h>

#include "core/futex.h"

namespace wl::comm {
namespace {

// A peer that runs on another core answers within this. Longer spinning takes cores from peers that have none.
constexpr int64_t kSpinNanoseconds = 20000;
constexpr int64_t kBeforeYield = 3000;
// Nothing depends on waking up by itself; this bounds what a lost wake-up could cost.
constexpr int64_t kLongestSleep = 100000000;

int cores() {
  static const int count = [] {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  }();
  return count;
}

// A group that has more ranks than this process has cores spins for nothing where they share a host.
int64_t spin_nanoseconds(int ranks) { return ranks <= cores() ? kSpinNanoseconds : 0; }

}  // namespace

bool Waiter::pause(int only) {
  if (group_.state() == Group::State::failed) throw GroupFailed{};
  const int64_t now = nanoseconds();
  if (idle_since_ == 0) idle_since_ = now;
  const int64_t idle = now - idle_since_;
  if (idle < spin_nanoseconds(group_.size)) {
    if (idle > kBeforeYield) {
      sched_yield();
    } else {
      for (int i = 0; i < 8; ++i) cpu_relax();
    }
    return true;
  }
  if (idle >= group_.deadline()) return false;
  Doorbell& bell = group_.own().bell();
  if (!asleep_ || only != only_) {
    if (only != only_) bell.wait_only_for(only);
    only_ = only;
    if (!asleep_) bell.enter();
    asleep_ = true;
    seen_ = bell.pulses();
    return true;  // the caller looks once more, now that peers know
  }
  bell.sleep(seen_, std::min(kLongestSleep, group_.deadline() - idle));
  seen_ = bell.pulses();
  return true;
}

void Waiter::rest() {
  if (only_ >= 0) group_.own().bell().wait_only_for(-1);
  only_ = -1;
  if (asleep_) group_.own().bell().leave();
  asleep_ = false;
}

}  // namespace wl::comm
