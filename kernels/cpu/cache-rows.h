// How keys and values lie in the cache, by type, and what they are worth as floats. Every conversion is exact: a half or bfloat is a float, and a
// byte times its half scale has 18 bits at most.
//
// Each reader gives of a head's values, which lie one after the other: vector(head, d), elements d .. d + 15, which the head has, d a multiple of
// 16; first(n, head, d), the same where only n are left, zeros after them. And of a head's keys in a page of `tokens` slots, from slot `o` on, a
// multiple of 16: scales(head, tokens, o, d), to be asked for where d begins a block, and column(head, tokens, o, d, scales), element d of 16
// keys; key(head, tokens, o, d) is that of one key at any slot.
#pragma once

#include "core/cache-types.h"
#include "cpu/half-vector.h"

namespace wl::WL_ISA {

struct FloatRows {
  static Vec16 vector(const uint8_t* head, int64_t d) { return load(reinterpret_cast<const float*>(head) + d); }
  static Vec16 first(int64_t n, const uint8_t* head, int64_t d) { return load_first(n, reinterpret_cast<const float*>(head) + d); }
  static Vec16 scales(const uint8_t*, int64_t, int64_t, int64_t) { return zero(); }
  static Vec16 column(const uint8_t* head, int64_t tokens, int64_t o, int64_t d, Vec16) {
    return load(reinterpret_cast<const float*>(head) + d * tokens + o);
  }
  static float key(const uint8_t* head, int64_t tokens, int64_t o, int64_t d) { return reinterpret_cast<const float*>(head)[d * tokens + o]; }
};

/** Elements of 16 bits, of which `Reader` says what they are worth. */
template <class Reader>
struct ShortRows {
  static Vec16 vector(const uint8_t* head, int64_t d) { return Reader::sixteen(head + 2 * d); }
  static Vec16 first(int64_t n, const uint8_t* head, int64_t d) {
    uint8_t rest[32] = {};
    std::memcpy(rest, head + 2 * d, static_cast<size_t>(2 * n));
    return Reader::sixteen(rest);
  }
  static Vec16 scales(const uint8_t*, int64_t, int64_t, int64_t) { return zero(); }
  static Vec16 column(const uint8_t* head, int64_t tokens, int64_t o, int64_t d, Vec16) {
    return Reader::sixteen(head + 2 * (d * tokens + o));
  }
  static float key(const uint8_t* head, int64_t tokens, int64_t o, int64_t d) {
    uint16_t bits;
    std::memcpy(&bits, head + 2 * (d * tokens + o), sizeof bits);
    return Reader::one(bits);
  }
};

struct HalfReader {
  static Vec16 sixteen(const uint8_t* at) { return load_f16(at); }
  static float one(uint16_t bits) { return half_to_float(bits); }
};
using HalfRows = ShortRows<HalfReader>;

struct BfloatReader {
  static Vec16 sixteen(const uint8_t* at) { return load_bf16(at); }
  static float one(uint16_t bits) { return bfloat_to_float(bits); }
};
using BfloatRows = ShortRows<BfloatReader>;

/** Blocks of 32 signed bytes and their scale. The last block of a head is whole, so there is always a vector to read. */
struct ByteRows {
  static Vec16 vector(const uint8_t* head, int64_t d) {
    const uint8_t* block = head + d / cache_block * cache_block_bytes;
    return sixteen(block + 2 + d % cache_block) * splat(load_scale(block));
  }
  static Vec16 first(int64_t, const uint8_t* head, int64_t d) { return vector(head, d); }
  static const uint8_t* block_of(const uint8_t* head, int64_t tokens, int64_t d) { return head + d / cache_block * cache_block_bytes * tokens; }
  static Vec16 scales(const uint8_t* head, int64_t tokens, int64_t o, int64_t d) { return load_f16(block_of(head, tokens, d) + 2 * o); }
  static Vec16 column(const uint8_t* head, int64_t tokens, int64_t o, int64_t d, Vec16 scales) {
    return sixteen(block_of(head, tokens, d) + (2 + d % cache_block) * tokens + o) * scales;
  }
  static float key(const uint8_t* head, int64_t tokens, int64_t o, int64_t d) {
    const uint8_t* block = block_of(head, tokens, d);
    const auto byte = static_cast<int8_t>(block[(2 + d % cache_block) * tokens + o]);
    return static_cast<float>(byte) * load_half(block + 2 * o);
  }

#if defined(WL_ISA_AVX512)
  static Vec16 sixteen(const uint8_t* at) {
    return to_float(Int16{_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)))});
  }
#elif defined(WL_ISA_AVX2)
  static __m256i eight(const uint8_t* at) { return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at))); }
  static Vec16 sixteen(const uint8_t* at) { return to_float(Int16{eight(at), eight(at + 8)}); }
#else
  static Vec16 sixteen(const uint8_t* at) {
    return each_lane<Vec16>([=](int i) { return static_cast<float>(static_cast<int8_t>(at[i])); });
  }
#endif

#if defined(WL_ISA_GENERIC)
  static float load_scale(const uint8_t* block) { return load_half(block); }
#else
  static float load_scale(const uint8_t* block) {
    uint16_t bits;
    std::memcpy(&bits, block, sizeof bits);
    return _cvtsh_ss(bits);
  }
#endif
};

/** Calls `work` with the reader of a type. */
template <class Work>
void with_rows_of(CacheType type, Work work) {
  switch (type) {
    case CacheType::f32: return work(FloatRows{});
    case CacheType::f16: return work(HalfRows{});
    case CacheType::bf16: return work(BfloatRows{});
    case CacheType::q8_0: return work(ByteRows{});
  }
}

}  // namespace wl::WL_ISA
