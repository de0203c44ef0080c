// The registry of tensors: creation, views, freeing in stream order, and who lives.
#include "core/tensors.h"

#include <algorithm>
#include <cstdio>

#include "core/error.h"
#include "core/stream.h"

namespace wl {
namespace {

// A handle is a slot's index in the lower 20 bits and its generation, 1 to 4095, above.
constexpr uint32_t kIndexBits = 20;
constexpr uint32_t kSlots = 1u << kIndexBits;
constexpr uint32_t kGenerations = 1u << (32 - kIndexBits);
// Slots wait in a queue this long before they are used again, so that a stale handle is caught for many generations.
constexpr size_t kRestingSlots = 1024;

/** Elements of a shape, or -1 where it has a dim below 1, too many dims, or more than 2^44 elements. */
int64_t count_of(int ndim, const int64_t* shape) {
  constexpr int64_t most = int64_t{1} << 44;
  if (ndim < 0 || ndim > WL_MAX_DIMS) return -1;
  int64_t count = 1;
  for (int i = 0; i < ndim; ++i) {
    if (shape[i] < 1 || shape[i] > most / count) return -1;
    count *= shape[i];
  }
  return count;
}

/** Whether tensors are made of it. */
bool is_stored(int dtype) { return dtype == WL_F32 || dtype == WL_I32 || dtype == WL_U8 || dtype == WL_BF16; }

void set_shape(Tensor& tensor, int ndim, const int64_t* shape, int64_t count) {
  std::copy_n(shape, ndim, tensor.shape);
  tensor.ndim = ndim;
  tensor.count = count;
}

}  // namespace

int64_t size_of_dtype(int dtype) { return dtype == WL_U8 ? 1 : dtype == WL_BF16 ? 2 : 4; }
int64_t bytes_of_shape(int dtype, int ndim, const int64_t* shape) {
  const int64_t count = count_of(ndim, shape);
  return !is_stored(dtype) || count < 0 ? -1 : count * size_of_dtype(dtype);
}
const char* name_of_dtype(int dtype) {
  switch (dtype) {
    case WL_F32: return "f32";
    case WL_I32: return "i32";
    case WL_BF16: return "bf16";
    case WL_F32_ROUNDED: return "f32 read as bf16";
    default: return "u8";
  }
}
int64_t Tensor::bytes() const { return count * size_of_dtype(dtype); }

ShapeText::ShapeText(int ndim, const int64_t* shape) {
  int at = std::snprintf(text, sizeof text, "[");
  for (int i = 0; i < ndim && i < WL_MAX_DIMS; ++i) {
    at += std::snprintf(text + at, sizeof text - static_cast<size_t>(at), i == 0 ? "%lld" : ", %lld", static_cast<long long>(shape[i]));
  }
  std::snprintf(text + at, sizeof text - static_cast<size_t>(at), "]");
}

Tensors& tensors() {
  static Tensors* const instance = new Tensors;
  return *instance;
}

int Tensors::create(wl_owner owner, int dtype, int ndim, const int64_t* shape, const char* label, wl_tensor* out) {
  const char* const op = "tensor_new";
  if (!is_stored(dtype)) return fail(WL_INVALID, op, "%s: there is no dtype %d", op, dtype);
  const int64_t count = count_of(ndim, shape);
  if (count < 0) return fail(WL_INVALID, op, "%s: shape %s is out of range: up to %d dims, each at least 1", op, ShapeText(ndim, shape).text, WL_MAX_DIMS);
  const int64_t bytes = count * size_of_dtype(dtype);
  const Block block = memory().allocate(bytes, Use::later);
  if (block.data == nullptr) return fail_memory(op, bytes);
  const int kind = create_over(owner, {block, 0, nullptr, false, {}}, dtype, ndim, shape, label, out);
  if (kind != WL_OK) memory().release(block);
  return kind;
}

int Tensors::create_lent(wl_owner owner, const void* data, Lender lender, int dtype, int ndim, const int64_t* shape, const char* label,
                         wl_tensor* out) {
  Block block;
  block.data = const_cast<void*>(data);
  const int kind = create_over(owner, {block, 0, nullptr, false, lender}, dtype, ndim, shape, label, out);
  if (kind != WL_OK) lender.give_back(lender.of);
  return kind;
}

int Tensors::create_over(wl_owner owner, Buffer buffer, int dtype, int ndim, const int64_t* shape, const char* label, wl_tensor* out) {
  Tensor tensor;
  tensor.dtype = dtype;
  tensor.owner = owner;
  set_shape(tensor, ndim, shape, count_of(ndim, shape));
  std::snprintf(tensor.label, sizeof tensor.label, "%s", label == nullptr ? "" : label);
  const std::lock_guard guard(lock);
  give_back_rested();
  if (free_buffers_.empty()) free_buffers_.push_back(&buffers_.emplace_back());
  tensor.buffer = free_buffers_.front();
  *tensor.buffer = buffer;
  if (!add(tensor, out)) return fail(WL_INVALID, "tensor_new", "tensor_new: more than %u tensors live", kSlots - 1);
  free_buffers_.pop_front();
  return WL_OK;
}

int Tensors::create_view(wl_owner owner, wl_tensor base_handle, int64_t offset, int ndim, const int64_t* shape, bool rounded, wl_tensor* out) {
  const char* const op = "tensor_view";
  const int64_t count = count_of(ndim, shape);
  if (count < 0) return fail(WL_INVALID, op, "%s: shape %s is out of range: up to %d dims, each at least 1", op, ShapeText(ndim, shape).text, WL_MAX_DIMS);
  const std::lock_guard guard(lock);
  const Tensor* base = find(base_handle);
  if (base == nullptr) return fail(WL_INVALID, op, "%s: base is not a live tensor (handle %u)", op, base_handle);
  if (offset < 0 || offset > base->count - count) {
    return fail(WL_INVALID, op, "%s: elements %lld to %lld are outside of base %s", op, static_cast<long long>(offset),
                static_cast<long long>(offset) + static_cast<long long>(count), ShapeText(base->ndim, base->shape).text);
  }
  if (rounded && base->dtype != WL_F32) {
    return fail(WL_INVALID, op, "%s: base is %s; only f32 is read as bf16", op, name_of_dtype(base->dtype));
  }
  Tensor tensor = *base;
  if (rounded) tensor.dtype = WL_F32_ROUNDED;
  tensor.offset += offset * size_of_dtype(base->dtype);
  tensor.view = true;
  tensor.owner = owner;
  set_shape(tensor, ndim, shape, count);
  if (!add(tensor, out)) return fail(WL_INVALID, op, "%s: more than %u tensors live", op, kSlots - 1);
  return WL_OK;
}

bool Tensors::add(Tensor tensor, wl_tensor* out) {
  if (free_slots_.size() < kRestingSlots && slots_.size() < kSlots) {
    free_slots_.push_front(static_cast<uint32_t>(slots_.size()));
    slots_.emplace_back();
  }
  if (free_slots_.empty()) return false;
  const uint32_t at = free_slots_.front();
  free_slots_.pop_front();
  tensor.generation = slots_[at].generation % (kGenerations - 1) + 1;
  tensor.buffer->tensors += 1;
  slots_[at] = tensor;
  live_ += 1;
  *out = tensor.generation << kIndexBits | at;
  return true;
}

int Tensors::free(wl_tensor handle) {
  const std::lock_guard guard(lock);
  if (find(handle) == nullptr) {
    return fail(WL_INVALID, "tensor_free", "tensor_free: handle %u is not a live tensor; it was freed before", handle);
  }
  remove(handle % kSlots);
  return WL_OK;
}

void Tensors::free_all_of(wl_owner owner) {
  const std::lock_guard guard(lock);
  for (uint32_t at = 0; at < slots_.size(); ++at) {
    if (slots_[at].buffer != nullptr && slots_[at].owner == owner) remove(at);
  }
}

void Tensors::remove(uint32_t at) {
  Buffer* buffer = slots_[at].buffer;
  slots_[at].buffer = nullptr;
  free_slots_.push_back(at);
  live_ -= 1;
  if (--buffer->tensors > 0) return;
  if (buffer->lent()) {
    std::vector<Mark> marks;
    if (buffer->shared) marks = marks_of_all_streams();
    else if (buffer->stream != nullptr) marks.push_back({buffer->stream, buffer->stream->enqueued()});
    resting_.push_back({buffer->lender, std::move(marks)});
    give_back_rested();
  } else if (buffer->shared) {
    memory().release_after(buffer->block, marks_of_all_streams());
  } else {
    if (buffer->stream != nullptr) buffer->block.free_after = {buffer->stream, buffer->stream->enqueued()};
    memory().release(buffer->block);
  }
  free_buffers_.push_back(buffer);
}

void Tensors::give_back_rested() {
  std::erase_if(resting_, [](const Resting& resting) {
    if (!std::ranges::all_of(resting.marks, &Mark::reached)) return false;
    resting.lender.give_back(resting.lender.of);
    return true;
  });
}

Tensor* Tensors::find(wl_tensor handle) {
  const uint32_t at = handle % kSlots;
  if (at >= slots_.size()) return nullptr;
  Tensor& tensor = slots_[at];
  return tensor.buffer != nullptr && tensor.generation == handle >> kIndexBits ? &tensor : nullptr;
}

void Tensors::use(Buffer& buffer, Stream& stream) {
  if (buffer.stream == &stream) return;
  if (buffer.stream == nullptr) {
    if (!buffer.lent()) memory().settle_on(buffer.block, stream);
    if (!buffer.block.free_after.reached()) stream.push_wait(buffer.block.free_after);
    buffer.stream = &stream;
  } else {
    buffer.shared = true;
  }
}

int Tensors::describe(wl_tensor handle, wl_tensor_info* out) {
  const std::lock_guard guard(lock);
  if (find(handle) == nullptr) {
    return fail(WL_INVALID, "tensor_describe", "tensor_describe: handle %u is not a live tensor", handle);
  }
  describe_slot(handle % kSlots, *out);
  return WL_OK;
}

int64_t Tensors::live(wl_tensor_info* out, int64_t capacity) {
  const std::lock_guard guard(lock);
  int64_t count = 0;
  for (uint32_t at = 0; at < slots_.size() && count < capacity; ++at) {
    if (slots_[at].buffer != nullptr) describe_slot(at, out[count++]);
  }
  return live_;
}

void Tensors::describe_slot(uint32_t at, wl_tensor_info& out) const {
  const Tensor& tensor = slots_[at];
  out = {tensor.generation << kIndexBits | at, tensor.dtype, tensor.ndim, {}, tensor.bytes(), tensor.view ? 1 : 0, {}};
  std::copy_n(tensor.shape, tensor.ndim, out.shape);
  std::copy_n(tensor.label, sizeof tensor.label, out.label);
}

}  // namespace wl
