// The worker pool: every item once, whatever the number of items, the grain, and who else uses the pool.
#include <atomic>
#include <random>
#include <thread>

#include "check.h"

namespace {

/** Runs a loop that counts how often each item is done, and checks that it is once. */
void check_loop(wl::Pool& pool, int64_t items, int64_t grain) {
  std::vector<std::atomic<int>> done(static_cast<size_t>(items));
  std::atomic<bool> good{true};
  auto body = [&](int64_t begin, int64_t end, int worker) {
    if (worker < 0 || worker >= pool.threads() || begin >= end || end > items || end - begin > grain) good = false;
    for (int64_t i = begin; i < end; ++i) done[static_cast<size_t>(i)] += 1;
  };
  using Body = decltype(body);
  pool.run(items, grain, [](void* callable, int64_t begin, int64_t end, int worker) {
    (*static_cast<Body*>(callable))(begin, end, worker);
  }, &body);
  CHECK(good);
  bool once = true;
  for (const auto& count : done) once = once && count.load() == 1;
  CHECK(once);
}

// Pools live as long as the process, like their threads.
wl::Pool& pool_of(int threads) {
  static auto& pools = *new std::vector<wl::Pool*>;
  return *pools.emplace_back(new wl::Pool(threads));
}

}  // namespace

TEST("every item is done exactly once for any number of threads, items and grain") {
  std::mt19937 random(1);
  for (const int threads : {1, 2, 3, 8}) {
    wl::Pool& pool = pool_of(threads);
    for (int i = 0; i < 200; ++i) check_loop(pool, static_cast<int64_t>(random() % 300), static_cast<int64_t>(random() % 20 + 1));
  }
}

TEST("a loop of no items calls nothing") {
  check_loop(pool_of(2), 0, 1);
}

TEST("loops from several threads at once all do their items") {
  wl::Pool& pool = pool_of(3);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&pool] {
      for (int loop = 0; loop < 300; ++loop) check_loop(pool, 64, 3);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST("what workers write is seen by the caller after the loop") {
  wl::Context& context = check::context();
  std::vector<int64_t> values(1000);
  for (int64_t round = 1; round <= 500; ++round) {
    context.parallel_for(1000, 7, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) values[static_cast<size_t>(i)] += i;
    });
    CHECK_EQUAL(values[999], round * 999);
  }
}

TEST_MAIN
