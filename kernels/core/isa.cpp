// Finds the instruction sets that both CPU and operating system support; WL_ISA caps the choice.
#include "core/isa.h"

#include <cstdio>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace wl {
namespace {

const char* const names[] = {"generic", "avx2", "avx512", "amx"};
Isa chosen = Isa::generic;

#if defined(__x86_64__)
constexpr unsigned bit(int at) { return 1u << at; }
constexpr bool has(unsigned word, unsigned bits) { return (word & bits) == bits; }

// Asks the kernel for the state of tiles, which it saves only for processes that want it; threads begun later have it too.
bool may_use_tiles() {
  constexpr long request_permission = 0x1023, tile_data = 18;
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}

// Which register states the operating system saves on a thread switch.
unsigned saved_states() {
  unsigned low;
  unsigned high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

Isa best() {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return Isa::generic;
  if (!has(c, bit_FMA | bit_AVX | bit_OSXSAVE | bit_F16C)) return Isa::generic;
  const unsigned saved = saved_states();
  constexpr unsigned vector_states = 0x6;
  constexpr unsigned mask_and_wide_states = 0xe0;
  if (!has(saved, vector_states) || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return Isa::generic;
  if (!has(b, bit_AVX2 | bit_BMI | bit_BMI2)) return Isa::generic;
  if (!has(saved, mask_and_wide_states)) return Isa::avx2;
  if (!has(b, bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL)) return Isa::avx2;
  constexpr unsigned tile_states = 0x60000, tile = bit(24), tile_bytes = bit(25), tile_bfloats = bit(22);
  if (!has(saved, tile_states) || !has(c, bit_AVX512VNNI) || !has(d, tile | tile_bytes | tile_bfloats)) return Isa::avx512;
  return may_use_tiles() ? Isa::amx : Isa::avx512;
}
bool find_vnni() {
  unsigned a, b, c, d;
  return best() >= Isa::avx512 && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && has(c, bit_AVX512VNNI);
}
#else
Isa best() { return Isa::generic; }
bool find_vnni() { return false; }
#endif

}  // namespace

const char* choose_isa(const char* wanted) {
  static char message[160];
  const Isa highest = best();
  chosen = highest;
  if (wanted == nullptr || *wanted == '\0') return nullptr;
  for (int i = 0; i < 4; ++i) {
    if (std::strcmp(wanted, names[i]) != 0) continue;
    chosen = static_cast<Isa>(i);
    if (chosen <= highest) return nullptr;
    std::snprintf(message, sizeof message, "WL_ISA is %s, but this machine supports %s at most", wanted,
                  names[static_cast<int>(highest)]);
    chosen = highest;
    return message;
  }
  std::snprintf(message, sizeof message, "WL_ISA is '%.40s'; it must be generic, avx2, avx512 or amx", wanted);
  return message;
}

Isa isa() { return chosen; }
bool has_vnni() {
  static const bool found = find_vnni();
  return found;
}
const char* isa_name() { return names[static_cast<int>(chosen)]; }

}  // namespace wl
