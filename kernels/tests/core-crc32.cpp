// CRC-32 against its definition, bit by bit.
#include <vector>

#include "check.h"
#include "core/crc32.h"

namespace {

uint32_t by_definition(uint32_t crc, const unsigned char* data, size_t bytes) {
  crc = ~crc;
  for (size_t i = 0; i < bytes; ++i) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
  }
  return ~crc;
}

std::vector<unsigned char> noise(size_t bytes) {
  std::vector<unsigned char> data(bytes);
  uint32_t state = 1;
  for (unsigned char& byte : data) byte = static_cast<unsigned char>((state = state * 1664525 + 1013904223) >> 24);
  return data;
}

}  // namespace

TEST("the sum of the digits 1 to 9 is the check value of CRC-32") {
  CHECK_EQUAL(wl::crc32(0, "123456789", 9), 0xcbf43926u);
  CHECK_EQUAL(wl::crc32_by_tables(0, "123456789", 9), 0xcbf43926u);
}

TEST("every length and alignment gives the sum of the definition, by folding and by tables") {
  const std::vector<unsigned char> data = noise(1024);
  for (size_t bytes = 0; bytes <= 700; ++bytes) {
    for (size_t from = 0; from < 3; ++from) {
      const uint32_t expected = by_definition(0x1234567, data.data() + from, bytes);
      CHECK_EQUAL(wl::crc32(0x1234567, data.data() + from, bytes), expected);
      CHECK_EQUAL(wl::crc32_by_tables(0x1234567, data.data() + from, bytes), expected);
    }
  }
}

TEST("a sum goes on from any place where it was left") {
  const std::vector<unsigned char> data = noise(5000);
  const uint32_t whole = wl::crc32(0, data.data(), data.size());
  for (size_t cut = 0; cut <= data.size(); cut += 37) {
    CHECK_EQUAL(wl::crc32(wl::crc32(0, data.data(), cut), data.data() + cut, data.size() - cut), whole);
  }
}

TEST_MAIN
