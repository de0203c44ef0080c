// The C ABI of measurements: they run on a stream like operations, on as many threads as asked for.
#include <algorithm>

#include "core/error.h"
#include "core/isa.h"
#include "core/measure.h"
#include "core/runtime.h"
#include "core/stream.h"

namespace wl {
namespace {

struct Measurement {
  int threads;
  double* out;
  wl_done done;
  void* user;
};

/** Units per nanosecond of `work`, which does one range as one thread, best of `runs`. */
template <class Work>
double best_rate(Context& context, int threads, int runs, double units, Work work) {
  double best = 0.0;
  for (int run = 0; run < runs; ++run) {
    const int64_t begin = nanoseconds();
    context.parallel_for(threads, 1, [&](int64_t range, int64_t, int) { work(range); });
    best = std::max(best, units / static_cast<double>(nanoseconds() - begin));
  }
  return best;
}

// GFLOP/s are operations per nanosecond. A run of some milliseconds is long enough to hide starting the workers.
double fma_peak(Context& context, int threads) {
  constexpr int64_t rounds = 200000;
  constexpr int runs = 12;
  std::vector<float> sinks(static_cast<size_t>(threads) * 16);
  const int64_t one = WL_SELECT(fma_loop)(rounds, sinks.data());
  return best_rate(context, threads, runs, static_cast<double>(one) * threads,
                   [&](int64_t range) { WL_SELECT(fma_loop)(rounds, sinks.data() + range * 16); });
}

double bandwidth(Context& context, int threads) {
  constexpr int64_t floats_each = int64_t{32} << 20;
  constexpr int runs = 6;
  float* data = context.scratch(floats_each * threads);
  std::vector<float> sinks(static_cast<size_t>(threads) * 16);
  context.parallel_for(threads, 1, [&](int64_t range, int64_t, int) {
    std::fill_n(data + range * floats_each, floats_each, 1.0f);
  });
  return best_rate(context, threads, runs, static_cast<double>(floats_each) * 4 * threads, [&](int64_t range) {
    sinks[static_cast<size_t>(range) * 16] = WL_SELECT(read_loop)(data + range * floats_each, floats_each);
  });
}

template <double (*measure)(Context&, int)>
int enqueue(const char* op, wl_stream on, const Measurement& measurement) {
  Stream* stream = find_stream(on);
  if (stream == nullptr) return fail(WL_INVALID, op, "%s: %u is not a live stream", op, on);
  if (measurement.threads < 1 || measurement.threads > pool().threads()) {
    return fail(WL_INVALID, op, "%s: threads is %d; it must be from 1 to %d", op, measurement.threads, pool().threads());
  }
  Command command;
  command.name = op;
  command.always = true;
  command.run = [](Stream& stream, void* payload) {
    const auto& measurement = *static_cast<const Measurement*>(payload);
    if (stream.error() == nullptr) {
      try {
        *measurement.out = measure(stream.context(), measurement.threads);
        stream.release_scratch();
      } catch (const OutOfMemory& short_of) {
        fail_memory("measure", short_of.wanted);
        stream.poison(last_error());
      }
    }
    measurement.done(measurement.user, stream.error());
  };
  command.set_payload(measurement);
  const std::lock_guard guard(stream->producer);
  stream->push(command);
  return WL_OK;
}

}  // namespace
}  // namespace wl

extern "C" {

int wl_measure_fma_peak(wl_stream on, int threads, double* out, wl_done done, void* user) {
  return wl::enqueue<wl::fma_peak>("measure_fma_peak", on, {threads, out, done, user});
}

int wl_measure_bandwidth(wl_stream on, int threads, double* out, wl_done done, void* user) {
  return wl::enqueue<wl::bandwidth>("measure_bandwidth", on, {threads, out, done, user});
}

}  // extern "C"
