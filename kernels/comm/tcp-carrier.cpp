// TCP: sockets move bytes between rings and the network, on the service's thread or on that of the operation that wants them.
#include "comm/tcp-carrier.h"

#include <algorithm>
#include <cerrno>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "comm/farewell.h"
#include "comm/service.h"
#include "core/futex.h"

namespace wl::comm {
namespace {

// So many stripes fit a ring: several sockets have something to do, and each is called for much at once.
constexpr uint64_t kStripesInRing = 4;

uint64_t end_of_stripe(uint64_t position, uint64_t stripe) { return (position / stripe + 1) * stripe; }

}  // namespace

std::unique_ptr<Link> TcpCarrier::connect(std::shared_ptr<Segment> own, int peer, int size,
                                          std::vector<Connection> (&connections)[kChannels], int64_t linger) {
  std::shared_ptr<Segment> outbox = Segment::create(size, peer);
  if (outbox == nullptr) return nullptr;
  outbox->close_file();
  const auto carrier = std::make_shared<TcpCarrier>();
  carrier->own_ = std::move(own);
  carrier->outbox_ = std::move(outbox);
  carrier->linger_ = linger;
  auto link = std::make_unique<Link>();
  link->carrier = carrier;
  for (int channel = 0; channel < kChannels; ++channel) {
    Lane& lane = carrier->lanes_[channel];
    lane.channel = static_cast<Channel>(channel);
    lane.out = carrier->outbox_->ring(static_cast<Channel>(channel), peer);
    lane.in = carrier->own_->ring(static_cast<Channel>(channel), peer);
    link->out[channel] = RingWriter(lane.out);
    link->in[channel] = RingReader(lane.in);
    lane.stripe = lane.out.bytes / kStripesInRing;
    for (Connection& line : connections[channel]) {
      const uint64_t first = lane.sockets.size() * lane.stripe;
      if (line.tls != nullptr) line.tls->read_ahead();
      lane.sockets.push_back({std::move(line), 0, first, first, false});
      carrier->receiving_.fetch_add(1);
    }
    const std::weak_ptr<TcpCarrier> weak = carrier;
    for (Socket& socket : lane.sockets) {
      // Edge-triggered: whoever makes room or adds bytes looks again by itself.
      socket.watch = Service::instance().watch(socket.line.file.get(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, [weak, channel](uint32_t) {
        if (const std::shared_ptr<TcpCarrier> alive = weak.lock()) alive->on_events(alive->lanes_[channel]);
      });
    }
  }
  return link;
}

/** One that was never used as a link dies with the service's lock held; all others have closed their sockets before. */
TcpCarrier::~TcpCarrier() {
  if (!lanes_[0].sockets.empty()) close_all();
}

void TcpCarrier::poll(Channel channel) {
  Lane& lane = lane_of(channel);
  std::unique_lock guard(lane.in_lock, std::try_to_lock);
  if (guard.owns_lock()) receive_locked(lane);
}

void TcpCarrier::on_events(Lane& lane) {
  send(lane);
  if (finishing_) {
    discard(lane);
    linger();
  } else {
    receive(lane);
  }
}

/** A socket carries stripes number i, i + n, i + 2 n and so on, one after the other. */
uint64_t TcpCarrier::next_position(const Lane& lane, uint64_t position, int64_t bytes) const {
  const uint64_t next = position + static_cast<uint64_t>(bytes);
  return next % lane.stripe == 0 ? next + (lane.sockets.size() - 1) * lane.stripe : next;
}

void TcpCarrier::send(Lane& lane) {
  const std::lock_guard guard(lane.out_lock);
  const uint64_t head = lane.out.control->head.load();
  uint64_t done = head;
  for (Socket& socket : lane.sockets) {
    while (socket.sent < head) {
      const uint64_t bytes = std::min(head, end_of_stripe(socket.sent, lane.stripe)) - socket.sent;
      const ssize_t put = socket.line.write(lane.out.data + (socket.sent & (lane.out.bytes - 1)), bytes);
      if (put <= 0) break;
      socket.sent = next_position(lane, socket.sent, put);
    }
    done = std::min(done, socket.sent);
  }
  if (done == lane.out.control->tail.load()) return;
  if (lane.out.control->move_tail(done)) own_->bell().ring();
}

void TcpCarrier::receive(Lane& lane) {
  const std::lock_guard guard(lane.in_lock);
  receive_locked(lane);
}

void TcpCarrier::receive_locked(Lane& lane) {
  if (finishing_) return;
  const uint64_t limit = lane.in.control->tail.load() + lane.in.bytes;
  uint64_t done = limit;
  int ended = 0;
  for (Socket& socket : lane.sockets) {
    while (!socket.ended && socket.received < limit) {
      const uint64_t bytes = std::min(limit, end_of_stripe(socket.received, lane.stripe)) - socket.received;
      const ssize_t got = socket.line.read(lane.in.data + (socket.received & (lane.in.bytes - 1)), bytes);
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) break;
      if (got < 0 && errno == EPROTO) corrupt_.store(true);
      if (got <= 0) {
        socket.ended = true;
        ended += 1;
        break;
      }
      socket.received = next_position(lane, socket.received, got);
    }
    done = std::min(done, socket.received);
  }
  if (done != lane.in.control->head.load() && lane.in.control->move_head(done)) own_->arrived(lane.channel);
  // After the bytes: who sees the end has seen all of them.
  if (ended > 0 && (receiving_.fetch_sub(ended) == ended || is_corrupt())) own_->bell().ring();
}

void TcpCarrier::finish() {
  if (finishing_) return;
  {
    const std::scoped_lock guard(lanes_[0].in_lock, lanes_[1].in_lock);
    finishing_ = true;
  }
  self_ = shared_from_this();
  Farewell::begin();
  timer_ = Service::instance().at(nanoseconds() + linger_, [this] {
    timer_ = 0;
    close_all();
  });
  for (Lane& lane : lanes_) {
    send(lane);
    discard(lane);
  }
  linger();
}

/** Reads what nobody wants any more, so that closing does not tear down what the peer has still to read. */
void TcpCarrier::discard(Lane& lane) {
  char nowhere[16 << 10];
  for (Socket& socket : lane.sockets) {
    while (!socket.ended) {
      const ssize_t got = recv(socket.line.file.get(), nowhere, sizeof nowhere, MSG_DONTWAIT);
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) break;
      if (got <= 0) socket.ended = true;
    }
  }
}

bool TcpCarrier::all_sent() {
  return std::all_of(std::begin(lanes_), std::end(lanes_),
                     [](const Lane& lane) { return lane.out.control->head.load() == lane.out.control->tail.load(); });
}

/** Says goodbye when all is sent, and closes when the peer has said it too. */
void TcpCarrier::linger() {
  if (!shut_ && all_sent()) {
    shut_ = true;
    for (Lane& lane : lanes_) {
      for (Socket& socket : lane.sockets) socket.line.shut();
    }
  }
  for (const Lane& lane : lanes_) {
    if (!std::all_of(lane.sockets.begin(), lane.sockets.end(), [](const Socket& socket) { return socket.ended; })) return;
  }
  close_all();
}

void TcpCarrier::close_all() {
  for (Lane& lane : lanes_) {
    for (const Socket& socket : lane.sockets) Service::instance().unwatch(socket.watch);
    lane.sockets.clear();
  }
  Service::instance().cancel(timer_);
  if (self_ == nullptr) return;
  Farewell::end();
  self_.reset();
}

}  // namespace wl::comm
