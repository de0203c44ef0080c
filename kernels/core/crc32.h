// CRC-32 as zlib and zip files have it: what the checksums of checkpoints are.
#pragma once

#include <cstddef>
#include <cstdint>

namespace wl {

/** Continues `crc` (0 at the start) with more bytes. */
uint32_t crc32(uint32_t crc, const void* data, size_t bytes);

/** The same without carry-less multiplication, as on processors that lack it. */
uint32_t crc32_by_tables(uint32_t crc, const void* data, size_t bytes);

}  // namespace wl
