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

std::shared_ptr<Wire> Wire::over(Connection line) { return watched(std::shared_ptr<Wire>(new Wire(std::move(line)))); }

std::shared_ptr<Wire> Wire::called(OwnedFile file, Tls::FindKey find_key) {
  std::shared_ptr<Wire> wire(new Wire({std::move(file), nullptr}));
  wire->from_network_ = true;
  wire->find_key_ = std::move(find_key);
  return watched(std::move(wire));
}

std::shared_ptr<Wire> Wire::watched(std::shared_ptr<Wire> wire) {
  const std::weak_ptr<Wire> weak = wire;
  wire->watch_ = Service::instance().watch(wire->line_.file.get(), EPOLLIN | EPOLLOUT, [weak](uint32_t events) {
    if (const std::shared_ptr<Wire> alive = weak.lock()) alive->on_events(events);
  });
  return wire;
}

Wire::~Wire() {
  if (open()) close();
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
  if (!open()) return;
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

Connection Wire::release() {
  Service::instance().unwatch(watch_);
  on_bytes_ = nullptr;
  on_closed_ = nullptr;
  return std::move(line_);
}

void Wire::close() {
  for (const Outgoing& outgoing : outgoing_) {
    if (outgoing.file >= 0) ::close(outgoing.file);
  }
  outgoing_.clear();
  if (!open()) return;
  if (line_.tls != nullptr) line_.tls->say_goodbye();
  release();
}

void Wire::fail() {
  if (line_.tls != nullptr) {
    problem_ = line_.tls->problem();
    identity_ = line_.tls->identity();
  }
  const OnClosed on_closed = std::move(on_closed_);
  close();
  if (on_closed) on_closed();
}

void Wire::look_for_key() {
  if (open() && line_.tls != nullptr && line_.tls->waits_for_key()) Service::instance().change(watch_, EPOLLOUT | EPOLLRDHUP);
}

/** Nothing is read that nobody waits for; a hang-up is seen all the same. */
void Wire::watch_for() {
  if (!open()) return;
  bool reads = static_cast<bool>(on_bytes_);
  bool writes = !outgoing_.empty();
  if (const Tls* const tls = line_.tls.get()) {
    // Hands are shaken for what is to be sent as well, and where that ended in a read, it is still to be sent.
    reads = (reads || (writes && !tls->is_shaken())) && !tls->waits_for_key();
    // What TLS has in store is no event of the socket.
    writes = tls->wants_room() || (writes && tls->is_shaken()) || (on_bytes_ && tls->has_pending());
  }
  Service::instance().change(watch_, (reads ? EPOLLIN : 0u) | EPOLLRDHUP | (writes ? EPOLLOUT : 0u));
}

void Wire::on_events(uint32_t events) {
  const std::shared_ptr<Wire> alive = shared_from_this();
  const bool hung_up = (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) != 0;
  // A caller that does not wait for its session to be opened.
  if (hung_up && line_.tls != nullptr && line_.tls->waits_for_key()) return fail();
  if ((events & EPOLLOUT) != 0 || line_.tls != nullptr) write_some();
  if ((events & EPOLLIN) != 0 || hung_up || line_.tls != nullptr) {
    while (open() && on_bytes_ && read_some()) {
    }
    if (open() && !on_bytes_ && hung_up) return fail();
  }
  watch_for();
}

/** Looks at the first byte of a caller. False where there is none. */
bool Wire::choose() {
  char first;
  const ssize_t got = recv(line_.file.get(), &first, 1, MSG_PEEK | MSG_DONTWAIT);
  if (got < 0 && would_block()) return false;
  if (got > 0 && first == kTlsRecord) {
    line_.tls = Tls::called(line_.file.get(), std::move(find_key_));
    if (line_.tls == nullptr) {
      fail();
      return false;
    }
  }
  find_key_ = nullptr;
  return true;
}

/** False where there was nothing to read, or the wire has closed. */
bool Wire::read_some() {
  if (find_key_ && !choose()) return false;
  const ssize_t got = line_.tls != nullptr ? line_.tls->read(incoming_.data() + have_, wanted_ - have_) : read_plain();
  if (got < 0 && would_block()) return false;
  if (got <= 0) {
    fail();
    return false;
  }
  have_ += static_cast<size_t>(got);
  if (have_ < wanted_) return true;
  const OnBytes on_bytes = std::move(on_bytes_);
  on_bytes_ = nullptr;
  const std::string bytes = std::move(incoming_);
  on_bytes(bytes.data());
  return true;
}

/** Reads bytes, and takes the files that come with them. */
ssize_t Wire::read_plain() {
  iovec part = {incoming_.data() + have_, wanted_ - have_};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMostFiles)];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t got = recvmsg(line_.file.get(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (got <= 0) return got;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int file;
      std::memcpy(&file, CMSG_DATA(header) + i * sizeof file, sizeof file);
      files_.push_back(file);
    }
  }
  return got;
}

/** An error shows as an event too: nobody is called back out of send(). */
void Wire::write_some() {
  while (!outgoing_.empty()) {
    Outgoing& next = outgoing_.front();
    const ssize_t put =
        line_.tls != nullptr ? line_.tls->write(next.bytes.data() + next.sent, next.bytes.size() - next.sent) : write_plain(next);
    // A socket that is still connecting says so.
    if (put < 0 && (would_block() || errno == ENOTCONN)) return;
    if (put < 0) {
      shutdown(line_.file.get(), SHUT_RDWR);
      return;
    }
    if (next.file >= 0) ::close(next.file);
    next.file = -1;
    next.sent += static_cast<size_t>(put);
    if (next.sent == next.bytes.size()) outgoing_.pop_front();
  }
}

ssize_t Wire::write_plain(const Outgoing& next) {
  iovec part = {const_cast<char*>(next.bytes.data()) + next.sent, next.bytes.size() - next.sent};
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
  return sendmsg(line_.file.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

}  // namespace wl::comm
