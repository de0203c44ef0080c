// Waiting for a condition on atomics: spins a little, then sleeps in the kernel; waking costs one load when nobody sleeps.
#pragma once

#include <atomic>
#include <climits>
#include <cstdint>
#include <ctime>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace wl {

inline void cpu_relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  asm volatile("" ::: "memory");
#endif
}

inline int64_t nanoseconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{1000000000} * now.tv_sec + now.tv_nsec;
}

/**
 * A place to wait at. The condition must be written and read with sequentially consistent atomics: then either the waiter sees
 * the new value or the notifier sees the waiter.
 */
class Signal {
 public:
  void notify() {
    if (waiters_.load() == 0) return;
    pulses_.fetch_add(1);
    syscall(SYS_futex, &pulses_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
  }

  /** Returns when ready() is true. */
  template <class Ready>
  void wait(Ready ready) {
    if (spin(ready)) return;
    waiters_.fetch_add(1);
    for (;;) {
      const uint32_t seen = pulses_.load();
      if (ready()) break;
      syscall(SYS_futex, &pulses_, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
    }
    waiters_.fetch_sub(1);
  }

 private:
  // Long enough to bridge the gap between two kernels, short enough to leave the core to others.
  static constexpr int64_t kSpinNanoseconds = 30000;

  template <class Ready>
  static bool spin(Ready ready) {
    if (ready()) return true;
    const int64_t end = nanoseconds() + kSpinNanoseconds;
    do {
      for (int i = 0; i < 32; ++i) {
        cpu_relax();
        if (ready()) return true;
      }
    } while (nanoseconds() < end);
    return false;
  }

  std::atomic<uint32_t> pulses_{0};
  std::atomic<uint32_t> waiters_{0};
};

}  // namespace wl
