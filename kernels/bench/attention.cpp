// Prints the speed of attention in training: forward and backward against the FMA peak measured beside them.
// WL_ISA and WL_THREADS choose what is measured. With one thread the clock is the thread's CPU time, so that other
// processes on the machine disturb little; with more it is the wall clock.
//
// Operations counted: for each query row, key it sees and element of the head 4 forward (two products), 10 backward (five products,
// the scores again among them).
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <mutex>
#include <vector>

#include "core/ops.gen.h"
#include "core/runtime.h"
#include "core/scratch.h"
#include "wl.h"

namespace {

using Floats = std::vector<float>;

wl::Context& context() {
  static wl::Scratch scratch;
  static wl::Context instance(wl::pool(), scratch);
  scratch.reset();
  return instance;
}

double now() {
  timespec t;
  clock_gettime(wl_threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return double(t.tv_sec) + double(t.tv_nsec) * 1e-9;
}

template <class Work>
double fastest(Work work) {
  double best = 1e9;
  const double start = now();
  for (int run = 0; run < 4 || (run < 50 && now() - start < 0.5); run++) {
    const double begin = now();
    work();
    best = std::min(best, now() - begin);
  }
  return best;
}

double fma_peak() {
  wl_stream stream = 0;
  double gigaflops = 0;
  std::mutex busy;
  wl_stream_new(0, &stream);
  busy.lock();
  wl_measure_fma_peak(stream, wl_threads(), &gigaflops, [](void* lock, const wl_error*) { static_cast<std::mutex*>(lock)->unlock(); }, &busy);
  busy.lock();
  wl_stream_free(stream);
  return gigaflops;
}

Floats numbers(int64_t count) {
  Floats values(count);
  uint32_t state = 1;
  for (float& value : values) value = float(int32_t(state = state * 1664525u + 1013904223u)) * 0x1p-30f;
  return values;
}

struct Shape {
  int64_t sequences, length, heads, kv_heads, size;
  int64_t window = 0;
};

void train(const Shape& s, double peak) {
  const int64_t rows = s.sequences * s.length, q_row = s.heads * s.size, k_row = s.kv_heads * s.size;
  const Floats q = numbers(rows * q_row), k = numbers(rows * k_row), v = numbers(rows * k_row), dout = numbers(rows * q_row);
  Floats out(rows * q_row), lse(rows * s.heads), dq(rows * q_row), dk(rows * k_row), dv(rows * k_row);
  const float scale = 1.0f / std::sqrt(float(s.size));
  const double forward = fastest([&] {
    wl::op::attention_forward(context(), {q.data(), k.data(), v.data(), out.data(), lse.data(), nullptr, s.length, s.kv_heads, scale, s.window, 0, rows,
                                          q_row, k_row, s.heads, 0});
  });
  const double backward = fastest([&] {
    wl::op::attention_backward(context(), {dout.data(), q.data(), k.data(), v.data(), out.data(), lse.data(), nullptr, dq.data(), dk.data(),
                                           dv.data(), s.length, s.kv_heads, scale, s.window, 0, rows, q_row, k_row, s.heads, 0});
  });
  const double all = double(s.length) * double(s.length + 1) / 2, beyond = double(s.window == 0 ? 0 : s.length - s.window);
  const double products = double(s.sequences * s.heads * s.size) * (all - beyond * (beyond + 1) / 2) * 1e-9;
  const auto print = [&](const char* what, double operations, double seconds) {
    const double rate = operations * products / seconds;
    std::printf("  %s %8.2f ms %6.1f GFLOP/s %3.0f %%", what, seconds * 1e3, rate, 100 * rate / peak);
  };
  if (s.window > 0) std::printf("window %ld: ", long(s.window));
  std::printf("%3ld x %4ld heads %2ld/%-2ld size %3ld", long(s.sequences), long(s.length), long(s.heads), long(s.kv_heads), long(s.size));
  print("forward", 4, forward);
  print("backward", 10, backward);
  print("both", 14, forward + backward);
  std::printf("\n");
}

}  // namespace

int main() {
  if (wl_start() != WL_OK) {
    std::printf("%s\n", wl_last_error()->message);
    return 1;
  }
  const double peak = fma_peak();
  std::printf("%s, %d threads, FMA peak %.1f GFLOP/s\n", wl_isa(), wl_threads(), peak);
  for (const Shape& s : {Shape{16, 256, 6, 6, 32}, Shape{16, 256, 6, 6, 64}, Shape{4, 1024, 4, 4, 64}, Shape{2, 1024, 8, 2, 128},
                         Shape{4, 512, 4, 4, 80}, Shape{4, 1024, 4, 4, 64, 256}}) {
    train(s, peak);
  }
}
