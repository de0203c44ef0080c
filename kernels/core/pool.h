// The worker pool: one per process, shared by all streams. The thread that has work takes part in it.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/context.h"
#include "core/futex.h"

namespace wl {

class Pool {
 public:
  /** Starts threads - 1 workers, which live as long as the process. */
  explicit Pool(int threads);

  int threads() const { return threads_; }

  /** See Context::parallel_for. Where another stream has the workers, the caller does all ranges itself. */
  void run(int64_t items, int64_t grain, RangeBody body, void* callable);

 private:
  // The job in hand, written by its publisher while no worker is inside.
  struct Job {
    RangeBody body = nullptr;
    void* callable = nullptr;
    int64_t items = 0;
    int64_t grain = 1;
  };

  void work(int worker);
  void take_ranges(int worker);

  const int threads_;
  Job job_;
  alignas(64) std::atomic<int64_t> next_{0};
  // Number of the job (upper bits), whether it can be joined (bit 31), and how many workers are inside (lower bits).
  alignas(64) std::atomic<uint64_t> state_{0};
  alignas(64) std::atomic<bool> taken_{false};
  Signal published_;
  Signal left_;
};

}  // namespace wl
