// The caching allocator: blocks in size classes, aligned to 64 bytes, kept for reuse instead of given back.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "wl.h"

namespace wl {

class Stream;

/** When the last user of a block is done: when `stream` has completed `ticket`. No stream: now. */
struct Mark {
  Stream* stream = nullptr;
  uint64_t ticket = 0;

  bool reached() const;
};

struct Block {
  void* data = nullptr;
  int64_t bytes = 0;  // of its class
  int size_class = -1;
  Mark free_after;  // what the next user on another stream must wait for
};

enum class Use { now, later };

class Memory {
 public:
  /**
   * A block of at least `bytes`; its data is null where the operating system or the limit refuse. For Use::later, queued
   * operations may still use the block up to its mark, and where only memory that streams still use would make room, they
   * are waited for. Use::now is for a stream's own thread: nobody uses the block any more, and nothing is waited for.
   */
  Block allocate(int64_t bytes, Use use);
  /** Takes a block back; it may be handed out at once. Uses of it may still be queued, up to its mark. */
  void release(const Block& block);
  /** Takes a block back that several streams used: handed out again only when all marks are reached. */
  void release_after(const Block& block, std::vector<Mark> marks);

  /** Exchanges a block of Use::later that another stream still uses for one that `stream` can have at once, where there is one. */
  void settle_on(Block& block, const Stream& stream);

  void stats(wl_memory& out);
  void set_limit(int64_t bytes);
  void trim();

 private:
  struct Waiting {
    Block block;
    std::vector<Mark> marks;
  };

  bool take_cached(int size_class, Use use, Block& out);
  bool take_system(int size_class, Block& out);
  bool take_from_slab(int64_t bytes, void*& data);
  bool fits_limit(int64_t bytes) const;
  void put(const Block& block);
  void collect_waiting();
  void trim_locked();

  static constexpr int kClasses = 16 * 48;

  std::mutex lock_;
  std::vector<Block> free_[kClasses];
  std::vector<Waiting> waiting_;
  char* slab_ = nullptr;
  int64_t slab_left_ = 0;
  int64_t live_ = 0;
  int64_t peak_ = 0;
  int64_t cached_ = 0;
  int64_t system_ = 0;
  int64_t limit_ = 0;
  int64_t system_allocations_ = 0;
};

/** The one allocator of the process. */
Memory& memory();

}  // namespace wl
