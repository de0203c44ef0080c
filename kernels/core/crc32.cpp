// CRC-32, 64 bytes at a time. Bits are reflected: the lowest bit of a word is its highest power of x, so a multiplication by x shifts right.
//
// A block of 128 bits, D bits before the end of those that are summed, counts as block * x^D. Both halves of it times x^D mod P are 96
// bits, which are added to the block D bits further on: the sum stays the same modulo P ("folding"; Gopal et al., Fast CRC Computation
// for Generic Polynomials Using PCLMULQDQ Instruction, Intel 2009). The last 16 bytes go through the tables, as do fewer than 64.
#include "core/crc32.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace wl {
namespace {

constexpr uint32_t kPolynomial = 0xedb88320;  // reflected, without x^32

constexpr uint32_t times_x(uint32_t value) { return (value & 1) != 0 ? value >> 1 ^ kPolynomial : value >> 1; }

using Tables = std::array<std::array<uint32_t, 256>, 8>;

/** tables[n][byte]: what a byte becomes when n more zero bytes follow it. */
constexpr Tables make_tables() {
  Tables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = times_x(value);
    tables[0][byte] = value;
  }
  for (size_t n = 1; n < tables.size(); ++n) {
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t before = tables[n - 1][byte];
      tables[n][byte] = before >> 8 ^ tables[0][before & 0xff];
    }
  }
  return tables;
}

constexpr Tables kTables = make_tables();

/** Of the inverted sum. */
uint32_t sum_by_tables(uint32_t sum, const unsigned char* at, size_t bytes) {
  for (; bytes >= 8; bytes -= 8, at += 8) {
    uint32_t next = 0;
    for (int i = 0; i < 4; ++i) next ^= kTables[static_cast<size_t>(7 - i)][(sum >> 8 * i & 0xff) ^ at[i]];
    for (int i = 4; i < 8; ++i) next ^= kTables[static_cast<size_t>(7 - i)][at[i]];
    sum = next;
  }
  for (; bytes > 0; --bytes, ++at) sum = sum >> 8 ^ kTables[0][(sum ^ *at) & 0xff];
  return sum;
}

#if defined(__x86_64__)
/** x^n mod P, moved up by the bit that a product of reflected factors lies too low. */
constexpr int64_t power_of_x(int n) {
  uint32_t value = 0x80000000;  // x^0
  for (int i = 0; i < n; ++i) value = times_x(value);
  return static_cast<int64_t>(uint64_t{value} << 1);
}

#define WL_CLMUL __attribute__((target("pclmul,sse4.1")))

WL_CLMUL inline __m128i load(const unsigned char* at) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at)); }

/** `next` with `block` added, which came as many bits before as `powers` is made for. */
WL_CLMUL inline __m128i fold(__m128i block, __m128i powers, __m128i next) {
  const __m128i low = _mm_clmulepi64_si128(block, powers, 0x00);
  const __m128i high = _mm_clmulepi64_si128(block, powers, 0x11);
  return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

/** At least 64 bytes. Each half is 32 bits from the power that its factor of 64 bits stands for. */
WL_CLMUL uint32_t sum_by_folding(uint32_t sum, const unsigned char* at, size_t bytes) {
  const __m128i by_512 = _mm_set_epi64x(power_of_x(512 - 32), power_of_x(512 + 32));
  const __m128i by_128 = _mm_set_epi64x(power_of_x(128 - 32), power_of_x(128 + 32));
  __m128i a = _mm_xor_si128(load(at), _mm_cvtsi32_si128(static_cast<int>(sum)));
  __m128i b = load(at + 16);
  __m128i c = load(at + 32);
  __m128i d = load(at + 48);
  for (at += 64, bytes -= 64; bytes >= 64; at += 64, bytes -= 64) {
    a = fold(a, by_512, load(at));
    b = fold(b, by_512, load(at + 16));
    c = fold(c, by_512, load(at + 32));
    d = fold(d, by_512, load(at + 48));
  }
  d = fold(fold(fold(a, by_128, b), by_128, c), by_128, d);
  for (; bytes >= 16; at += 16, bytes -= 16) d = fold(d, by_128, load(at));
  unsigned char rest[16];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(rest), d);
  return sum_by_tables(sum_by_tables(0, rest, sizeof rest), at, bytes);
}
#endif

}  // namespace

uint32_t crc32_by_tables(uint32_t crc, const void* data, size_t bytes) {
  return ~sum_by_tables(~crc, static_cast<const unsigned char*>(data), bytes);
}

uint32_t crc32(uint32_t crc, const void* data, size_t bytes) {
#if defined(__x86_64__)
  static const bool folds = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
  if (folds && bytes >= 64) return ~sum_by_folding(~crc, static_cast<const unsigned char*>(data), bytes);
#endif
  return crc32_by_tables(crc, data, bytes);
}

}  // namespace wl
