// A ring of bytes from one writer to one reader, mapped twice in a row, so that every range of it is contiguous.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>

namespace wl::comm {

/**
 * What both sides see. Positions count bytes since the beginning. Each side also says how far the other one must come before it is to be
 * woken, should it sleep: who is woken for every piece, and can't go on, takes the core from those who could.
 */
struct RingControl {
  // Written by the writer.
  alignas(64) std::atomic<uint64_t> head{0};
  std::atomic<uint64_t> tail_wanted{0};
  // Written by the reader.
  alignas(64) std::atomic<uint64_t> tail{0};
  std::atomic<uint64_t> head_wanted{0};

  /** True where this comes to what the other side wants; only the writer moves the head, and only the reader the tail. */
  bool move_head(uint64_t to) { return move(head, to, head_wanted); }
  bool move_tail(uint64_t to) { return move(tail, to, tail_wanted); }

 private:
  static bool move(std::atomic<uint64_t>& position, uint64_t to, const std::atomic<uint64_t>& wanted) {
    const uint64_t from = position.load(std::memory_order_relaxed);
    position.store(to);
    const uint64_t at = wanted.load();
    return from < at && at <= to;
  }
};
constexpr uint64_t kNowhere = UINT64_MAX;  // to be wanted: never to be woken

/** Sets what is wanted; false where that stands there already. */
inline bool want(std::atomic<uint64_t>& wanted, uint64_t position) {
  if (wanted.load(std::memory_order_relaxed) == position) return false;
  wanted.store(position);
  return true;
}

/** Memory of a ring: 2 * bytes of address space over `bytes`, a power of two, of memory. */
struct RingMemory {
  RingControl* control = nullptr;
  char* data = nullptr;
  uint64_t bytes = 0;
};

/** Every item in a ring begins at a multiple of this. */
constexpr int64_t kRingAlign = 64;
constexpr int64_t padded(int64_t bytes) { return (bytes + kRingAlign - 1) / kRingAlign * kRingAlign; }

class RingWriter {
 public:
  RingWriter() = default;
  explicit RingWriter(const RingMemory& memory) : memory_(memory), head_(memory.control->head.load()) {}

  int64_t room() {
    const uint64_t used = head_ - memory_.control->tail.load();
    return used > memory_.bytes ? 0 : static_cast<int64_t>(memory_.bytes - used);
  }
  /** Where the next `room()` bytes go. */
  char* at() const { return memory_.data + (head_ & (memory_.bytes - 1)); }
  void append(const void* from, int64_t bytes) {
    if (bytes > 0) std::memcpy(at(), from, static_cast<size_t>(bytes));
    head_ += static_cast<uint64_t>(bytes);
  }
  void skip(int64_t bytes) { head_ += static_cast<uint64_t>(bytes); }
  bool has_news() const { return memory_.control->head.load(std::memory_order_relaxed) != head_; }
  /** Lets the reader see what was appended; true where that is what it waits for. */
  bool publish() { return memory_.control->move_head(head_); }
  /** To be woken when half of the ring is free, or never. */
  bool want_room(bool wanted) { return want(memory_.control->tail_wanted, wanted ? head_ - memory_.bytes / 2 : kNowhere); }

 private:
  RingMemory memory_;
  uint64_t head_ = 0;
};

class RingReader {
 public:
  RingReader() = default;
  explicit RingReader(const RingMemory& memory) : memory_(memory), tail_(memory.control->tail.load()) {}

  /** Bytes to be read at data(); at most the size of the ring, whatever a peer writes. */
  int64_t available() const {
    return static_cast<int64_t>(std::min(memory_.control->head.load() - tail_, memory_.bytes));
  }
  const char* data() const { return memory_.data + (tail_ & (memory_.bytes - 1)); }
  /** True where that is the room that the writer waits for. */
  bool consume(int64_t bytes) {
    tail_ += static_cast<uint64_t>(bytes);
    return memory_.control->move_tail(tail_);
  }
  /** To be woken when so many bytes are available; 0: never. */
  bool want_bytes(int64_t bytes) {
    return want(memory_.control->head_wanted, bytes == 0 ? kNowhere : tail_ + std::min(static_cast<uint64_t>(bytes), memory_.bytes));
  }
  int64_t bytes() const { return static_cast<int64_t>(memory_.bytes); }
  bool is_half_full() const { return available() > static_cast<int64_t>(memory_.bytes / 2); }

 private:
  RingMemory memory_;
  uint64_t tail_ = 0;
};

}  // namespace wl::comm
