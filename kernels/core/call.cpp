// The checks of a call. Messages name the operation, the argument, what was seen and what is needed.
#include "core/call.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core/error.h"

namespace wl {
namespace {

/** "[M.., K]": the dims that an argument needs. */
struct NeedText {
  char text[96];
  NeedText(const OpSpec& spec, const TensorSpec& tensor) {
    size_t at = 0;
    const auto add = [&](const char* format, auto value) {
      const int written = std::snprintf(text + at, sizeof text - at, format, value);
      if (written > 0 && at + static_cast<size_t>(written) < sizeof text) at += static_cast<size_t>(written);
    };
    add("%s", tensor.folds ? "[..." : "[");
    for (int i = 0; i < tensor.ndim; ++i) {
      if (i > 0) add("%s", ", ");
      if (tensor.dims[i] < 0) {
        add("%d", -tensor.dims[i]);
      } else {
        add("%s", spec.symbols[tensor.dims[i]]);
      }
    }
    add("%s", "]");
  }
};

bool takes(const TensorSpec& need, int dtype) {
  if (need.dtype != DType::real) return dtype == static_cast<int>(need.dtype);
  return dtype == WL_F32 || dtype == WL_BF16 || (dtype == WL_F32_ROUNDED && need.access == Access::in);
}

}  // namespace

Call::Call(const OpSpec& spec, wl_stream on) : spec_(spec), stream_(find_stream(on)) {
  for (int64_t& dim : dims_) dim = -1;
  if (stream_ == nullptr) {
    refuse("%u is not a live stream", on);
    return;
  }
  producer_ = std::unique_lock(stream_->producer);
  registry_ = std::unique_lock(tensors().lock);
}

bool Call::refuse(const char* format, ...) {
  char text[400];
  va_list values;
  va_start(values, format);
  std::vsnprintf(text, sizeof text, format, values);
  va_end(values);
  kind_ = fail(WL_INVALID, spec_.name, "%s: %s", spec_.name, text);
  return false;
}

bool Call::resolve(const wl_tensor* handles) {
  if (kind_ != WL_OK) return false;
  for (int at = 0; at < spec_.tensor_count; ++at) {
    if (!resolve_one(at, handles[at])) return false;
  }
  return check_overlap();
}

bool Call::resolve_one(int at, wl_tensor handle) {
  const TensorSpec& need = spec_.tensors[at];
  if (handle == 0) return need.optional ? true : refuse("%s is missing", need.name);
  const Tensor* tensor = tensors().find(handle);
  if (tensor == nullptr) return refuse("%s is not a live tensor (handle %u)", need.name, handle);
  if (!takes(need, tensor->dtype)) {
    const char* wanted = need.dtype == DType::real ? "f32 or bf16" : name_of_dtype(static_cast<int>(need.dtype));
    return refuse("%s is %s, needs %s", need.name, name_of_dtype(tensor->dtype), wanted);
  }
  if (need.access != Access::in && tensor->buffer->lent()) return refuse("%s is mapped from a file and can't be written", need.name);
  if (!unify(at, *tensor)) return false;
  Tensors::use(*tensor->buffer, *stream_);
  data_[at] = tensor->data();
  bytes_[at] = tensor->bytes();
  if (need.dtype == DType::real) stored_[at] = static_cast<Stored>(tensor->dtype);
  return true;
}

bool Call::unify(int at, const Tensor& tensor) {
  const TensorSpec& need = spec_.tensors[at];
  const bool fits = need.folds ? tensor.ndim >= need.ndim : tensor.ndim == need.ndim;
  if (!fits) return refuse("%s is %s, needs %s", need.name, ShapeText(tensor.ndim, tensor.shape).text, NeedText(spec_, need).text);
  const int leading = tensor.ndim - need.ndim;
  for (int i = 0; i < need.ndim; ++i) {
    int64_t size = tensor.shape[leading + i];
    for (int folded = 0; i == 0 && folded < leading; ++folded) size *= tensor.shape[folded];
    const int symbol = need.dims[i];
    if (symbol < 0) {
      if (size == -symbol) continue;
      return refuse("%s is %s, needs %s", need.name, ShapeText(tensor.ndim, tensor.shape).text, NeedText(spec_, need).text);
    }
    if (dims_[symbol] < 0) {
      dims_[symbol] = size;
      dim_from_[symbol] = at;
    } else if (dims_[symbol] != size) {
      return refuse("%s is %s but %s = %lld from %s", need.name, ShapeText(tensor.ndim, tensor.shape).text, spec_.symbols[symbol],
                    static_cast<long long>(dims_[symbol]), spec_.tensors[dim_from_[symbol]].name);
    }
  }
  return true;
}

bool Call::check_overlap() {
  const auto begin = [this](int at) { return static_cast<const char*>(data_[at]); };
  for (int a = 0; a < spec_.tensor_count; ++a) {
    if (data_[a] == nullptr || spec_.tensors[a].access == Access::in) continue;
    for (int b = 0; b < spec_.tensor_count; ++b) {
      if (a == b || data_[b] == nullptr) continue;
      if (begin(a) >= begin(b) + bytes_[b] || begin(b) >= begin(a) + bytes_[a]) continue;
      const bool same = data_[a] == data_[b] && bytes_[a] == bytes_[b];
      const bool allowed = ((spec_.tensors[a].may_be >> b) & 1) != 0 || ((spec_.tensors[b].may_be >> a) & 1) != 0;
      if (!same || !allowed) return refuse("%s overlaps %s", spec_.tensors[a].name, spec_.tensors[b].name);
    }
  }
  return true;
}

bool Call::resolve_list(const char* name, const wl_tensor* handles, int64_t count) {
  if (!lists_.empty() && count != lists_[0].count) {
    return refuse("%s has %lld tensors but %s has %lld", name, static_cast<long long>(count), lists_[0].name,
                  static_cast<long long>(lists_[0].count));
  }
  for (int64_t i = 0; i < count; ++i) {
    const Tensor* tensor = tensors().find(handles[i]);
    if (tensor == nullptr) return refuse("%s[%lld] is not a live tensor (handle %u)", name, static_cast<long long>(i), handles[i]);
    if (tensor->buffer->lent()) return refuse("%s[%lld] is mapped from a file", name, static_cast<long long>(i));
    if (tensor->dtype != WL_F32) return refuse("%s[%lld] is %s, needs f32", name, static_cast<long long>(i), name_of_dtype(tensor->dtype));
    if (lists_.empty()) {
      list_sizes_.push_back(tensor->count);
    } else if (list_sizes_[static_cast<size_t>(i)] != tensor->count) {
      return refuse("%s[%lld] has %lld elements but %s[%lld] has %lld", name, static_cast<long long>(i),
                    static_cast<long long>(tensor->count), lists_[0].name, static_cast<long long>(i),
                    static_cast<long long>(list_sizes_[static_cast<size_t>(i)]));
    }
    Tensors::use(*tensor->buffer, *stream_);
    list_data_.push_back(tensor->data());
  }
  lists_.push_back({name, count});
  return true;
}

bool Call::pair_lists() {
  const size_t pointers = list_data_.size() * sizeof(void*);
  const size_t sizes = list_sizes_.size() * sizeof(int64_t);
  if (pointers == 0) return true;
  owned_ = std::malloc(pointers + sizes);
  if (owned_ == nullptr) {
    kind_ = fail_memory(spec_.name, static_cast<int64_t>(pointers + sizes));
    return false;
  }
  std::memcpy(owned_, list_data_.data(), pointers);
  std::memcpy(static_cast<char*>(owned_) + pointers, list_sizes_.data(), sizes);
  return true;
}

const int64_t* Call::list_sizes() const {
  return reinterpret_cast<const int64_t*>(static_cast<const char*>(owned_) + list_data_.size() * sizeof(void*));
}

int Call::needs(const char* condition, std::initializer_list<Named> values) {
  std::free(owned_);
  owned_ = nullptr;
  char text[256] = "";
  size_t at = 0;
  for (const Named& named : values) {
    const int written = std::snprintf(text + at, sizeof text - at, "%s%s = %.9g", at == 0 ? "" : ", ", named.name, named.value);
    if (written > 0 && at + static_cast<size_t>(written) < sizeof text) at += static_cast<size_t>(written);
  }
  refuse("needs %s (%s)", condition, text);
  return kind_;
}

}  // namespace wl
