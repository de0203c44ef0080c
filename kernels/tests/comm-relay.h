// What stands between ranks on a network: sees what they say, changes it, cuts it off.
#pragma once

#include <arpa/inet.h>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <netinet/in.h>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <utility>
#include <vector>

#include "check.h"
#include "comm/endpoint.h"
#include "comm/owned-file.h"

namespace relay {

using wl::comm::OwnedFile;

inline sockaddr_in loopback(const std::string& port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(std::stoi(port)));
  return address;
}

inline OwnedFile connect_to(const std::string& port) {
  OwnedFile file(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = loopback(port);
  CHECK_EQUAL(connect(file.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  return file;
}

/** Stands between ranks and the one whose endpoint it changes; sees all that they say, and may change a bit of it. */
class Relay {
 public:
  enum class Fate { carried, cut, swallowed };
  /** Flips a bit once so many bytes have passed; never if negative. The first connections have these fates. */
  explicit Relay(int64_t flips_at = -1, std::vector<Fate> fates = {}) : flips_at_(flips_at), fates_(std::move(fates)), listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    sockaddr_in address = loopback("0");
    socklen_t size = sizeof address;
    CHECK_EQUAL(bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), size), 0);
    CHECK_EQUAL(listen(listener_.get(), 64), 0);
    getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = std::to_string(ntohs(address.sin_port));
  }
  ~Relay() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  /** The endpoint that leads here and goes on to the given one. */
  std::string before(const std::string& text) {
    wl::comm::Endpoint endpoint = *wl::comm::parse_endpoint(text);
    target_ = std::exchange(endpoint.port, port_);
    thread_ = std::thread([this] { carry(); });
    return wl::comm::to_text(endpoint);
  }
  /** Everything that has passed. */
  std::string seen() {
    const std::lock_guard guard(lock_);
    return seen_;
  }

 private:
  struct Way {
    int from, to;
    bool ended = false;
  };
  void carry() {
    std::vector<OwnedFile> files;
    std::vector<Way> ways;
    size_t accepted = 0;
    while (!stop_) {
      std::vector<pollfd> polled = {{listener_.get(), POLLIN, 0}};
      for (const Way& way : ways) polled.push_back({way.ended ? -1 : way.from, POLLIN, 0});
      poll(polled.data(), polled.size(), 20);
      const size_t known = ways.size();
      for (size_t i = 0; i < known; ++i) {
        if (polled[i + 1].revents != 0) pass(ways[i]);
      }
      if (polled[0].revents == 0) continue;
      OwnedFile near(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      const Fate fate = accepted < fates_.size() ? fates_[accepted] : Fate::carried;
      accepted += 1;
      if (fate == Fate::swallowed) files.push_back(std::move(near));
      if (fate != Fate::carried) continue;
      OwnedFile far = connect_to(target_);
      ways.push_back({near.get(), far.get()});
      ways.push_back({far.get(), near.get()});
      files.push_back(std::move(near));
      files.push_back(std::move(far));
    }
  }
  void pass(Way& way) {
    char buffer[1 << 16];
    const ssize_t got = recv(way.from, buffer, sizeof buffer, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
      way.ended = true;
      shutdown(way.to, SHUT_WR);
      return;
    }
    {
      const std::lock_guard guard(lock_);
      const int64_t before = static_cast<int64_t>(seen_.size());
      seen_.append(buffer, static_cast<size_t>(got));
      if (flips_at_ >= before && flips_at_ < before + got) buffer[flips_at_ - before] = static_cast<char>(buffer[flips_at_ - before] ^ 4);
    }
    for (ssize_t put = 0; put < got;) {
      const ssize_t more = send(way.to, buffer + put, static_cast<size_t>(got - put), MSG_NOSIGNAL);
      if (more <= 0) return;
      put += more;
    }
  }

  const int64_t flips_at_;
  const std::vector<Fate> fates_;
  OwnedFile listener_;
  std::string port_;
  std::string target_;
  std::mutex lock_;
  std::string seen_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace relay
