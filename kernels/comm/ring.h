// A ring of bytes from one writer to one reader, mapped twice in a row, so that every range of it is contiguous.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>

namespace wl::comm {

/** What both sides see. Positions count bytes since the beginning. */
struct RingControl {
  alignas(64) std::atomic<uint64_t> head{0};  // written by the writer
  alignas(64) std::atomic<uint64_t> tail{0};  // written by the reader
};

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
  /** Lets the reader see what was appended; false where there was nothing new. */
  bool publish() {
    if (memory_.control->head.load(std::memory_order_relaxed) == head_) return false;
    memory_.control->head.store(head_);
    return true;
  }

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
  void consume(int64_t bytes) {
    tail_ += static_cast<uint64_t>(bytes);
    memory_.control->tail.store(tail_);
  }

 private:
  RingMemory memory_;
  uint64_t tail_ = 0;
};

}  // namespace wl::comm
