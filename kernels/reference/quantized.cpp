#include "reference/quantized.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace reference {
namespace {

enum { q4_0 = 2, q4_1 = 3, q5_0 = 6, q5_1 = 7, q8_0 = 8, q4_k = 12, q5_k = 13, q6_k = 14 };

const QuantLayout& layout_of(int64_t type) {
  for (const QuantLayout& layout : quant_layouts()) {
    if (layout.type == type) return layout;
  }
  std::abort();
}

double half_at(const uint8_t* at) { return half_value(at[0] | at[1] << 8); }

/** An element as what it is made of: scale * whole * code - minimum * whole minimum. */
struct Parts {
  double scale, code, least;
};

Parts parts_of(int64_t type, const uint8_t* b, int e) {
  const int half = e / 16, low = e % 16;
  const auto nibble = [&](const uint8_t* from) { return half == 0 ? from[low] & 15 : from[low] >> 4; };
  const auto fifth = [&](const uint8_t* from) { return from[e / 8] >> (e % 8) & 1; };
  switch (type) {
    case q4_0: return {half_at(b), static_cast<double>(nibble(b + 2) - 8), 0};
    case q4_1: return {half_at(b), static_cast<double>(nibble(b + 4)), -half_at(b + 2)};
    case q5_0: return {half_at(b), static_cast<double>(nibble(b + 6) + 16 * fifth(b + 2) - 16), 0};
    case q5_1: return {half_at(b), static_cast<double>(nibble(b + 8) + 16 * fifth(b + 4)), -half_at(b + 2)};
    case q8_0: return {half_at(b), static_cast<double>(static_cast<int8_t>(b[2 + e])), 0};
    case q4_k:
    case q5_k: {
      const int j = e / 32;
      const uint8_t* s = b + 4;
      const int scale = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
      const int least = j < 4 ? s[j + 4] & 63 : (s[j + 4] >> 4) | (s[j] >> 6) << 4;
      const uint8_t byte = b[(type == q5_k ? 48 : 16) + e / 64 * 32 + e % 32];
      int code = j % 2 == 0 ? byte & 15 : byte >> 4;
      if (type == q5_k) code += 16 * (b[16 + e % 32] >> j & 1);
      return {half_at(b) * scale, static_cast<double>(code), half_at(b + 2) * least};
    }
    case q6_k: {
      const int n = e / 128, l = e % 32, quarter = e % 128 / 32;
      const uint8_t byte = b[n * 64 + l + quarter % 2 * 32];
      const int code = (quarter < 2 ? byte & 15 : byte >> 4) + 16 * (b[128 + n * 32 + l] >> (2 * quarter) & 3) - 32;
      return {half_at(b + 208) * static_cast<int8_t>(b[192 + e / 16]), static_cast<double>(code), 0};
    }
  }
  std::abort();
}

/** The half nearest to a float, ties to even, by looking at all 31744 magnitudes below infinity. */
unsigned nearest_half(float value) {
  const double magnitude = std::fabs(value);
  unsigned low = 0, high = 0x7c00;
  while (high - low > 1) {
    const unsigned middle = (low + high) / 2;
    (half_value(middle) <= magnitude ? low : high) = middle;
  }
  const double above = high == 0x7c00 ? 65536.0 : half_value(high);
  const double down = magnitude - half_value(low), up = above - magnitude;
  const unsigned nearest = down < up || (down == up && low % 2 == 0) ? low : high;
  return nearest | (std::signbit(value) ? 0x8000u : 0u);
}

}  // namespace

const std::vector<QuantLayout>& quant_layouts() {
  static const std::vector<QuantLayout> all = {{"q4_0", q4_0, 32, 18},   {"q4_1", q4_1, 32, 20},   {"q5_0", q5_0, 32, 22},
                                               {"q5_1", q5_1, 32, 24},   {"q8_0", q8_0, 32, 34},   {"q4_k", q4_k, 256, 144},
                                               {"q5_k", q5_k, 256, 176}, {"q6_k", q6_k, 256, 210}};
  return all;
}

double half_value(unsigned bits) {
  const int exponent = static_cast<int>(bits >> 10 & 31);
  const double fraction = bits & 1023;
  double value = exponent == 31 ? (fraction == 0 ? INFINITY : NAN)
                 : exponent == 0 ? std::ldexp(fraction, -24)
                                 : std::ldexp(1024 + fraction, exponent - 25);
  return (bits & 0x8000) != 0 ? -value : value;
}

double quantized_value(int64_t type, const uint8_t* blocks, int64_t at) {
  const QuantLayout& layout = layout_of(type);
  const Parts parts = parts_of(type, blocks + at / layout.elements * layout.bytes, static_cast<int>(at % layout.elements));
  return parts.scale * parts.code - parts.least;
}

ByteRow byte_row(const float* x, int64_t terms) {
  ByteRow row;
  for (int64_t first = 0; first < terms; first += 32) {
    float widest = 0.0f;
    for (int i = 0; i < 32; ++i) widest = std::max(widest, std::fabs(x[first + i]));
    const float scale = widest > 0x1p-100f ? widest / 127.0f : 0.0f;
    const float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
    row.scales.push_back(scale);
    for (int i = 0; i < 32; ++i) row.codes.push_back(static_cast<int32_t>(std::nearbyint(x[first + i] * inverse)));
  }
  return row;
}

float quantized_dot(int64_t type, const uint8_t* row, const ByteRow& x, int64_t terms) {
  const QuantLayout& layout = layout_of(type);
  const int64_t blocks = terms / layout.elements;
  int64_t spans = 8;
  while (spans > blocks) spans /= 2;
  const int64_t run = type == q6_k ? 16 : 32;
  std::vector<float> sums;
  for (int64_t s = 0; s < spans; ++s) {
    float sum = 0.0f;
    for (int64_t k = s * blocks / spans * layout.elements; k < (s + 1) * blocks / spans * layout.elements; k += run) {
      int64_t products = 0, codes = 0;
      Parts parts = {};
      for (int64_t i = k; i < k + run; ++i) {
        parts = parts_of(type, row + i / layout.elements * layout.bytes, static_cast<int>(i % layout.elements));
        products += static_cast<int64_t>(parts.code) * x.codes[static_cast<size_t>(i)];
        codes += x.codes[static_cast<size_t>(i)];
      }
      const float scale = x.scales[static_cast<size_t>(k / 32)];
      sum = std::fma(static_cast<float>(parts.scale) * scale, static_cast<float>(products), sum);
      const bool has_min = type == q4_1 || type == q5_1 || type == q4_k || type == q5_k;
      if (has_min) sum = std::fma(static_cast<float>(-parts.least), scale * static_cast<float>(codes), sum);
    }
    sums.push_back(sum);
  }
  for (; sums.size() > 1; sums.resize(sums.size() / 2)) {
    for (size_t i = 0; i < sums.size() / 2; ++i) sums[i] = sums[2 * i] + sums[2 * i + 1];
  }
  return sums[0];
}

std::vector<uint8_t> quantized_simply(int64_t type, const std::vector<float>& x) {
  const QuantLayout& layout = layout_of(type);
  std::vector<uint8_t> out;
  const auto half = [&](float value) {
    const unsigned bits = nearest_half(value);
    out.push_back(static_cast<uint8_t>(bits));
    out.push_back(static_cast<uint8_t>(bits >> 8));
  };
  for (size_t first = 0; first < x.size(); first += 32) {
    const float* v = x.data() + first;
    float least = v[0], most = v[0], widest = 0.0f;
    for (int i = 0; i < 32; ++i) {
      least = std::min(least, v[i]);
      most = std::max(most, v[i]);
      if (std::fabs(v[i]) > std::fabs(widest)) widest = v[i];
    }
    const bool ranged = type == q4_1 || type == q5_1;
    const int top = type == q4_0 || type == q4_1 ? 15 : 31;
    const float d = type == q8_0 ? std::fabs(widest) / 127.0f
                    : ranged     ? (most - least) / static_cast<float>(top)
                                 : widest / -static_cast<float>((top + 1) / 2);
    const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
    half(d);
    if (ranged) half(least);
    int codes[32];
    for (int i = 0; i < 32; ++i) {
      if (type == q8_0) codes[i] = static_cast<int>(std::round(v[i] * inverse));
      else if (ranged) codes[i] = std::min(top, static_cast<int>((v[i] - least) * inverse + 0.5f));
      else codes[i] = std::min(top, static_cast<int>(v[i] * inverse + (static_cast<float>((top + 1) / 2) + 0.5f)));
    }
    if (top == 31 && type != q8_0) {
      for (int byte = 0; byte < 4; ++byte) {
        int bits = 0;
        for (int i = 0; i < 8; ++i) bits |= (codes[byte * 8 + i] >> 4) << i;
        out.push_back(static_cast<uint8_t>(bits));
      }
    }
    for (int i = 0; i < (type == q8_0 ? 32 : 16); ++i) {
      out.push_back(static_cast<uint8_t>(type == q8_0 ? codes[i] : (codes[i] & 15) | (codes[i + 16] & 15) << 4));
    }
  }
  if (static_cast<int64_t>(out.size()) != static_cast<int64_t>(x.size()) / layout.elements * layout.bytes) std::abort();
  return out;
}

}  // namespace reference
