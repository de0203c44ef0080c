// kv_write: copies the keys and values of new rows into their slots of the pages. Slots of one call are distinct.
#include "core/ops.gen.h"

namespace wl::WL_ISA {
namespace {

void copy_row(const float* from, int64_t size, float* to) {
  for (int64_t i = 0; i < size; i++) to[i] = from[i];
}

}  // namespace

void kv_write(Context& context, const kv_write_args& args) {
  for (int64_t t = 0; t < args.M; t++) {
    if (args.slots[t] >= args.P * args.S) throw BadInput{"kv_write: a slot is outside the pages"};
  }
  context.parallel_for(args.M, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; t++) {
      const int64_t slot = args.slots[t];
      if (slot < 0) continue;
      copy_row(args.k + t * args.E, args.E, args.keys + slot * args.E);
      copy_row(args.v + t * args.E, args.E, args.values + slot * args.E);
    }
  });
}

}  // namespace wl::WL_ISA
