// Wires: exact reads, queued writes, files in ancillary data.
#include "comm/wire.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "comm/service.h"

namespace wl::comm {
namespace {

constexpr size_t kMostFiles = 4;  // in one read

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

}  // namespace

std::shared_ptr<Wire> Wire::over(int fd) {
  std::shared_ptr<Wire> wire(new Wire(fd));
  const std::weak_ptr<Wire> weak = wire;
  wire->watch_ = Service::instance().watch(fd, EPOLLIN | EPOLLOUT, [weak](uint32_t events) {
    if (const std::shared_ptr<Wire> alive = weak.lock()) alive->on_events(events);
  });
  return wire;
}

Wire::~Wire() {
  if (fd_ >= 0) close();
  for (const int file : files_) ::close(file);
}

void Wire::expect(size_t bytes, OnBytes on_bytes) {
  wanted_ = bytes;
  have_ = 0;
  incoming_.resize(bytes);
  on_bytes_ = std::move(on_bytes);
  watch_for();
}

void Wire::send(const void* data, size_t bytes, int file) {
  if (fd_ < 0) return;
  outgoing_.push_back({std::string(static_cast<const char*>(data), bytes), 0, file < 0 ? -1 : fcntl(file, F_DUPFD_CLOEXEC, 0)});
  if (outgoing_.size() == 1) write_some();
  watch_for();
}

int Wire::take_file() {
  if (files_.empty()) return -1;
  const int file = files_.front();
  files_.pop_front();
  return file;
}

int Wire::release() {
  const int fd = fd_;
  Service::instance().unwatch(watch_);
  fd_ = -1;
  on_bytes_ = nullptr;
  on_closed_ = nullptr;
  return fd;
}

void Wire::close() {
  for (const Outgoing& outgoing : outgoing_) {
    if (outgoing.file >= 0) ::close(outgoing.file);
  }
  outgoing_.clear();
  if (fd_ >= 0) ::close(release());
}

void Wire::fail() {
  const OnClosed on_closed = std::move(on_closed_);
  close();
  if (on_closed) on_closed();
}

/** Nothing is read that nobody waits for; a hang-up is seen all the same. */
void Wire::watch_for() {
  if (fd_ < 0) return;
  Service::instance().change(watch_, (on_bytes_ ? EPOLLIN : 0u) | EPOLLRDHUP | (outgoing_.empty() ? 0u : EPOLLOUT));
}

void Wire::on_events(uint32_t events) {
  const std::shared_ptr<Wire> alive = shared_from_this();
  if ((events & EPOLLOUT) != 0) write_some();
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP)) != 0) {
    while (fd_ >= 0 && on_bytes_ && read_some()) {
    }
    if (fd_ >= 0 && !on_bytes_ && (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) != 0) return fail();
  }
  watch_for();
}

/** False where there was nothing to read, or the wire has closed. */
bool Wire::read_some() {
  iovec part = {incoming_.data() + have_, wanted_ - have_};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMostFiles)];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t got = recvmsg(fd_, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (got < 0 && would_block()) return false;
  if (got <= 0) {
    fail();
    return false;
  }
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int file;
      std::memcpy(&file, CMSG_DATA(header) + i * sizeof file, sizeof file);
      files_.push_back(file);
    }
  }
  have_ += static_cast<size_t>(got);
  if (have_ < wanted_) return true;
  const OnBytes on_bytes = std::move(on_bytes_);
  on_bytes_ = nullptr;
  const std::string bytes = std::move(incoming_);
  on_bytes(bytes.data());
  return true;
}

/** An error shows as an event too: nobody is called back out of send(). */
void Wire::write_some() {
  while (!outgoing_.empty()) {
    Outgoing& next = outgoing_.front();
    iovec part = {next.bytes.data() + next.sent, next.bytes.size() - next.sent};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (next.file >= 0) {
      message.msg_control = control;
      message.msg_controllen = sizeof control;
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(header), &next.file, sizeof next.file);
    }
    const ssize_t put = sendmsg(fd_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    // A socket that is still connecting says so.
    if (put < 0 && (would_block() || errno == ENOTCONN)) return;
    if (put < 0) {
      shutdown(fd_, SHUT_RDWR);
      return;
    }
    if (next.file >= 0) ::close(next.file);
    next.file = -1;
    next.sent += static_cast<size_t>(put);
    if (next.sent == next.bytes.size()) outgoing_.pop_front();
  }
}

}  // namespace wl::comm
