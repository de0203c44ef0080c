// Streams and events: order, room, errors that poison and flow, and memory that waits for its last user.
#include <atomic>
#include <deque>
#include <functional>
#include <thread>

#include "outcome.h"
#include "core/error.h"
#include "core/stream.h"

namespace {

using Body = std::function<void(wl::Stream&)>;

// Kept to the end: a test may let a command be skipped.
Body* keep(Body body) {
  static std::mutex lock;
  static auto& bodies = *new std::deque<Body>;
  const std::lock_guard guard(lock);
  return &bodies.emplace_back(std::move(body));
}

/** Enqueues a function as if it were an operation; `always` as for completions. */
void enqueue(wl_stream on, const char* name, bool always, Body body) {
  wl::Command command;
  command.name = name;
  command.always = always;
  command.run = [](wl::Stream& stream, void* payload) { (**static_cast<Body**>(payload))(stream); };
  command.set_payload(keep(std::move(body)));
  wl::Stream* stream = wl::find_stream(on);
  const std::lock_guard guard(stream->producer);
  stream->push(command);
}

void fail_on(wl_stream on, const char* name) {
  enqueue(on, name, false, [](wl::Stream&) { throw wl::OutOfMemory{123}; });
}

wl_event event() {
  wl_event handle = 0;
  CHECK_EQUAL(wl_event_new(0, &handle), 0);
  return handle;
}

/** Waits for the stream; the message of its error, or an empty string. */
std::string finish(wl_stream on) {
  struct Result {
    std::atomic<bool> done{false};
    std::string message;
  } result;
  wl_sync(on, [](void* user, const wl_error* error) {
    auto& result = *static_cast<Result*>(user);
    if (error != nullptr) result.message = error->message;
    result.done.store(true);
  }, &result);
  while (!result.done.load()) std::this_thread::yield();
  return result.message;
}

bool starts_with(const std::string& text, const char* start) { return text.starts_with(start); }

/** A gate that holds a stream, which has come to it, until it is opened. */
struct Gate {
  std::atomic<bool> open{false};
  std::atomic<bool> reached{false};
  void hold(wl_stream on) {
    enqueue(on, "gate", true, [this](wl::Stream&) {
      reached = true;
      while (!open.load()) std::this_thread::yield();
    });
    while (!reached.load()) std::this_thread::yield();
  }
};

}  // namespace

TEST("commands run in the order in which they were enqueued, more of them than the ring holds") {
  const wl_stream on = stream();
  int64_t next = 0;
  bool ordered = true;
  for (int64_t i = 0; i < 3 * WL_STREAM_CAPACITY; ++i) {
    enqueue(on, "step", false, [&, i](wl::Stream&) { ordered = ordered && next++ == i; });
  }
  CHECK_EQUAL(finish(on), std::string());
  CHECK(ordered);
  CHECK_EQUAL(next, 3 * WL_STREAM_CAPACITY);
  wl_stream_free(on);
}

TEST("an enqueue that finds the ring full waits for room instead of losing a command") {
  const wl_stream on = stream();
  Gate gate;
  gate.hold(on);
  std::atomic<int64_t> ran{0};
  std::atomic<int64_t> pushed{0};
  std::thread producer([&] {
    for (int i = 0; i < WL_STREAM_CAPACITY + 100; ++i) {
      enqueue(on, "step", false, [&](wl::Stream&) { ran += 1; });
      pushed += 1;
    }
  });
  while (pushed.load() < WL_STREAM_CAPACITY - 2) std::this_thread::yield();
  CHECK_EQUAL(ran.load(), 0);
  gate.open = true;
  producer.join();
  finish(on);
  CHECK_EQUAL(ran.load(), WL_STREAM_CAPACITY + 100);
  wl_stream_free(on);
}

TEST("data written is copied at once, and read back after what comes between") {
  const wl_stream on = stream();
  const int64_t shape[] = {2, 3};
  wl_tensor x = 0;
  wl_tensor_new(0, WL_F32, 2, shape, "x", &x);
  float data[] = {1, 2, 3, 4, 5, 6};
  float seen[6] = {};
  Gate gate;
  gate.hold(on);
  CHECK_EQUAL(wl_write(on, x, data, sizeof data), 0);
  data[0] = 99;
  CHECK_EQUAL(wl_read(on, x, seen, sizeof seen, [](void*, const wl_error*) {}, nullptr), 0);
  wl_tensor_free(x);
  gate.open = true;
  finish(on);
  CHECK_EQUAL(seen[0], 1.0f);
  CHECK_EQUAL(seen[5], 6.0f);
  wl_stream_free(on);
}

TEST("a copy of the wrong size is refused with both sizes") {
  const wl_stream on = stream();
  const int64_t shape[] = {2, 3};
  wl_tensor x = 0;
  wl_tensor_new(0, WL_I32, 2, shape, "x", &x);
  CHECK_EQUAL(wl_write(on, x, shape, 16), WL_INVALID);
  CHECK_EQUAL(std::string(wl_last_error()->message), "write: 16 bytes given, but tensor [2, 3] of i32 has 24");
  wl_tensor_free(x);
  wl_stream_free(on);
}

TEST("a stream that waits for an event runs after its mark, and not before") {
  const wl_stream a = stream();
  const wl_stream b = stream();
  const wl_event mark = event();
  Gate gate;
  gate.hold(a);
  std::atomic<int> value{0};
  enqueue(a, "set", false, [&](wl::Stream&) { value = 7; });
  wl_event_record(mark, a);
  int seen = -1;
  std::atomic<bool> before{false};
  enqueue(b, "first", false, [&](wl::Stream&) { before = true; });
  wl_event_wait(mark, b);
  enqueue(b, "get", false, [&](wl::Stream&) { seen = value; });
  while (!before.load()) std::this_thread::yield();
  gate.open = true;
  finish(b);
  CHECK_EQUAL(seen, 7);
  wl_event_free(mark);
  CHECK_EQUAL(wl_event_wait(mark, b), WL_INVALID);
  wl_stream_free(a);
  wl_stream_free(b);
}

TEST("the first error poisons a stream: what follows is skipped and completions carry that error") {
  const wl_stream on = stream();
  bool ran = false;
  fail_on(on, "first_op");
  fail_on(on, "second_op");
  enqueue(on, "later", false, [&](wl::Stream&) { ran = true; });
  CHECK(starts_with(finish(on), "first_op: out of memory: 123 bytes wanted"));
  CHECK(!ran);
  CHECK(starts_with(finish(on), "first_op:"));
  wl_stream_reset(on);
  enqueue(on, "later", false, [&](wl::Stream&) { ran = true; });
  CHECK_EQUAL(finish(on), std::string());
  CHECK(ran);
  wl_stream_free(on);
}

TEST("values that a kernel can't work with poison its stream with its words") {
  const wl_stream on = stream();
  enqueue(on, "picky", false, [](wl::Stream&) { throw wl::BadInput{"picky: an id is outside the table"}; });
  fail_on(on, "later_op");
  CHECK_EQUAL(finish(on), "picky: an id is outside the table");
  wl_stream_free(on);
}

TEST("an error flows through an event to the stream that waits, and not through one recorded before it") {
  const wl_stream a = stream();
  const wl_stream b = stream();
  const wl_stream c = stream();
  const wl_event before = event();
  const wl_event after = event();
  enqueue(a, "good", false, [](wl::Stream&) {});
  wl_event_record(before, a);
  fail_on(a, "bad_op");
  wl_event_record(after, a);
  finish(a);
  wl_event_wait(before, c);
  CHECK_EQUAL(finish(c), std::string());
  wl_event_wait(after, b);
  CHECK(starts_with(finish(b), "bad_op: out of memory"));
  wl_stream_reset(a);
  wl_event_record(after, a);
  wl_event_wait(after, c);
  CHECK_EQUAL(finish(c), std::string());
  for (const wl_stream on : {a, b, c}) wl_stream_free(on);
  for (const wl_event mark : {before, after}) wl_event_free(mark);
}

TEST("a cancelled stream skips what has not begun, and completes with an error") {
  const wl_stream on = stream();
  Gate gate;
  gate.hold(on);
  std::atomic<bool> ran{false};
  enqueue(on, "later", false, [&](wl::Stream&) { ran = true; });
  wl_stream_cancel(on);
  gate.open = true;
  CHECK_EQUAL(finish(on), "later: the stream was cancelled");
  CHECK(!ran);
  wl_stream_free(on);
}

TEST("memory that a stream still uses is not given to another, which would have to wait") {
  const wl_stream a = stream();
  const wl_stream b = stream();
  const int64_t count = 100000;
  std::vector<float> ones(count, 1.0f);
  std::vector<float> twos(count, 2.0f);
  std::vector<float> seen(count, 0.0f);
  wl_tensor first = 0;
  wl_tensor_new(0, WL_F32, 1, &count, "first", &first);
  Gate gate;
  wl_write(a, first, ones.data(), count * 4);
  gate.hold(a);
  wl_read(a, first, seen.data(), count * 4, [](void*, const wl_error*) {}, nullptr);
  wl_tensor_free(first);
  wl_tensor second = 0;
  wl_tensor_new(0, WL_F32, 1, &count, "second", &second);
  wl_write(b, second, twos.data(), count * 4);
  CHECK_EQUAL(finish(b), std::string());
  gate.open = true;
  finish(a);
  CHECK_EQUAL(seen[0], 1.0f);
  CHECK_EQUAL(seen[count - 1], 1.0f);
  wl_tensor_free(second);
  wl_stream_free(a);
  wl_stream_free(b);
}

TEST("memory that is freed on a stream is used again by that stream at once, and by another where there is no other memory") {
  const wl_stream a = stream();
  const wl_stream b = stream();
  const int64_t count = int64_t{8} << 20;
  const auto one_tensor = [&](wl_stream on, float value) {
    std::vector<float> values(static_cast<size_t>(count), value);
    wl_tensor x = 0;
    CHECK_EQUAL(wl_tensor_new(0, WL_F32, 1, &count, "x", &x), 0);
    CHECK_EQUAL(wl_write(on, x, values.data(), count * 4), 0);
    wl_tensor_free(x);
  };
  one_tensor(a, 1.0f);
  finish(a);
  wl_memory memory;
  wl_memory_stats(&memory);
  const int64_t allocations = memory.system_allocations;
  Gate gate;
  gate.hold(a);
  for (int i = 0; i < 3; ++i) one_tensor(a, 2.0f);
  wl_memory_stats(&memory);
  CHECK_EQUAL(memory.system_allocations, allocations);
  wl_memory_set_limit(memory.system_bytes);
  one_tensor(b, 3.0f);
  std::atomic<bool> written{false};
  enqueue(b, "written", true, [&](wl::Stream&) { written = true; });
  for (int i = 0; i < 1000; ++i) std::this_thread::yield();
  CHECK(!written);
  gate.open = true;
  CHECK_EQUAL(finish(b), std::string());
  wl_memory_set_limit(0);
  wl_stream_free(a);
  wl_stream_free(b);
}

TEST("scratch memory never takes a block that a queued command still uses") {
  const wl_stream on = stream();
  const int64_t count = 1 << 20;
  std::vector<float> ones(count, 1.0f);
  std::vector<float> seen(count, 0.0f);
  wl_tensor x = 0;
  wl_tensor_new(0, WL_F32, 1, &count, "x", &x);
  wl_write(on, x, ones.data(), count * 4);
  Gate gate;
  gate.hold(on);
  enqueue(on, "kernel", false, [&](wl::Stream& stream) {
    float* scratch = stream.context().scratch(count);
    std::fill_n(scratch, count, 5.0f);
  });
  wl_read(on, x, seen.data(), count * 4, [](void*, const wl_error*) {}, nullptr);
  wl_tensor_free(x);
  gate.open = true;
  finish(on);
  CHECK_EQUAL(seen[0], 1.0f);
  CHECK_EQUAL(seen[count - 1], 1.0f);
  wl_stream_free(on);
}

TEST("a kernel that asks for more scratch than the limit allows poisons its stream with a retryable error") {
  const wl_stream on = stream();
  wl_memory memory;
  wl_memory_stats(&memory);
  wl_memory_set_limit(memory.system_bytes + (1 << 20));
  enqueue(on, "greedy", false, [](wl::Stream& stream) { stream.context().scratch(int64_t{64} << 20); });
  CHECK(starts_with(finish(on), "greedy: out of memory: 268435456 bytes wanted"));
  wl_memory_set_limit(0);
  wl_stream_free(on);
}

TEST("the profile counts each operation while it is on, and only then") {
  const wl_stream on = stream();
  wl_profile(1);
  for (int i = 0; i < 5; ++i) enqueue(on, "counted", false, [](wl::Stream&) {});
  finish(on);
  wl_profile(0);
  enqueue(on, "counted", false, [](wl::Stream&) {});
  finish(on);
  wl_profile_entry entries[8];
  const int64_t count = std::min<int64_t>(wl_profile_read(entries, 8), 8);
  int64_t calls = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (std::string(entries[i].op) == "counted") calls = entries[i].calls;
  }
  CHECK_EQUAL(calls, 5);
  wl_stream_free(on);
}

std::vector<wl_trace_event> trace_of(wl_stream on) {
  std::vector<wl_trace_event> events(64);
  events.resize(static_cast<size_t>(std::min<int64_t>(wl_trace_read(events.data(), 64), 64)));
  std::erase_if(events, [on](const wl_trace_event& event) { return event.stream != on; });
  return events;
}

TEST("the trace has what a stream does, one after the other and in its order, while it is on") {
  const wl_stream on = stream();
  finish(on);
  wl_trace(64);
  for (const char* name : {"first", "second", "third"}) enqueue(on, name, false, [](wl::Stream&) {});
  finish(on);
  enqueue(on, "late", false, [](wl::Stream&) {});
  finish(on);
  wl_trace(0);
  enqueue(on, "unseen", false, [](wl::Stream&) {});
  finish(on);
  std::string names;
  int64_t end = 0;
  for (const wl_trace_event& event : trace_of(on)) {
    CHECK(event.begin >= end && event.end >= event.begin);
    end = event.end;
    if (std::string(event.op) != "idle") names += std::string(event.op) + " ";
  }
  CHECK(starts_with(names, "first second third sync late"));
  CHECK(names.find("unseen") == std::string::npos);
  wl_stream_free(on);
}

TEST("a trace that is full counts what finds no room, and begins anew when it is started again") {
  const wl_stream on = stream();
  finish(on);
  wl_trace(2);
  for (int i = 0; i < 5; ++i) enqueue(on, "counted", false, [](wl::Stream&) {});
  finish(on);
  finish(on);
  wl_trace_event events[8] = {};
  CHECK(wl_trace_read(events, 8) >= 6);
  CHECK(events[2].op == nullptr);
  wl_trace(8);
  CHECK(wl_trace_read(events, 8) <= 1);  // the sync of before may end only now
  wl_trace(0);
  wl_stream_free(on);
}

TEST("a handle of a freed stream is refused") {
  const wl_stream on = stream();
  wl_stream_free(on);
  CHECK_EQUAL(wl_sync(on, [](void*, const wl_error*) {}, nullptr), WL_INVALID);
  CHECK_EQUAL(std::string(wl_last_error()->message), "sync: " + std::to_string(on) + " is not a live stream");
}

TEST_MAIN
