// Products of bf16 on tile registers (AMX): how factors are packed for them, and a block of 32 x 32 elements of C at a time.
#pragma once

#include "cpu/gemm-pack.h"
#include "cpu/tile.h"

namespace wl::WL_ISA::gemm {

/** Rows and columns of a block: two tiles each way. */
inline constexpr int64_t block_size = 32;
/** Floats of memory that a packed chunk of a block's rows or columns takes: two tiles. */
inline constexpr int64_t block_chunk = 512;

/** A run of terms that is taken at once. */
struct Chunk {
  int64_t begin, end;
};

constexpr int64_t chunks_of(int64_t terms) { return (terms + chunk_terms - 1) / chunk_terms; }

inline int64_t chunks_of(const Spans& spans) {
  int64_t count = 0;
  for (int s = 0; s < spans.count; ++s) count += chunks_of(spans.begin[s + 1] - spans.begin[s]);
  return count;
}

/** Chunk i of all spans. */
inline Chunk chunk_of(const Spans& spans, int64_t i) {
  int s = 0;
  for (; i >= chunks_of(spans.begin[s + 1] - spans.begin[s]); ++s) i -= chunks_of(spans.begin[s + 1] - spans.begin[s]);
  const int64_t begin = spans.begin[s] + i * chunk_terms, end = spans.begin[s + 1];
  return {begin, end - begin < chunk_terms ? end : begin + chunk_terms};
}

#if defined(WL_ISA_AVX512)

/** A tile in memory: of the left factor 16 rows of 32 terms; of the right factor 16 pairs of terms, each of 16 columns, both terms of one side by side. */
struct PackedTile {
  uint16_t of[16 * 32];
};
static_assert(sizeof(PackedTile) * 2 == block_chunk * sizeof(float));

/** 16 numbers as the bf16 nearest to them, in the upper halves of the lanes. */
template <Stored as>
inline __m512i upper_bf16(Reals from, int64_t at, __mmask16 lanes) {
  if constexpr (as == Stored::bf16) {
    return _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, from.halves() + at)), 16);
  } else {
    static_assert(as == Stored::rounded);
    return bits(round_bf16({_mm512_maskz_loadu_ps(lanes, from.floats() + at)})).v;
  }
}

/** Terms [begin, end) of 16 rows, of which those from `rows` on are 0. The chunk lies in one matrix, whose terms are side by side. */
template <Stored as>
inline void pack_lines_of(const Factor& f, int64_t row, int64_t rows, int64_t begin, int64_t end, int64_t at, PackedTile& tile) {
  const __m512i upper = _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31, 29, 27, 25, 23, 21, 19, 17, 15, 13,
                                         11, 9, 7, 5, 3, 1);
  const auto mask = static_cast<__mmask32>((uint64_t{1} << (end - begin)) - 1);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t from = (row + r) * f.stride + begin;
    __m512i line;
    if constexpr (as == Stored::bf16) {
      line = _mm512_maskz_loadu_epi16(mask, f.data.halves() + from);
    } else {
      const __m512i low = upper_bf16<as>(f.data, from, static_cast<__mmask16>(mask));
      const __m512i high = upper_bf16<as>(f.data, from + 16, static_cast<__mmask16>(mask >> 16));
      line = _mm512_permutex2var_epi16(low, upper, high);
    }
    if (at == 0) _mm512_storeu_si512(tile.of + r * 32, line);
    else _mm512_mask_storeu_epi16(tile.of + r * 32 + at, mask, line);
  }
}

/** A chunk of rows [row, row + rows) whose terms are side by side. */
inline void pack_lines(const Factor& f, int64_t row, int64_t rows, Chunk chunk, PackedTile& tile) {
  if (rows < 16) std::memset(tile.of + rows * 32, 0, static_cast<size_t>(16 - rows) * 64);
  each_part(f, chunk.begin, chunk.end, [&](const Factor& part, int64_t first, int64_t last, int64_t at) {
    if (part.data.as == Stored::bf16) pack_lines_of<Stored::bf16>(part, row, rows, first, last, at, tile);
    else pack_lines_of<Stored::rounded>(part, row, rows, first, last, at, tile);
  });
}

/** Where the terms of a chunk lie, each of which is a row of memory. */
struct TermRows {
  Reals of[chunk_terms];

  TermRows(const Factor& f, Chunk chunk) {
    each_part(f, chunk.begin, chunk.end, [&](const Factor& part, int64_t first, int64_t last, int64_t at) {
      for (int64_t k = first; k < last; ++k) of[at + k - first] = part.data + source_row(part, k) * part.stride;
    });
  }
};

template <Stored as>
inline void pack_pairs_of(const TermRows& terms, __mmask16 lanes, int64_t col, PackedTile& tile) {
  for (int pair = 0; pair < 16; ++pair) {
    const Reals even = terms.of[2 * pair], odd = terms.of[2 * pair + 1];
    __m512i line = _mm512_setzero_si512();
    if (even.data != nullptr) line = _mm512_srli_epi32(upper_bf16<as>(even, col, lanes), 16);
    if (odd.data != nullptr) line = _mm512_or_si512(line, upper_bf16<as>(odd, col, lanes));
    _mm512_storeu_si512(tile.of + pair * 32, line);
  }
}

/** Columns [col, col + cols) of a chunk whose terms are rows of memory. */
inline void pack_pairs(const TermRows& terms, int64_t col, int64_t cols, PackedTile& tile) {
  const auto lanes = static_cast<__mmask16>((1u << cols) - 1);
  if (terms.of[0].as == Stored::bf16) pack_pairs_of<Stored::bf16>(terms, lanes, col, tile);
  else pack_pairs_of<Stored::rounded>(terms, lanes, col, tile);
}

/** From rows of pairs to pairs of rows, and back. */
inline void transpose_pairs(const PackedTile& from, PackedTile& to) {
  transpose_square<16>(reinterpret_cast<const float*>(from.of), 16, reinterpret_cast<float*>(to.of));
}

/**
 * Chunks [first, last) of the 32 rows of a factor from `row` on, those from row + rows on 0, to memory of block_chunk floats for each chunk.
 * The left factor's tiles have rows as lines, the right one's pairs of terms.
 */
template <Layout lines>
void pack_block(const Factor& f, const Spans& spans, int64_t row, int64_t rows, int64_t first, int64_t last, float* to) {
  for (int64_t c = first; c < last; ++c, to += block_chunk) {
    const Chunk chunk = chunk_of(spans, c);
    auto* tiles = reinterpret_cast<PackedTile*>(to);
    for (int64_t half = 0; half < 2; ++half) {
      const int64_t here = rows - 16 * half < 0 ? 0 : rows - 16 * half < 16 ? rows - 16 * half : 16;
      PackedTile& tile = tiles[half];
      if (here == 0) {
        std::memset(tile.of, 0, sizeof tile.of);
        continue;
      }
      alignas(64) PackedTile other;
      PackedTile& packed = f.layout == lines ? tile : other;
      if (f.layout == Layout::terms) {
        pack_pairs(TermRows(f, chunk), row + 16 * half, here, packed);
      } else {
        if (chunk.end - chunk.begin < chunk_terms) std::memset(packed.of, 0, sizeof packed.of);
        pack_lines(f, row + 16 * half, here, chunk, packed);
      }
      if (f.layout != lines) transpose_pairs(other, tile);
    }
  }
}

/** One block of C. */
class Block {
 public:
  /** C[row .. row + rows, col ..) from packed chunks; the tiles have the shape of config_of(16, 64). */
  void run(const Product& p, const float* left, const float* right, int64_t row, int64_t rows, int64_t col) {
    const int64_t cols = p.cols - col < block_size ? p.cols - col : block_size;
    const int64_t offset = row * p.cols + col;
    const bool starts = p.start != nullptr;
    if (starts) fetch(p.start + offset, p.cols, rows, cols);
    for (int s = 0; s < p.spans.count; ++s) {
      const int64_t chunks = chunks_of(p.spans.begin[s + 1] - p.spans.begin[s]);
      if (rows > 16) add_span<2>(left, right, chunks, s == 0 && starts, sums_[s]);
      else add_span<1>(left, right, chunks, s == 0 && starts, sums_[s]);
      left += chunks * block_chunk;
      right += chunks * block_chunk;
    }
    switch (p.spans.count) {
      case 1: return finish<1>(p, offset, col, rows, cols);
      case 2: return finish<2>(p, offset, col, rows, cols);
      case 4: return finish<4>(p, offset, col, rows, cols);
      default: return finish<8>(p, offset, col, rows, cols);
    }
  }

 private:
  template <int row_tiles>
  void add_span(const float* left, const float* right, int64_t chunks, bool goes_on, float* to) {
    constexpr int64_t half = block_chunk / 2, stride = block_size * sizeof(float);
    if (goes_on) {
      tile::load<0>(to, stride);
      tile::load<1>(to + 16, stride);
      if constexpr (row_tiles == 2) {
        tile::load<2>(to + 16 * block_size, stride);
        tile::load<3>(to + 16 * block_size + 16, stride);
      }
    } else {
      tile::clear<0>();
      tile::clear<1>();
      if constexpr (row_tiles == 2) {
        tile::clear<2>();
        tile::clear<3>();
      }
    }
    for (int64_t c = 0; c < chunks; ++c, left += block_chunk, right += block_chunk) {
      tile::load<4>(left, 64);
      tile::load<6>(right, 64);
      tile::add_bfloats<0, 4, 6>();
      tile::load<7>(right + half, 64);
      tile::add_bfloats<1, 4, 7>();
      if constexpr (row_tiles == 2) {
        tile::load<5>(left + half, 64);
        tile::add_bfloats<2, 5, 6>();
        tile::add_bfloats<3, 5, 7>();
      }
    }
    tile::store<0>(to, stride);
    tile::store<1>(to + 16, stride);
    if constexpr (row_tiles == 2) {
      tile::store<2>(to + 16 * block_size, stride);
      tile::store<3>(to + 16 * block_size + 16, stride);
    }
  }

  void fetch(const float* from, int64_t stride, int64_t rows, int64_t cols) {
    for (int64_t r = 0; r < 32; ++r) {
      for (int64_t j = 0; j < block_size; j += 16) {
        const int64_t n = r < rows ? part(cols - j) : 0;
        WL_ISA::store(sums_[0] + r * block_size + j, n > 0 ? load_first(n, from + r * stride + j) : WL_ISA::splat(0.0f));
      }
    }
  }

  template <int count>
  void finish(const Product& p, int64_t offset, int64_t col, int64_t rows, int64_t cols) const {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t j = 0; j < cols; j += 16) {
        const int64_t n = part(cols - j), at = offset + r * p.cols + j;
        Vec16 spans[count];
        for (int s = 0; s < count; ++s) spans[s] = WL_ISA::load(sums_[s] + r * block_size + j);
        Vec16 sum = add_spans(spans, count);
        for (int i = 0; i < p.addends; ++i) sum = load_first(n, p.addend[i] + at) + sum;
        if (p.bias != nullptr) sum = load_first(n, p.bias + col + j) + sum;
        store_first(n, p.out + at, sum);
      }
    }
  }

  static int64_t part(int64_t n) { return n < 0 ? 0 : n < 16 ? n : 16; }

  // The sums of each span. They are added when all are there: what tiles have just stored is not yet to be had.
  alignas(64) float sums_[most_spans][block_size * block_size];
};

#endif

}  // namespace wl::WL_ISA::gemm
