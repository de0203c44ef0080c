// Prints the speed of linear layers with quantised weights: GB/s of panels read by one row (decode) beside the bandwidth of reading memory,
// and operations per second for many rows (prefill) beside the rate of byte products that a loop reaches, and beside the f32 layer. The part
// `shapes` prints what decoding reads at shapes of models, from 1 to 8 rows.
// WL_ISA and WL_THREADS choose what is measured. With one thread the clock is the thread's CPU time, so that other processes on the machine
// disturb little; with more it is the wall clock.
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "bench/stand.h"
#include "core/isa.h"
#include "core/measure-bytes.h"
#include "core/measure.h"
#include "core/ops.gen.h"
#include "core/quant-types.h"
#include "core/runtime.h"
#include "wl.h"

namespace {

using namespace wl;
using bench::numbers;

struct Bench : bench::Stand {
  double byte_peak() {
    constexpr int64_t rounds = 20000;
    int32_t sinks[64 * 16] = {};
    const double operations = static_cast<double>(WL_SELECT(byte_loop)(rounds, sinks));
    const double seconds = best([&] {
      context.parallel_for(context.threads(), 1, [&](int64_t i, int64_t, int) { WL_SELECT(byte_loop)(rounds, sinks + i * 16); });
    });
    return operations * context.threads() / seconds / 1e9;
  }
};

struct Type {
  const char* name;
  Quant type;
};
constexpr Type types[] = {{"q4_0", Quant::q4_0}, {"q4_1", Quant::q4_1}, {"q5_0", Quant::q5_0}, {"q5_1", Quant::q5_1}, {"q8_0", Quant::q8_0},
                          {"q4_k", Quant::q4_k}, {"q5_k", Quant::q5_k}, {"q6_k", Quant::q6_k}, {"f16", Quant::f16},   {"bf16", Quant::bf16}};

struct Layer {
  int64_t outputs, inputs;
};

// Of SmolLM2-135M; then those of models of one and of seven billion parameters.
constexpr Layer layers[] = {{576, 576}, {1536, 576}, {576, 1536}, {49152, 576}, {2048, 2048}, {8192, 2048}, {4096, 11008}};

/** Panels of as many weights of one shape as are far larger than the caches, made of a few rows each. */
struct Weights {
  int64_t id, outputs, inputs, bytes, count;
  std::vector<uint8_t> memory;
  uint8_t* first;

  Weights(Context& context, int64_t type, Layer layer, int64_t least) : id(type), outputs(layer.outputs), inputs(layer.inputs) {
    bytes = (quantized_panel_bytes(id, outputs, inputs) + 63) / 64 * 64;
    count = (least + bytes - 1) / bytes;
    const int64_t row = quantized_bytes(id, inputs), share = quantized_panel_bytes(id, 64, inputs);
    const std::vector<float> rows = numbers(64 * inputs);
    std::vector<uint8_t> few(static_cast<size_t>(64 * row));
    WL_SELECT(quantize)(context, {rows.data(), few.data(), id, 64 * inputs, static_cast<int64_t>(few.size())});
    memory.resize(static_cast<size_t>(bytes * count + 64));
    first = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) / 64 * 64);
    for (int64_t at = 0; at < bytes * count; at += share) {
      if (at == 0) WL_SELECT(quantized_pack)(context, {few.data(), first, id, inputs, 64, row, share});
      else std::memcpy(first + at, first, static_cast<size_t>(std::min(share, bytes * count - at)));
    }
  }

  double file_bytes() const { return static_cast<double>(count * outputs * quantized_bytes(id, inputs)); }

  void multiply(Context& context, int64_t rows, const float* x, float* y) const {
    for (int64_t i = 0; i < count; ++i) WL_SELECT(linear_quantized)(context, {x, first + i * bytes, nullptr, y, id, 8, rows, inputs, bytes, outputs});
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (wl_start() != WL_OK) {
    std::fprintf(stderr, "%s\n", wl_last_error()->message);
    return 1;
  }
  const std::string part = argc > 1 ? argv[1] : "all";
  Bench bench;
  Context& context = bench.context;
  std::printf("%s%s, %d threads\n", wl_isa(), isa() >= Isa::avx512 && has_vnni() ? " with VNNI" : "", wl_threads());

  // Decode: a weight far larger than the caches, so that each pass reads memory.
  constexpr int64_t outputs = 49152, inputs = 2048;
  const std::vector<float> weight_rows = numbers(64 * inputs);
  const std::vector<float> plain = part == "prefill" ? std::vector<float>(128) : std::vector<float>(static_cast<size_t>(32) << 20);
  std::vector<float> sums(static_cast<size_t>(context.threads()) * 16);
  const auto bandwidth = [&] {
    const int64_t pieces = context.threads(), piece = static_cast<int64_t>(plain.size()) / pieces / 128 * 128;
    const double seconds = bench.best([&] {
      context.parallel_for(pieces, 1, [&](int64_t i, int64_t, int) { sums[static_cast<size_t>(i) * 16] = WL_SELECT(read_loop)(plain.data() + i * piece, piece); });
    });
    return 4.0 * static_cast<double>(piece * pieces) / seconds / 1e9;
  };
  if (part == "shapes") {
    for (const Type& type : types) {
      if (argc > 2 && std::strcmp(argv[2], type.name) != 0) continue;
      for (const Layer& layer : layers) {
        const auto id = static_cast<int64_t>(type.type);
        if (quantized_bytes(id, layer.inputs) < 0) continue;
        const Weights weights(context, id, layer, int64_t{96} << 20);
        const std::vector<float> x = numbers(8 * layer.inputs);
        std::vector<float> y(static_cast<size_t>(8 * layer.outputs));
        const double limit = bandwidth();
        std::printf("%-5s %5ld x %5ld", type.name, layer.outputs, layer.inputs);
        for (const int64_t rows : {1, 2, 4, 8}) {
          const double rate = weights.file_bytes() / bench.best([&] { weights.multiply(context, rows, x.data(), y.data()); }) / 1e9;
          if (rows == 1) std::printf("  1 row: %5.1f GB/s, %3.0f%% of %4.1f", rate, 100 * rate / limit, limit);
          else std::printf("; %ld rows: %5.1f", rows, rate);
        }
        std::printf("\n");
        std::fflush(stdout);
      }
    }
    return 0;
  }
  for (const Type& type : types) {
    if (argc > 2 && std::strcmp(argv[2], type.name) != 0) continue;
    const auto id = static_cast<int64_t>(type.type);
    const int64_t row_bytes = quantized_bytes(id, inputs);
    std::vector<uint8_t> few(static_cast<size_t>(64 * row_bytes));
    WL_SELECT(quantize)(context, {weight_rows.data(), few.data(), id, 64 * inputs, static_cast<int64_t>(few.size())});
    std::printf("%-5s", type.name);
    if (part != "prefill") {
      const int64_t bytes = quantized_panel_bytes(id, outputs, inputs);
      std::vector<uint8_t> packed(static_cast<size_t>(bytes) + 64);
      auto* panels = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(packed.data()) + 63) / 64 * 64);
      const int64_t share = quantized_panel_bytes(id, 64, inputs);
      for (int64_t at = 0; at < bytes; at += share) {
        WL_SELECT(quantized_pack)(context, {few.data(), panels + at, id, inputs, 64, row_bytes, share});
      }
      const std::vector<float> x = numbers(4 * inputs);
      std::vector<float> y(static_cast<size_t>(4 * outputs));
      const double limit = bandwidth();
      const auto run = [&](int64_t rows) {
        return bench.best([&] { WL_SELECT(linear_quantized)(context, {x.data(), panels, nullptr, y.data(), id, 8, rows, inputs, bytes, outputs}); });
      };
      const double one = static_cast<double>(bytes) / run(1) / 1e9;
      const double file = one * static_cast<double>(outputs * row_bytes) / static_cast<double>(bytes);
      std::printf("  1 row: %5.1f GB/s of the file, %3.0f%% of %4.1f", file, 100 * file / limit, limit);
      std::printf("; 4 rows: %5.1f GB/s", static_cast<double>(outputs * row_bytes) / run(4) / 1e9);
    }
    if (part != "decode") {
      const double peak = bench.byte_peak();
      for (const int64_t k : {int64_t{2048}}) {
        constexpr int64_t n = 2048, rows = 512;
        std::vector<uint8_t> blocks, packed(static_cast<size_t>(quantized_panel_bytes(id, n, k)));
        for (int64_t at = 0; at < n; at += 64) blocks.insert(blocks.end(), few.begin(), few.end());
        WL_SELECT(quantized_pack)(context, {blocks.data(), packed.data(), id, k, n, row_bytes, static_cast<int64_t>(packed.size())});
        const std::vector<float> x = numbers(rows * k);
        std::vector<float> y(static_cast<size_t>(rows * n));
        for (const int64_t m : {int64_t{8}, rows}) {
          const double seconds = bench.best([&] {
            WL_SELECT(linear_quantized)(context, {x.data(), packed.data(), nullptr, y.data(), id, 8, m, k, static_cast<int64_t>(packed.size()), n});
          });
          const double rate = 2.0 * static_cast<double>(m * n * k) / seconds / 1e9;
          std::printf("; %ld rows: %5.0f GOP/s, %2.0f%% of %4.0f", m, rate, 100 * rate / peak, peak);
        }
      }
    }
    std::printf("\n");
    std::fflush(stdout);
  }
  if (part == "decode") return 0;
  constexpr int64_t n = 2048, k = 2048, rows = 512;
  const int64_t size = WL_SELECT(packed_size)(n, k);
  std::vector<float> w = numbers(n * k), packed(static_cast<size_t>(size)), x = numbers(rows * k), y(static_cast<size_t>(rows * n));
  WL_SELECT(linear_pack)(context, {w.data(), packed.data(), n, k, size});
  const double seconds = bench.best([&] {
    WL_SELECT(linear_packed_forward)(context, {x.data(), packed.data(), nullptr, y.data(), 16, 8, rows, k, size, n});
  });
  std::printf("f32    %ld rows: %5.0f GFLOP/s\n", rows, 2.0 * static_cast<double>(rows * n * k) / seconds / 1e9);
}
