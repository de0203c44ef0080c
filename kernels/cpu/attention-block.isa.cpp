// Copies of keys and values as floats: straight, transposed by 8 x 8 squares in registers, and out of pages, where keys lie transposed.
#include "cpu/attention-block.h"

#include "cpu/cache-rows.h"
#include "cpu/simd.h"

namespace wl::WL_ISA::attention {
namespace {

#if !defined(WL_ISA_GENERIC)
// Halves of two rows that lie four apart: the first step of a transpose, done by the loads.
inline __m256 halves(const float* low, const float* high) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high), 1);
}

// Four elements of eight rows, from element d on: to[d + 0..3][0..7].
inline void transpose_half(const float* const rows[8], int64_t d, float* to) {
  const __m256 a = halves(rows[0] + d, rows[4] + d), b = halves(rows[1] + d, rows[5] + d);
  const __m256 c = halves(rows[2] + d, rows[6] + d), e = halves(rows[3] + d, rows[7] + d);
  const __m256 ab_low = _mm256_unpacklo_ps(a, b), ab_high = _mm256_unpackhi_ps(a, b);
  const __m256 ce_low = _mm256_unpacklo_ps(c, e), ce_high = _mm256_unpackhi_ps(c, e);
  _mm256_storeu_ps(to + d * block_keys, _mm256_shuffle_ps(ab_low, ce_low, 0x44));
  _mm256_storeu_ps(to + (d + 1) * block_keys, _mm256_shuffle_ps(ab_low, ce_low, 0xee));
  _mm256_storeu_ps(to + (d + 2) * block_keys, _mm256_shuffle_ps(ab_high, ce_high, 0x44));
  _mm256_storeu_ps(to + (d + 3) * block_keys, _mm256_shuffle_ps(ab_high, ce_high, 0xee));
}
#endif

void transpose_eight(const float* from, int64_t stride, int64_t size, float* to) {
  int64_t d = 0;
#if !defined(WL_ISA_GENERIC)
  const float* const rows[8] = {from,              from + stride,     from + 2 * stride, from + 3 * stride,
                                from + 4 * stride, from + 5 * stride, from + 6 * stride, from + 7 * stride};
  for (; d + 4 <= size; d += 4) transpose_half(rows, d, to);
#endif
  for (; d < size; d++) {
    for (int64_t j = 0; j < 8; j++) to[d * block_keys + j] = from[j * stride + d];
  }
}

template <class Rows>
void copy_values_of(const BlockRows& block, int64_t size, float* to) {
  const int64_t width = 16 * vectors_of(size);
  for (int64_t j = 0; j < block.count; j++, to += width) {
    const uint8_t* head = block.rows.values + block.rows.at(block.first + j);
    int64_t d = 0;
    for (; d + lanes <= size; d += lanes) store(to + d, Rows::vector(head, d));
    if (d < size) store(to + d, Rows::first(size - d, head, d));
  }
}

template <class Rows>
void copy_columns_of(const BlockRows& block, int64_t size, float* to, Ahead& ahead) {
  const KeyRows& rows = block.rows;
  const int64_t tokens = rows.page_size;
  if (!rows.has_columns()) {
    for (int64_t j = 0; j < block.count; j++) {
      const uint8_t* head = rows.keys + rows.page(block.first + j);
      for (int64_t d = 0; d < size; d++) to[d * block_keys + j] = Rows::key(head, tokens, (block.first + j) % tokens, d);
    }
    return;
  }
  const int64_t lines = (lines_ahead(rows, size) + 3) / 4;
  for (int64_t j = 0; j < block.count; j += lanes) {
    const uint8_t* head = rows.keys + rows.page(block.first + j);
    const int64_t o = (block.first + j) % tokens;
    Vec16 scales = zero();
    for (int64_t d = 0; d < size; d++) {
      if (d % cache_block == 0) scales = Rows::scales(head, tokens, o, d);
      store(to + d * block_keys + j, Rows::column(head, tokens, o, d, scales));
      ahead.fetch(lines);
    }
  }
}

}  // namespace

Ahead::Ahead(const BlockRows& block) {
  const KeyRows& rows = block.rows;
  if (!rows.has_columns() || rows.page_size > block_keys) return;
  bytes_ = rows.page_size * rows.head_bytes;
  for (int64_t j = 0; j < block.count; j += rows.page_size) {
    const int64_t page = rows.page(block.first + j);
    chunks_[count_++] = rows.keys + page;
    chunks_[count_++] = rows.values + page;
  }
}

void copy_values(const BlockRows& block, int64_t size, float* to) {
  with_rows_of(block.rows.type, [&](auto reader) { copy_values_of<decltype(reader)>(block, size, to); });
}

void copy_keys(const BlockRows& block, int64_t size, float* to, Ahead& ahead) {
  const KeyRows& rows = block.rows;
  if (rows.pages == nullptr) {
    transpose_rows(reinterpret_cast<const float*>(rows.keys + rows.at(block.first)), rows.stride / 4, block.count, size, to);
  } else {
    with_rows_of(rows.type, [&](auto reader) { copy_columns_of<decltype(reader)>(block, size, to, ahead); });
  }
}

void transpose_rows(const float* from, int64_t stride, int64_t count, int64_t size, float* to) {
  int64_t j = 0;
  for (; j + 8 <= count; j += 8) transpose_eight(from + j * stride, stride, size, to + j);
  for (; j < count; j++) {
    for (int64_t d = 0; d < size; d++) to[d * block_keys + j] = from[j * stride + d];
  }
  for (int64_t d = 0; d < size; d++) {
    for (int64_t rest = count; rest < 16 * vectors_of(count); rest++) to[d * block_keys + rest] = 0;
  }
}

}  // namespace wl::WL_ISA::attention
