// The way from one rank of a group to one peer: rings in both directions, for collectives and for messages.
#pragma once

#include <atomic>
#include <memory>

#include "comm/segment.h"

namespace wl::comm {

/** Carries bytes between rings and a peer that shares no memory. */
class Carrier {
 public:
  virtual ~Carrier() = default;
  /** There are new bytes to send. Called on an operation's thread. */
  virtual void send(Channel channel) = 0;
  /** There is new room to receive into. Called on an operation's thread. */
  virtual void receive(Channel channel) = 0;
  /** Looks for what has come, unless the service does so just now. Called on an operation's thread. */
  virtual void poll(Channel channel) = 0;
  /** Nothing more comes from the peer, and all that came is in the rings. */
  virtual bool ended() const = 0;
  /** It has ended because what came was not what the peer sent. */
  virtual bool is_corrupt() const = 0;
  /** Sends what is left, then closes, in the background. With the service's lock held. */
  virtual void finish() = 0;
};

struct Link {
  /** Where the peer receives, for as long as the link lives. */
  std::shared_ptr<Segment> theirs;
  std::shared_ptr<Carrier> carrier;
  RingWriter out[kChannels];
  RingReader in[kChannels];
  /** The peer has said goodbye. */
  std::atomic<bool> left{false};
  /** What has arrived can be read, and nothing more comes. */
  bool ended() const { return carrier != nullptr ? carrier->ended() : left.load(); }

  RingWriter& writer(Channel channel) { return out[static_cast<int>(channel)]; }
  RingReader& reader(Channel channel) { return in[static_cast<int>(channel)]; }

  /** Lets the peer see what was appended. */
  void publish(Channel channel) {
    if (!writer(channel).has_news()) return;
    const bool wanted = writer(channel).publish();
    if (carrier != nullptr) {
      carrier->send(channel);
    } else if (wanted) {
      theirs->arrived(channel);
    }
  }
  /** Makes room for what the peer sends. */
  void consume(Channel channel, int64_t bytes) {
    // The carrier has stopped where there was no more room.
    const bool was_full = carrier != nullptr && reader(channel).is_half_full();
    const bool wanted = reader(channel).consume(bytes);
    if (was_full) {
      carrier->receive(channel);
    } else if (carrier == nullptr && wanted) {
      theirs->bell().ring();
    }
  }
};

}  // namespace wl::comm
