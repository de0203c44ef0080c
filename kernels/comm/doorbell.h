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
  /** Costs one load when nobody sleeps. */
  void ring() {
    if (sleepers_.load() > 0) ring_loudly();
  }
  /** Of so many arrivals, the last one rings: for the one collective at a time that may wait here. Set before it looks for them. */
  void expect(int arrivals) { expected_.store(arrivals); }
  void arrive() {
    if (expected_.fetch_sub(1) == 1) ring();
  }
  void ring_loudly() {
    pulses_.fetch_add(1);
    syscall(SYS_futex, &pulses_, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  }

  /** Between enter and leave, the condition is looked at after pulses() was read and before sleep(). */
  void enter() { sleepers_.fetch_add(1); }
  void leave() { sleepers_.fetch_sub(1); }
  uint32_t pulses() const { return pulses_.load(); }
  void sleep(uint32_t seen, int64_t nanoseconds) {
    const timespec most = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    syscall(SYS_futex, &pulses_, FUTEX_WAIT, seen, &most, nullptr, 0);
  }

 private:
  alignas(64) std::atomic<uint32_t> pulses_{0};
  std::atomic<uint32_t> sleepers_{0};
  std::atomic<int32_t> expected_{0};
};
static_assert(std::atomic<uint32_t>::is_always_lock_free);

}  // namespace wl::comm
