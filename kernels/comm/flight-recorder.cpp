// The flight recorder: a ring of records under a lock that is held for a copy only.
#include "comm/flight-recorder.h"

#include <ctime>
#include <mutex>

namespace wl::comm {
namespace {

struct Log {
  std::mutex lock;
  uint64_t next = 0;
  wl_comm_record records[WL_COMM_LOG];
};
Log& the_log() {
  static Log* const log = new Log;
  return *log;
}

int64_t wall_clock() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return int64_t{1000000000} * now.tv_sec + now.tv_nsec;
}

/** Calls change(record) where it is still in the ring. */
template <class Change>
void update(uint64_t number, Change change) {
  Log& log = the_log();
  const int64_t now = wall_clock();
  const std::lock_guard guard(log.lock);
  if (log.next - number <= WL_COMM_LOG) change(log.records[number % WL_COMM_LOG], now);
}

}  // namespace

uint64_t record_enqueued(const wl_comm_record& record) {
  Log& log = the_log();
  const int64_t now = wall_clock();
  const std::lock_guard guard(log.lock);
  wl_comm_record& slot = log.records[log.next % WL_COMM_LOG];
  slot = record;
  slot.enqueued_ns = now;
  slot.state = WL_COMM_QUEUED;
  return log.next++;
}

void record_started(uint64_t number) {
  update(number, [](wl_comm_record& record, int64_t now) {
    record.started_ns = now;
    record.state = WL_COMM_RUNNING;
  });
}

void record_ended(uint64_t number, bool failed, int64_t bytes_sent) {
  update(number, [failed, bytes_sent](wl_comm_record& record, int64_t now) {
    record.ended_ns = now;
    record.bytes_sent = bytes_sent;
    record.state = failed ? WL_COMM_FAILED : WL_COMM_DONE;
  });
}

}  // namespace wl::comm

using namespace wl::comm;

extern "C" int64_t wl_comm_log(wl_comm_record* out, int64_t capacity) {
  Log& log = the_log();
  const std::lock_guard guard(log.lock);
  const uint64_t first = log.next > WL_COMM_LOG ? log.next - WL_COMM_LOG : 0;
  for (uint64_t number = first; number < log.next && static_cast<int64_t>(number - first) < capacity; ++number) {
    out[number - first] = log.records[number % WL_COMM_LOG];
  }
  return static_cast<int64_t>(log.next - first);
}
