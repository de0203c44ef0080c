// kv_write: puts the keys and values of new rows into their slots of the pages, in the type of the cache, rounded once. Slots of one call are
// distinct.
//
// Halves and bfloats are rounded to the nearest, ties to even. A block of q8_0 is what GGUF files define: the scale is the largest
// magnitude / 127, rounded to a half, and an element its quotient with the scale as it was before, halves away from zero. A block with an
// element that is not finite gets a scale that is not a number, so that no fault of the model goes under.
#include <algorithm>
#include <cstring>

#include "core/cache-types.h"
#include "core/ops.gen.h"
#include "cpu/half-vector.h"
#include "cpu/quant-encode.h"

namespace wl::WL_ISA {
namespace {

void write_halves(const float* from, int64_t count, uint8_t* to) {
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) store_f16(to + 2 * i, load(from + i));
  for (; i < count; i++) store_half(to + 2 * i, from[i]);
}

void write_bfloats(const float* from, int64_t count, uint8_t* to) {
  for (int64_t i = 0; i < count; i++) {
    const uint16_t rounded = float_to_bfloat(from[i]);
    std::memcpy(to + 2 * i, &rounded, sizeof rounded);
  }
}

void write_block(const float* from, uint8_t* to) {
  bool finite = true;
  for (int64_t i = 0; i < cache_block; i++) finite = finite && (bits_of(from[i]) & 0x7f800000u) != 0x7f800000u;
  if (finite) {
    encode_bytes(from, to);
  } else {
    constexpr uint16_t not_a_number = 0x7e00;
    std::memset(to, 0, cache_block_bytes);
    std::memcpy(to, &not_a_number, sizeof not_a_number);
  }
}

void write_blocks(const float* from, int64_t size, uint8_t* to) {
  for (int64_t d = 0; d < size; d += cache_block, to += cache_block_bytes) {
    if (size - d >= cache_block) {
      write_block(from + d, to);
    } else {
      float rest[cache_block] = {};
      std::memcpy(rest, from + d, size_t(size - d) * sizeof(float));
      write_block(rest, to);
    }
  }
}

/** A head as its values lie. */
void write_head(CacheType type, const float* from, int64_t size, uint8_t* to) {
  switch (type) {
    case CacheType::f32: std::memcpy(to, from, size_t(size) * sizeof(float)); break;
    case CacheType::f16: write_halves(from, size, to); break;
    case CacheType::bf16: write_bfloats(from, size, to); break;
    case CacheType::q8_0: write_blocks(from, size, to); break;
  }
}

/** `count` elements of `bytes` bytes each, `tokens` elements apart from the one at `to` on. */
template <int bytes>
void scatter(const uint8_t* from, int64_t count, int64_t tokens, uint8_t* to) {
  for (int64_t i = 0; i < count; i++) std::memcpy(to + i * tokens * bytes, from + i * bytes, bytes);
}

/** A written head as the keys of slot `o` of a page of `tokens`. */
void spread_head(CacheType type, const uint8_t* from, int64_t size, int64_t tokens, int64_t o, uint8_t* page) {
  switch (type) {
    case CacheType::f32: scatter<4>(from, size, tokens, page + 4 * o); break;
    case CacheType::f16:
    case CacheType::bf16: scatter<2>(from, size, tokens, page + 2 * o); break;
    case CacheType::q8_0:
      for (int64_t d = 0; d < size; d += cache_block, from += cache_block_bytes, page += cache_block_bytes * tokens) {
        scatter<2>(from, 1, tokens, page + 2 * o);
        scatter<1>(from + 2, cache_block, tokens, page + 2 * tokens + o);
      }
      break;
  }
}

}  // namespace

void kv_write(Context& context, const kv_write_args& args) {
  for (int64_t t = 0; t < args.M; t++) {
    if (args.slots[t] >= args.P * args.S) throw BadInput{"kv_write: a slot is outside the pages"};
  }
  const CacheType type{args.type};
  const int64_t size = args.E / args.kv_heads, tokens = args.S, bytes = cache_head_bytes(args.type, size);
  auto* scratch = static_cast<uint8_t*>(context.scratch_of<uint8_t>(bytes * context.threads()));
  context.parallel_for(args.M, [&](int64_t begin, int64_t end, int worker) {
    uint8_t* head = scratch + worker * bytes;
    for (int64_t t = begin; t < end; t++) {
      const int64_t slot = args.slots[t];
      if (slot < 0) continue;
      const int64_t page = slot / tokens * tokens * args.R, o = slot % tokens;
      for (int64_t h = 0; h < args.kv_heads; h++) {
        const int64_t from = t * args.E + h * size, to = page + h * tokens * bytes;
        write_head(type, args.k + from, size, head);
        spread_head(type, head, size, tokens, o, args.keys + to);
        write_head(type, args.v + from, size, args.values + to + o * bytes);
      }
    }
  });
}

}  // namespace wl::WL_ISA
