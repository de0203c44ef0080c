// The caching allocator: sixteen size classes to each power of two, small blocks cut from slabs, large ones mapped for themselves.
#include "core/memory.h"

#include <algorithm>
#include <bit>
#include <sys/mman.h>

#include "core/stream.h"

namespace wl {
namespace {

constexpr int64_t kSmallest = 64;
constexpr int64_t kSlabBytes = 1 << 20;
constexpr int64_t kLargestInSlab = 64 << 10;
constexpr int64_t kHugePage = 2 << 20;
// Classes to each power of two: a block is at most a sixteenth larger than what was asked for.
constexpr int kSteps = 16;
// A request may take a free block of a class above its own: about 1.3 times what was asked for at most.
constexpr int kClassesAbove = 4;

// Class kSteps * p + q holds blocks of 2^p * (1 + q / kSteps) * 64 bytes, q < kSteps, rounded up to 64.
int64_t bytes_of(int size_class) {
  const int64_t power = kSmallest << (size_class / kSteps);
  const int64_t bytes = power + power / kSteps * (size_class % kSteps);
  return (bytes + kSmallest - 1) / kSmallest * kSmallest;
}

int class_of(int64_t bytes) {
  const uint64_t units = static_cast<uint64_t>((std::max(bytes, kSmallest) + kSmallest - 1) / kSmallest);
  const int power = std::bit_width(units) - 1;
  int size_class = kSteps * power;
  while (bytes_of(size_class) < bytes) ++size_class;
  return size_class;
}

void* map(int64_t bytes) {
  void* data = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return data == MAP_FAILED ? nullptr : data;
}

// Maps at a multiple of the huge page size, so that the whole block can be of huge pages.
void* map_huge(int64_t bytes) {
  char* data = static_cast<char*>(map(bytes + kHugePage));
  if (data == nullptr) return nullptr;
  const int64_t before = -reinterpret_cast<intptr_t>(data) & (kHugePage - 1);
  if (before > 0) munmap(data, static_cast<size_t>(before));
  if (before < kHugePage) munmap(data + before + bytes, static_cast<size_t>(kHugePage - before));
  madvise(data + before, static_cast<size_t>(bytes), MADV_HUGEPAGE);
  return data + before;
}

}  // namespace

bool Mark::reached() const { return stream == nullptr || stream->completed() >= ticket; }

Memory& memory() {
  static Memory* const instance = new Memory;
  return *instance;
}

Block Memory::allocate(int64_t bytes, Use use) {
  constexpr int64_t most = int64_t{1} << 46;
  Block block;
  if (bytes < 0 || bytes > most) return block;
  const int size_class = class_of(bytes);
  std::unique_lock lock(lock_);
  collect_waiting();
  bool found = take_cached(size_class, use, block) || take_system(size_class, block);
  if (!found) {
    trim_locked();
    found = take_system(size_class, block);
  }
  if (!found && use == Use::later) {
    lock.unlock();
    Stream::wait_for_all();
    lock.lock();
    collect_waiting();
    trim_locked();
    found = take_system(size_class, block);
  }
  if (!found) return Block{};
  live_ += block.bytes;
  peak_ = std::max(peak_, live_);
  return block;
}

void Memory::release(const Block& block) {
  const std::lock_guard lock(lock_);
  live_ -= block.bytes;
  put(block);
}

void Memory::release_after(const Block& block, std::vector<Mark> marks) {
  const std::lock_guard lock(lock_);
  live_ -= block.bytes;
  cached_ += block.bytes;
  waiting_.push_back({block, std::move(marks)});
}

void Memory::settle_on(Block& block, const Stream& stream) {
  const auto suits = [&stream](const Block& candidate) {
    return candidate.free_after.stream == &stream || candidate.free_after.reached();
  };
  if (suits(block)) return;
  const std::lock_guard lock(lock_);
  collect_waiting();
  std::vector<Block>& blocks = free_[block.size_class];
  const auto found = std::find_if(blocks.rbegin(), blocks.rend(), suits);
  if (found != blocks.rend()) {
    std::swap(*found, block);
    return;
  }
  Block fresh;
  if (!take_system(block.size_class, fresh)) return;
  put(block);
  block = fresh;
}

void Memory::stats(wl_memory& out) {
  const std::lock_guard lock(lock_);
  out.live_bytes = live_;
  out.peak_bytes = peak_;
  out.cached_bytes = cached_;
  out.system_bytes = system_;
  out.limit_bytes = limit_;
  out.system_allocations = system_allocations_;
}

void Memory::set_limit(int64_t bytes) {
  const std::lock_guard lock(lock_);
  limit_ = bytes;
}

void Memory::trim() {
  const std::lock_guard lock(lock_);
  collect_waiting();
  trim_locked();
}

bool Memory::take_cached(int size_class, Use use, Block& out) {
  const int last = std::min(size_class + kClassesAbove, kClasses - 1);
  for (int at = size_class; at <= last; ++at) {
    std::vector<Block>& blocks = free_[at];
    const auto found = std::find_if(blocks.rbegin(), blocks.rend(),
                                    [use](const Block& block) { return use == Use::later || block.free_after.reached(); });
    if (found == blocks.rend()) continue;
    out = *found;
    *found = blocks.back();
    blocks.pop_back();
    cached_ -= out.bytes;
    return true;
  }
  return false;
}

bool Memory::take_system(int size_class, Block& out) {
  const int64_t bytes = bytes_of(size_class);
  void* data = nullptr;
  if (bytes <= kLargestInSlab) {
    if (!take_from_slab(bytes, data)) return false;
  } else {
    const int64_t mapped = (bytes + 4095) / 4096 * 4096;
    if (!fits_limit(mapped)) return false;
    data = mapped >= kHugePage ? map_huge(mapped) : map(mapped);
    if (data == nullptr) return false;
    system_ += mapped;
    system_allocations_ += 1;
  }
  out = {data, bytes, size_class, {}};
  return true;
}

bool Memory::take_from_slab(int64_t bytes, void*& data) {
  if (slab_left_ < bytes) {
    if (!fits_limit(kSlabBytes)) return false;
    void* fresh = map(kSlabBytes);
    if (fresh == nullptr) return false;
    system_ += kSlabBytes;
    system_allocations_ += 1;
    slab_ = static_cast<char*>(fresh);
    slab_left_ = kSlabBytes;
  }
  data = slab_;
  slab_ += bytes;
  slab_left_ -= bytes;
  return true;
}

bool Memory::fits_limit(int64_t bytes) const { return limit_ == 0 || system_ + bytes <= limit_; }

void Memory::put(const Block& block) {
  free_[block.size_class].push_back(block);
  cached_ += block.bytes;
}

void Memory::collect_waiting() {
  std::erase_if(waiting_, [this](Waiting& waiting) {
    if (!std::ranges::all_of(waiting.marks, &Mark::reached)) return false;
    waiting.block.free_after = {};
    free_[waiting.block.size_class].push_back(waiting.block);
    return true;
  });
}

void Memory::trim_locked() {
  for (int at = class_of(kLargestInSlab + 1); at < kClasses; ++at) {
    std::erase_if(free_[at], [this](const Block& block) {
      if (!block.free_after.reached()) return false;
      const int64_t mapped = (block.bytes + 4095) / 4096 * 4096;
      munmap(block.data, static_cast<size_t>(mapped));
      system_ -= mapped;
      cached_ -= block.bytes;
      return true;
    });
  }
}

}  // namespace wl
