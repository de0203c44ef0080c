// Block-quantised types in float64, element by element from the bytes of a block, and the product with 8-bit activations by its definition.
#pragma once

#include <cstdint>
#include <vector>

namespace reference {

struct QuantLayout {
  const char* name;
  int64_t type, elements, bytes;
};
/** The block types, with their GGUF ids. */
const std::vector<QuantLayout>& quant_layouts();

/** A half from its bits, exactly. */
double half_value(unsigned bits);

/** Element `at` of an array of blocks, exactly. */
double quantized_value(int64_t type, const uint8_t* blocks, int64_t at);

/** Activations of one row in runs of 32: the scale max |x| / 127 in float, and whole codes, rounded to the nearest with ties to even. */
struct ByteRow {
  std::vector<float> scales;
  std::vector<int32_t> codes;
};
ByteRow byte_row(const float* x, int64_t terms);

/** One output of the quantised product: row of the weight times a row of activations, in the order of the contract. */
float quantized_dot(int64_t type, const uint8_t* row, const ByteRow& x, int64_t terms);

/** The blocks of a type with one scale for 32 elements, by the rounding that defines it. */
std::vector<uint8_t> quantized_simply(int64_t type, const std::vector<float>& x);

}  // namespace reference
