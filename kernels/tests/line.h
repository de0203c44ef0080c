// A bad line between two network devices, for tests: their packets come late, and some are lost.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <string>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/futex.h"

namespace line {

/** A network device of this process's network, whose packets are read from and written to the file that is returned; -1 where that can't be. */
inline int open_end(const char* name) {
  const int end = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  ifreq request{};
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  std::snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
  if (end >= 0 && ioctl(end, TUNSETIFF, &request) == 0) return end;
  if (end >= 0) close(end);
  return -1;
}

class Line {
 public:
  Line(int a, int b, int lost_percent, int64_t delay_ms) : ends_{a, b}, lost_percent_(lost_percent), delay_(delay_ms * 1000000) {}

  void swallow_everything() { lost_percent_ = 100; }

  /** Takes in what has come at both ends, and hands over what is due. */
  void carry() {
    for (int from = 0; from < 2; ++from) {
      char buffer[2048];
      for (ssize_t got; (got = read(ends_[from], buffer, sizeof buffer)) > 0;) {
        if (is_lost()) continue;
        under_way_.push_back({wl::nanoseconds() + delay_, 1 - from, std::string(buffer, static_cast<size_t>(got))});
      }
    }
    for (; !under_way_.empty() && under_way_.front().due <= wl::nanoseconds(); under_way_.pop_front()) {
      const Packet& packet = under_way_.front();
      [[maybe_unused]] const ssize_t put = write(ends_[packet.to], packet.bytes.data(), packet.bytes.size());
    }
  }
  bool is_empty() const { return under_way_.empty(); }

 private:
  struct Packet {
    int64_t due;
    int to;
    std::string bytes;
  };

  bool is_lost() {
    dice_ ^= dice_ << 13;
    dice_ ^= dice_ >> 7;
    dice_ ^= dice_ << 17;
    return static_cast<int>(dice_ % 100) < lost_percent_;
  }

  const int ends_[2];
  std::atomic<int> lost_percent_;
  const int64_t delay_;
  std::deque<Packet> under_way_;
  uint64_t dice_ = 88172645463325252u;
};

}  // namespace line
