// The C ABI of files mapped read-only. A mapping lives until it is closed and no stream copies from it any more.
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/runtime.h"
#include "core/stream.h"
#include "core/tensors.h"

namespace wl {
namespace {

// What kernels may rely on for the memory of a whole tensor.
constexpr int64_t kMapAlignment = 64;

struct Mapping {
  char* data;
  int64_t bytes;
  std::atomic<int64_t> users{1};

  void leave() {
    if (users.fetch_sub(1) > 1) return;
    if (bytes > 0) munmap(data, static_cast<size_t>(bytes));
    delete this;
  }
};

Table<Mapping*>& maps() {
  static auto* const table = new Table<Mapping*>;
  return *table;
}
// Held while a mapping is looked up and one more user of it is counted.
std::mutex map_lock;

int no_map(const char* op, wl_map handle) { return fail(WL_INVALID, op, "%s: %u is not an open mapping", op, handle); }

/** The mapping with one more user, or null where the handle or the range is wrong. */
Mapping* enter(const char* op, wl_map handle, int64_t offset, int64_t bytes) {
  const std::lock_guard guard(map_lock);
  Mapping* mapping = nullptr;
  if (!maps().find(handle, mapping)) {
    no_map(op, handle);
    return nullptr;
  }
  if (offset < 0 || bytes < 0 || offset > mapping->bytes - bytes) {
    fail(WL_INVALID, op, "%s: %lld bytes at %lld are outside of the file of %lld bytes", op, static_cast<long long>(bytes),
         static_cast<long long>(offset), static_cast<long long>(mapping->bytes));
    return nullptr;
  }
  mapping->users.fetch_add(1);
  return mapping;
}

int open_file(const char* path, char*& data, int64_t& bytes) {
  const char* const op = "map_open";
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return fail(WL_INVALID, op, "%s: %.300s: %s", op, path, std::strerror(errno));
  struct stat status;
  if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) {
    close(file);
    return fail(WL_INVALID, op, "%s: %.300s is not a regular file", op, path);
  }
  bytes = status.st_size;
  data = nullptr;
  void* mapped = bytes == 0 ? nullptr : mmap(nullptr, static_cast<size_t>(bytes), PROT_READ, MAP_SHARED, file, 0);
  const int reason = errno;
  close(file);
  if (mapped == MAP_FAILED) return fail(WL_RETRYABLE, op, "%s: %.300s: %s", op, path, std::strerror(reason));
  data = static_cast<char*>(mapped);
  return WL_OK;
}

struct CopyFromMap {
  void* to;
  Mapping* mapping;
  int64_t offset;
  int64_t bytes;
};

}  // namespace

void release_maps_of(wl_owner owner) {
  while (const wl_map map = maps().any_of(owner)) wl_map_close(map);
}

}  // namespace wl

using namespace wl;

extern "C" {

int wl_map_open(wl_owner owner, const char* path, wl_map* out, int64_t* bytes) {
  char* data;
  if (const int kind = open_file(path, data, *bytes); kind != WL_OK) return kind;
  auto* mapping = new Mapping{data, *bytes};
  *out = maps().add(mapping, owner);
  if (*out != 0) return WL_OK;
  mapping->leave();
  return fail(WL_INVALID, "map_open", "map_open: more than %u mappings open", Table<Mapping*>::kCapacity);
}

int wl_map_read(wl_map map, int64_t offset, int64_t bytes, void* out) {
  Mapping* mapping = enter("map_read", map, offset, bytes);
  if (mapping == nullptr) return WL_INVALID;
  if (bytes > 0) std::memcpy(out, mapping->data + offset, static_cast<size_t>(bytes));
  mapping->leave();
  return WL_OK;
}

int wl_map_tensor(wl_owner owner, wl_map map, int64_t offset, int dtype, int ndim, const int64_t* shape, const char* label, wl_tensor* out) {
  const char* const op = "map_tensor";
  const int64_t bytes = bytes_of_shape(dtype, ndim, shape);
  if (bytes < 0) return fail(WL_INVALID, op, "%s: there is no tensor of dtype %d and shape %s", op, dtype, ShapeText(ndim, shape).text);
  if (offset % kMapAlignment != 0) {
    return fail(WL_INVALID, op, "%s: offset %lld is no multiple of %lld", op, static_cast<long long>(offset), static_cast<long long>(kMapAlignment));
  }
  Mapping* mapping = enter(op, map, offset, bytes);
  if (mapping == nullptr) return WL_INVALID;
  const Lender lender = {[](void* of) { static_cast<Mapping*>(of)->leave(); }, mapping};
  return tensors().create_lent(owner, mapping->data + offset, lender, dtype, ndim, shape, label, out);
}

int wl_write_from_map(wl_stream on, wl_tensor handle, wl_map map, int64_t offset, int64_t bytes) {
  const char* const op = "write_from_map";
  Stream* stream = find_stream(on);
  if (stream == nullptr) return fail(WL_INVALID, op, "%s: %u is not a live stream", op, on);
  const std::lock_guard guard(stream->producer);
  const std::lock_guard registry(tensors().lock);
  const Tensor* tensor = tensors().find(handle);
  if (tensor == nullptr) return fail(WL_INVALID, op, "%s: tensor is not a live tensor (handle %u)", op, handle);
  if (tensor->buffer->lent()) return fail_lent(op);
  if (tensor->bytes() != bytes) {
    return fail(WL_INVALID, op, "%s: %lld bytes given, but tensor %s of %s has %lld", op, static_cast<long long>(bytes),
                ShapeText(tensor->ndim, tensor->shape).text, name_of_dtype(tensor->dtype), static_cast<long long>(tensor->bytes()));
  }
  Mapping* mapping = enter(op, map, offset, bytes);
  if (mapping == nullptr) return WL_INVALID;
  Tensors::use(*tensor->buffer, *stream);
  Command command;
  command.name = op;
  command.always = true;  // to leave the mapping even where the stream is poisoned
  command.run = [](Stream& stream, void* payload) {
    const auto& copy = *static_cast<const CopyFromMap*>(payload);
    if (stream.error() == nullptr) std::memcpy(copy.to, copy.mapping->data + copy.offset, static_cast<size_t>(copy.bytes));
    copy.mapping->leave();
  };
  command.set_payload(CopyFromMap{tensor->data(), mapping, offset, bytes});
  stream->push(command);
  return WL_OK;
}

int wl_map_close(wl_map map) {
  const std::lock_guard guard(map_lock);
  Mapping* mapping = nullptr;
  if (!maps().remove(map, mapping)) return no_map("map_close", map);
  mapping->leave();
  return WL_OK;
}

}  // extern "C"
