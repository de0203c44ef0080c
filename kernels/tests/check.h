// The test harness: TEST("a sentence that can be false") { CHECK(...); } and a main that runs them all.
#pragma once

#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "core/context.h"
#include "core/pool.h"
#include "core/runtime.h"
#include "core/scratch.h"
#include "wl.h"

namespace check {

struct Test {
  const char* name;
  std::function<void()> body;
};
inline std::vector<Test>& all() {
  static std::vector<Test> tests;
  return tests;
}
struct Add {
  Add(const char* name, std::function<void()> body) { all().push_back({name, std::move(body)}); }
};
inline int& faults() {
  static int count = 0;
  return count;
}
inline void fault(const char* file, int line, const std::string& what) {
  faults() += 1;
  if (faults() <= 20) std::printf("%s:%d: %s\n", file, line, what.c_str());
}

/** A context on the process's pool, for tests that call kernels directly: wl::op::NAME(context(), {...}). */
inline wl::Context& context() {
  static wl::Scratch scratch;
  static wl::Context instance(wl::pool(), scratch);
  scratch.reset();
  return instance;
}

/** Runs all tests, or those whose name contains argv[1]. 77 tells ctest that this CPU lacks the instruction set asked for. */
inline int main_of(int argc, char** argv) {
  if (wl_start() != WL_OK) {
    std::printf("%s\n", wl_last_error()->message);
    return std::strstr(wl_last_error()->message, "supports") != nullptr ? 77 : 1;
  }
  int failed = 0;
  int ran = 0;
  for (const Test& test : all()) {
    if (argc > 1 && std::strstr(test.name, argv[1]) == nullptr) continue;
    const int before = faults();
    test.body();
    ran += 1;
    const bool good = faults() == before;
    if (!good) failed += 1;
    std::printf("%s %s\n", good ? "ok  " : "FAIL", test.name);
  }
  std::printf("%d passed, %d failed (%s, %d threads)\n", ran - failed, failed, wl_isa(), wl_threads());
  return failed > 0 || ran == 0 ? 1 : 0;
}

}  // namespace check

#define CHECK_JOIN_(a, b) a##b
#define CHECK_JOIN(a, b) CHECK_JOIN_(a, b)
#define TEST_(name, id)                                     \
  static void id();                                         \
  static const check::Add CHECK_JOIN(id, _added)(name, id); \
  static void id()
#define TEST(name) TEST_(name, CHECK_JOIN(test_, __COUNTER__))
#define CHECK(condition)                                                                       \
  do {                                                                                         \
    if (!(condition)) check::fault(__FILE__, __LINE__, "not true: " #condition);               \
  } while (false)
#define CHECK_EQUAL(seen, wanted)                                                                                            \
  do {                                                                                                                       \
    const auto check_seen = (seen);                                                                                          \
    const auto check_wanted = (wanted);                                                                                      \
    if (!(check_seen == check_wanted))                                                                                       \
      check::fault(__FILE__, __LINE__, #seen " is " + check::text(check_seen) + ", not " + check::text(check_wanted));      \
  } while (false)
#define TEST_MAIN \
  int main(int argc, char** argv) { return check::main_of(argc, argv); }

namespace check {
inline std::string text(const std::string& value) { return "'" + value + "'"; }
inline std::string text(const char* value) { return std::string("'") + value + "'"; }
inline std::string text(bool value) { return value ? "true" : "false"; }
template <class Number>
std::string text(Number value) {
  if constexpr (std::is_pointer_v<Number>) {
    char buffer[32];
    std::snprintf(buffer, sizeof buffer, "%p", static_cast<const void*>(value));
    return buffer;
  } else {
    char buffer[40];
    std::snprintf(buffer, sizeof buffer, "%.9g", static_cast<double>(value));
    return buffer;
  }
}
}  // namespace check
