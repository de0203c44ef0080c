// The service thread: one epoll loop.
#include "comm/service.h"

#include <algorithm>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <thread>
#include <unistd.h>

#include "core/futex.h"

namespace wl::comm {

Service& Service::instance() {
  static Service* const service = new Service;
  return *service;
}

Service::Service() : epoll_(epoll_create1(EPOLL_CLOEXEC)), wakeup_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = 0;
  epoll_ctl(epoll_, EPOLL_CTL_ADD, wakeup_, &event);
  std::thread thread([this] { loop(); });
  pthread_setname_np(thread.native_handle(), "wl-comm");
  thread.detach();
}

uint64_t Service::at(int64_t nanoseconds, Callback callback) {
  const uint64_t number = next_++;
  const bool first = timers_.empty() || nanoseconds < timers_.begin()->first.first;
  timers_.emplace(std::pair(nanoseconds, number), std::move(callback));
  timer_times_[number] = nanoseconds;
  if (first) wake();
  return number;
}

void Service::cancel(uint64_t timer) {
  const auto found = timer_times_.find(timer);
  if (found == timer_times_.end()) return;
  timers_.erase({found->second, timer});
  timer_times_.erase(found);
}

uint64_t Service::watch(int fd, uint32_t events, OnEvents callback) {
  const uint64_t number = next_++;
  epoll_event event{};
  event.events = events;
  event.data.u64 = number;
  epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
  watches_.emplace(number, Watch{fd, events, std::move(callback)});
  return number;
}

void Service::change(uint64_t watch, uint32_t events) {
  const auto found = watches_.find(watch);
  if (found == watches_.end() || found->second.events == events) return;
  found->second.events = events;
  epoll_event event{};
  event.events = events;
  event.data.u64 = watch;
  epoll_ctl(epoll_, EPOLL_CTL_MOD, found->second.fd, &event);
}

void Service::unwatch(uint64_t watch) {
  const auto found = watches_.find(watch);
  if (found == watches_.end()) return;
  epoll_ctl(epoll_, EPOLL_CTL_DEL, found->second.fd, nullptr);
  watches_.erase(found);
}

void Service::wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wakeup_, &one, sizeof one);
}

/** Runs what is due; the time of the next timer, or -1. The lock must be held. */
int64_t Service::run_timers() {
  while (!timers_.empty() && timers_.begin()->first.first <= nanoseconds()) {
    const auto first = timers_.begin();
    const Callback callback = std::move(first->second);
    timer_times_.erase(first->first.second);
    timers_.erase(first);
    callback();
  }
  return timers_.empty() ? -1 : timers_.begin()->first.first;
}

void Service::loop() {
  epoll_event events[64];
  for (;;) {
    int timeout_ms = -1;
    {
      const std::lock_guard guard(lock);
      const int64_t next = run_timers();
      if (next >= 0) timeout_ms = static_cast<int>(std::clamp<int64_t>((next - nanoseconds()) / 1000000 + 1, 0, 60000));
    }
    const int count = epoll_wait(epoll_, events, 64, timeout_ms);
    const std::lock_guard guard(lock);
    for (int i = 0; i < count; ++i) {
      if (events[i].data.u64 == 0) {
        uint64_t drained;
        [[maybe_unused]] const ssize_t size = read(wakeup_, &drained, sizeof drained);
        continue;
      }
      // An earlier event may have ended this watch. The callback may end its own: it is called through a copy.
      const auto found = watches_.find(events[i].data.u64);
      if (found == watches_.end()) continue;
      const OnEvents callback = found->second.callback;
      callback(events[i].events);
    }
  }
}

}  // namespace wl::comm
