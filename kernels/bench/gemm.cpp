// Prints the speed of the linear layers and the fused loss per shape, beside the FMA peak measured just before each.
// WL_ISA and WL_THREADS choose what is measured. With one thread the clock is the thread's CPU time, so that other
// processes on the machine disturb little; with more it is the wall clock.
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "bench/stand.h"
#include "core/isa.h"
#include "core/measure.h"
#include "core/ops.gen.h"
#include "core/runtime.h"
#include "wl.h"

namespace {

using namespace wl;
using bench::numbers;

struct Bench : bench::Stand {
  double peak() {
    constexpr int64_t rounds = 200000;
    float sinks[64 * 16];
    const double operations = static_cast<double>(WL_SELECT(fma_loop)(rounds, sinks));
    const double seconds = best([&] {
      context.parallel_for(context.threads(), 1, [&](int64_t i, int64_t, int) { WL_SELECT(fma_loop)(rounds, sinks + i * 16); });
    });
    return operations * context.threads() / seconds / 1e9;
  }
};

void print(const char* what, double flop, double seconds, double peak) {
  std::printf("  %s %5.0f (%3.0f%%)", what, flop / seconds / 1e9, 100 * flop / seconds / 1e9 / peak);
}

struct Shape {
  int64_t rows, outputs, inputs;
};

void linear(Bench& bench, const Shape& s) {
  const std::vector<float> x = numbers(s.rows * s.inputs), w = numbers(s.outputs * s.inputs), dy = numbers(s.rows * s.outputs);
  std::vector<float> y(dy.size()), dx(x.size()), dw(w.size());
  std::vector<float> packed(static_cast<size_t>(WL_SELECT(packed_size)(s.outputs, s.inputs)));
  const int64_t size = static_cast<int64_t>(packed.size());
  const int64_t length = s.rows > 256 ? 256 : s.rows;
  WL_SELECT(linear_pack)(bench.context, {w.data(), packed.data(), s.outputs, s.inputs, size});
  const double flop = 2.0 * static_cast<double>(s.rows * s.outputs * s.inputs);
  const double peak = bench.peak();
  std::printf("%5ld x %5ld x %4ld  peak %4.0f", s.rows, s.outputs, s.inputs, peak);
  print("forward", flop, bench.best([&] {
    WL_SELECT(linear_forward)(bench.context, {x.data(), w.data(), nullptr, y.data(), 16, 8, s.rows, s.inputs, s.outputs});
  }), peak);
  print("packed", flop, bench.best([&] {
    WL_SELECT(linear_packed_forward)(bench.context, {x.data(), packed.data(), nullptr, y.data(), 16, 8, s.rows, s.inputs, size, s.outputs});
  }), peak);
  print("dx", flop, bench.best([&] {
    WL_SELECT(linear_backward_input)(bench.context, {dy.data(), w.data(), nullptr, nullptr, nullptr, nullptr, dx.data(), 16, 8, 0, s.rows, s.outputs, s.inputs});
  }), peak);
  print("dw", flop, bench.best([&] {
    WL_SELECT(linear_backward_weight)(bench.context, {dy.data(), x.data(), dw.data(), nullptr, length, 8, 0, s.rows, s.outputs, s.inputs});
  }), peak);
  std::printf("\n");
}

void few_rows(Bench& bench, const Shape& s) {
  const std::vector<float> x = numbers(s.rows * s.inputs), w = numbers(s.outputs * s.inputs);
  std::vector<float> y(static_cast<size_t>(s.rows * s.outputs)), packed(static_cast<size_t>(WL_SELECT(packed_size)(s.outputs, s.inputs)));
  const int64_t size = static_cast<int64_t>(packed.size());
  WL_SELECT(linear_pack)(bench.context, {w.data(), packed.data(), s.outputs, s.inputs, size});
  const double seconds = bench.best([&] {
    WL_SELECT(linear_packed_forward)(bench.context, {x.data(), packed.data(), nullptr, y.data(), 16, 8, s.rows, s.inputs, size, s.outputs});
  });
  std::printf("%5ld x %5ld x %4ld  %8.1f us  %6.1f GB/s of weights  %5.0f GFLOP/s\n", s.rows, s.outputs, s.inputs, seconds * 1e6,
              4.0 * static_cast<double>(s.outputs * s.inputs) / seconds / 1e9,
              2.0 * static_cast<double>(s.rows * s.outputs * s.inputs) / seconds / 1e9);
}

void loss(Bench& bench, const Shape& s) {
  const std::vector<float> h = numbers(s.rows * s.inputs), w = numbers(s.outputs * s.inputs);
  std::vector<float> losses(static_cast<size_t>(s.rows)), dh(h.size()), dw(w.size());
  std::vector<int32_t> targets(static_cast<size_t>(s.rows));
  for (size_t i = 0; i < targets.size(); ++i) targets[i] = static_cast<int32_t>(i * 7919 % static_cast<size_t>(s.outputs));
  const int64_t length = s.rows > 256 ? 256 : 64;
  const double flop = 2.0 * static_cast<double>(s.rows * s.outputs * s.inputs);
  const double peak = bench.peak();
  std::printf("%5ld x %5ld x %4ld  peak %4.0f", s.rows, s.outputs, s.inputs, peak);
  print("loss", flop, bench.best([&] {
    WL_SELECT(cross_entropy_forward)(bench.context, {h.data(), w.data(), targets.data(), losses.data(), s.rows, s.inputs, s.outputs});
  }), peak);
  print("with gradients", 3 * flop, bench.best([&] {
    WL_SELECT(cross_entropy_fused)(bench.context, {h.data(), w.data(), targets.data(), losses.data(), dh.data(), dw.data(), 1e-3f, length, 0,
                                                   s.rows, s.inputs, s.outputs});
  }), peak);
  std::printf("\n");
}

}  // namespace

int main(int argc, char** argv) {
  if (wl_start() != WL_OK) {
    std::fprintf(stderr, "%s\n", wl_last_error()->message);
    return 1;
  }
  const std::string part = argc > 1 ? argv[1] : "all";
  const auto wanted = [&](const char* name) { return part == "all" || part == name; };
  Bench bench;
  std::printf("%s, %d threads; rows x outputs x inputs; GFLOP/s and percent of the FMA peak\n", wl_isa(), wl_threads());
  if (wanted("linear")) {
    for (const Shape& s : {Shape{4096, 576, 192}, {4096, 192, 192}, {4096, 512, 192}, {4096, 192, 512}, {4096, 1152, 384}, {4096, 384, 384},
                           {4096, 1536, 384}, {4096, 384, 1536}, {64, 768, 768}, {64, 2304, 768}, {64, 3072, 768}, {64, 768, 3072},
                           {256, 768, 768}, {256, 2304, 768}, {256, 3072, 768}, {256, 768, 3072}, {1024, 2304, 768}, {4096, 768, 768},
                           {4096, 2304, 768}, {4096, 3072, 768}, {4096, 768, 3072}, {4096, 4096, 192}, {256, 50304, 768}}) {
      linear(bench, s);
    }
  }
  if (wanted("rows")) {
    for (const int64_t rows : {1, 4, 8, 16}) {
      for (const Shape& s : {Shape{rows, 192, 192}, {rows, 512, 192}, {rows, 4096, 192}, {rows, 768, 768}, {rows, 3072, 768},
                             {rows, 50304, 768}}) {
        few_rows(bench, s);
      }
    }
  }
  if (wanted("loss")) {
    for (const Shape& s : {Shape{4096, 4096, 192}, {4096, 4096, 384}, {256, 50304, 768}}) loss(bench, s);
  }
}
