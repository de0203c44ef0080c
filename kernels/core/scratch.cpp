// Scratch memory of one stream, and the members of Context that kernels call.
#include "core/scratch.h"

#include <algorithm>
#include <cstring>

#include "core/context.h"
#include "core/error.h"
#include "core/pool.h"

namespace wl {
namespace {

constexpr int64_t kSmallestBlock = 1 << 20;

}  // namespace

Scratch::~Scratch() { release(); }

void* Scratch::take(int64_t bytes) {
  constexpr int64_t most = int64_t{1} << 46;
  if (bytes < 0 || bytes > most) throw OutOfMemory{bytes};
  const int64_t rounded = (bytes + 63) / 64 * 64;
  if (blocks_.empty() || used_ + rounded > blocks_.back().bytes) {
    const Block block = memory().allocate(std::max(rounded, kSmallestBlock), Use::now);
    if (block.data == nullptr) throw OutOfMemory{bytes};
    blocks_.push_back(block);
    used_ = 0;
  }
  void* data = static_cast<char*>(blocks_.back().data) + used_;
  used_ += rounded;
  total_ += rounded;
#ifdef WL_CHECKED
  std::memset(data, 0xff, static_cast<size_t>(bytes));  // NaN: what is read before it is written shows
#endif
  return data;
}

void Scratch::reset() {
  if (blocks_.size() > 1) {
    release();
    // Where memory is short the next operation asks again.
    const Block block = memory().allocate(total_, Use::now);
    if (block.data != nullptr) blocks_.push_back(block);
  }
  used_ = 0;
  total_ = 0;
}

void Scratch::release() {
  for (const Block& block : blocks_) memory().release(block);
  blocks_.clear();
}

int Context::threads() const { return pool_.threads(); }

void Context::run(int64_t items, int64_t grain, RangeBody body, void* callable) { pool_.run(items, grain, body, callable); }

void* Context::scratch_bytes(int64_t bytes) { return scratch_.take(bytes); }

}  // namespace wl
