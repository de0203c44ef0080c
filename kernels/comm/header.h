// What ranks tell each other about an operation before its data, so that a disagreement is found at once.
#pragma once

#include <cstdint>

#include "comm/plan.h"

namespace wl::comm {

struct Header {
  uint32_t magic;
  Kind kind;
  Type type;
  Reduction reduction;
  uint8_t reserved;
  int32_t root;
  int32_t group;  // a digest of its key
  int64_t epoch;
  uint64_t sequence;
  int64_t count;
  char site[WL_COMM_SITE];
};
static_assert(sizeof(Header) == 88);
constexpr uint32_t kHeaderMagic = 0x31434c57;  // "WLC1"

}  // namespace wl::comm
