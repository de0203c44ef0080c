// What the bench programs share: a context, its clock, and numbers to work on.
#pragma once

#include <algorithm>
#include <cstdint>
#include <ctime>
#include <vector>

#include "core/context.h"
#include "core/runtime.h"
#include "core/scratch.h"

namespace bench {

/** A context on all threads. With one thread its clock is the thread's processor time, so that other processes disturb little. */
struct Stand {
  wl::Scratch scratch;
  wl::Context context{wl::pool(), scratch};

  double now() const {
    timespec t;
    clock_gettime(context.threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
  }

  /** Seconds of the fastest of many runs: within about 0.3 s, from 4 to `most`. */
  template <class Work>
  double best(Work work, int most = 100) {
    double fastest = 1e9;
    const double start = now();
    for (int run = 0; run < 4 || (run < most && now() - start < 0.3); ++run) {
      const double begin = now();
      work();
      fastest = std::min(fastest, now() - begin);
      scratch.reset();
    }
    return fastest;
  }
};

/** From -1 to 1, the same each time. */
inline std::vector<float> numbers(int64_t n) {
  std::vector<float> values(static_cast<size_t>(n));
  uint32_t state = 1;
  for (float& value : values) value = static_cast<float>((state = state * 1664525u + 1013904223u) >> 8) / 8388608.0f - 1.0f;
  return values;
}

}  // namespace bench
