// The block-quantised types, by the ids that GGUF files use, and the sizes of their blocks and panels.
#pragma once

#include <cstdint>

namespace wl {

enum class Quant : int64_t { f16 = 1, q4_0 = 2, q4_1 = 3, q5_0 = 6, q5_1 = 7, q8_0 = 8, q4_k = 12, q5_k = 13, q6_k = 14, bf16 = 30 };

/** What a block holds, in a file and in a panel. All zero for a type that there is not. */
struct QuantShape {
  int64_t elements, bytes;
  /** Bytes that a block of 16 columns takes in a panel: its codes, and its scales. */
  int64_t panel_codes, panel_scales;
};

constexpr QuantShape quant_shape(int64_t type) {
  switch (static_cast<Quant>(type)) {
    case Quant::f16: return {1, 2, 32, 0};
    case Quant::bf16: return {1, 2, 32, 0};
    case Quant::q4_0: return {32, 18, 256, 32};
    case Quant::q4_1: return {32, 20, 256, 64};
    case Quant::q5_0: return {32, 22, 320, 32};
    case Quant::q5_1: return {32, 24, 320, 64};
    case Quant::q8_0: return {32, 34, 512, 32};
    case Quant::q4_k: return {256, 144, 2048, 320};
    case Quant::q5_k: return {256, 176, 2560, 320};
    case Quant::q6_k: return {256, 210, 3072, 288};
  }
  return {0, 0, 0, 0};
}

inline constexpr int64_t quant_panel_cols = 16;

/** Bytes of `elements` in whole blocks; -1 where the type is unknown or the last block would not be full. */
constexpr int64_t quantized_bytes(int64_t type, int64_t elements) {
  const QuantShape shape = quant_shape(type);
  return shape.elements > 0 && elements > 0 && elements % shape.elements == 0 ? elements / shape.elements * shape.bytes : -1;
}

/** Bytes of the panel of 16 rows of `terms` elements: codes, then scales, then what fills the last 64 bytes up. */
constexpr int64_t quant_panel_stride(int64_t type, int64_t terms) {
  const QuantShape shape = quant_shape(type);
  return (terms / shape.elements * (shape.panel_codes + shape.panel_scales) + 63) / 64 * 64;
}

/** Bytes of the panels of a weight of N rows of K elements; -1 as in quantized_bytes. */
constexpr int64_t quantized_panel_bytes(int64_t type, int64_t N, int64_t K) {
  if (N < 1 || quantized_bytes(type, K) < 0) return -1;
  return (N + quant_panel_cols - 1) / quant_panel_cols * quant_panel_stride(type, K);
}

}  // namespace wl
