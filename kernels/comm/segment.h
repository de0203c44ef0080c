// The memory in which one rank of a group receives: its doorbell, and a ring from each peer for collectives and one for messages.
#pragma once

#include <cstdint>
#include <memory>

#include "comm/doorbell.h"
#include "comm/ring.h"

namespace wl::comm {

/** Collectives and messages (send, receive) of a pair do not wait for each other. */
enum class Channel : uint8_t { collective = 0, message = 1 };
constexpr int kChannels = 2;

class Segment {
 public:
  /** Of a rank in a group of `size`; with all rings, or with those of one peer. Null where the system refuses; errno says why. */
  static std::shared_ptr<Segment> create(int size, int only_from = -1);
  /** Maps what `from` writes to in the segment of a peer, given as a file. Null where it is not what it should be. */
  static std::shared_ptr<Segment> attach(int fd, int size, int from);
  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  int64_t ring_bytes() const { return ring_bytes_; }
  Doorbell& bell() { return *reinterpret_cast<Doorbell*>(control_); }
  /** What the reader of a ring waits for has come. */
  void arrived(Channel channel) { channel == Channel::collective ? bell().arrive() : bell().ring(); }
  /** The ring that rank `from` writes. */
  RingMemory ring(Channel channel, int from) const;

  /** The file, to be given to peers, until close_file(). */
  int file() const { return fd_; }
  void close_file();

 private:
  explicit Segment(int size);
  bool map(int fd, int only_from);

  const int size_;
  const int64_t ring_bytes_;
  int fd_ = -1;
  char* control_ = nullptr;
  std::unique_ptr<char*[]> rings_;
};

}  // namespace wl::comm
