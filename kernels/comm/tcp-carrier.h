// Carries the bytes of a link over TCP: each channel over several sockets, between which it alternates in stripes.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "comm/connection.h"
#include "comm/link.h"

namespace wl::comm {

class TcpCarrier : public Carrier, public std::enable_shared_from_this<TcpCarrier> {
 public:
  /** `own` receives what `peer` sends, in a group of `size`. connections[channel] are in the order of stripes; they are taken over. */
  static std::unique_ptr<Link> connect(std::shared_ptr<Segment> own, int peer, int size, std::vector<Connection> (&connections)[kChannels],
                                       int64_t linger);
  ~TcpCarrier() override;

  void send(Channel channel) override { send(lane_of(channel)); }
  void receive(Channel channel) override { receive(lane_of(channel)); }
  void poll(Channel channel) override;
  bool ended() const override { return receiving_.load() == 0 || is_corrupt(); }
  bool is_corrupt() const override { return corrupt_.load(); }
  void finish() override;

 private:
  struct Socket {
    Connection line;
    uint64_t watch = 0;
    uint64_t sent = 0;      // position of the next byte to send
    uint64_t received = 0;  // position of the next byte to receive
    bool ended = false;     // receives no more
  };
  struct Lane {
    Channel channel = Channel::collective;
    std::mutex out_lock;
    std::mutex in_lock;
    RingMemory out;
    RingMemory in;
    uint64_t stripe = 0;  // bytes
    std::vector<Socket> sockets;
  };

  Lane& lane_of(Channel channel) { return lanes_[static_cast<int>(channel)]; }
  void on_events(Lane& lane);
  void send(Lane& lane);
  void receive(Lane& lane);
  void receive_locked(Lane& lane);
  void discard(Lane& lane);
  bool all_sent();
  void linger();
  void close_all();
  uint64_t next_position(const Lane& lane, uint64_t position, int64_t bytes) const;

  std::shared_ptr<Segment> own_;
  std::shared_ptr<Segment> outbox_;
  Lane lanes_[kChannels];
  int64_t linger_ = 0;
  std::atomic<int> receiving_{0};  // sockets of both channels that have not ended
  std::atomic<bool> corrupt_{false};
  bool finishing_ = false;
  bool shut_ = false;
  uint64_t timer_ = 0;
  std::shared_ptr<TcpCarrier> self_;  // while it lingers
};

}  // namespace wl::comm
