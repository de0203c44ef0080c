// One call of an operation: looks its tensors up, checks shapes, types and overlap, and enqueues the kernel with raw pointers.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <mutex>
#include <vector>

#include "core/reals.h"
#include "core/stream.h"
#include "core/tensors.h"
#include "wl.h"

namespace wl {

enum class Access : uint8_t { in, out, inout };
/** What an argument may be; `real` is f32 or bf16, and for what is read also f32 that is read as bf16. */
enum class DType : uint8_t { f32 = WL_F32, i32 = WL_I32, u8 = WL_U8, real = 255 };

struct TensorSpec {
  const char* name;
  Access access;
  DType dtype;
  bool optional;
  bool folds;  // the first dim stands for all leading dims
  int8_t ndim;
  int8_t dims[WL_MAX_DIMS];  // index of a symbol, or minus a literal size
  uint32_t may_be;           // tensors, as bits, with which it may share all of its memory
};

struct OpSpec {
  static constexpr int kMaxTensors = 12;
  static constexpr int kMaxSymbols = 12;

  const char* name;
  const TensorSpec* tensors;
  int tensor_count;
  const char* symbols[kMaxSymbols];
};

class Call {
 public:
  /** A scalar or dim, for the message of a condition that does not hold. */
  struct Named {
    template <class Number>
    Named(const char* name, Number value) : name(name), value(static_cast<double>(value)) {}
    const char* name;
    double value;
  };

  Call(const OpSpec& spec, wl_stream on);

  /** Looks up and checks spec.tensor_count tensors. The locks that this takes are held until the call object dies. */
  bool resolve(const wl_tensor* handles);
  bool resolve_list(const char* name, const wl_tensor* handles, int64_t count);
  /** Checks that the lists have the same sizes, and copies their pointers into the memory that the command will own. */
  bool pair_lists();
  int needs(const char* condition, std::initializer_list<Named> values);

  int kind() const { return kind_; }
  int64_t dim(int symbol) const { return dims_[symbol] < 0 ? 0 : dims_[symbol]; }
  void* data(int tensor) const { return data_[tensor]; }
  Reals reals(int tensor) const { return {data_[tensor], stored_[tensor]}; }
  RealsOut reals_out(int tensor) const { return {data_[tensor], stored_[tensor]}; }
  float* const* list(int at) const { return reinterpret_cast<float* const*>(owned_) + at * list_count(); }
  const int64_t* list_sizes() const;
  int64_t list_count() const { return lists_.empty() ? 0 : lists_[0].count; }

  template <auto kernel, class Args>
  int enqueue(const Args& args) {
    Command command;
    command.name = spec_.name;
    command.owned = owned_;
    command.run = [](Stream& stream, void* payload) { kernel(stream.context(), *static_cast<const Args*>(payload)); };
    command.set_payload(args);
    stream_->push(command);
    return WL_OK;
  }

 private:
  struct List {
    const char* name;
    int64_t count;
  };

  bool resolve_one(int at, wl_tensor handle);
  bool unify(int at, const Tensor& tensor);
  bool check_overlap();
  bool refuse(const char* format, ...) __attribute__((format(printf, 2, 3)));

  const OpSpec& spec_;
  Stream* stream_ = nullptr;
  std::unique_lock<std::mutex> producer_;
  std::unique_lock<std::mutex> registry_;
  int kind_ = WL_OK;
  int64_t dims_[OpSpec::kMaxSymbols];
  int dim_from_[OpSpec::kMaxSymbols] = {};
  void* data_[OpSpec::kMaxTensors] = {};
  int64_t bytes_[OpSpec::kMaxTensors] = {};
  Stored stored_[OpSpec::kMaxTensors] = {};
  std::vector<List> lists_;
  std::vector<void*> list_data_;
  std::vector<int64_t> list_sizes_;
  void* owned_ = nullptr;
};

}  // namespace wl
