// Copies of key and value rows, straight and transposed; the transpose works on 8 x 8 squares in registers.
#include "cpu/attention-block.h"

#include "cpu/simd.h"

namespace wl::WL_ISA::attention {
namespace {

// to[d][j] = row j's element d, for one row.
void scatter_row(const float* row, int64_t size, float* to) {
  for (int64_t d = 0; d < size; d++) to[d * block_keys] = row[d];
}

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

void transpose_eight(const float* const rows[8], int64_t size, float* to, [[maybe_unused]] Ahead* keys,
                     [[maybe_unused]] Ahead* values) {
  int64_t d = 0;
#if !defined(WL_ISA_GENERIC)
  for (; d + 4 <= size; d += 4) {
    transpose_half(rows, d, to);
    if (keys == nullptr) continue;
    keys->fetch(2);  // eight rows of four floats are two lines
    values->fetch(2);
  }
#endif
  for (; d < size; d++) {
    for (int j = 0; j < 8; j++) to[d * block_keys + j] = rows[j][d];
  }
}

}  // namespace

BlockRows block_rows(const KeyRows& rows, int64_t first, int64_t end) {
  BlockRows block;
  block.count = end - first < 0 ? 0 : end - first < block_keys ? end - first : block_keys;
  for (int64_t j = 0; j < block.count; j++) block.at[j] = rows.at(first + j);
  return block;
}

void copy_rows(const float* base, const BlockRows& rows, int64_t size, float* to) {
  const int64_t width = 16 * vectors_of(size);
  for (int64_t j = 0; j < rows.count; j++, to += width) {
    const float* row = base + rows.at[j];
    int64_t d = 0;
    for (; d + lanes <= size; d += lanes) store(to + d, load(row + d));
    if (d < size) store(to + d, load_first(size - d, row + d));
  }
}

void copy_transposed(const float* base, const BlockRows& rows, int64_t size, float* to, Ahead* keys, Ahead* values) {
  int64_t j = 0;
  for (; j + 8 <= rows.count; j += 8) {
    const int64_t* at = rows.at + j;
    const float* const eight[8] = {base + at[0], base + at[1], base + at[2], base + at[3],
                                   base + at[4], base + at[5], base + at[6], base + at[7]};
    transpose_eight(eight, size, to + j, keys, values);
  }
  for (; j < rows.count; j++) scatter_row(base + rows.at[j], size, to + j);
  for (int64_t d = 0; d < size; d++) {
    for (int64_t rest = rows.count; rest < 16 * vectors_of(rows.count); rest++) to[d * block_keys + rest] = 0;
  }
}

}  // namespace wl::WL_ISA::attention
