// Blocks of quantised types: what they are worth bit for bit, and how values become blocks.
#include "core/quant-types.h"
#include "reference/quantized.h"
#include "tests/check.h"
#include "tests/every-isa.h"

namespace {

using namespace every;
using reference::quant_layouts;
using reference::QuantLayout;
using Bytes = std::vector<uint8_t>;

constexpr int64_t f16 = 1, bf16 = 30;

Floats decoded(const Bytes& blocks, int64_t type, int64_t elements) {
  return same_everywhere(EVERY_ISA(dequantize), "dequantize of type " + std::to_string(type), [&](auto* run, wl::Context& context) {
    std::vector<Floats> y = {Floats(static_cast<size_t>(elements))};
    run(context, {blocks.data(), y[0].data(), type, static_cast<int64_t>(blocks.size()), elements});
    return y;
  })[0];
}

Bytes encoded(const Floats& x, int64_t type) {
  const auto elements = static_cast<int64_t>(x.size());
  Bytes first;
  for (const auto& variant : EVERY_ISA(quantize)) {
    for (int threads = 1; threads <= 3; ++threads) {
      Bytes blocks(static_cast<size_t>(wl::quantized_bytes(type, elements)));
      variant.run(context_of(threads), {x.data(), blocks.data(), type, elements, static_cast<int64_t>(blocks.size())});
      if (first.empty()) first = blocks;
      CHECK(first == blocks);
    }
  }
  return first;
}

double squared_error(const Floats& x, const Floats& y) {
  double sum = 0.0;
  for (size_t i = 0; i < x.size(); ++i) sum += (static_cast<double>(x[i]) - y[i]) * (static_cast<double>(x[i]) - y[i]);
  return sum;
}

TEST("blocks of any bytes are worth what the definition says, to the bit") {
  Numbers numbers(1);
  for (const QuantLayout& layout : quant_layouts()) {
    const int64_t elements = layout.elements * 3001;
    Bytes blocks(static_cast<size_t>(elements / layout.elements * layout.bytes));
    for (uint8_t& byte : blocks) byte = static_cast<uint8_t>(numbers.next());
    const Floats seen = decoded(blocks, layout.type, elements);
    int64_t wrong = 0;
    for (int64_t i = 0; i < elements; ++i) {
      const auto wanted = static_cast<float>(reference::quantized_value(layout.type, blocks.data(), i));
      const float value = seen[static_cast<size_t>(i)];
      // A zero may have either sign where it is the difference of two.
      wrong += std::isnan(wanted) ? !std::isnan(value) : value != wanted;
    }
    if (wrong != 0) check::fault(__FILE__, __LINE__, std::string(layout.name) + ": " + std::to_string(wrong) + " values off");
  }
}

TEST("every half and every bfloat is decoded exactly, and comes back") {
  Bytes bytes;
  for (int bits = 0; bits < 0x10000; ++bits) {
    bytes.push_back(static_cast<uint8_t>(bits));
    bytes.push_back(static_cast<uint8_t>(bits >> 8));
  }
  const Floats halves = decoded(bytes, f16, 0x10000), bfloats = decoded(bytes, bf16, 0x10000);
  Floats finite_halves, finite_bfloats;
  Bytes half_bytes, bfloat_bytes;
  for (unsigned bits = 0; bits < 0x10000; ++bits) {
    const double wanted = reference::half_value(bits);
    CHECK(std::isnan(wanted) ? std::isnan(halves[bits]) : same_bits(halves[bits], static_cast<float>(wanted)));
    const uint32_t wide = bits << 16;
    CHECK(std::memcmp(&bfloats[bits], &wide, 4) == 0);
    if (std::isfinite(halves[bits])) {
      finite_halves.push_back(halves[bits]);
      half_bytes.insert(half_bytes.end(), {bytes[2 * bits], bytes[2 * bits + 1]});
    }
    if (std::isfinite(bfloats[bits])) {
      finite_bfloats.push_back(bfloats[bits]);
      bfloat_bytes.insert(bfloat_bytes.end(), {bytes[2 * bits], bytes[2 * bits + 1]});
    }
  }
  CHECK(encoded(finite_halves, f16) == half_bytes);
  CHECK(encoded(finite_bfloats, bf16) == bfloat_bytes);
}

TEST("a float becomes the nearest half, and of two the even one") {
  // Between each two neighbours: the middle, and the floats beside it.
  Floats x, wanted;
  for (unsigned bits = 0; bits < 0x7bff; ++bits) {
    const auto low = static_cast<float>(reference::half_value(bits)), high = static_cast<float>(reference::half_value(bits + 1));
    const float middle = low + (high - low) / 2;
    x.insert(x.end(), {std::nextafter(middle, 0.0f), middle, -std::nextafter(middle, 1e9f)});
    wanted.insert(wanted.end(), {low, bits % 2 == 0 ? low : high, -high});
  }
  CHECK(same_bits(decoded(encoded(x, f16), f16, static_cast<int64_t>(x.size())), wanted));
}

TEST("types of one scale are quantised by the rounding of their definition") {
  Floats x = values(32 * 4000, 2);
  for (int64_t b = 0; b < 4000; ++b) {
    const float size = std::ldexp(1.0f, static_cast<int>(b % 24) - 14);
    for (int64_t i = 0; i < 32; ++i) x[static_cast<size_t>(b * 32 + i)] *= size;
  }
  std::fill(x.begin() + 64, x.begin() + 96, 0.0f);
  std::fill(x.begin() + 96, x.begin() + 128, -3.0f);
  for (const QuantLayout& layout : quant_layouts()) {
    if (layout.elements == 32) CHECK(encoded(x, layout.type) == reference::quantized_simply(layout.type, x));
  }
}

// The scale and minimum of each sub-block from its range, no search: what a search must beat.
double plain_error(const Floats& x, const QuantLayout& layout) {
  const int64_t run = layout.type == 14 ? 16 : 32;
  const double top = layout.type == 12 ? 15 : layout.type == 13 ? 31 : 63;
  double sum = 0.0;
  for (size_t first = 0; first < x.size(); first += static_cast<size_t>(run)) {
    double low = 0.0, high = 0.0;
    for (int64_t i = 0; i < run; ++i) {
      low = std::min<double>(low, x[first + static_cast<size_t>(i)]);
      high = std::max<double>(high, x[first + static_cast<size_t>(i)]);
    }
    if (layout.type == 14) high = std::max(high, -low), low = -high;
    const double step = (high - low) / top;
    for (int64_t i = 0; i < run && step > 0.0; ++i) {
      const double value = x[first + static_cast<size_t>(i)];
      const double off = std::nearbyint((value - low) / step) * step + low - value;
      sum += off * off;
    }
  }
  return sum;
}

TEST("K types lose less than ranges with scales of full precision would") {
  for (const QuantLayout& layout : quant_layouts()) {
    if (layout.elements != 256) continue;
    for (const uint64_t seed : {3u, 4u, 5u}) {
      Numbers numbers(seed);
      Floats x(256 * 200);
      for (float& value : x) value = seed == 3 ? numbers.one() + numbers.one() + numbers.one() + numbers.one() : seed == 4 ? numbers.one() * numbers.one() * numbers.one() : numbers.one() + 0.4f;
      const Bytes blocks = encoded(x, layout.type);
      const double error = squared_error(x, decoded(blocks, layout.type, static_cast<int64_t>(x.size())));
      const double plain = plain_error(x, layout);
      if (!(error < plain)) check::fault(__FILE__, __LINE__, std::string(layout.name) + ": error " + check::text(error) + ", plain " + check::text(plain));
    }
  }
}

TEST("blocks of zeros, of one value and of tiny values are kept as well as halves can") {
  for (const QuantLayout& layout : quant_layouts()) {
    for (const float value : {0.0f, 1.0f, -1.0f, 0.3f, -300.0f, 1e-30f, -1e-42f}) {
      const Floats x(256, value);
      const Floats y = decoded(encoded(x, layout.type), layout.type, 256);
      // A scale is off by 2^-11 of itself, and by 2^-25 below the smallest normal half; the largest code is at most 128.
      for (const float seen : y) CHECK(std::abs(seen - value) <= std::abs(value) * 0.034f + 128 * 0x1p-25f);
    }
  }
}

TEST("values that are not finite, or too large for a half, are refused") {
  for (const QuantLayout& layout : quant_layouts()) {
    for (const float bad : {INFINITY, -INFINITY, NAN, 3e38f}) {
      Floats x(512, 0.5f);
      x[300] = bad;
      Bytes blocks(static_cast<size_t>(wl::quantized_bytes(layout.type, 512)));
      for (const auto& variant : EVERY_ISA(quantize)) {
        refused(std::isfinite(bad) ? "quantize: values are too large for the type, whose scales are half-precision numbers" : "quantize: a value is not finite",
                [&] { variant.run(context_of(2), {x.data(), blocks.data(), layout.type, 512, static_cast<int64_t>(blocks.size())}); });
      }
    }
  }
}

TEST("rows of a table are those of the whole, and an id outside of it is refused") {
  constexpr int64_t table_rows = 9;
  for (const QuantLayout& layout : quant_layouts()) {
    const int64_t cols = 2 * layout.elements, row = wl::quantized_bytes(layout.type, cols);
    const Bytes blocks = encoded(values(table_rows * cols, 7), layout.type);
    const Floats whole = decoded(blocks, layout.type, table_rows * cols);
    Integers ids = {3, 8, 0, 3};
    for (const auto& variant : EVERY_ISA(dequantize_rows)) {
      Floats y(static_cast<size_t>(4 * cols));
      variant.run(context_of(2), {blocks.data(), ids.data(), y.data(), layout.type, table_rows, row, 4, cols});
      for (size_t t = 0; t < 4; ++t) CHECK(std::memcmp(y.data() + t * cols, whole.data() + ids[t] * cols, cols * sizeof(float)) == 0);
      for (const int32_t bad : {-1, 9}) {
        Integers wrong = {0, bad};
        refused("dequantize_rows: an id is outside the table",
                [&] { variant.run(context_of(2), {blocks.data(), wrong.data(), y.data(), layout.type, table_rows, row, 2, cols}); });
      }
    }
  }
}

}  // namespace

TEST_MAIN
