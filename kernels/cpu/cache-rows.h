// How keys and values lie in the cache, by type: the elements of one head as floats. Every conversion is exact: a half or bfloat is a
// float, and a byte times its half scale has 18 bits at most.
//
// Each reader gives: vector(head, d), elements d .. d + 15, which the head has, d a multiple of 16; first(n, head, d), the same where only n
// are left, zeros after them; element(head, d); and fours(low, high, d), elements d .. d + 3 of two heads, d a multiple of 4, which
// where `scaled` have still to be multiplied with their heads' scales(heads, d).
#pragma once

#include "core/cache-types.h"
#include "cpu/half-vector.h"

namespace wl::WL_ISA {

/** What a float in memory is, at an address that need not be a float's. */
inline float load_float(const uint8_t* at) {
  float value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

#if !defined(WL_ISA_GENERIC)
inline __m128i load_bytes_4(const uint8_t* at) {
  int32_t bytes;
  std::memcpy(&bytes, at, sizeof bytes);
  return _mm_cvtsi32_si128(bytes);
}
inline __m128i load_bytes_8(const uint8_t* at) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)); }
#endif

struct FloatRows {
  static constexpr CacheType type = CacheType::f32;
  static constexpr bool scaled = false;
  static Vec16 vector(const uint8_t* head, int64_t d) { return load(reinterpret_cast<const float*>(head) + d); }
  static Vec16 first(int64_t n, const uint8_t* head, int64_t d) { return load_first(n, reinterpret_cast<const float*>(head) + d); }
  static float element(const uint8_t* head, int64_t d) { return load_float(head + 4 * d); }
#if !defined(WL_ISA_GENERIC)
  static __m256 fours(const uint8_t* low, const uint8_t* high, int64_t d) {
    const auto four = [d](const uint8_t* head) { return _mm_loadu_ps(reinterpret_cast<const float*>(head) + d); };
    return _mm256_insertf128_ps(_mm256_castps128_ps256(four(low)), four(high), 1);
  }
#endif
};

/** Elements of 16 bits, of which `Reader` says what they are worth. */
template <class Reader>
struct ShortRows {
  static constexpr CacheType type = Reader::type;
  static constexpr bool scaled = false;
  static Vec16 vector(const uint8_t* head, int64_t d) { return Reader::sixteen(head + 2 * d); }
  static Vec16 first(int64_t n, const uint8_t* head, int64_t d) {
    uint8_t rest[32] = {};
    std::memcpy(rest, head + 2 * d, size_t(2 * n));
    return Reader::sixteen(rest);
  }
  static float element(const uint8_t* head, int64_t d) {
    uint16_t bits;
    std::memcpy(&bits, head + 2 * d, sizeof bits);
    return Reader::one(bits);
  }
#if !defined(WL_ISA_GENERIC)
  static __m256 fours(const uint8_t* low, const uint8_t* high, int64_t d) {
    return Reader::eight(_mm_unpacklo_epi64(load_bytes_8(low + 2 * d), load_bytes_8(high + 2 * d)));
  }
#endif
};

struct HalfReader {
  static constexpr CacheType type = CacheType::f16;
  static Vec16 sixteen(const uint8_t* at) { return load_f16(at); }
  static float one(uint16_t bits) { return half_to_float(bits); }
#if !defined(WL_ISA_GENERIC)
  static __m256 eight(__m128i halves) { return _mm256_cvtph_ps(halves); }
#endif
};
using HalfRows = ShortRows<HalfReader>;

struct BfloatReader {
  static constexpr CacheType type = CacheType::bf16;
  static Vec16 sixteen(const uint8_t* at) { return load_bf16(at); }
  static float one(uint16_t bits) { return bfloat_to_float(bits); }
#if !defined(WL_ISA_GENERIC)
  static __m256 eight(__m128i bfloats) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bfloats), 16)); }
#endif
};
using BfloatRows = ShortRows<BfloatReader>;

/** Blocks of 32 signed bytes and their scale. The last block of a head is whole, so there is always a vector to read. */
struct ByteRows {
  static constexpr CacheType type = CacheType::q8_0;
  static constexpr bool scaled = true;
  static const uint8_t* block(const uint8_t* head, int64_t d) { return head + d / cache_block * cache_block_bytes; }
  static const uint8_t* bytes(const uint8_t* block, int64_t d) { return block + 2 + d % cache_block; }
  static Vec16 vector(const uint8_t* head, int64_t d) {
    const uint8_t* from = block(head, d);
    return to_float(load_signed_bytes(bytes(from, d))) * splat(load_scale(from));
  }
  static Vec16 first(int64_t, const uint8_t* head, int64_t d) { return vector(head, d); }
  static float element(const uint8_t* head, int64_t d) {
    const uint8_t* from = block(head, d);
    return static_cast<float>(static_cast<int8_t>(*bytes(from, d))) * load_scale(from);
  }

#if defined(WL_ISA_GENERIC)
  static float load_scale(const uint8_t* block) { return load_half(block); }
  static Int16 load_signed_bytes(const uint8_t* at) {
    return each_lane<Int16>([=](int i) { return static_cast<int8_t>(at[i]); });
  }
#else
  static float load_scale(const uint8_t* block) {
    uint16_t bits;
    std::memcpy(&bits, block, sizeof bits);
    return _cvtsh_ss(bits);
  }
#if defined(WL_ISA_AVX512)
  static Int16 load_signed_bytes(const uint8_t* at) {
    return {_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)))};
  }
#else
  static Int16 load_signed_bytes(const uint8_t* at) {
    return {_mm256_cvtepi8_epi32(load_bytes_8(at)), _mm256_cvtepi8_epi32(load_bytes_8(at + 8))};
  }
#endif
  static __m256 fours(const uint8_t* low, const uint8_t* high, int64_t d) {
    const __m128i both = _mm_unpacklo_epi32(load_bytes_4(bytes(block(low, d), d)), load_bytes_4(bytes(block(high, d), d)));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(both));
  }
  static __m256 scales(const uint8_t* const heads[8], int64_t d) {
    alignas(16) uint16_t halves[8];
    for (int i = 0; i < 8; i++) std::memcpy(halves + i, block(heads[i], d), sizeof halves[i]);
    return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(halves)));
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
