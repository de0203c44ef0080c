// Where one rank of a group waits for its peers: a futex in memory that other processes may share.
#pragma once

#include <atomic>
#include <climits>
#include <cstdint>
#include <ctime>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace wl::comm {

/** As for Signal of core/futex.h: the condition must be written and read with sequentially consistent atomics. */
class Doorbell {
 public:
  /** Costs one load when nobody sleeps. `from` is the rank that has sent something, or -1 for anything else. */
  void ring(int from = -1) {
    const uint32_t sleepers = sleepers_.load();
    if (sleepers == 0) return;
    // One that sleeps alone and can only go on with something of another rank is let sleep.
    const int32_t only = only_.load();
    if (sleepers == 1 && from >= 0 && only >= 0 && only != from) return;
    ring_loudly();
  }
  void ring_loudly() {
    pulses_.fetch_add(1);
    syscall(SYS_futex, &pulses_, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  }

  /** Between enter and leave, the condition is looked at after pulses() was read and before sleep(). */
  void enter() { sleepers_.fetch_add(1); }
  void leave() { sleepers_.fetch_sub(1); }
  /** What the one collective that may be asleep here waits for: a rank, or -1 for anything. Set before the condition is looked at. */
  void wait_only_for(int rank) { only_.store(rank); }
  uint32_t pulses() const { return pulses_.load(); }
  void sleep(uint32_t seen, int64_t nanoseconds) {
    const timespec most = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    syscall(SYS_futex, &pulses_, FUTEX_WAIT, seen, &most, nullptr, 0);
  }

 private:
  alignas(64) std::atomic<uint32_t> pulses_{0};
  std::atomic<uint32_t> sleepers_{0};
  std::atomic<int32_t> only_{-1};
};
static_assert(std::atomic<uint32_t>::is_always_lock_free);

}  // namespace wl::comm
