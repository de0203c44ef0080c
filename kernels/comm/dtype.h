// The element types that collectives know: those of tensors, and those that a u8 tensor can be taken for.
#pragma once

#include <cstdint>

#include "wl_comm.h"

namespace wl::comm {

enum class Type : uint8_t {
  f32 = WL_F32,
  i32 = WL_I32,
  u8 = WL_U8,
  f64 = WL_COMM_F64,
  f16 = WL_COMM_F16,
  bf16 = WL_COMM_BF16,
  i64 = WL_COMM_I64,
};
constexpr int kTypes = 7;

constexpr int64_t size_of(Type type) {
  constexpr int64_t sizes[kTypes] = {4, 4, 1, 8, 2, 2, 8};
  return sizes[static_cast<int>(type)];
}
constexpr const char* name_of(Type type) {
  constexpr const char* names[kTypes] = {"f32", "i32", "u8", "f64", "f16", "bf16", "i64"};
  return names[static_cast<int>(type)];
}

enum class Reduction : uint8_t { sum = WL_COMM_SUM, max = WL_COMM_MAX, min = WL_COMM_MIN };

constexpr const char* name_of(Reduction reduction) {
  return reduction == Reduction::sum ? "sum" : reduction == Reduction::max ? "max" : "min";
}

}  // namespace wl::comm
