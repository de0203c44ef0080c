// A stream: a thread that carries out commands in the order in which they were enqueued.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <type_traits>
#include <vector>

#include "core/context.h"
#include "core/futex.h"
#include "core/memory.h"
#include "core/scratch.h"
#include "wl.h"

namespace wl {

/** One entry of a stream's ring. The payload is a copy of the command's arguments. */
struct alignas(64) Command {
  static constexpr int64_t kPayloadBytes = 208;

  void (*run)(Stream& stream, void* payload) = nullptr;
  const char* name = nullptr;
  void* owned = nullptr;  // freed with free() after the command
  bool always = false;    // runs on a poisoned stream too
  uint32_t payload_bytes = 0;
  alignas(16) char payload[kPayloadBytes];

  template <class Payload>
  void set_payload(const Payload& value) {
    static_assert(std::is_trivially_copyable_v<Payload> && sizeof(Payload) <= kPayloadBytes);
    __builtin_memcpy(payload, &value, sizeof value);
    payload_bytes = sizeof value;
  }
};

class Stream {
 public:
  explicit Stream(Pool& pool);

  /** Held by a call from its checks to its last push, so that what it checked is what runs. */
  std::mutex producer;

  /** Appends a command; waits for room where the ring is full. The producer lock must be held. */
  void push(const Command& command);
  /** Pushes a command that waits until `mark` is reached and takes over an error of the other stream. */
  void push_wait(const Mark& mark);
  void push_reset();
  /** Lets what is enqueued and not begun fail instead of run. */
  void cancel() { cancelled_through_.store(enqueued_.load()); }

  uint64_t enqueued() const { return enqueued_.load(); }
  uint64_t completed() const { return completed_.load(); }
  void wait_for(uint64_t ticket);
  /** Waits until every stream has done what it holds at the time of the call. Not for a stream's own thread. */
  static void wait_for_all();

  /** For commands, on the stream's own thread. */
  Context& context() { return context_; }
  const wl_error* error() const { return poisoned_ ? &error_ : nullptr; }
  void poison(const wl_error& error);
  void release_scratch() { scratch_.release(); }

  /** The handle under which it is in use now; the trace has it. */
  std::atomic<wl_stream> handle{0};

 private:
  void loop();
  void execute(Command& command, uint64_t ticket);
  /** Adds what the stream did since then to the trace, if that is on. Returns until when it is traced now, 0: it is off. */
  int64_t traced(const char* what, int64_t since);
  bool error_at(uint64_t ticket, wl_error& out);

  Scratch scratch_;
  Context context_;
  Command* const ring_;
  std::atomic<uint64_t> cancelled_through_{0};

  // Written by producers; apart from what the stream's thread writes, so that the two do not wait for each other's cache line.
  alignas(64) std::atomic<uint64_t> enqueued_{0};
  uint64_t room_until_ = WL_STREAM_CAPACITY;

  // Written by the stream's thread.
  alignas(64) std::atomic<uint64_t> completed_{0};
  bool poisoned_ = false;
  wl_error error_{};

  // Seldom written, read by both.
  alignas(64) Signal arrived_;
  Signal done_;

  // The last poisoning, for streams that wait for a ticket of this one.
  std::mutex history_lock_;
  uint64_t poisoned_from_ = 0;
  uint64_t poisoned_until_ = 0;
  wl_error history_{};
};

/** The stream of a handle, or null. */
Stream* find_stream(wl_stream handle);
/** The marks of all streams as they are now. */
std::vector<Mark> marks_of_all_streams();

}  // namespace wl
