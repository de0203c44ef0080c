// The global gradient norm in three steps, so that ranks which have parts of the gradients agree on it to the bit: the largest magnitude,
// the squares added up as integers in units that follow from it, and the root.
#include <cmath>
#include <limits>

#include "core/ops.gen.h"
#include "cpu/chunk-list.h"
#include "cpu/fixed-squares.h"
#include "cpu/groups.h"

namespace wl::WL_ISA {
namespace {

// A total has 16 bits in each of 8 words, so that the words of up to 2^15 ranks can be added before anything is carried.
constexpr int words = 8;
constexpr int word_bits = 16;

/** The e with |x| < 2^e for all |x| <= largest, which is finite and not 0. */
int exponent_of(float largest) {
  int exponent;
  std::frexp(largest, &exponent);
  return exponent;
}

bool has_squares(float largest) { return largest > 0.0f && largest < std::numeric_limits<float>::infinity(); }

}  // namespace

void squares_max(Context& context, const squares_max_args& a) {
  const Chunks chunks = chunks_of_list(context, a.tensors_sizes, a.tensors_count);
  int32_t* most = context.scratch_of<int32_t>(chunks.count());
  context.parallel_for(chunks.count(), [&](int64_t begin, int64_t end, int) {
    for (int64_t c = begin; c < end; ++c) {
      const Stretch part = chunks.stretch(c);
      const float* x = a.tensors[part.tensor] + part.at;
      // Magnitudes are in the order of their bits, infinity after all numbers, what is no number after that.
      Int16 lanes = splat_int(0);
      each_group(0, part.size, [&](int64_t i, auto group) { lanes = max(lanes, bits(abs(group(x + i)))); });
      int32_t lane[16];
      store_int(lane, lanes);
      most[c] = 0;
      for (const int32_t each : lane) most[c] = each > most[c] ? each : most[c];
    }
  });
  int32_t largest = 0;
  for (int64_t c = 0; c < chunks.count(); ++c) largest = most[c] > largest ? most[c] : largest;
  std::memcpy(a.largest, &largest, sizeof largest);
  if (std::isnan(a.largest[0])) a.largest[0] = std::numeric_limits<float>::quiet_NaN();
}

void squares_sum(Context& context, const squares_sum_args& a) {
  for (int w = 0; w < words; ++w) a.total[w] = 0;
  if (!has_squares(a.largest[0])) return;
  const int exponent = exponent_of(a.largest[0]);
  const Chunks chunks = chunks_of_list(context, a.tensors_sizes, a.tensors_count);
  uint64_t* quanta = context.scratch_of<uint64_t>(chunks.count());
  context.parallel_for(chunks.count(), [&](int64_t begin, int64_t end, int) {
    for (int64_t c = begin; c < end; ++c) {
      const Stretch part = chunks.stretch(c);
      const float* x = a.tensors[part.tensor] + part.at;
      FixedSquares squares(exponent);
      each_group(0, part.size, [&](int64_t i, auto group) { squares.add(group(x + i)); });
      quanta[c] = squares.quanta();
    }
  });
  unsigned __int128 total = 0;
  for (int64_t c = 0; c < chunks.count(); ++c) total += quanta[c];
  for (int w = 0; w < words; ++w) a.total[w] = static_cast<int32_t>(total >> (w * word_bits) & 0xffff);
}

void norm_finish(Context&, const norm_finish_args& a) {
  const float largest = a.largest[0];
  a.norm[0] = largest;
  if (!has_squares(largest)) return;
  unsigned __int128 total = 0;
  for (int64_t w = 0; w < words; ++w) {
    uint64_t sum = 0;
    for (int64_t r = 0; r < a.R; ++r) sum += static_cast<uint32_t>(a.totals[r * words + w]);
    total += static_cast<unsigned __int128>(sum) << (w * word_bits);
  }
  a.norm[0] = static_cast<float>(std::ldexp(std::sqrt(static_cast<double>(total)), exponent_of(largest) - quantum_bits / 2));
}

}  // namespace wl::WL_ISA
