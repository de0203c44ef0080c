// Times all-reduce and reduce-scatter between local processes, by turns with Gloo where that is installed, and what the fixed order of
// sums costs all-reduce. Usage:
//   bench-collectives [--ranks N] [--bytes B] [--transport shm|tcp] [--rounds R] [--tls]
// With --tls also through TLS, by turns with the same in the clear.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "bench/arrival-order.h"
#include "core/futex.h"
#include "wl_comm.h"
#if WL_WITH_GLOO
#include "bench/gloo-peer.h"
#endif

namespace {

struct Settings {
  int ranks = 2;
  int64_t bytes = int64_t{64} << 20;
  int transport = WL_COMM_SHM;
  bool tls = false;
  int rounds = 0;  // 0: as many as fit about a second
};

/** What the processes share: endpoints, and a place to meet. */
struct Board {
  char endpoints[2][WL_COMM_MAX_RANKS][WL_COMM_ENDPOINT];
  std::atomic<int> listening[2];
  char folder[64];
};

void must(int kind) {
  if (kind == WL_OK) return;
  std::fprintf(stderr, "%s\n", wl_last_error()->message);
  _exit(1);
}

struct Done {
  std::atomic<bool> flag{false};
  static void settle(void* user, const wl_error* error) {
    if (error != nullptr) {
      std::fprintf(stderr, "%s\n", error->message);
      _exit(1);
    }
    auto& flag = static_cast<Done*>(user)->flag;
    flag.store(true);
    flag.notify_all();
  }
  void wait() { flag.wait(false); }
};

class Ours {
 public:
  Ours(int rank, const Settings& settings, Board& board, bool tls) : size_(settings.ranks) {
    must(wl_start());
    must(wl_comm_listen(0, settings.transport == WL_COMM_TCP ? "127.0.0.1" : nullptr, 4, &listener_, board.endpoints[tls][rank]));
    board.listening[tls].fetch_add(1);
    while (board.listening[tls].load() < size_) usleep(100);
    std::vector<const char*> endpoints;
    for (int i = 0; i < size_; ++i) endpoints.push_back(board.endpoints[tls][i]);
    const char* const name = tls ? "bench, TLS" : "bench";
    const wl_comm_options options = {listener_, rank, size_, endpoints.data(), name, 1, "secret", 60000, settings.transport, tls};
    must(wl_comm_open(0, &options, &comm_));
    must(wl_stream_new(0, &stream_));
    Done ready;
    must(wl_comm_ready(comm_, Done::settle, &ready));
    ready.wait();
    const int64_t count = settings.bytes / 4;
    const int64_t part = count / size_;
    must(wl_tensor_new(0, WL_F32, 1, &count, "x", &x_));
    // In place, as Gloo does it.
    must(wl_tensor_view(0, x_, part * rank, 1, &part, &slice_));
    std::vector<float> values(static_cast<size_t>(count), 1e-3f);
    must(wl_write(stream_, x_, values.data(), count * 4));
    barrier();
  }

  void barrier() {
    must(wl_comm_barrier(stream_, comm_, "bench"));
    finish();
  }
  void all_reduce() { must(wl_comm_all_reduce(stream_, comm_, x_, x_, WL_COMM_SUM, WL_COMM_OWN, "bench")); }
  void reduce_scatter() { must(wl_comm_reduce_scatter(stream_, comm_, x_, slice_, WL_COMM_SUM, WL_COMM_OWN, "bench")); }
  wl::comm::ArrivalOrder arrival_order() const { return {comm_, x_}; }
  void finish() {
    Done done;
    must(wl_sync(stream_, Done::settle, &done));
    done.wait();
  }

 private:
  const int size_;
  wl_listener listener_ = 0;
  wl_comm comm_ = 0;
  wl_stream stream_ = 0;
  wl_tensor x_ = 0, slice_ = 0;
};

double seconds() { return static_cast<double>(wl::nanoseconds()) / 1e9; }
/** Of this rank, in all its threads. */
double processor_seconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto of = [](const timeval& time) { return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6; };
  return of(used.ru_utime) + of(used.ru_stime);
}
double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/** Seconds of one of `repeats` runs that are made back to back. */
template <class Start, class Run>
double timed(int repeats, Start start, Run run) {
  start();
  const double begin = seconds();
  run(repeats);
  return (seconds() - begin) / repeats;
}

void report(const char* what, const Settings& settings, const std::vector<double>& ours, const std::vector<double>& gloo) {
  const double mine = median(ours);
  std::printf("%-14s %d ranks %9.1f KiB  %9.1f us  %6.2f GB/s (best %.1f us)", what, settings.ranks, static_cast<double>(settings.bytes) / 1024,
              mine * 1e6, static_cast<double>(settings.bytes) / mine / 1e9, *std::min_element(ours.begin(), ours.end()) * 1e6);
  if (!gloo.empty()) {
    const double theirs = median(gloo);
    std::printf("   Gloo %9.1f us  %6.2f GB/s   ratio %.2f", theirs * 1e6, static_cast<double>(settings.bytes) / theirs / 1e9, theirs / mine);
  }
  std::printf("\n");
}

/** Medians of times that were measured by turns, and of their proportion in each turn. */
void report_order(const Settings& settings, const std::vector<double>& fixed, const std::vector<double>& arrival) {
  std::vector<double> ratios;
  for (size_t i = 0; i < fixed.size(); ++i) ratios.push_back(fixed[i] / arrival[i]);
  std::printf("order of sums  %d ranks %9.1f KiB  fixed tree %.1f us, as they arrive %.1f us: the fixed order costs %+.1f %%\n", settings.ranks,
              static_cast<double>(settings.bytes) / 1024, median(fixed) * 1e6, median(arrival) * 1e6, (median(ratios) - 1) * 100);
}

/** Times of the same thing in the clear and through TLS, a pair in each turn. */
struct Tolls {
  std::vector<double> clear, tls, clear_processor, tls_processor;

  /** Medians, and those of the proportions in each turn. */
  void report(const char* what, const Settings& settings) const {
    std::vector<double> rates, processor;
    for (size_t i = 0; i < clear.size(); ++i) {
      rates.push_back(clear[i] / tls[i]);
      processor.push_back(tls_processor[i] / clear_processor[i]);
    }
    std::printf("%-14s %d ranks %9.1f KiB  through TLS %.1f us, %.2f GB/s: %.2f of the rate in the clear, %.2f times the processor time\n", what,
                settings.ranks, static_cast<double>(settings.bytes) / 1024, median(tls) * 1e6,
                static_cast<double>(settings.bytes) / median(tls) / 1e9, median(rates), median(processor));
  }
};

int rank_main(int rank, const Settings& settings, Board& board) {
  Ours ours(rank, settings, board, false);
  const std::unique_ptr<Ours> encrypted = settings.tls ? std::make_unique<Ours>(rank, settings, board, true) : nullptr;
  // A few milliseconds for each measurement, so that starting and stopping does not count.
  const int repeats = static_cast<int>(std::clamp<int64_t>((int64_t{32} << 20) / settings.bytes, 1, 2000));
  const int rounds = settings.rounds > 0 ? settings.rounds : 15;
  std::vector<double> reduce_times, scatter_times, gloo_reduce, gloo_scatter, arrival_times;
  Tolls reduce_tolls, scatter_tolls;
  wl::comm::ArrivalOrder arrival = ours.arrival_order();
#if WL_WITH_GLOO
  GlooPeer gloo(rank, settings.ranks, board.folder);
  std::vector<float> data(static_cast<size_t>(settings.bytes / 4), 1e-3f);
  const std::unique_ptr<gloo::Algorithm> scatter = gloo.reduce_scatter(data.data(), data.size());
#endif
  const auto start = [&] { ours.barrier(); };
  const auto fixed_order = [&](int times) {
    for (int i = 0; i < times; ++i) ours.all_reduce();
    ours.finish();
  };
  const auto arrival_order = [&](int times) {
    for (int i = 0; i < times; ++i) {
      if (!arrival.run()) _exit(1);
    }
  };
  // Of few bytes, each rank sums all by itself: whatever the order, it waits for all.
  const bool compares_order = settings.bytes >= int64_t{1} << 20;
  for (int round = 0; round < rounds; ++round) {
    // By turns the first one: what ran before it has left other data in the caches.
    const bool fixed_first = round % 2 == 0;
    if (fixed_first) reduce_times.push_back(timed(repeats, start, fixed_order));
    if (compares_order) arrival_times.push_back(timed(repeats, start, arrival_order));
    if (!fixed_first) reduce_times.push_back(timed(repeats, start, fixed_order));
    scatter_times.push_back(timed(repeats, start, [&](int times) {
      for (int i = 0; i < times; ++i) ours.reduce_scatter();
      ours.finish();
    }));
    if (encrypted != nullptr) {
      const auto compare = [&](Tolls& tolls, void (Ours::*collective)()) {
        for (Ours* const each : {&ours, encrypted.get()}) {
          const bool tls = each == encrypted.get();
          const double before = processor_seconds();
          (tls ? tolls.tls : tolls.clear).push_back(timed(repeats, [&] { each->barrier(); }, [&](int times) {
            for (int i = 0; i < times; ++i) (each->*collective)();
            each->finish();
          }));
          (tls ? tolls.tls_processor : tolls.clear_processor).push_back(processor_seconds() - before);
        }
      };
      compare(reduce_tolls, &Ours::all_reduce);
      compare(scatter_tolls, &Ours::reduce_scatter);
    }
#if WL_WITH_GLOO
    gloo_reduce.push_back(timed(repeats, [&] { gloo.barrier(); }, [&](int times) {
      for (int i = 0; i < times; ++i) gloo.all_reduce(data.data(), data.size());
    }));
    gloo_scatter.push_back(timed(repeats, [&] { gloo.barrier(); }, [&](int times) {
      for (int i = 0; i < times; ++i) scatter->run();
    }));
    // Sums grow with each run; they must stay numbers that are added at full speed.
    std::fill(data.begin(), data.end(), 1e-3f);
#endif
  }
  if (rank == 0) {
    report("all-reduce", settings, reduce_times, gloo_reduce);
    report("reduce-scatter", settings, scatter_times, gloo_scatter);
    if (compares_order) report_order(settings, reduce_times, arrival_times);
    if (encrypted != nullptr) {
      reduce_tolls.report("all-reduce", settings);
      scatter_tolls.report("reduce-scatter", settings);
    }
    std::fflush(stdout);
  }
  ours.barrier();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--tls") settings.tls = true;
    if (name == "--tls" || i + 1 == argc) continue;
    const char* value = argv[++i];
    if (name == "--ranks") settings.ranks = std::atoi(value);
    if (name == "--bytes") settings.bytes = std::atoll(value);
    if (name == "--rounds") settings.rounds = std::atoi(value);
    if (name == "--transport") settings.transport = std::string(value) == "tcp" ? WL_COMM_TCP : WL_COMM_SHM;
  }
  setenv("WL_THREADS", "1", 1);
  Board& board = *static_cast<Board*>(mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  std::snprintf(board.folder, sizeof board.folder, "/tmp/bench-collectives-XXXXXX");
  if (mkdtemp(board.folder) == nullptr) return 1;
  for (int rank = 0; rank < settings.ranks; ++rank) {
    if (fork() == 0) _exit(rank_main(rank, settings, board));
  }
  int failed = 0;
  for (int rank = 0, status = 0; rank < settings.ranks; ++rank) {
    wait(&status);
    if (status != 0) failed = 1;
  }
  const std::string remove = std::string("rm -rf ") + board.folder;
  return std::system(remove.c_str()) == 0 ? failed : 1;
}
