// Tile registers (AMX), by the names of their instructions, since the file that uses them is compiled for CPUs without them too. What
// a thread loads into its configuration stays until the scope ends; the registers then cost no thread switch anything.
#pragma once

#include <cstdint>

namespace wl::WL_ISA::tile {

/** Registers as they are used here: results from 0, left factors from 4, right factors from 6. */
inline constexpr int sums = 4, left = 4, right = 6;

/** The shapes of all registers: rows, and bytes of each. */
struct Config {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  constexpr void set(int tile, int count, int bytes) {
    row_bytes[tile] = static_cast<uint16_t>(bytes);
    rows[tile] = static_cast<uint8_t>(count);
  }
};
static_assert(sizeof(Config) == 64);

/** Products of `rows` rows, 1 to 16, with 16 columns, over `bytes` bytes of terms at a time, a multiple of 4 up to 64. */
constexpr Config config_of(int rows, int bytes) {
  Config config;
  for (int i = 0; i < sums; ++i) config.set(i, rows, 64);
  for (int i = 0; i < 2; ++i) config.set(left + i, rows, bytes);
  for (int i = 0; i < 2; ++i) config.set(right + i, bytes / 4, 64);
  return config;
}

/** Holds the tiles of a thread; on one thread there is one at a time. */
class Scope {
 public:
  Scope() = default;
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;
  ~Scope() {
    if (rows_ > 0) asm volatile("tilerelease");
  }

  /** Sets the shapes of config_of, unless they are those; what registers held is lost then. */
  template <int rows, int bytes>
  void shape() {
    if (rows == rows_) return;
    static constexpr Config config = config_of(rows, bytes);
    asm volatile("ldtilecfg %0" : : "m"(config));
    rows_ = rows;
  }

 private:
  int rows_ = 0;
};

template <int to>
inline void clear() {
  asm volatile("tilezero %%tmm%c0" : : "i"(to));
}

/** Reads rows that lie `stride` bytes apart. */
template <int to>
inline void load(const void* from, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(to) : "memory");
}

template <int from>
inline void store(void* to, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(from) : "memory");
}

/** sum += a b, of signed bytes: four terms in each 32 bits. */
template <int sum, int a, int b>
inline void add_bytes() {
  asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sum), "i"(a), "i"(b));
}

/** sum += a b, of bf16: two terms in each 32 bits. First two chains of FMAs from +0, over even and over odd terms, then their sum is added. */
template <int sum, int a, int b>
inline void add_bfloats() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sum), "i"(a), "i"(b));
}

}  // namespace wl::WL_ISA::tile
