// A stream: the ring, its thread, and how an error poisons what comes after it.
#include "core/stream.h"

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <thread>

#include "core/error.h"
#include "core/profile.h"
#include "core/trace.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace wl {

Stream::Stream(Pool& pool) : context_(pool, scratch_), ring_(new Command[WL_STREAM_CAPACITY]) {
  std::thread thread([this] { loop(); });
  pthread_setname_np(thread.native_handle(), "wl-stream");
  thread.detach();
}

void Stream::push(const Command& command) {
  const uint64_t ticket = enqueued_.load() + 1;
  if (ticket > room_until_) {
    wait_for(ticket - WL_STREAM_CAPACITY);
    room_until_ = completed_.load() + WL_STREAM_CAPACITY;
  }
  // No more than is used: each cache line of the slot comes from the stream's core.
  std::memcpy(static_cast<void*>(&ring_[ticket % WL_STREAM_CAPACITY]), &command, offsetof(Command, payload) + command.payload_bytes);
  enqueued_.store(ticket);
  arrived_.notify();
}

void Stream::push_wait(const Mark& mark) {
  if (mark.stream == nullptr || mark.stream == this) return;
  Command command;
  command.name = "wait";
  command.always = true;
  command.run = [](Stream& stream, void* payload) {
    const Mark mark = *static_cast<const Mark*>(payload);
    mark.stream->wait_for(mark.ticket);
    wl_error error;
    if (mark.stream->error_at(mark.ticket, error)) stream.poison(error);
  };
  command.set_payload(mark);
  push(command);
}

void Stream::push_reset() {
  Command command;
  command.name = "reset";
  command.always = true;
  command.run = [](Stream& stream, void*) {
    if (!stream.poisoned_) return;
    stream.poisoned_ = false;
    const std::lock_guard lock(stream.history_lock_);
    stream.poisoned_until_ = stream.completed_.load() + 1;
  };
  push(command);
}

void Stream::wait_for(uint64_t ticket) {
  done_.wait([this, ticket] { return completed_.load() >= ticket; });
}

void Stream::poison(const wl_error& error) {
  if (poisoned_) return;
  poisoned_ = true;
  error_ = error;
  const std::lock_guard lock(history_lock_);
  history_ = error;
  poisoned_from_ = completed_.load() + 1;
  poisoned_until_ = UINT64_MAX;
}

bool Stream::error_at(uint64_t ticket, wl_error& out) {
  const std::lock_guard lock(history_lock_);
  if (ticket < poisoned_from_ || ticket >= poisoned_until_) return false;
  out = history_;
  return true;
}

void Stream::loop() {
#if defined(__x86_64__)
  _mm_setcsr(0x1f80);  // round to nearest, keep denormals: the same arithmetic whatever the thread that started this one did
#endif
  int64_t traced_until = 0;
  for (uint64_t next = 1;; ++next) {
    const bool is_idle = enqueued_.load() < next;
    arrived_.wait([this, next] { return enqueued_.load() >= next; });
    if (is_idle || traced_until == 0) traced_until = traced("idle", traced_until);
    Command& command = ring_[next % WL_STREAM_CAPACITY];
    const char* const name = command.name;
    execute(command, next);
    std::free(command.owned);
    completed_.store(next);  // the slot is a producer's from here on
    done_.notify();
    traced_until = traced(name, traced_until);
  }
}

int64_t Stream::traced(const char* what, int64_t since) {
  const int64_t now = tracing() ? nanoseconds() : 0;
  if (since != 0 && now != 0) add_to_trace(handle, what, since, now);
  return now;
}

void Stream::execute(Command& command, uint64_t ticket) {
  if (ticket <= cancelled_through_.load() && !poisoned_) {
    fail(WL_RETRYABLE, command.name, "%s: the stream was cancelled", command.name);
    poison(last_error());
  }
  if (poisoned_ && !command.always) return;
  const int64_t begin = profiling() ? nanoseconds() : 0;
  try {
    command.run(*this, command.payload);
  } catch (const OutOfMemory& short_of) {
    fail_memory(command.name, short_of.wanted);
    poison(last_error());
  } catch (const BadInput& bad) {
    fail(WL_INVALID, command.name, "%s", bad.message);
    poison(last_error());
  }
  scratch_.reset();
  if (begin != 0) add_to_profile(command.name, nanoseconds() - begin);
}

}  // namespace wl
