// The worker pool: jobs are published by a counter, joined by compare-and-swap, and closed by their publisher.
#include "core/pool.h"

#include <algorithm>
#include <pthread.h>
#include <thread>

namespace wl {
namespace {

constexpr uint64_t kOpen = uint64_t{1} << 31;
constexpr uint64_t kInside = kOpen - 1;
constexpr uint64_t kJob = uint64_t{1} << 32;

}  // namespace

Pool::Pool(int threads) : threads_(threads) {
  for (int worker = 1; worker < threads; ++worker) {
    std::thread thread([this, worker] { work(worker); });
    pthread_setname_np(thread.native_handle(), "wl-worker");
    thread.detach();
  }
}

void Pool::run(int64_t items, int64_t grain, RangeBody body, void* callable) {
  if (items <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  const bool alone = threads_ == 1 || items <= grain;
  if (alone || taken_.exchange(true)) {
    for (int64_t begin = 0; begin < items; begin += grain) body(callable, begin, std::min(begin + grain, items), 0);
    return;
  }
  job_ = {body, callable, items, grain};
  next_.store(0);
  state_.store((state_.load() & ~(kJob - 1)) + kJob + kOpen);
  published_.notify();
  take_ranges(0);
  // Workers that wake too late find the job closed; only those inside are waited for.
  state_.fetch_and(~kOpen);
  left_.wait([this] { return (state_.load() & kInside) == 0; });
  taken_.store(false);
}

void Pool::work(int worker) {
  uint64_t seen = 0;
  for (;;) {
    published_.wait([this, seen] { return (state_.load() & kOpen) != 0 && state_.load() / kJob != seen; });
    uint64_t state = state_.load();
    while ((state & kOpen) != 0 && !state_.compare_exchange_weak(state, state + 1)) {
    }
    if ((state & kOpen) == 0) continue;
    seen = state / kJob;
    take_ranges(worker);
    state_.fetch_sub(1);
    left_.notify();
  }
}

void Pool::take_ranges(int worker) {
  const Job job = job_;
  const int64_t ranges = (job.items + job.grain - 1) / job.grain;
  for (;;) {
    const int64_t range = next_.fetch_add(1, std::memory_order_relaxed);
    if (range >= ranges) return;
    const int64_t begin = range * job.grain;
    job.body(job.callable, begin, std::min(begin + job.grain, job.items), worker);
  }
}

}  // namespace wl
