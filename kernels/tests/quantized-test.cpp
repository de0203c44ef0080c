// Linear layers with quantised weights: the definition bit for bit, the error against float64, and what must not change a bit.
#include "core/quant-types.h"
#include "reference/quantized.h"
#include "tests/check.h"
#include "tests/every-isa.h"

namespace {

using namespace every;
using reference::quant_layouts;
using reference::QuantLayout;
using Bytes = std::vector<uint8_t>;

struct Shape {
  int64_t rows, outputs, inputs;
};

/** Blocks with random codes and scales of a size that weights have. */
Bytes blocks_of(const QuantLayout& layout, int64_t elements, uint64_t seed) {
  Numbers numbers(seed);
  Bytes bytes(static_cast<size_t>(elements / layout.elements * layout.bytes));
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(numbers.next());
  const bool has_min = layout.type == 3 || layout.type == 7 || layout.type == 12 || layout.type == 13;
  const int64_t at = layout.type == 14 ? 208 : 0;
  for (size_t b = 0; b < bytes.size(); b += static_cast<size_t>(layout.bytes)) {
    for (int64_t half = at; half < at + (has_min ? 4 : 2); half += 2) {
      // Between 2^-10 and 2^-7, of either sign.
      const auto bits = static_cast<unsigned>(0x1400 + numbers.below(0x0c00)) | (numbers.next() & 0x8000u);
      bytes[b + static_cast<size_t>(half)] = static_cast<uint8_t>(bits);
      bytes[b + static_cast<size_t>(half) + 1] = static_cast<uint8_t>(bits >> 8);
    }
  }
  return bytes;
}

Bytes panels_of(const QuantLayout& layout, const Bytes& blocks, int64_t outputs, int64_t inputs) {
  Bytes packed(static_cast<size_t>(wl::quantized_panel_bytes(layout.type, outputs, inputs)));
  const int64_t row = wl::quantized_bytes(layout.type, inputs);
  wl::op::quantized_pack(context_of(2), {blocks.data(), packed.data(), layout.type, inputs, outputs, row, static_cast<int64_t>(packed.size())});
  return packed;
}

std::string text(const QuantLayout& layout, const Shape& s) {
  return std::string(layout.name) + ": " + std::to_string(s.rows) + " x " + std::to_string(s.outputs) + " x " + std::to_string(s.inputs);
}

// One to many rows; more and fewer columns than a panel, and no multiple of one; one block, and spans of different lengths.
std::vector<Shape> shapes_of(const QuantLayout& layout) {
  const int64_t e = layout.elements;
  return {{1, 1, e}, {1, 40, 3 * e}, {2, 17, 9 * e}, {3, 33, 8 * e}, {4, 16, 2 * e}, {7, 15, 5 * e}, {23, 50, 11 * e}, {33, 31, 4 * e}, {70, 20, e}};
}

TEST("every output is the exact sum of whole products of each run, scaled and added in the order of the contract") {
  for (const QuantLayout& layout : quant_layouts()) {
    for (const Shape& s : shapes_of(layout)) {
      const Bytes blocks = blocks_of(layout, s.outputs * s.inputs, static_cast<uint64_t>(s.rows + s.inputs));
      const Bytes packed = panels_of(layout, blocks, s.outputs, s.inputs);
      Floats x = values(s.rows * s.inputs, 3);
      std::fill(x.begin() + 32 * (s.rows / 2), x.begin() + 32 * (s.rows / 2) + 32, s.rows % 2 == 0 ? 0.0f : 1e-33f);
      const Floats bias = values(s.outputs, 4);
      const auto seen = same_everywhere(EVERY_ISA(linear_quantized), text(layout, s), [&](auto* run, wl::Context& context) {
        std::vector<Floats> y = {Floats(static_cast<size_t>(s.rows * s.outputs)), Floats(static_cast<size_t>(s.rows * s.outputs))};
        for (int with = 0; with < 2; ++with) {
          run(context, {x.data(), packed.data(), with == 1 ? bias.data() : nullptr, y[static_cast<size_t>(with)].data(), layout.type, 8, s.rows,
                        s.inputs, static_cast<int64_t>(packed.size()), s.outputs});
        }
        return y;
      });
      int64_t wrong = 0;
      const int64_t row_bytes = wl::quantized_bytes(layout.type, s.inputs);
      for (int64_t m = 0; m < s.rows; ++m) {
        const reference::ByteRow row = reference::byte_row(x.data() + m * s.inputs, s.inputs);
        for (int64_t n = 0; n < s.outputs; ++n) {
          const float wanted = reference::quantized_dot(layout.type, blocks.data() + n * row_bytes, row, s.inputs);
          const auto at = static_cast<size_t>(m * s.outputs + n);
          wrong += !same_bits(seen[0][at], wanted) + !same_bits(seen[1][at], wanted + bias[static_cast<size_t>(n)]);
        }
      }
      if (wrong != 0) check::fault(__FILE__, __LINE__, text(layout, s) + ": " + std::to_string(wrong) + " outputs off the definition");
    }
  }
}

TEST("a row has the same bits alone, in a batch and at any place in it") {
  constexpr int64_t rows = 77, outputs = 50;
  for (const QuantLayout& layout : quant_layouts()) {
    const int64_t inputs = 3 * layout.elements;
    const Bytes packed = panels_of(layout, blocks_of(layout, outputs * inputs, 5), outputs, inputs);
    const Floats x = values(rows * inputs, 6);
    for (const auto& variant : EVERY_ISA(linear_quantized)) {
      const auto multiply = [&](int64_t first, int64_t count) {
        Floats y(static_cast<size_t>(count * outputs));
        variant.run(context_of(2), {x.data() + first * inputs, packed.data(), nullptr, y.data(), layout.type, 8, count, inputs,
                                    static_cast<int64_t>(packed.size()), outputs});
        return y;
      };
      const Floats all = multiply(0, rows);
      for (const int64_t count : {1, 2, 3, 5, 8, 16, 31}) {
        for (int64_t first = 0; first + count <= rows; first += count) {
          const Floats some = multiply(first, count);
          CHECK(std::memcmp(some.data(), all.data() + first * outputs, some.size() * sizeof(float)) == 0);
        }
      }
    }
  }
}

// Codes of activations are off by half a step at most, 1/254 of the largest of their 32 (and a hair, for the rounding of the scale); the
// rest is the roundoff of one chain per span.
TEST("the product is as near to that of the decoded weights as the rounding of activations allows") {
  constexpr int64_t rows = 5, outputs = 37;
  for (const QuantLayout& layout : quant_layouts()) {
    const int64_t inputs = 9 * layout.elements;
    const Bytes blocks = blocks_of(layout, outputs * inputs, 8);
    const Bytes packed = panels_of(layout, blocks, outputs, inputs);
    const Floats x = values(rows * inputs, 9);
    Floats y(static_cast<size_t>(rows * outputs));
    wl::op::linear_quantized(context_of(2), {x.data(), packed.data(), nullptr, y.data(), layout.type, 8, rows, inputs,
                                             static_cast<int64_t>(packed.size()), outputs});
    Doubles wanted, bounds;
    for (int64_t m = 0; m < rows; ++m) {
      for (int64_t n = 0; n < outputs; ++n) {
        double sum = 0.0, bound = 0.0, size = 0.0;
        for (int64_t k = 0; k < inputs; ++k) {
          const double w = reference::quantized_value(layout.type, blocks.data(), n * inputs + k);
          const double value = x[static_cast<size_t>(m * inputs + k)];
          double widest = 0.0;
          for (int64_t i = k / 32 * 32; i < k / 32 * 32 + 32; ++i) widest = std::max(widest, std::abs(static_cast<double>(x[static_cast<size_t>(m * inputs + i)])));
          sum += w * value;
          bound += std::abs(w) * widest / 254.0 * 1.00001;
          size += (std::abs(w) + 1.0) * widest;
        }
        wanted.push_back(sum);
        bounds.push_back(bound + size * roundoff * static_cast<double>(inputs / 16 + 8));
      }
    }
    within(y, wanted, layout.name, [&](size_t i) { return bounds[i]; });
  }
}

TEST("weights whose scales are no numbers give no numbers, and no trap") {
  constexpr int64_t rows = 3, outputs = 35;
  Numbers numbers(11);
  for (const QuantLayout& layout : quant_layouts()) {
    const int64_t inputs = 2 * layout.elements;
    Bytes blocks(static_cast<size_t>(outputs * wl::quantized_bytes(layout.type, inputs)));
    const Floats x = values(rows * inputs, 12);
    for (int round = 0; round < 50; ++round) {
      for (uint8_t& byte : blocks) byte = static_cast<uint8_t>(round == 0 ? 0xff : numbers.next());
      const Bytes packed = panels_of(layout, blocks, outputs, inputs);
      for (const auto& variant : EVERY_ISA(linear_quantized)) {
        Floats y(static_cast<size_t>(rows * outputs));
        variant.run(context_of(2), {x.data(), packed.data(), nullptr, y.data(), layout.type, 8, rows, inputs, static_cast<int64_t>(packed.size()), outputs});
        for (int64_t n = 0; n < outputs; ++n) {
          double sum = 0.0;
          for (int64_t k = 0; k < inputs; ++k) sum += reference::quantized_value(layout.type, blocks.data(), n * inputs + k) * 0.0;
          if (std::isnan(sum)) CHECK(!std::isfinite(y[static_cast<size_t>(n)]));
        }
      }
    }
  }
}

TEST("an input that is not finite makes all outputs of its row NaN, and no other") {
  constexpr int64_t rows = 6, outputs = 20;
  for (const QuantLayout& layout : quant_layouts()) {
    const int64_t inputs = layout.elements;
    const Bytes packed = panels_of(layout, blocks_of(layout, outputs * inputs, 13), outputs, inputs);
    for (const float bad : {INFINITY, -INFINITY, NAN}) {
      Floats x = values(rows * inputs, 14);
      x[static_cast<size_t>(2 * inputs + inputs / 3)] = bad;
      for (const auto& variant : EVERY_ISA(linear_quantized)) {
        Floats y(static_cast<size_t>(rows * outputs));
        variant.run(context_of(1), {x.data(), packed.data(), nullptr, y.data(), layout.type, 8, rows, inputs, static_cast<int64_t>(packed.size()), outputs});
        for (size_t i = 0; i < y.size(); ++i) CHECK_EQUAL(std::isnan(y[i]), i / outputs == 2);
      }
    }
  }
}

TEST("weights of 16 bits give the bits of the same weights in f32") {
  for (const int64_t type : {1, 30}) {
    for (const Shape& s : {Shape{1, 1, 1}, {1, 200, 33}, {2, 17, 100}, {5, 64, 77}, {9, 70, 200}}) {
      const Floats w = values(s.outputs * s.inputs, 21), x = values(s.rows * s.inputs, 22), bias = values(s.outputs, 23);
      Bytes halves(w.size() * 2);
      const auto size = static_cast<int64_t>(halves.size());
      wl::op::quantize(context_of(1), {w.data(), halves.data(), type, static_cast<int64_t>(w.size()), size});
      Floats wide(w.size());
      wl::op::dequantize(context_of(1), {halves.data(), wide.data(), type, size, static_cast<int64_t>(w.size())});
      Bytes packed(static_cast<size_t>(wl::quantized_panel_bytes(type, s.outputs, s.inputs)));
      wl::op::quantized_pack(context_of(2), {halves.data(), packed.data(), type, s.inputs, s.outputs, s.inputs * 2, static_cast<int64_t>(packed.size())});
      const auto y = same_everywhere(EVERY_ISA(linear_quantized), "weights of 16 bits", [&](auto* run, wl::Context& context) {
        std::vector<Floats> out = {Floats(static_cast<size_t>(s.rows * s.outputs))};
        run(context, {x.data(), packed.data(), bias.data(), out[0].data(), type, 8, s.rows, s.inputs, static_cast<int64_t>(packed.size()), s.outputs});
        return out;
      })[0];
      Floats wanted(y.size());
      wl::op::linear_forward(context_of(1), {x.data(), wide.data(), bias.data(), wanted.data(), 16, 8, s.rows, s.inputs, s.outputs});
      CHECK(same_bits(y, wanted));
    }
  }
}

TEST("ranks that share whole blocks of a contraction evenly get the bits of one rank alone") {
  constexpr int64_t rows = 3, outputs = 18;
  for (const QuantLayout& layout : quant_layouts()) {
    const int64_t inputs = 16 * layout.elements;
    const Bytes blocks = blocks_of(layout, outputs * inputs, 15);
    const Floats x = values(rows * inputs, 16);
    const auto multiply = [&](int64_t first, int64_t terms, int64_t spans) {
      const Floats part = contract::columns(x, inputs, first, first + terms);
      Bytes cut;
      const int64_t whole = wl::quantized_bytes(layout.type, inputs), from = first / layout.elements * layout.bytes;
      for (int64_t n = 0; n < outputs; ++n) {
        cut.insert(cut.end(), blocks.begin() + n * whole + from, blocks.begin() + n * whole + from + wl::quantized_bytes(layout.type, terms));
      }
      const Bytes packed = panels_of(layout, cut, outputs, terms);
      Floats y(static_cast<size_t>(rows * outputs));
      wl::op::linear_quantized(context_of(1), {part.data(), packed.data(), nullptr, y.data(), layout.type, spans, rows, terms,
                                               static_cast<int64_t>(packed.size()), outputs});
      return y;
    };
    const Floats alone = multiply(0, inputs, 8);
    for (const int64_t ranks : {2, 4, 8}) {
      std::vector<Floats> parts;
      for (int64_t r = 0; r < ranks; ++r) parts.push_back(multiply(r * inputs / ranks, inputs / ranks, 8 / ranks));
      CHECK(same_bits(contract::added(parts), alone));
    }
  }
}

}  // namespace

TEST_MAIN
