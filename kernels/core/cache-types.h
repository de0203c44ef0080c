// The types that the cache keeps keys and values in, by the ids that GGUF files use, and how they lie in its pages.
//
// A page holds the tokens of `page_size` slots, head after head. The values of a head lie token after token. Its keys lie element after
// element, each for all tokens of the page, so that scores are computed for 16 keys at once without a transpose; in q8_0 block after block:
// the scales of all tokens, then the bytes, element after element.
#pragma once

#include <cstdint>

namespace wl {

enum class CacheType : int64_t { f32 = 0, f16 = 1, q8_0 = 8, bf16 = 30 };

inline constexpr int64_t cache_block = 32;        // elements of a block of q8_0
inline constexpr int64_t cache_block_bytes = 34;  // its scale, a half, and a signed byte for each element

/** Bytes of one head of `size` elements: in q8_0 whole blocks, the last one filled up with zeros. -1 where there is no such type. */
constexpr int64_t cache_head_bytes(int64_t type, int64_t size) {
  switch (static_cast<CacheType>(type)) {
    case CacheType::f32: return 4 * size;
    case CacheType::f16:
    case CacheType::bf16: return 2 * size;
    case CacheType::q8_0: return (size + cache_block - 1) / cache_block * cache_block_bytes;
  }
  return -1;
}

/** Bytes of the keys, or of the values, of one token with `heads` heads of `size` elements. -1 as in cache_head_bytes. */
constexpr int64_t cache_row_bytes(int64_t type, int64_t heads, int64_t size) {
  const int64_t head = cache_head_bytes(type, size);
  return head < 0 ? -1 : heads * head;
}

}  // namespace wl
