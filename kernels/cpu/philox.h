// Philox4x32-10 (Salmon et al. 2011): random numbers as a function of a counter and a key, so that nothing depends on who draws them.
#pragma once

#include <cstdint>

#include "cpu/simd.h"

namespace wl::WL_ISA {

constexpr uint32_t philox_factor[2] = {0xD2511F53, 0xCD9E8D57};
constexpr uint32_t philox_step[2] = {0x9E3779B9, 0xBB67AE85};

/** Replaces a counter by its four random words. */
inline void philox(uint32_t (&word)[4], uint64_t key) {
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{philox_factor[0]} * word[0];
    const uint64_t b = uint64_t{philox_factor[1]} * word[2];
    word[0] = static_cast<uint32_t>(b >> 32) ^ word[1] ^ k0;
    word[1] = static_cast<uint32_t>(b);
    word[2] = static_cast<uint32_t>(a >> 32) ^ word[3] ^ k1;
    word[3] = static_cast<uint32_t>(a);
    k0 += philox_step[0];
    k1 += philox_step[1];
  }
}

/** The same for 16 counters that lie side by side in the lanes. */
inline void philox_16(Int16 (&word)[4], uint64_t key) {
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    Int16 a_high, a_low, b_high, b_low;
    multiply_wide(word[0], philox_factor[0], a_high, a_low);
    multiply_wide(word[2], philox_factor[1], b_high, b_low);
    word[0] = b_high ^ word[1] ^ splat_int(static_cast<int32_t>(k0));
    word[1] = b_low;
    word[2] = a_high ^ word[3] ^ splat_int(static_cast<int32_t>(k1));
    word[3] = a_low;
    k0 += philox_step[0];
    k1 += philox_step[1];
  }
}

/** The 24 highest bits as a number in [0, 1). */
inline Vec16 unit_interval(Int16 word) { return to_float(shift_right<8>(word) & splat_int(0xffffff)) * splat(0x1p-24f); }

/** What a draw is for; keeps the streams of different uses apart. */
enum class DrawFor : uint32_t { initialisation = 1, dropout = 2, sampling = 3 };

}  // namespace wl::WL_ISA
