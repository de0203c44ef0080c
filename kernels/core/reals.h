// Memory of real numbers as kernels see it where a tensor may be stored in f32 or in bf16.
#pragma once

#include <cstddef>
#include <cstdint>

#include "wl.h"

namespace wl {

/** How numbers are stored; `rounded` ones are f32, each of which is read as the bf16 nearest to it, ties to even. */
enum class Stored : uint8_t { f32 = WL_F32, bf16 = WL_BF16, rounded = WL_F32_ROUNDED };

constexpr int64_t size_of(Stored as) { return as == Stored::bf16 ? 2 : 4; }

/** Numbers that are read. */
struct Reals {
  const void* data;
  Stored as;

  Reals(const void* data, Stored as) : data(data), as(as) {}
  Reals(const float* p = nullptr) : data(p), as(Stored::f32) {}
  Reals operator+(int64_t elements) const { return {static_cast<const char*>(data) + elements * size_of(as), as}; }
  bool operator==(std::nullptr_t) const { return data == nullptr; }
  /** Only of f32. */
  const float* floats() const { return static_cast<const float*>(data); }
  const uint16_t* halves() const { return static_cast<const uint16_t*>(data); }
};

/** The same numbers, f32 ones read as the bf16 nearest to them. */
inline Reals in_bf16(Reals of) { return {of.data, of.as == Stored::f32 ? Stored::rounded : of.as}; }

/** Numbers that are written: f32, or bf16 rounded to the nearest, ties to even. */
struct RealsOut {
  void* data;
  Stored as;

  RealsOut(void* data, Stored as) : data(data), as(as) {}
  RealsOut(float* p = nullptr) : data(p), as(Stored::f32) {}
  RealsOut operator+(int64_t elements) const { return {static_cast<char*>(data) + elements * size_of(as), as}; }
  bool operator==(std::nullptr_t) const { return data == nullptr; }
  operator Reals() const { return {data, as}; }
  float* floats() const { return static_cast<float*>(data); }
  uint16_t* halves() const { return static_cast<uint16_t*>(data); }
};

}  // namespace wl
