// A block of 64 keys and values at a fixed absolute position, and where it lies: in rows of floats, or in the pages of a cache.
#pragma once

#include <cstdint>

#include "core/cache-types.h"

namespace wl::WL_ISA::attention {

/** Keys in a block. Blocks start at multiples of it, so that the order of operations depends on a key's position only. */
inline constexpr int64_t block_keys = 64;

/** Vectors of 16 that cover `count` elements. */
inline int64_t vectors_of(int64_t count) { return (count + 15) / 16; }

/** Where the keys and values of a sequence lie, from some head on: as rows of floats, or in pages as core/cache-types.h says. */
struct KeyRows {
  CacheType type;
  const uint8_t* keys;
  const uint8_t* values;
  int64_t head_bytes;    // of the keys, or of the values, of one head of one token
  int64_t stride;        // bytes between the values of a token and the next one's
  const int32_t* pages;  // null: rows of floats, one after the other
  int64_t page_size;     // tokens
  int64_t page_bytes;

  KeyRows from_head(int64_t head) const {
    KeyRows rows = *this;
    const int64_t before = head * head_bytes * (pages == nullptr ? 1 : page_size);
    rows.keys += before;
    rows.values += before;
    return rows;
  }
  /** Bytes before the page of a position. */
  int64_t page(int64_t position) const { return pages[position / page_size] * page_bytes; }
  /** Bytes before the values of a position. */
  int64_t at(int64_t position) const {
    return pages == nullptr ? position * stride : page(position) + position % page_size * stride;
  }
  /** Whether 16 keys from a multiple of 16 on lie one after the other. */
  bool has_columns() const { return pages != nullptr && page_size % 16 == 0; }
};

/** Rows of floats, `stride` floats apart. */
inline KeyRows float_rows(const float* keys, const float* values, int64_t size, int64_t stride) {
  const auto bytes = [](const float* floats) { return reinterpret_cast<const uint8_t*>(floats); };
  return {CacheType::f32, bytes(keys), bytes(values), 4 * size, 4 * stride, nullptr, 0, 0};
}

/** The keys and values of one block of one head: `count` <= 64, from position `first` on. */
struct BlockRows {
  KeyRows rows;
  int64_t first, count;
};

/** The block that begins at position `first`, for a reader of the keys 0 .. end - 1; empty from `end` on. */
inline BlockRows block_rows(const KeyRows& rows, int64_t first, int64_t end) {
  return {rows, first, end - first < 0 ? 0 : end - first < block_keys ? end - first : block_keys};
}

/**
 * Brings a block from memory into the second-level cache, a little at a time while other work goes on: the way from memory is what decoding
 * waits for, and a burst of requests would only make it wait for those.
 */
class Ahead {
 public:
  /** Fetches nothing. */
  Ahead() = default;
  explicit Ahead(const BlockRows& block);

  void fetch(int64_t lines) {
    for (; lines > 0 && chunk_ < count_; lines--) {
      __builtin_prefetch(chunks_[chunk_] + next_, 0, 2);
      next_ += 64;
      if (next_ < bytes_) continue;
      next_ = 0;
      chunk_++;
    }
  }

 private:
  static constexpr int most_chunks = 8;
  const uint8_t* chunks_[most_chunks];
  int count_ = 0, chunk_ = 0;
  int64_t bytes_ = 0, next_ = 0;
};

/** Lines to fetch for each element of a head, so that a block has come when the block before it is through. */
inline int64_t lines_ahead(const KeyRows& rows, int64_t size) { return (2 * rows.head_bytes + size - 1) / size; }

/** Copies values of `size` elements, as floats, to [count][16 * vectors_of(size)]; the columns beyond `size` become zero. */
void copy_values(const BlockRows& block, int64_t size, float* to);

/** Copies keys as floats, transposed, to [size][64]; what stands in the columns from count on is undefined. Fetches as it goes. */
void copy_keys(const BlockRows& block, int64_t size, float* to, Ahead& ahead);

/** Copies `count` <= 64 rows of floats, `stride` floats apart, transposed, to [size][64]; the columns from count to the next multiple of 16 become zero. */
void transpose_rows(const float* from, int64_t stride, int64_t count, int64_t size, float* to);

}  // namespace wl::WL_ISA::attention
