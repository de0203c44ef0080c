// Copies of key and value rows as floats, straight and transposed; the transpose works on 8 x 8 squares in registers.
#include "cpu/attention-block.h"

#include "cpu/cache-rows.h"
#include "cpu/simd.h"

namespace wl::WL_ISA::attention {
namespace {

#if !defined(WL_ISA_GENERIC)
// Four elements of eight heads, from element d on: to[d + 0..3][0..7]. That rows four apart share a register is the first step of the
// transpose, done by the loads.
template <class Rows>
inline void transpose_half(const uint8_t* const heads[8], int64_t d, [[maybe_unused]] __m256 scales, float* to) {
  const __m256 a = Rows::fours(heads[0], heads[4], d), b = Rows::fours(heads[1], heads[5], d);
  const __m256 c = Rows::fours(heads[2], heads[6], d), e = Rows::fours(heads[3], heads[7], d);
  const __m256 ab_low = _mm256_unpacklo_ps(a, b), ab_high = _mm256_unpackhi_ps(a, b);
  const __m256 ce_low = _mm256_unpacklo_ps(c, e), ce_high = _mm256_unpackhi_ps(c, e);
  const auto put = [&](int64_t row, __m256 elements) {
    if constexpr (Rows::scaled) elements = _mm256_mul_ps(elements, scales);
    _mm256_storeu_ps(to + (d + row) * block_keys, elements);
  };
  put(0, _mm256_shuffle_ps(ab_low, ce_low, 0x44));
  put(1, _mm256_shuffle_ps(ab_low, ce_low, 0xee));
  put(2, _mm256_shuffle_ps(ab_high, ce_high, 0x44));
  put(3, _mm256_shuffle_ps(ab_high, ce_high, 0xee));
}
#endif

template <class Rows>
void transpose_eight(const uint8_t* const heads[8], int64_t size, float* to, [[maybe_unused]] Ahead* keys,
                     [[maybe_unused]] Ahead* values) {
  int64_t d = 0;
#if !defined(WL_ISA_GENERIC)
  constexpr int lines = int(cache_head_bytes(int64_t(Rows::type), cache_block) + 63) / 64;  // eight heads of four elements
  __m256 scales = _mm256_setzero_ps();
  for (; d + 4 <= size; d += 4) {
    if constexpr (Rows::scaled) {
      if (d % cache_block == 0) scales = Rows::scales(heads, d);
    }
    transpose_half<Rows>(heads, d, scales, to);
    if (keys == nullptr) continue;
    keys->fetch(lines);
    values->fetch(lines);
  }
#endif
  for (; d < size; d++) {
    for (int j = 0; j < 8; j++) to[d * block_keys + j] = Rows::element(heads[j], d);
  }
}

template <class Rows>
void copy_rows_of(const uint8_t* base, const BlockRows& rows, int64_t size, float* to) {
  const int64_t width = 16 * vectors_of(size);
  for (int64_t j = 0; j < rows.count; j++, to += width) {
    const uint8_t* head = base + rows.at[j];
    int64_t d = 0;
    for (; d + lanes <= size; d += lanes) store(to + d, Rows::vector(head, d));
    if (d < size) store(to + d, Rows::first(size - d, head, d));
  }
}

template <class Rows>
void copy_transposed_of(const uint8_t* base, const BlockRows& rows, int64_t size, float* to, Ahead* keys, Ahead* values) {
  int64_t j = 0;
  for (; j + 8 <= rows.count; j += 8) {
    const int64_t* at = rows.at + j;
    const uint8_t* const eight[8] = {base + at[0], base + at[1], base + at[2], base + at[3],
                                     base + at[4], base + at[5], base + at[6], base + at[7]};
    transpose_eight<Rows>(eight, size, to + j, keys, values);
  }
  for (; j < rows.count; j++) {
    for (int64_t d = 0; d < size; d++) to[d * block_keys + j] = Rows::element(base + rows.at[j], d);
  }
  for (int64_t d = 0; d < size; d++) {
    for (int64_t rest = rows.count; rest < 16 * vectors_of(rows.count); rest++) to[d * block_keys + rest] = 0;
  }
}

}  // namespace

BlockRows block_rows(const KeyRows& rows, int64_t first, int64_t end) {
  BlockRows block;
  block.count = end - first < 0 ? 0 : end - first < block_keys ? end - first : block_keys;
  for (int64_t j = 0; j < block.count; j++) block.at[j] = rows.at(first + j);
  return block;
}

BlockRows float_rows(int64_t stride, int64_t first, int64_t end) {
  return block_rows({CacheType::f32, nullptr, nullptr, 4 * stride, nullptr, 0}, first, end);
}

void copy_rows(CacheType type, const uint8_t* base, const BlockRows& rows, int64_t size, float* to) {
  with_rows_of(type, [&](auto reader) { copy_rows_of<decltype(reader)>(base, rows, size, to); });
}

void copy_transposed(CacheType type, const uint8_t* base, const BlockRows& rows, int64_t size, float* to, Ahead* keys, Ahead* values) {
  with_rows_of(type, [&](auto reader) { copy_transposed_of<decltype(reader)>(base, rows, size, to, keys, values); });
}

}  // namespace wl::WL_ISA::attention
