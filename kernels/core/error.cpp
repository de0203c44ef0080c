// Errors as data: formatting and the last one of each thread.
#include "core/error.h"

#include <cstdarg>
#include <cstdio>

#include "core/memory.h"

namespace wl {

wl_error& last_error() {
  static thread_local wl_error error{};
  return error;
}

int fail(int kind, const char* op, const char* format, ...) {
  wl_error& error = last_error();
  error.kind = kind;
  error.out_of_memory = 0;
  error.comm_reason = 0;
  error.comm_peer = -1;
  std::snprintf(error.op, sizeof error.op, "%s", op);
  va_list values;
  va_start(values, format);
  std::vsnprintf(error.message, sizeof error.message, format, values);
  va_end(values);
  return kind;
}

int fail_memory(const char* op, int64_t wanted) {
  wl_memory now;
  memory().stats(now);
  char limit[64] = "";
  if (now.limit_bytes > 0) {
    std::snprintf(limit, sizeof limit, ", the limit is %lld", static_cast<long long>(now.limit_bytes));
  }
  fail(WL_RETRYABLE, op, "%s: out of memory: %lld bytes wanted, %lld in use%s", op, static_cast<long long>(wanted),
       static_cast<long long>(now.live_bytes), limit);
  last_error().out_of_memory = 1;
  return WL_RETRYABLE;
}

int fail_lent(const char* op) { return fail(WL_INVALID, op, "%s: tensor is mapped from a file and can't be written", op); }

}  // namespace wl

extern "C" const wl_error* wl_last_error(void) { return &wl::last_error(); }
