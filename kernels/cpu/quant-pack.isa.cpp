// Packs blocks as files hold them into the panels that linear_quantized reads.
#include "core/ops.gen.h"
#include "cpu/quant-blocks.h"

namespace wl::WL_ISA {
namespace {

int bits_of_type(Quant type) {
  switch (type) {
    case Quant::q4_0:
    case Quant::q4_1:
    case Quant::q4_k: return 4;
    case Quant::q5_0:
    case Quant::q5_1:
    case Quant::q5_k: return 5;
    case Quant::q6_k: return 6;
    default: return 8;
  }
}

/** The codes of 32 terms of column `col`, into memory that was zero; see quant-panel.h. */
void put_codes(int bits, const uint8_t* codes, int64_t col, uint8_t* to) {
  for (int64_t k = 0; k < 32; ++k) {
    const int64_t g = k / 4, byte = col * 4 + k % 4;
    const int code = codes[k];
    if (bits == 8) {
      to[g * 64 + byte] = static_cast<uint8_t>(code);
      continue;
    }
    const auto add = [&](int64_t row, int value) { to[row * 64 + byte] = static_cast<uint8_t>(to[row * 64 + byte] | value); };
    if (bits == 4) {
      add(g % 4, g < 4 ? code : code << 4);
    } else if (g < bits) {
      add(g, code);
    } else if (bits == 5) {
      add((g - 5) * 2, code >> 2 << 5);
      if (g < 7) add((g - 5) * 2 + 1, (code & 3) << 6);
      else {
        add(3, (code >> 1 & 1) << 5);
        add(1, (code & 1) << 5);
      }
    } else {
      for (int i = 0; i < 3; ++i) add((g - 6) * 3 + i, (code >> (4 - 2 * i) & 3) << 6);
    }
  }
}

void put_half(uint16_t bits, int64_t col, uint8_t* to) { std::memcpy(to + 2 * col, &bits, sizeof bits); }

/** The scales of one block of column `col`, whose first run is `run`, into the head before that run. */
void put_scales(Quant type, const Block& block, int64_t run, int64_t col, uint8_t* to) {
  switch (type) {
    case Quant::q4_1:
    case Quant::q5_1:
      put_half(block.d_bits, col, to);
      put_half(block.dmin_bits, col, to + 32);
      break;
    case Quant::q4_k:
    case Quant::q5_k:
      put_half(block.d_bits, col, to);
      put_half(block.dmin_bits, col, to + 32);
      for (int j = 0; j < 8; ++j) {
        to[64 + j * 32 + col] = static_cast<uint8_t>(block.scales[j]);
        to[80 + j * 32 + col] = block.mins[j];
      }
      break;
    case Quant::q6_k: {
      const float d = half_to_float(block.d_bits);
      std::memcpy(to + 4 * col, &d, sizeof d);
      for (int j = 0; j < 16; ++j) to[64 + j * 16 + col] = static_cast<uint8_t>(block.scales[j]);
      break;
    }
    default: put_half(block.d_bits, col, to + run % 2 * 32);
  }
}

}  // namespace

void quantized_pack(Context& context, const quantized_pack_args& a) {
  const auto type = static_cast<Quant>(a.type);
  const QuantShape shape = quant_shape(a.type);
  const int64_t blocks = a.terms / shape.elements;
  const int64_t stride = quant_panel_stride(a.type, a.terms);
  const int bits = bits_of_type(type);
  context.parallel_for((a.N + quant_panel_cols - 1) / quant_panel_cols, [&](int64_t begin, int64_t end, int) {
    for (int64_t panel = begin; panel < end; ++panel) {
      uint8_t* to = a.packed + panel * stride;
      std::memset(to, 0, static_cast<size_t>(stride));
      for (int64_t col = 0; col < quant_panel_cols; ++col) {
        const int64_t row = panel * quant_panel_cols + col;
        if (row >= a.N) break;
        for (int64_t b = 0; b < blocks; ++b) {
          const uint8_t* from = a.blocks + row * a.R + b * shape.bytes;
          if (shape.elements == 1) {
            put_half(load_bits(from), col, to + b * shape.run_bytes);
            continue;
          }
          Block block;
          take_apart(type, from, block);
          const int64_t runs = shape.elements / 32, first = b * runs;
          for (int64_t run = 0; run < runs; ++run) put_codes(bits, block.codes + run * 32, col, to + quant_run_at(shape, first + run));
          put_scales(type, block, first, col, to + quant_head_at(shape, first));
        }
      }
    }
  });
}

}  // namespace wl::WL_ISA
