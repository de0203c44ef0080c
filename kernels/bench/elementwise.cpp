// Prints the speed of the element-wise, norm, embedding, optimizer, random and sampling operations: time, and bytes moved per second.
// WL_ISA and WL_THREADS choose what is measured. With one thread the clock is the thread's CPU time, so that other
// processes on the machine disturb little; with more it is the wall clock.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <vector>

#include "core/context.h"
#include "core/isa.h"
#include "core/ops.gen.h"
#include "core/runtime.h"
#include "core/scratch.h"
#include "wl.h"

namespace {

using namespace wl;

using Floats = std::vector<float>;
using Integers = std::vector<int32_t>;

struct Bench {
  Scratch scratch;
  Context context{pool(), scratch};
  const char* only = nullptr;

  double now() const {
    timespec t;
    clock_gettime(context.threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
  }

  /** Times the fastest of many runs of `work`, which reads and writes `floats` floats once. */
  template <class Work>
  void measure(const char* name, int64_t floats, Work work) {
    if (only != nullptr && std::strstr(name, only) == nullptr) return;
    double fastest = 1e9;
    const double start = now();
    for (int run = 0; run < 4 || (run < 100 && now() - start < 0.3); ++run) {
      const double begin = now();
      work();
      fastest = std::min(fastest, now() - begin);
      scratch.reset();
    }
    std::printf("%-44s %9.1f us  %6.2f GB/s\n", name, fastest * 1e6, static_cast<double>(floats) * 4e-9 / fastest);
  }
};

Floats numbers(int64_t n) {
  Floats values(static_cast<size_t>(n));
  uint32_t state = 1;
  for (float& value : values) value = static_cast<float>(static_cast<int32_t>(state = state * 1664525u + 1013904223u)) * 0x1p-30f;
  return values;
}

Integers ids_below(int64_t bound, int64_t n) {
  Integers values(static_cast<size_t>(n));
  uint32_t state = 7;
  for (int32_t& value : values) value = static_cast<int32_t>((uint64_t{state = state * 1664525u + 1013904223u} * static_cast<uint64_t>(bound)) >> 32);
  return values;
}

#define RUN(op, ...) WL_SELECT(op)(bench.context, op##_args{__VA_ARGS__})

void elements(Bench& bench, int64_t n) {
  const Floats a = numbers(n), b = numbers(n), c = numbers(n);
  Floats y(static_cast<size_t>(n)), z(static_cast<size_t>(n));
  float total;
  bench.measure("add", 3 * n, [&] { RUN(add, a.data(), b.data(), y.data(), n); });
  bench.measure("sum", n, [&] { RUN(sum, a.data(), &total, n); });
  bench.measure("gelu_forward, tanh", 2 * n, [&] { RUN(gelu_forward, a.data(), y.data(), 1, n); });
  bench.measure("gelu_backward, tanh", 3 * n, [&] { RUN(gelu_backward, a.data(), b.data(), y.data(), 1, n); });
  bench.measure("gelu_forward, erf", 2 * n, [&] { RUN(gelu_forward, a.data(), y.data(), 0, n); });
  bench.measure("gated_silu_forward", 3 * n, [&] { RUN(gated_silu_forward, a.data(), b.data(), y.data(), n); });
  bench.measure("gated_silu_backward", 5 * n, [&] { RUN(gated_silu_backward, a.data(), b.data(), c.data(), y.data(), z.data(), n); });
  bench.measure("normal", n, [&] { RUN(normal, y.data(), 0.0f, 1.0f, 1, 2, n); });
  bench.measure("dropout", 2 * n, [&] { RUN(dropout, a.data(), y.data(), 0.1f, 1, 2, 3, 0, n / 384, n / 384, n / 384, 384); });
}

void rows(Bench& bench, int64_t m, int64_t d, int64_t length) {
  const Floats x = numbers(m * d), residual = numbers(m * d), w = numbers(d), b = numbers(d);
  Floats h(static_cast<size_t>(m * d)), y(h.size()), dx(h.size()), dw(static_cast<size_t>(d)), db(dw.size());
  Floats mean(static_cast<size_t>(m)), inverse(mean.size());
  bench.measure("rms_norm_forward", 4 * m * d, [&] {
    RUN(rms_norm_forward, x.data(), residual.data(), w.data(), h.data(), y.data(), inverse.data(), 1e-5f, 0.0f, m, d);
  });
  bench.measure("rms_norm_backward", 4 * m * d, [&] {
    RUN(rms_norm_backward, x.data(), h.data(), w.data(), inverse.data(), residual.data(), dx.data(), dw.data(), length, 8, 0, 0.0f, m, d);
  });
  bench.measure("layer_norm_forward", 4 * m * d, [&] {
    RUN(layer_norm_forward, x.data(), residual.data(), w.data(), b.data(), h.data(), y.data(), mean.data(), inverse.data(), 1e-5f, m, d);
  });
  bench.measure("layer_norm_backward", 4 * m * d, [&] {
    RUN(layer_norm_backward, x.data(), h.data(), w.data(), mean.data(), inverse.data(), residual.data(), dx.data(), dw.data(), db.data(),
        length, 8, 0, m, d);
  });
}

void table(Bench& bench, const char* name, int64_t m, int64_t v, int64_t d) {
  const Floats dy = numbers(m * d);
  const Integers ids = ids_below(v, m);
  Floats dw(static_cast<size_t>(v * d));
  bench.measure(name, m * d + v * d, [&] { RUN(embedding_backward, ids.data(), dy.data(), dw.data(), 0, v, 256, 8, 0, m, d, v); });
}

void optimizer(Bench& bench, int64_t n) {
  Floats p = numbers(n), g = numbers(n), first = numbers(n), second(static_cast<size_t>(n), 1.0f);
  float* const lists[4] = {p.data(), g.data(), first.data(), second.data()};
  const int64_t sizes[1] = {n};
  float norm = 1.0f, largest;
  int32_t total[8];
  bench.measure("squares_max", n, [&] { RUN(squares_max, lists + 1, sizes, 1, &largest); });
  bench.measure("squares_sum", n, [&] { RUN(squares_sum, lists + 1, sizes, 1, &largest, total); });
  bench.measure("adamw", 7 * n, [&] {
    RUN(adamw, lists, sizes, 1, lists + 1, sizes, 1, lists + 2, sizes, 1, lists + 3, sizes, 1, &norm, 1.0f, 1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 10);
  });
}

void tokens(Bench& bench, int64_t m, int64_t v) {
  Floats logits = numbers(m * v);
  for (float& x : logits) x *= 3.0f;
  const Integers ids = ids_below(v, m), zeros(static_cast<size_t>(m)), fifty(static_cast<size_t>(m), 50), seeds = ids_below(1 << 30, 2 * m);
  const Floats cold(static_cast<size_t>(m), 0.0f), warm(static_cast<size_t>(m), 1.0f), most(static_cast<size_t>(m), 0.9f);
  Floats out(static_cast<size_t>(m)), logprobs(static_cast<size_t>(m * 20));
  Integers drawn(static_cast<size_t>(m)), indices(static_cast<size_t>(m * 20));
  char name[64];
  const auto timed = [&](const char* what, auto work) {
    std::snprintf(name, sizeof name, "%s, %lld rows of %lld", what, static_cast<long long>(m), static_cast<long long>(v));
    bench.measure(name, m * v, work);
  };
  const auto draw = [&](const Floats& temperature, const Integers& top_k, const Floats& top_p) {
    RUN(sample, logits.data(), temperature.data(), top_k.data(), top_p.data(), cold.data(), seeds.data(), zeros.data(), drawn.data(),
        out.data(), m, v, 2);
  };
  timed("log_softmax_gather", [&] { RUN(log_softmax_gather, logits.data(), ids.data(), out.data(), m, v); });
  timed("top_k 20", [&] { RUN(top_k, logits.data(), logprobs.data(), indices.data(), m, v, 20); });
  timed("sample greedy", [&] { draw(cold, zeros, warm); });
  timed("sample", [&] { draw(warm, zeros, warm); });
  timed("sample top-k 50", [&] { draw(warm, fifty, warm); });
  timed("sample top-p 0.9", [&] { draw(warm, zeros, most); });
}

}  // namespace

int main(int argc, char** argv) {
  if (wl_start() != WL_OK) {
    std::printf("%s\n", wl_last_error()->message);
    return 1;
  }
  Bench bench;
  bench.only = argc > 1 ? argv[1] : nullptr;
  std::printf("%s, %d threads\n", wl_isa(), wl_threads());
  elements(bench, 4096 * 384);
  rows(bench, 4096, 384, 256);
  table(bench, "embedding_backward, 4096 tokens of 4096 x 384", 4096, 4096, 384);
  table(bench, "embedding_backward, 256 tokens of 50257 x 768", 256, 50257, 768);
  optimizer(bench, 12 << 20);
  tokens(bench, 16, 4096);
  tokens(bench, 16, 50257);
}
