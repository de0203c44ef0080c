// Between f32 and the blocks of quantised types.
#include "core/ops.gen.h"
#include "cpu/quant-search.h"

#include <atomic>

namespace wl::WL_ISA {
namespace {

/** About how many elements a worker takes at a time: whole blocks of every type. */
constexpr int64_t grain_elements = 8192;

void decode(Quant type, const uint8_t* from, int64_t blocks, float* to) {
  const QuantShape shape = quant_shape(static_cast<int64_t>(type));
  for (int64_t b = 0; b < blocks; ++b) values_of(type, from + b * shape.bytes, to + b * shape.elements);
}

/** How many blocks are best encoded together: those of Q4_K and Q5_K have a vector's worth of runs between two. */
int64_t blocks_at_once(Quant type) { return type == Quant::q4_k || type == Quant::q5_k ? 2 : 1; }

/** At most `blocks_at_once` blocks. False where a scale would be too large for its half. The elements must be finite. */
bool encode(Quant type, const float* x, int64_t blocks, uint8_t* to) {
  switch (type) {
    case Quant::f16: {
      store_half(to, *x);
      return fits_half(*x);
    }
    case Quant::bf16: {
      const uint16_t bits = float_to_bfloat(*x);
      std::memcpy(to, &bits, sizeof bits);
      return true;
    }
    case Quant::q4_0: return encode_centred(x, 15, to);
    case Quant::q5_0: return encode_centred(x, 31, to);
    case Quant::q4_1: return encode_ranged(x, 15, to);
    case Quant::q5_1: return encode_ranged(x, 31, to);
    case Quant::q8_0: return encode_bytes(x, to);
    case Quant::q4_k:
    case Quant::q5_k: return encode_affine(x, blocks, type, to);
    case Quant::q6_k: return encode_six(x, to);
  }
  return false;
}

}  // namespace

void dequantize(Context& context, const dequantize_args& a) {
  const QuantShape shape = quant_shape(a.type);
  const int64_t blocks = a.M / shape.elements;
  context.parallel_for(blocks, grain_elements / shape.elements, [&](int64_t begin, int64_t end, int) {
    decode(static_cast<Quant>(a.type), a.blocks + begin * shape.bytes, end - begin, a.y + begin * shape.elements);
  });
}

void dequantize_rows(Context& context, const dequantize_rows_args& a) {
  for (int64_t t = 0; t < a.M; ++t) {
    if (a.ids[t] < 0 || a.ids[t] >= a.V) throw BadInput{"dequantize_rows: an id is outside the table"};
  }
  const QuantShape shape = quant_shape(a.type);
  context.parallel_for(a.M, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      decode(static_cast<Quant>(a.type), a.blocks + a.ids[t] * a.R, a.D / shape.elements, a.y + t * a.D);
    }
  });
}

void quantize(Context& context, const quantize_args& a) {
  const QuantShape shape = quant_shape(a.type);
  const auto type = static_cast<Quant>(a.type);
  std::atomic<bool> not_finite = false, too_large = false;
  context.parallel_for(a.M / shape.elements, grain_elements / shape.elements, [&](int64_t begin, int64_t end, int) {
    for (int64_t b = begin; b < end;) {
      const float* x = a.x + b * shape.elements;
      uint8_t* to = a.blocks + b * shape.bytes;
      const int64_t count = std::min(blocks_at_once(type), end - b);
      bool finite = true;
      for (int64_t i = 0; i < count * shape.elements; ++i) finite = finite && std::isfinite(x[i]);
      if (!finite) not_finite = true;
      else if (!encode(type, x, count, to)) too_large = true;
      b += count;
    }
  });
  if (not_finite) throw BadInput{"quantize: a value is not finite"};
  if (too_large) throw BadInput{"quantize: values are too large for the type, whose scales are half-precision numbers"};
}

}  // namespace wl::WL_ISA
