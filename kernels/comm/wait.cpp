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

Waiter::Turn Waiter::spin() {
  if (group_.state() == Group::State::failed) throw GroupFailed{};
  const int64_t now = nanoseconds();
  if (idle_since_ == 0) idle_since_ = now;
  idle_ = now - idle_since_;
  if (idle_ >= spin_nanoseconds(group_.size)) return idle_ >= group_.deadline() ? Turn::late : Turn::sleep;
  if (idle_ > kBeforeYield) {
    sched_yield();
  } else {
    for (int i = 0; i < 8; ++i) cpu_relax();
  }
  return Turn::again;
}

bool Waiter::enter() {
  if (asleep_) return false;
  group_.own().bell().enter();
  asleep_ = true;
  return true;
}

void Waiter::sleep() {
  Doorbell& bell = group_.own().bell();
  bell.sleep(seen_, std::min(kLongestSleep, group_.deadline() - idle_));
  seen_ = bell.pulses();
}

void Waiter::rest() {
  if (asleep_) group_.own().bell().leave();
  asleep_ = false;
}

}  // namespace wl::comm
