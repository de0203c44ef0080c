// What a kernel sees of the runtime: the worker pool, and scratch memory of the stream that it runs on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace wl {

class Pool;
class Scratch;

/** The body of a parallel loop with its type erased: does items [begin, end) as worker `worker`. */
using RangeBody = void (*)(void* callable, int64_t begin, int64_t end, int worker);

/**
 * Thrown by a kernel, on the thread that runs it, for values that it can't work with: an id outside the table, a NaN to sample from. The
 * stream is poisoned with the message.
 */
struct BadInput {
  const char* message;
};

/**
 * Handed to every kernel by reference; valid until the kernel returns. All members are called on the thread that runs the
 * kernel, outside the bodies of parallel loops (a body uses only what it captured).
 */
struct Context {
  Context(Pool& pool, Scratch& scratch) : pool_(pool), scratch_(scratch) {}
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  /** Upper bound of worker indices in a parallel loop: 0 <= worker < threads(). Scratch per worker is threads() * size. */
  int threads() const;

  /**
   * Calls body(begin, end, worker) for contiguous ranges that together cover [0, items), handed out by tickets to whichever
   * worker is free. A range has `grain` items (the last may be shorter). Which worker gets which range, and how many take
   * part, differs from run to run: the result must not depend on it. Returns when all items are done. Not nestable.
   */
  template <class Body>
  void parallel_for(int64_t items, int64_t grain, Body&& body) {
    using Callable = std::remove_reference_t<Body>;
    auto call = [](void* callable, int64_t begin, int64_t end, int worker) {
      (*static_cast<Callable*>(callable))(begin, end, worker);
    };
    run(items, grain, call, const_cast<void*>(static_cast<const void*>(&body)));
  }

  /** parallel_for with ranges of about an eighth of a worker's share: right where items cost about the same and not little. */
  template <class Body>
  void parallel_for(int64_t items, Body&& body) {
    const int64_t ranges = int64_t{8} * threads();
    parallel_for(items, items > ranges ? items / ranges : 1, static_cast<Body&&>(body));
  }

  /**
   * `count` elements of uninitialised memory, 64-byte aligned, valid until the kernel returns. Comes from an arena that the
   * stream keeps: no system allocation once the arena has grown to what the largest kernel needs. Where memory is short
   * the kernel does not go on: the stream is poisoned with a retryable error.
   */
  template <class T>
  T* scratch_of(int64_t count) {
    static_assert(std::is_trivially_destructible_v<T>);
    return static_cast<T*>(scratch_bytes(count * static_cast<int64_t>(sizeof(T))));
  }
  float* scratch(int64_t floats) { return scratch_of<float>(floats); }

 private:
  void run(int64_t items, int64_t grain, RangeBody body, void* callable);
  void* scratch_bytes(int64_t bytes);

  Pool& pool_;
  Scratch& scratch_;
};

}  // namespace wl
