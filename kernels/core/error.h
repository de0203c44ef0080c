// Errors as data: the last one of each thread, and the exception for memory that runs out inside a kernel.
#pragma once

#include "wl.h"

namespace wl {

/** Sets the error that wl_last_error() of this thread returns; gives `kind` back. */
int fail(int kind, const char* op, const char* format, ...) __attribute__((format(printf, 3, 4)));
int fail_memory(const char* op, int64_t wanted);
/** WL_INVALID: a tensor that is mapped from a file can't be written. */
int fail_lent(const char* op);

/** The last error of this thread, to be copied or completed. */
wl_error& last_error();

/** Thrown by scratch memory, caught by the stream that runs the kernel; never crosses the C ABI. */
struct OutOfMemory {
  int64_t wanted;
};

}  // namespace wl
