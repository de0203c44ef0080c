// The reduction over ranks as a scalar loop, in the order that is promised, for tests.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "wl_comm.h"

namespace reference {

inline float half_to_float(uint16_t half) {
  const int exponent = (half >> 10) & 31;
  const int mantissa = half & 1023;
  const double sign = (half & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == 0) return static_cast<float>(sign * std::ldexp(mantissa, -24));
  return static_cast<float>(sign * std::ldexp(1024 + mantissa, exponent - 25));
}

/** Rounds to nearest even; the value must be finite and within range. */
inline uint16_t float_to_half(float value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double size = std::fabs(static_cast<double>(value));
  int exponent = 0;
  if (size > 0) std::frexp(size, &exponent);
  const int scale = std::max(exponent - 11, -24);
  const long mantissa = std::lrint(std::ldexp(size, -scale));
  if (mantissa >= 2048) return static_cast<uint16_t>(sign | ((scale + 1 + 25) << 10));
  if (mantissa >= 1024) return static_cast<uint16_t>(sign | ((scale + 25) << 10) | (mantissa - 1024));
  return static_cast<uint16_t>(sign | mantissa);
}

inline float bfloat_to_float(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}
inline uint16_t float_to_bfloat(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t rest = bits & 0xffff;
  bits >>= 16;
  if (rest > 0x8000 || (rest == 0x8000 && (bits & 1) != 0)) bits += 1;
  return static_cast<uint16_t>(bits);
}

template <class Value>
Value combine(int reduction, Value older, Value newer) {
  if (reduction == WL_COMM_MAX) return older > newer ? older : newer;
  if (reduction == WL_COMM_MIN) return older < newer ? older : newer;
  if constexpr (std::is_integral_v<Value>) {
    return static_cast<Value>(static_cast<uint64_t>(older) + static_cast<uint64_t>(newer));
  } else {
    return older + newer;
  }
}

/** A binary counter of partial results, as gradients of grains are added. */
template <class Value>
Value tree(int reduction, const std::vector<Value>& values) {
  std::vector<Value> level(16);
  std::vector<bool> full(16, false);
  for (Value carried : values) {
    size_t at = 0;
    for (; full[at]; ++at) {
      carried = combine(reduction, level[at], carried);
      full[at] = false;
    }
    level[at] = carried;
    full[at] = true;
  }
  bool any = false;
  Value newer{};
  for (size_t at = 0; at < level.size(); ++at) {
    if (!full[at]) continue;
    newer = any ? combine(reduction, level[at], newer) : level[at];
    any = true;
  }
  return newer;
}

template <class Memory, class Value, class Load, class Store>
std::vector<uint8_t> reduce_as(int reduction, const std::vector<std::vector<uint8_t>>& sources, Load load, Store store) {
  std::vector<uint8_t> out(sources[0].size());
  for (size_t at = 0; at < out.size(); at += sizeof(Memory)) {
    std::vector<Value> values;
    for (const std::vector<uint8_t>& source : sources) {
      Memory element;
      std::memcpy(&element, source.data() + at, sizeof element);
      values.push_back(load(element));
    }
    const Memory result = store(tree(reduction, values));
    std::memcpy(out.data() + at, &result, sizeof result);
  }
  return out;
}

/** The reduction of the bytes of all ranks. */
inline std::vector<uint8_t> reduce(int dtype, int reduction, const std::vector<std::vector<uint8_t>>& sources) {
  const auto same = [](auto value) { return value; };
  switch (dtype) {
    case WL_F32: return reduce_as<float, float>(reduction, sources, same, same);
    case WL_COMM_F64: return reduce_as<double, double>(reduction, sources, same, same);
    case WL_COMM_F16: return reduce_as<uint16_t, float>(reduction, sources, half_to_float, float_to_half);
    case WL_COMM_BF16: return reduce_as<uint16_t, float>(reduction, sources, bfloat_to_float, float_to_bfloat);
    case WL_I32: return reduce_as<int32_t, int32_t>(reduction, sources, same, same);
    case WL_COMM_I64: return reduce_as<int64_t, int64_t>(reduction, sources, same, same);
    default: return reduce_as<uint8_t, uint8_t>(reduction, sources, same, same);
  }
}

}  // namespace reference
