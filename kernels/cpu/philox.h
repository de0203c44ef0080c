// Philox4x32-10 (Salmon et al. 2011): random numbers as a function of a counter and a key, so that nothing depends on who draws them.
#pragma once

#include <cstdint>

namespace wl {

struct PhiloxCounter {
  uint32_t word[4];
};

/** Four random words. */
inline PhiloxCounter philox(PhiloxCounter counter, uint64_t key) {
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter.word[0];
    const uint64_t b = uint64_t{0xCD9E8D57} * counter.word[2];
    counter = {{static_cast<uint32_t>(b >> 32) ^ counter.word[1] ^ k0, static_cast<uint32_t>(b),
                static_cast<uint32_t>(a >> 32) ^ counter.word[3] ^ k1, static_cast<uint32_t>(a)}};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return counter;
}

/** The 24 highest bits as a number in [0, 1). */
inline float unit_interval(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

/** What a draw is for; keeps the streams of different uses apart. */
enum class DrawFor : uint32_t { initialisation = 1, dropout = 2, sampling = 3 };

}  // namespace wl
