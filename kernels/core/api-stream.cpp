// The C ABI of streams and events, and copies between host memory and tensors.
#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "core/runtime.h"
#include "core/stream.h"
#include "core/tensors.h"

namespace wl {
namespace {

Table<Stream*>& streams() {
  static auto* const table = new Table<Stream*>;
  return *table;
}
Table<Mark>& events() {
  static auto* const table = new Table<Mark>;
  return *table;
}

// All streams ever made; those without a handle wait to be used again, so a thread is never stopped.
struct AllStreams {
  std::mutex lock;
  std::vector<Stream*> all;
  std::vector<Stream*> idle;
};
AllStreams& all_streams() {
  static auto* const instance = new AllStreams;
  return *instance;
}

Stream* idle_or_new_stream() {
  AllStreams& streams = all_streams();
  const std::lock_guard guard(streams.lock);
  if (!streams.idle.empty()) {
    Stream* stream = streams.idle.back();
    streams.idle.pop_back();
    return stream;
  }
  return streams.all.emplace_back(new Stream(pool()));
}

int no_stream(const char* op, wl_stream handle) { return fail(WL_INVALID, op, "%s: %u is not a live stream", op, handle); }
int no_event(const char* op, wl_event handle) { return fail(WL_INVALID, op, "%s: %u is not a live event", op, handle); }

struct Completion {
  wl_done done;
  void* user;
};

struct Copy {
  void* to;
  const void* from;
  int64_t bytes;
};

struct CopyOut {
  Copy copy;
  Completion completion;
};

/** Pushes a command made of a function of (Stream&, const Payload&) without captures. */
template <class Payload, class Run>
Command command_of(const char* name, bool always, const Payload& payload, Run) {
  Command command;
  command.name = name;
  command.always = always;
  command.run = [](Stream& stream, void* payload) { Run{}(stream, *static_cast<const Payload*>(payload)); };
  command.set_payload(payload);
  return command;
}

int push(wl_stream on, const char* op, const Command& command) {
  Stream* stream = find_stream(on);
  if (stream == nullptr) return no_stream(op, on);
  const std::lock_guard guard(stream->producer);
  stream->push(command);
  return WL_OK;
}

/** The tensor of a copy of `bytes`, or null. The registry's lock must be held. */
Tensor* tensor_for_copy(const char* op, wl_tensor handle, int64_t bytes) {
  Tensor* tensor = tensors().find(handle);
  if (tensor == nullptr) {
    fail(WL_INVALID, op, "%s: tensor is not a live tensor (handle %u)", op, handle);
  } else if (tensor->bytes() != bytes) {
    fail(WL_INVALID, op, "%s: %lld bytes given, but tensor %s of %s has %lld", op, static_cast<long long>(bytes),
         ShapeText(tensor->ndim, tensor->shape).text, name_of_dtype(tensor->dtype), static_cast<long long>(tensor->bytes()));
    return nullptr;
  }
  return tensor;
}

}  // namespace

Stream* find_stream(wl_stream handle) {
  Stream* stream = nullptr;
  return streams().find(handle, stream) ? stream : nullptr;
}

std::vector<Mark> marks_of_all_streams() {
  AllStreams& streams = all_streams();
  const std::lock_guard guard(streams.lock);
  std::vector<Mark> marks;
  for (Stream* stream : streams.all) marks.push_back({stream, stream->enqueued()});
  return marks;
}

void release_streams_of(wl_owner owner) {
  while (const wl_stream stream = streams().any_of(owner)) {
    wl_stream_cancel(stream);
    wl_stream_free(stream);
  }
  while (const wl_event event = events().any_of(owner)) wl_event_free(event);
}

void Stream::wait_for_all() {
  for (const Mark& mark : marks_of_all_streams()) mark.stream->wait_for(mark.ticket);
}

}  // namespace wl

using namespace wl;

extern "C" {

int wl_stream_new(wl_owner owner, wl_stream* out) {
  Stream* stream = idle_or_new_stream();
  *out = streams().add(stream, owner);
  if (*out == 0) {
    const std::lock_guard guard(all_streams().lock);
    all_streams().idle.push_back(stream);
    return fail(WL_INVALID, "stream_new", "stream_new: more than %u streams live", Table<Stream*>::kCapacity);
  }
  stream->handle = *out;
  const std::lock_guard guard(stream->producer);
  stream->push_reset();
  return WL_OK;
}

int wl_stream_free(wl_stream handle) {
  Stream* stream = nullptr;
  if (!streams().remove(handle, stream)) return no_stream("stream_free", handle);
  {
    const std::lock_guard guard(stream->producer);
    stream->push(command_of("release", true, 0, [](Stream& stream, int) { stream.release_scratch(); }));
  }
  const std::lock_guard guard(all_streams().lock);
  all_streams().idle.push_back(stream);
  return WL_OK;
}

int wl_stream_reset(wl_stream handle) {
  Stream* stream = find_stream(handle);
  if (stream == nullptr) return no_stream("stream_reset", handle);
  const std::lock_guard guard(stream->producer);
  stream->push_reset();
  return WL_OK;
}

int wl_stream_cancel(wl_stream handle) {
  Stream* stream = find_stream(handle);
  if (stream == nullptr) return no_stream("stream_cancel", handle);
  stream->cancel();
  return WL_OK;
}

int wl_event_new(wl_owner owner, wl_event* out) {
  *out = events().add(Mark{}, owner);
  if (*out == 0) return fail(WL_INVALID, "event_new", "event_new: more than %u events live", Table<Mark>::kCapacity);
  return WL_OK;
}

int wl_event_free(wl_event handle) {
  Mark mark;
  return events().remove(handle, mark) ? WL_OK : no_event("event_free", handle);
}

int wl_event_record(wl_event event, wl_stream on) {
  Stream* stream = find_stream(on);
  if (stream == nullptr) return no_stream("event_record", on);
  return events().set(event, {stream, stream->enqueued()}) ? WL_OK : no_event("event_record", event);
}

int wl_event_wait(wl_event event, wl_stream on) {
  Mark mark;
  if (!events().find(event, mark)) return no_event("event_wait", event);
  Stream* stream = find_stream(on);
  if (stream == nullptr) return no_stream("event_wait", on);
  const std::lock_guard guard(stream->producer);
  stream->push_wait(mark);
  return WL_OK;
}

int wl_sync(wl_stream on, wl_done done, void* user) {
  return push(on, "sync", command_of("sync", true, Completion{done, user}, [](Stream& stream, const Completion& completion) {
                completion.done(completion.user, stream.error());
              }));
}

int wl_write(wl_stream on, wl_tensor handle, const void* data, int64_t bytes) {
  Stream* stream = find_stream(on);
  if (stream == nullptr) return no_stream("write", on);
  const std::lock_guard guard(stream->producer);
  const std::lock_guard registry(tensors().lock);
  const Tensor* tensor = tensor_for_copy("write", handle, bytes);
  if (tensor == nullptr) return WL_INVALID;
  if (tensor->buffer->lent()) return fail_lent("write");
  void* staging = std::malloc(static_cast<size_t>(bytes));
  if (staging == nullptr) return fail_memory("write", bytes);
  std::memcpy(staging, data, static_cast<size_t>(bytes));
  Tensors::use(*tensor->buffer, *stream);
  Command command = command_of("write", false, Copy{tensor->data(), staging, bytes}, [](Stream&, const Copy& copy) {
    std::memcpy(copy.to, copy.from, static_cast<size_t>(copy.bytes));
  });
  command.owned = staging;
  stream->push(command);
  return WL_OK;
}

int wl_read(wl_stream on, wl_tensor handle, void* data, int64_t bytes, wl_done done, void* user) {
  Stream* stream = find_stream(on);
  if (stream == nullptr) return no_stream("read", on);
  const std::lock_guard guard(stream->producer);
  const std::lock_guard registry(tensors().lock);
  const Tensor* tensor = tensor_for_copy("read", handle, bytes);
  if (tensor == nullptr) return WL_INVALID;
  Tensors::use(*tensor->buffer, *stream);
  const CopyOut payload = {{data, tensor->data(), bytes}, {done, user}};
  stream->push(command_of("read", true, payload, [](Stream& stream, const CopyOut& out) {
    if (stream.error() == nullptr) std::memcpy(out.copy.to, out.copy.from, static_cast<size_t>(out.copy.bytes));
    out.completion.done(out.completion.user, stream.error());
  }));
  return WL_OK;
}

}  // extern "C"
