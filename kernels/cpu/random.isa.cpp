// Random values: normal numbers for initialisation, and dropout.
#include "core/ops.gen.h"
#include "cpu/groups.h"
#include "cpu/math.h"
#include "cpu/philox.h"

namespace wl::WL_ISA {
namespace {

// Counters of a batch and the elements that they give.
constexpr int64_t counters = 16;
constexpr int64_t elements = 64;

Int16 splat_word(uint64_t x) { return splat_int(static_cast<int32_t>(static_cast<uint32_t>(x))); }

/** first, first + 1, ...: the lower words of the counters of a batch; `first` is a multiple of 16. */
Int16 counted_from(uint64_t first) {
  alignas(64) static constexpr int32_t lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return splat_word(first) + load_int(lane);
}

/** Brings value[w] of counter `lane` to ordered[4 * lane + w]. */
void in_order(const Vec16 (&value)[4], float* ordered) {
  alignas(64) float word[4][16];
  for (int w = 0; w < 4; ++w) store(word[w], value[w]);
  for (int e = 0; e < elements; ++e) ordered[e] = word[e % 4][e / 4];
}

}  // namespace

// Block c of four elements comes from counter c: two pairs of uniform numbers, each turned into two normal ones (Box and Muller 1958).
void normal(Context& context, const normal_args& a) {
  constexpr uint64_t use = uint64_t{static_cast<uint32_t>(DrawFor::initialisation)} << 24;
  const uint64_t stream = static_cast<uint64_t>(a.stream);
  const Vec16 mean = splat(a.mean), std = splat(a.std);
  context.parallel_for((a.M + elements - 1) / elements, 64, [&](int64_t begin, int64_t end, int) {
    alignas(64) float ordered[elements];
    for (int64_t batch = begin; batch < end; ++batch) {
      const uint64_t block = static_cast<uint64_t>(batch * counters);
      Int16 word[4] = {counted_from(block), splat_word(block >> 32 | use), splat_word(stream), splat_word(stream >> 32)};
      philox_16(word, static_cast<uint64_t>(a.seed));
      Vec16 value[4];
      for (int pair = 0; pair < 4; pair += 2) {
        // 1 - u is in (0, 1], so that the logarithm is finite.
        const Vec16 radius = sqrt(splat(-2.0f) * log_16(splat(1.0f) - unit_interval(word[pair])));
        Vec16 sine, cosine;
        sine_cosine_turn(unit_interval(word[pair + 1]), sine, cosine);
        value[pair] = fma(radius * cosine, std, mean);
        value[pair + 1] = fma(radius * sine, std, mean);
      }
      in_order(value, ordered);
      const int64_t first = batch * elements, last = first + elements < a.M ? first + elements : a.M;
      each_group(first, last, [&](int64_t i, auto group) { group.put(a.x + i, load(ordered + (i - first))); });
    }
  });
}

// Columns 4c to 4c + 3 of a token share counter (c, token, site, step), the token's upper bits above those of the site. An element is
// kept where its uniform number is at least p.
void dropout(Context& context, const dropout_args& a) {
  if (a.site < 0 || a.site >= 1 << 16) throw BadInput{"dropout: the site does not fit into 16 bits"};
  if (a.step < 0 || a.step > UINT32_MAX) throw BadInput{"dropout: the step does not fit into 32 bits"};
  // No row has a larger index than this, which may need more than 64 bits.
  const __int128 last = a.first_token + static_cast<__int128>((a.M - 1) / a.run) * a.stride + (a.M < a.run ? a.M : a.run) - 1;
  if (last >= int64_t{1} << 48) throw BadInput{"dropout: the token index does not fit into 48 bits"};
  const auto token_of = [&](int64_t row) { return a.first_token + row / a.run * a.stride + row % a.run; };
  const uint64_t key = static_cast<uint64_t>(a.seed) ^ (static_cast<uint64_t>(DrawFor::dropout) << 56);
  const Vec16 p = splat(a.p), rescale = splat(1.0f / (1.0f - a.p));
  context.parallel_for(a.M, [&](int64_t begin, int64_t end, int) {
    alignas(64) float ordered[elements];
    for (int64_t row = begin; row < end; ++row) {
      const uint64_t token = static_cast<uint64_t>(token_of(row));
      const uint64_t site = static_cast<uint64_t>(a.site) | token >> 32 << 16;
      for (int64_t first = 0; first < a.K; first += elements) {
        Int16 word[4] = {counted_from(static_cast<uint64_t>(first / 4)), splat_word(token), splat_word(site),
                         splat_word(static_cast<uint64_t>(a.step))};
        philox_16(word, key);
        Vec16 factor[4];
        for (int w = 0; w < 4; ++w) factor[w] = select(less(unit_interval(word[w]), p), zero(), rescale);
        in_order(factor, ordered);
        const Reals x = a.x + row * a.K;
        const RealsOut y = a.y + row * a.K;
        each_group(first, first + elements < a.K ? first + elements : a.K, [&](int64_t i, auto group) {
          const Vec16 f = load(ordered + (i - first));
          group.put(y + i, select(equal(f, zero()), zero(), group(x + i) * f));
        });
      }
    }
  });
}

}  // namespace wl::WL_ISA
