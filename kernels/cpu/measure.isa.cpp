// The multiply-add and the reading loop, on vectors as wide as the instruction set has.
#include "core/measure.h"

#if defined(WL_ISA_AVX2) || defined(WL_ISA_AVX512)
#include <immintrin.h>
#endif

namespace wl::WL_ISA {
namespace {

#if defined(WL_ISA_AVX512)
using Vector = __m512;
Vector multiply_add(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
#elif defined(WL_ISA_AVX2)
using Vector = __m256;
Vector multiply_add(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
#else
typedef float Vector __attribute__((vector_size(16)));
Vector multiply_add(Vector a, Vector b, Vector c) { return a * b + c; }
#endif

constexpr int64_t kWidth = sizeof(Vector) / sizeof(float);
// Latency 4 times two units, and some to spare; 12 accumulators fit into the 16 registers of AVX2.
constexpr int kChains = 12;

Vector splat(float value) {
  Vector vector;
  for (int64_t i = 0; i < kWidth; ++i) vector[i] = value;
  return vector;
}

}  // namespace

int64_t fma_loop(int64_t rounds, float* sink) {
  Vector sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = splat(static_cast<float>(i));
  const Vector factor = splat(0.999f);
  const Vector term = splat(0.001f);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sums[i] = multiply_add(sums[i], factor, term);
  }
  for (const Vector& sum : sums) *sink += sum[0];
  return rounds * kChains * kWidth * 2;
}

float read_loop(const float* data, int64_t count) {
  constexpr int64_t vectors = 8;
  Vector sums[vectors];
  for (Vector& sum : sums) sum = splat(0.0f);
  for (int64_t at = 0; at + vectors * kWidth <= count; at += vectors * kWidth) {
#pragma GCC unroll 8
    for (int64_t i = 0; i < vectors; ++i) sums[i] += *reinterpret_cast<const Vector*>(data + at + i * kWidth);
  }
  float total = 0.0f;
  for (const Vector& sum : sums) total += sum[0];
  return total;
}

}  // namespace wl::WL_ISA
