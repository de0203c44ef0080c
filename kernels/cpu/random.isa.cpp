// Random values: normal numbers for initialisation, and dropout.
#include "core/ops.gen.h"
#include "cpu/groups.h"
#include "cpu/math.h"
#include "cpu/philox.h"

namespace wl::WL_ISA {

// Block c of four elements comes from counter c: two pairs of uniform numbers, each turned into two normal ones (Box and Muller 1958).
void normal(Context& context, const normal_args& a) {
  constexpr int64_t blocks_at_once = 16;
  const int64_t blocks = (a.M + 3) / 4;
  context.parallel_for((blocks + blocks_at_once - 1) / blocks_at_once, 32, [&](int64_t begin, int64_t end, int) {
    alignas(64) float uniform[4][16], value[4][16];
    for (int64_t batch = begin; batch < end; ++batch) {
      for (int lane = 0; lane < 16; ++lane) {
        const uint64_t block = static_cast<uint64_t>(batch * blocks_at_once + lane);
        const uint32_t use = static_cast<uint32_t>(DrawFor::initialisation);
        const PhiloxCounter words = philox({{static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), static_cast<uint32_t>(a.stream), use}},
                                           static_cast<uint64_t>(a.seed));
        for (int w = 0; w < 4; ++w) uniform[w][lane] = unit_interval(words.word[w]);
      }
      for (int pair = 0; pair < 4; pair += 2) {
        // In (0, 1], so that the logarithm is finite.
        const Vec16 radius = sqrt(splat(-2.0f) * log_16(splat(1.0f) - load(uniform[pair])));
        Vec16 sine, cosine;
        sine_cosine_turn(load(uniform[pair + 1]), sine, cosine);
        store(value[pair], fma(radius * cosine, splat(a.std), splat(a.mean)));
        store(value[pair + 1], fma(radius * sine, splat(a.std), splat(a.mean)));
      }
      for (int64_t e = 0; e < 4 * blocks_at_once; ++e) {
        const int64_t index = batch * 4 * blocks_at_once + e;
        if (index < a.M) a.x[index] = value[e % 4][e / 4];
      }
    }
  });
}

// Columns 4c to 4c + 3 of a token share counter (c, token, site, step); an element is kept where its uniform number is at least p.
void dropout(Context& context, const dropout_args& a) {
  if (!(a.p >= 0.0f && a.p < 1.0f)) throw BadInput{"dropout: p is not in [0, 1)"};
  const float rescale = 1.0f / (1.0f - a.p);
  context.parallel_for(a.M, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const float* x = a.x + row * a.K;
      float* y = a.y + row * a.K;
      const uint64_t token = static_cast<uint64_t>(a.first_token + row);
      const uint64_t key = static_cast<uint64_t>(a.seed) ^ (static_cast<uint64_t>(DrawFor::dropout) << 56);
      const uint32_t site = static_cast<uint32_t>(a.site) ^ static_cast<uint32_t>(token >> 32) << 16;
      for (int64_t column = 0; column < a.K; column += 4) {
        const PhiloxCounter words = philox({{static_cast<uint32_t>(column / 4), static_cast<uint32_t>(token), site, static_cast<uint32_t>(a.step)}}, key);
        for (int64_t i = column; i < a.K && i < column + 4; ++i) {
          y[i] = unit_interval(words.word[i - column]) < a.p ? 0.0f : x[i] * rescale;
        }
      }
    }
  });
}

}  // namespace wl::WL_ISA
