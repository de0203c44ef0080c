// A block of 64 keys and values at a fixed absolute position, copied out of rows or pages into the layout of the products.
#pragma once

#include <cstdint>

#include "core/cache-types.h"

namespace wl::WL_ISA::attention {

/** Keys in a block. Blocks start at multiples of it, so that the order of operations depends on a key's position only. */
inline constexpr int64_t block_keys = 64;

/** Vectors of 16 that cover `count` elements. */
inline int64_t vectors_of(int64_t count) { return (count + 15) / 16; }

/** Where the keys and values of a sequence lie: one after the other, or in pages; those of a head as core/cache-types.h says. */
struct KeyRows {
  CacheType type;
  const uint8_t* keys;
  const uint8_t* values;
  int64_t stride;        // bytes between one row and the next
  const int32_t* pages;  // null: rows lie one after the other
  int64_t page_size;

  int64_t at(int64_t position) const {
    if (pages == nullptr) return position * stride;
    return (pages[position / page_size] * page_size + position % page_size) * stride;
  }
};

/** Floats as rows: what training reads. */
inline const uint8_t* bytes_of(const float* floats) { return reinterpret_cast<const uint8_t*>(floats); }

/** The rows of one block of keys: `count` <= 64, row j at the tensor's base + at[j], in bytes. */
struct BlockRows {
  int64_t count;
  int64_t at[block_keys];
};

/** The rows of the block that begins at position `first`, for a reader of the keys 0 .. end - 1; none from `end` on. */
BlockRows block_rows(const KeyRows& rows, int64_t first, int64_t end);

/** The rows from `first` on of a matrix of floats whose rows lie `stride` floats apart. */
BlockRows float_rows(int64_t stride, int64_t first, int64_t end);

/**
 * Brings the rows of a block into the cache, a little at a time while other work goes on: the way from memory is what decoding
 * waits for, and a burst of requests would only make it wait for those.
 */
struct Ahead {
  const uint8_t* base;
  const BlockRows* rows;
  int64_t bytes;  // of each row
  int64_t row = 0, next = 0;

  void fetch(int lines) {
    for (; lines > 0 && row < rows->count; lines--) {
      __builtin_prefetch(base + rows->at[row] + next, 0, 2);
      next += 64;
      if (next < bytes) continue;
      next = 0;
      row++;
    }
  }
};

/** Copies heads of `size` elements, as floats, to [count][16 * vectors_of(size)]; the columns beyond `size` become zero. */
void copy_rows(CacheType type, const uint8_t* base, const BlockRows& rows, int64_t size, float* to);

/**
 * Copies heads transposed, as floats, to [size][64]; the columns from count to the next multiple of 16 become zero, the rest is not
 * written. Meanwhile about as many lines as it reads are fetched of each of `keys` and `values`, where given.
 */
void copy_transposed(CacheType type, const uint8_t* base, const BlockRows& rows, int64_t size, float* to, Ahead* keys = nullptr,
                     Ahead* values = nullptr);

}  // namespace wl::WL_ISA::attention
