// Scratch memory of one stream: a bump arena that is emptied after each operation and grows to the largest one.
#pragma once

#include <cstdint>
#include <vector>

#include "core/memory.h"

namespace wl {

class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch();

  /** 64-byte aligned memory until reset(). Throws OutOfMemory. */
  void* take(int64_t bytes);
  /** Frees all that was taken. What did not fit into one block gets one that is large enough for the next time. */
  void reset();
  /** Gives the memory back to the allocator. */
  void release();

 private:
  std::vector<Block> blocks_;
  int64_t used_ = 0;   // of the last block
  int64_t total_ = 0;  // of all blocks, since the last reset
};

}  // namespace wl
