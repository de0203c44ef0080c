// The thread that looks after all communicators of the process: connections, timers, and what peers have to say.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <unordered_map>

namespace wl::comm {

class Service {
 public:
  /** The one of the process, started when first used; it lives as long as the process. */
  static Service& instance();

  /** Guards everything about communicators except what operations exchange. Callbacks run with it held. */
  std::mutex lock;

  using Callback = std::function<void()>;
  using OnEvents = std::function<void(uint32_t events)>;

  /** Calls `callback` once at that time of the monotonic clock. Returns a number, never 0. */
  uint64_t at(int64_t nanoseconds, Callback callback);
  void cancel(uint64_t timer);

  /** Calls `callback` for events of epoll on a file, level-triggered. Returns a number, never 0. */
  uint64_t watch(int fd, uint32_t events, OnEvents callback);
  void change(uint64_t watch, uint32_t events);
  /** Must come before the file is closed. */
  void unwatch(uint64_t watch);

 private:
  Service();
  void loop();
  int64_t run_timers();
  void wake();

  struct Watch {
    int fd;
    uint32_t events;
    OnEvents callback;
  };

  int epoll_ = -1;
  int wakeup_ = -1;
  uint64_t next_ = 1;
  std::map<std::pair<int64_t, uint64_t>, Callback> timers_;
  std::unordered_map<uint64_t, int64_t> timer_times_;
  std::unordered_map<uint64_t, Watch> watches_;
};

}  // namespace wl::comm
