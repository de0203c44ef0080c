// The block-quantised types, by the ids that GGUF files use, and the sizes of their blocks and panels.
#pragma once

#include <cstdint>

namespace wl {

enum class Quant : int64_t { f16 = 1, q4_0 = 2, q4_1 = 3, q5_0 = 6, q5_1 = 7, q8_0 = 8, q4_k = 12, q5_k = 13, q6_k = 14, bf16 = 30 };

/** What a block holds, in a file and in a panel. All zero for a type that there is not. */
struct QuantShape {
  int64_t elements, bytes;
  /** Bytes that the codes of 32 terms (a run) take in a panel of 16 columns; with 16 bits, those of one term. */
  int64_t run_bytes;
  /** Bytes of the scales that stand before `head_runs` runs, a power of two. */
  int64_t head_bytes, head_runs;
};

constexpr QuantShape quant_shape(int64_t type) {
  switch (static_cast<Quant>(type)) {
    case Quant::f16: return {1, 2, 32, 0, 1};
    case Quant::bf16: return {1, 2, 32, 0, 1};
    case Quant::q4_0: return {32, 18, 256, 64, 2};
    case Quant::q4_1: return {32, 20, 256, 64, 1};
    case Quant::q5_0: return {32, 22, 320, 64, 2};
    case Quant::q5_1: return {32, 24, 320, 64, 1};
    case Quant::q8_0: return {32, 34, 512, 64, 2};
    case Quant::q4_k: return {256, 144, 256, 320, 8};
    case Quant::q5_k: return {256, 176, 320, 320, 8};
    case Quant::q6_k: return {256, 210, 384, 320, 8};
  }
  return {0, 0, 0, 0, 0};
}

inline constexpr int64_t quant_panel_cols = 16;

/** Bytes of `elements` in whole blocks; -1 where the type is unknown or the last block would not be full. */
constexpr int64_t quantized_bytes(int64_t type, int64_t elements) {
  const QuantShape shape = quant_shape(type);
  return shape.elements > 0 && elements > 0 && elements % shape.elements == 0 ? elements / shape.elements * shape.bytes : -1;
}

/** Where in a panel the scales of run `run` begin. */
constexpr int64_t quant_head_at(const QuantShape& shape, int64_t run) {
  return static_cast<int64_t>(static_cast<uint64_t>(run) / static_cast<uint64_t>(shape.head_runs)) * (shape.head_bytes + shape.head_runs * shape.run_bytes);
}

/** Where in a panel the codes of run `run` begin. */
constexpr int64_t quant_run_at(const QuantShape& shape, int64_t run) {
  return quant_head_at(shape, run) + shape.head_bytes + (run & (shape.head_runs - 1)) * shape.run_bytes;
}

/** Bytes of the panel of 16 rows of `terms` elements, with what fills the last 64 bytes up. */
constexpr int64_t quant_panel_stride(int64_t type, int64_t terms) {
  const QuantShape shape = quant_shape(type);
  const int64_t runs = shape.elements == 1 ? terms : terms / 32;
  const int64_t heads = (runs + shape.head_runs - 1) / shape.head_runs;
  return (runs * shape.run_bytes + heads * shape.head_bytes + 63) / 64 * 64;
}

/** Bytes of the panels of a weight of N rows of K elements; -1 as in quantized_bytes. */
constexpr int64_t quantized_panel_bytes(int64_t type, int64_t N, int64_t K) {
  if (N < 1 || quantized_bytes(type, K) < 0) return -1;
  return (N + quant_panel_cols - 1) / quant_panel_cols * quant_panel_stride(type, K);
}

}  // namespace wl
