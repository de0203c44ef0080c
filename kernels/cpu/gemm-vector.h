// The vector of one register and the tile sizes that the matrix product uses on each instruction set.
#pragma once

#include <cmath>
#include <cstdint>

#if defined(WL_ISA_AVX512) || defined(WL_ISA_AVX2)
#include <immintrin.h>
#endif

namespace wl::WL_ISA::gemm {

// tile_rows x panel_cols accumulators, one panel row and one broadcast value fit the register file.
#if defined(WL_ISA_AVX512)

using Vector = __m512;
inline constexpr int lanes = 16;
inline constexpr int tile_rows = 12;
inline constexpr int panel_cols = 32;
inline constexpr int max_accumulators = 24;
// Half of the L2 cache of the smallest CPU of this class that is worth tuning for.
inline constexpr int64_t left_block_bytes = 512 << 10;

inline Vector zero() { return _mm512_setzero_ps(); }
inline Vector splat(const float* p) { return _mm512_set1_ps(*p); }
inline Vector load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, Vector v) { _mm512_storeu_ps(p, v); }
inline Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
inline Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }

#elif defined(WL_ISA_AVX2)

using Vector = __m256;
inline constexpr int lanes = 8;
inline constexpr int tile_rows = 6;
inline constexpr int panel_cols = 16;
inline constexpr int max_accumulators = 12;
inline constexpr int64_t left_block_bytes = 256 << 10;

inline Vector zero() { return _mm256_setzero_ps(); }
inline Vector splat(const float* p) { return _mm256_broadcast_ss(p); }
inline Vector load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, Vector v) { _mm256_storeu_ps(p, v); }
inline Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
inline Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }

#else

using Vector = float;
inline constexpr int lanes = 1;
inline constexpr int tile_rows = 4;
inline constexpr int panel_cols = 4;
inline constexpr int max_accumulators = 16;
inline constexpr int64_t left_block_bytes = 256 << 10;

inline Vector zero() { return 0.0f; }
inline Vector splat(const float* p) { return *p; }
inline Vector load(const float* p) { return *p; }
inline void store(float* p, Vector v) { *p = v; }
inline Vector add(Vector a, Vector b) { return a + b; }
inline Vector fma(Vector a, Vector b, Vector c) { return std::fma(a, b, c); }

#endif

inline constexpr int panel_vectors = panel_cols / lanes;

/** What adds up one element of a span: one chain, or one of even and one of odd terms, chunk by chunk. */
enum class Chains { single, pairs };

/** Panels that a tile of `rows` rows spans, so that few rows still hide the latency of their FMA chains. */
constexpr int panels_of_tile(int rows) {
  const int fit = max_accumulators / (rows * panel_vectors);
  return fit >= 4 ? 4 : fit >= 2 ? 2 : 1;
}

}  // namespace wl::WL_ISA::gemm
