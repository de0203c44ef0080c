// See probes.h.
#include "tests/probes.h"

#include <cstring>

#include "cpu/math.h"
#include "cpu/philox.h"

namespace wl::WL_ISA {
namespace {

Vec16 elementary(Elementary f, Vec16 x) {
  Vec16 sine, cosine;
  switch (f) {
    case Elementary::exp: return exp_16(x);
    case Elementary::log: return log_16(x);
    case Elementary::tanh: return tanh_16(x);
    case Elementary::erf: return erf_16(x);
    case Elementary::sigmoid: return sigmoid_16(x);
    case Elementary::sine: sine_cosine_turn(x, sine, cosine); return sine;
    case Elementary::cosine: sine_cosine_turn(x, sine, cosine); return cosine;
  }
  return x;
}

Vec16 one_if(Mask16 m) { return select(m, splat(1.0f), zero()); }

Vec16 lanes_of(Lanes f, const float* p, Vec16 a, Vec16 b, int64_t count) {
  Int16 high, low;
  switch (f) {
    case Lanes::add: return a + b;
    case Lanes::subtract: return a - b;
    case Lanes::multiply: return a * b;
    case Lanes::divide: return a / b;
    case Lanes::max: return max(a, b);
    case Lanes::min: return min(a, b);
    case Lanes::sqrt: return sqrt(a);
    case Lanes::less: return one_if(less(a, b));
    case Lanes::equal: return one_if(equal(a, b));
    case Lanes::fma: return fma(a, b, a);
    case Lanes::select_first: return select_first(count, a, b);
    case Lanes::load_first: return load_first(count, p);
    case Lanes::to_int: return from_bits(to_int(a));
    case Lanes::to_float: return to_float(bits(a));
    case Lanes::shift_left: return from_bits(shift_left<5>(bits(a)));
    case Lanes::shift_right: return from_bits(shift_right<5>(bits(a)));
    case Lanes::multiply_high: multiply_wide(bits(a), 0xD2511F53, high, low); return from_bits(high);
    case Lanes::multiply_low: multiply_wide(bits(a), 0xD2511F53, high, low); return from_bits(low);
    case Lanes::reduce_add: return splat(reduce_add(a));
    case Lanes::reduce_max: return splat(reduce_max(a));
    case Lanes::reduce_max_int: return from_bits(splat_int(reduce_max(bits(a))));
    case Lanes::any: return splat(any(less(a, b)) ? 1.0f : 0.0f);
    case Lanes::copy_sign: return copy_sign(a, b);
  }
  return a;
}

}  // namespace

void probe_elementary(Elementary f, const float* x, float* y, int64_t n) {
  for (int64_t i = 0; i < n; i += 16) store(y + i, elementary(f, load(x + i)));
}

void probe_lanes(Lanes f, const float* a, const float* b, int64_t count, float* y) {
  store_first(16, y, lanes_of(f, a, load(a), load(b), count));
}

void probe_philox(const uint32_t (&counter)[4][16], uint64_t key, uint32_t (&scalar)[4][16], uint32_t (&vector)[4][16]) {
  Int16 words[4];
  for (int w = 0; w < 4; ++w) words[w] = load_int(reinterpret_cast<const int32_t*>(counter[w]));
  philox_16(words, key);
  for (int w = 0; w < 4; ++w) store(reinterpret_cast<float*>(vector[w]), from_bits(words[w]));
  for (int lane = 0; lane < 16; ++lane) {
    uint32_t word[4];
    for (int w = 0; w < 4; ++w) word[w] = counter[w][lane];
    philox(word, key);
    for (int w = 0; w < 4; ++w) scalar[w][lane] = word[w];
  }
}

}  // namespace wl::WL_ISA
