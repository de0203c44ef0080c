// Rotary positions: element i of a head's first half and element i of its second half are turned by the angle of (position, i).
// y1 = fma(x1, cos, -(x2 * sin)), y2 = fma(x2, cos, x1 * sin); the inverse takes -sin.
#include "core/ops.gen.h"
#include "cpu/bfloat.h"
#include "cpu/simd.h"

namespace wl::WL_ISA {
namespace {

// One head of 2 * half elements; y may be x.
void turn(Reals x, const float* cos, const float* sin, int64_t half, bool inverse, RealsOut y) {
  for (int64_t i = 0; i < half; i += lanes) {
    const int64_t count = half - i < lanes ? half - i : lanes;
    const Vec16 x1 = load_first(count, x + i), x2 = load_first(count, x + half + i);
    const Vec16 c = load_first(count, cos + i), s = load_first(count, sin + i);
    const Vec16 turned = inverse ? negate(s) : s;
    store_first(count, y + i, fma(x1, c, negate(x2 * turned)));
    store_first(count, y + half + i, fma(x2, c, x1 * turned));
  }
}

}  // namespace

void rope(Context& context, const rope_args& args) {
  const int64_t size = 2 * args.H;
  for (int64_t t = 0; t < args.M; t++) {
    if (args.positions[t] < 0 || args.positions[t] >= args.C) throw BadInput{"rope: a position is outside the table of angles"};
  }
  context.parallel_for(args.M, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; t++) {
      const float* cos = args.cos + args.positions[t] * args.H;
      const float* sin = args.sin + args.positions[t] * args.H;
      for (int64_t head = t * args.E; head < (t + 1) * args.E; head += size) {
        turn(args.x + head, cos, sin, args.H, args.inverse != 0, args.y + head);
      }
    }
  });
}

}  // namespace wl::WL_ISA
