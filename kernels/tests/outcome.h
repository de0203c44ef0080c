// What tests of calls with a stream share: what a call came to, and the values of a tensor.
#pragma once

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "check.h"

namespace check {

/** What a call came to. */
struct Outcome {
  double value = 0;
  std::string error;
  std::atomic<bool> done{false};

  static void settle(void* user, const wl_error* error) {
    auto& outcome = *static_cast<Outcome*>(user);
    if (error != nullptr) outcome.error = error->message;
    outcome.done.store(true);
  }
  void wait() const {
    while (!done.load()) std::this_thread::yield();
  }
};

inline wl_stream stream() {
  wl_stream handle = 0;
  CHECK_EQUAL(wl_stream_new(0, &handle), 0);
  return handle;
}

/** Reads after all that was enqueued before. */
inline std::vector<float> values_of(wl_stream on, wl_tensor of, size_t count) {
  std::vector<float> values(count);
  Outcome outcome;
  CHECK_EQUAL(wl_read(on, of, values.data(), static_cast<int64_t>(count) * 4, Outcome::settle, &outcome), 0);
  outcome.wait();
  CHECK_EQUAL(outcome.error, std::string());
  return values;
}

}  // namespace check

using check::Outcome;
using check::stream;
using check::values_of;
