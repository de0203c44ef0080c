// Rounding to a grid by the exponent, blocks with a common scale, and what both do to scores and sums.
#include "cache.h"

#include <algorithm>
#include <cmath>

namespace wl::reference {
namespace {

// The nearest number of `digits` binary digits, ties to even, on no finer grid than `least`.
double rounded(double x, int digits, double least) {
  int exponent = 0;
  std::frexp(x, &exponent);  // x = m * 2^exponent, m from 0.5 to 1
  const double grid = std::max(std::ldexp(1.0, exponent - digits), least);
  return std::nearbyint(x / grid) * grid;
}

constexpr int half_digits = 11, bfloat_digits = 8;
constexpr double half_grid = 0x1p-24, bfloat_grid = 0x1p-133;
double to_half(double x) { return rounded(x, half_digits, half_grid); }

// The blocks of a head: block(first, end) for each.
template <class Block>
void each_block(size_t count, int64_t head_size, Block block) {
  const size_t size = size_t(head_size);
  for (size_t head = 0; head < count; head += size) {
    for (size_t d = 0; d < size; d += cache_block) block(head + d, head + std::min<size_t>(size, d + cache_block));
  }
}

template <class Values>
auto largest_of(const Values& values, size_t first, size_t end) {
  auto largest = std::abs(values[first]);
  for (size_t i = first; i < end; i++) largest = std::max(largest, std::abs(values[i]));
  return largest;
}

// How far each rounded value may be from the value: half a unit in the last place, and in blocks half a step of the scale and what 127
// steps lose by the rounding of the scale. The last factor allows for the float operations that find the scale and the code.
std::vector<double> steps(CacheType type, const std::vector<double>& values, int64_t head_size) {
  std::vector<double> off(values.size());
  for (size_t i = 0; i < values.size(); i++) {
    const double magnitude = std::abs(values[i]);
    if (type == CacheType::f16) off[i] = std::max(std::ldexp(magnitude, -half_digits), half_grid / 2);
    if (type == CacheType::bf16) off[i] = std::max(std::ldexp(magnitude, -bfloat_digits), bfloat_grid / 2);
  }
  if (type == CacheType::q8_0) {
    each_block(values.size(), head_size, [&](size_t first, size_t end) {
      const double scale = largest_of(values, first, end) / 127;
      const double scale_off = std::max(std::ldexp(scale, -half_digits), half_grid / 2);
      for (size_t i = first; i < end; i++) off[i] = (scale / 2 + 127 * scale_off) * (1 + 0x1p-14);
    });
  }
  return off;
}

}  // namespace

std::vector<float> cached(CacheType type, const std::vector<float>& values, int64_t head_size) {
  std::vector<float> held = values;
  if (type == CacheType::f16) {
    for (float& value : held) value = float(to_half(value));
  }
  if (type == CacheType::bf16) {
    for (float& value : held) value = float(rounded(value, bfloat_digits, bfloat_grid));
  }
  if (type == CacheType::q8_0) {
    each_block(values.size(), head_size, [&](size_t first, size_t end) {
      const float scale = largest_of(values, first, end) / 127.0f;
      const float inverse = scale == 0 ? 0 : 1.0f / scale;
      for (size_t i = first; i < end; i++) held[i] = float(to_half(scale) * std::round(values[i] * inverse));
    });
  }
  return held;
}

Bounded cached_attention(CacheType type, const AttentionShape& shape, const std::vector<double>& q, const std::vector<double>& k,
                         const std::vector<double>& v, double scale) {
  const std::vector<double> k_off = steps(type, k, shape.head_size), v_off = steps(type, v, shape.head_size);
  Bounded out = attention_forward(shape, q, k, v, scale).out;
  const int64_t size = shape.head_size, group = shape.heads / shape.kv_heads, kv_row = shape.kv_heads * size;
  for (int64_t t = 0; t < shape.rows(); t++) {
    const int64_t i = t % shape.length, first = t - i;
    for (int64_t h = 0; h < shape.heads; h++) {
      const int64_t at = (t * shape.heads + h) * size, kv = h / group * size;
      // Exact weights of the keys, and the most that a score may be off.
      std::vector<double> p(size_t(i + 1));
      double largest = -INFINITY, score_off = 0, sum = 0;
      for (int64_t j = 0; j <= i; j++) {
        if (!shape.sees(i, j)) continue;
        double score = 0, off = 0;
        for (int64_t d = 0; d < size; d++) {
          score += q[at + d] * k[(first + j) * kv_row + kv + d];
          off += std::abs(q[at + d]) * k_off[(first + j) * kv_row + kv + d];
        }
        p[j] = scale * score + (shape.slopes.empty() ? 0 : shape.slopes[h] * double(j - i));
        largest = std::max(largest, p[j]);
        score_off = std::max(score_off, std::abs(scale) * off);
      }
      for (int64_t j = 0; j <= i; j++) {
        if (shape.sees(i, j)) sum += p[j] = std::exp(p[j] - largest);
      }
      // Scores that are off by e change weights by a factor between exp(-2e) and exp(2e).
      const double factor = std::exp(2 * score_off);
      for (int64_t d = 0; d < size; d++) {
        double magnitude = 0, rounding = 0;
        for (int64_t j = 0; j <= i; j++) {
          const int64_t value = (first + j) * kv_row + kv + d;
          magnitude += p[j] / sum * std::abs(v[value]);
          rounding += p[j] / sum * v_off[value];
        }
        // float32 works on the rounded values, whose weights and magnitudes are larger by these factors at most.
        out.bound[at + d] = factor * (out.bound[at + d] + rounding * (1 + 0x1p-10)) + (factor - 1) * magnitude;
      }
    }
  }
  return out;
}

}  // namespace wl::reference
