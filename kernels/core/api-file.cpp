// The C ABI of checksums: of file ranges while they are read into tensors, of host memory, and of tensors.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

#include "core/crc32.h"
#include "core/error.h"
#include "core/runtime.h"
#include "core/stream.h"
#include "core/tensors.h"

namespace wl {
namespace {

// What is summed right after it was read or looked at is still in the cache of the core.
constexpr int64_t kCachedBytes = 256 << 10;
// What a thread sums of a tensor before it takes the next part. Digests depend on it.
constexpr int64_t kDigestBytes = 1 << 20;

struct Answer {
  double* out;
  wl_done done;
  void* user;

  void give(double value, const wl_error* error) const {
    *out = value;
    done(user, error);
  }
};

struct ReadFile {
  int file;  // closed by the command
  int64_t position;
  char* to;
  int64_t bytes;
  Answer answer;
};

/** -1: the file ends before. Sets errno and returns -2 where it can't be read. */
double read_and_sum(const ReadFile& read) {
  uint32_t sum = 0;
  // Read ahead by the system's own measure: asked for all of it at once (POSIX_FADV_WILLNEED), a cold disk gives half as much.
  for (int64_t at = 0; at < read.bytes;) {
    const int64_t part = std::min(kCachedBytes, read.bytes - at);
    const ssize_t got = pread(read.file, read.to + at, static_cast<size_t>(part), read.position + at);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return got == 0 ? -1 : -2;
    sum = crc32(sum, read.to + at, static_cast<size_t>(got));
    at += got;
  }
  return sum;
}

void run_read_file(Stream& stream, const ReadFile& read) {
  const wl_error* before = stream.error();
  const double sum = before == nullptr ? read_and_sum(read) : -1;
  const int reason = errno;
  close(read.file);
  if (sum != -2) return read.answer.give(sum, before);
  // The caller's to deal with, as another file may be fine: it does not poison the stream.
  wl_error error{};
  error.kind = WL_RETRYABLE;
  error.comm_peer = -1;
  std::snprintf(error.op, sizeof error.op, "read_file");
  std::snprintf(error.message, sizeof error.message, "read_file: %lld bytes at %lld: %s", static_cast<long long>(read.bytes),
                static_cast<long long>(read.position), std::strerror(reason));
  read.answer.give(0, &error);
}

/** Whether no exponent has all bits set, as those of NaN and the infinities have. */
bool are_finite(const char* data, int64_t bytes) {
  uint32_t found = 0;
  for (int64_t at = 0; at + 4 <= bytes; at += 4) {
    uint32_t bits;
    std::memcpy(&bits, data + at, sizeof bits);
    // Overflows into the top bit for those.
    found |= (bits & 0x7fffffff) + 0x00800000;
  }
  return found >> 31 == 0;
}

struct SumHost {
  const char* data;
  int64_t bytes;
  bool finite;
  Answer answer;
};

double sum_of(const SumHost& host) {
  uint32_t sum = 0;
  for (int64_t at = 0; at < host.bytes; at += kCachedBytes) {
    const int64_t part = std::min(kCachedBytes, host.bytes - at);
    if (host.finite && !are_finite(host.data + at, part)) return -1;
    sum = crc32(sum, host.data + at, static_cast<size_t>(part));
  }
  return sum;
}

struct Part {
  const char* data;
  int64_t bytes;
};

struct Digest {
  const Part* parts;  // owned by the command
  int64_t count;
  uint32_t* sums;  // room for those of the largest; behind `parts`
  Answer answer;
};

int64_t sums_of(int64_t bytes) { return (bytes + kDigestBytes - 1) / kDigestBytes; }

/** CRC-32 of the CRC-32s of the parts of each tensor, so that threads share the work and the result does not depend on them. */
double digest_of(Stream& stream, const Digest& digest) {
  uint32_t total = 0;
  for (int64_t i = 0; i < digest.count; ++i) {
    const Part& part = digest.parts[i];
    const int64_t count = sums_of(part.bytes);
    stream.context().parallel_for(count, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t index = begin; index < end; ++index) {
        const int64_t at = index * kDigestBytes;
        digest.sums[index] = crc32(0, part.data + at, static_cast<size_t>(std::min(kDigestBytes, part.bytes - at)));
      }
    });
    total = crc32(total, digest.sums, static_cast<size_t>(count) * sizeof(uint32_t));
  }
  return total;
}

template <class Payload, class Run>
Command command_of(const char* name, const Payload& payload, Run) {
  Command command;
  command.name = name;
  command.always = true;  // to answer even where the stream is poisoned
  command.run = [](Stream& stream, void* payload) { Run{}(stream, *static_cast<const Payload*>(payload)); };
  command.set_payload(payload);
  return command;
}

int no_tensor(const char* op, wl_tensor handle) { return fail(WL_INVALID, op, "%s: handle %u is not a live tensor", op, handle); }

}  // namespace
}  // namespace wl

using namespace wl;

extern "C" {

int wl_read_file(wl_stream on, wl_tensor handle, int file, int64_t position, double* out, wl_done done, void* user) {
  const char* const op = "read_file";
  Stream* stream = find_stream(on);
  if (stream == nullptr) return fail(WL_INVALID, op, "%s: %u is not a live stream", op, on);
  const std::lock_guard guard(stream->producer);
  const std::lock_guard registry(tensors().lock);
  const Tensor* tensor = tensors().find(handle);
  if (tensor == nullptr) return no_tensor(op, handle);
  if (tensor->buffer->lent()) return fail_lent(op);
  if (position < 0) return fail(WL_INVALID, op, "%s: position %lld is before the file", op, static_cast<long long>(position));
  const int own = fcntl(file, F_DUPFD_CLOEXEC, 0);
  if (own < 0) return fail(WL_INVALID, op, "%s: file %d: %s", op, file, std::strerror(errno));
  Tensors::use(*tensor->buffer, *stream);
  const ReadFile payload = {own, position, tensor->data(), tensor->bytes(), {out, done, user}};
  stream->push(command_of(op, payload, [](Stream& stream, const ReadFile& read) { run_read_file(stream, read); }));
  return WL_OK;
}

int wl_checksum(wl_stream on, const void* data, int64_t bytes, int finite, double* out, wl_done done, void* user) {
  const char* const op = "checksum";
  Stream* stream = find_stream(on);
  if (stream == nullptr) return fail(WL_INVALID, op, "%s: %u is not a live stream", op, on);
  const std::lock_guard guard(stream->producer);
  const SumHost payload = {static_cast<const char*>(data), bytes, finite != 0, {out, done, user}};
  stream->push(command_of(op, payload, [](Stream& stream, const SumHost& host) {
    const wl_error* error = stream.error();
    host.answer.give(error == nullptr ? sum_of(host) : 0, error);
  }));
  return WL_OK;
}

int wl_digest(wl_stream on, const wl_tensor* handles, int64_t count, double* out, wl_done done, void* user) {
  const char* const op = "digest";
  Stream* stream = find_stream(on);
  if (stream == nullptr) return fail(WL_INVALID, op, "%s: %u is not a live stream", op, on);
  const std::lock_guard guard(stream->producer);
  const std::lock_guard registry(tensors().lock);
  int64_t sums = 1;
  for (int64_t i = 0; i < count; ++i) {
    const Tensor* tensor = tensors().find(handles[i]);
    if (tensor == nullptr) return no_tensor(op, handles[i]);
    sums = std::max(sums, sums_of(tensor->bytes()));
  }
  const size_t bytes = static_cast<size_t>(count) * sizeof(Part) + static_cast<size_t>(sums) * sizeof(uint32_t);
  auto* parts = static_cast<Part*>(std::malloc(bytes));
  if (parts == nullptr) return fail_memory(op, static_cast<int64_t>(bytes));
  for (int64_t i = 0; i < count; ++i) {
    const Tensor* tensor = tensors().find(handles[i]);
    Tensors::use(*tensor->buffer, *stream);
    parts[i] = {tensor->data(), tensor->bytes()};
  }
  Command command = command_of(op, Digest{parts, count, reinterpret_cast<uint32_t*>(parts + count), {out, done, user}}, [](Stream& stream, const Digest& digest) {
    const wl_error* error = stream.error();
    digest.answer.give(error == nullptr ? digest_of(stream, digest) : 0, error);
  });
  command.owned = parts;
  stream->push(command);
  return WL_OK;
}

}  // extern "C"
