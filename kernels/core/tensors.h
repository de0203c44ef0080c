// The registry of tensors: handles with a generation, shapes, and the buffers that tensors and views share.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>

#include "core/memory.h"
#include "wl.h"

namespace wl {

class Stream;

/** Something outside of the allocator that holds memory of a buffer: told when nobody needs it any more. */
struct Lender {
  void (*give_back)(void* of) = nullptr;
  void* of = nullptr;
};

/** Memory shared by a tensor and its views. */
struct Buffer {
  Block block;
  int64_t tensors = 0;       // that refer to it
  Stream* stream = nullptr;  // the one that uses it
  bool shared = false;       // more than one stream has used it
  Lender lender;             // set: the memory is somebody else's, and read-only
  bool lent() const { return lender.give_back != nullptr; }
};

struct Tensor {
  Buffer* buffer = nullptr;  // null: the slot is free
  int64_t offset = 0;        // bytes into the buffer
  int64_t shape[WL_MAX_DIMS] = {};
  int64_t count = 0;  // elements
  int ndim = 0;
  int dtype = WL_F32;
  bool view = false;
  wl_owner owner = 0;
  uint32_t generation = 0;
  char label[48] = "";

  int64_t bytes() const;
  /** Where its elements are; fixed once Tensors::use has been called for the first use of the buffer. */
  char* data() const { return static_cast<char*>(buffer->block.data) + offset; }
};

int64_t size_of_dtype(int dtype);
const char* name_of_dtype(int dtype);
/** -1 where there is no such dtype, or the shape is out of range. */
int64_t bytes_of_shape(int dtype, int ndim, const int64_t* shape);
/** "[768, 192]" */
struct ShapeText {
  char text[96];
  ShapeText(int ndim, const int64_t* shape);
};

class Tensors {
 public:
  int create(wl_owner owner, int dtype, int ndim, const int64_t* shape, const char* label, wl_tensor* out);
  /** A tensor over memory that is read only and stays until the lender is told; it is told at once where this fails. */
  int create_lent(wl_owner owner, const void* data, Lender lender, int dtype, int ndim, const int64_t* shape, const char* label, wl_tensor* out);
  int create_view(wl_owner owner, wl_tensor base, int64_t offset, int ndim, const int64_t* shape, bool rounded, wl_tensor* out);
  int free(wl_tensor handle);
  void free_all_of(wl_owner owner);
  int describe(wl_tensor handle, wl_tensor_info* out);
  int64_t live(wl_tensor_info* out, int64_t capacity);

  /** Held while tensors are looked up and the command that uses them is enqueued. */
  std::mutex lock;
  /** The tensor of a handle, or null. The lock must be held, and the result not kept beyond it. */
  Tensor* find(wl_tensor handle);
  /**
   * Says that `stream` is going to use the buffer. A first use never makes the stream wait for another one that still uses the
   * memory, as that one may itself wait, for a peer: other memory is taken, unless there is none. Both locks, the stream's producer
   * lock and this one, must be held.
   */
  static void use(Buffer& buffer, Stream& stream);

 private:
  int create_over(wl_owner owner, Buffer buffer, int dtype, int ndim, const int64_t* shape, const char* label, wl_tensor* out);
  bool add(Tensor tensor, wl_tensor* out);
  void give_back_rested();
  void remove(uint32_t at);
  void describe_slot(uint32_t at, wl_tensor_info& out) const;

  std::deque<Tensor> slots_;
  std::deque<uint32_t> free_slots_;
  std::deque<Buffer> buffers_;
  std::deque<Buffer*> free_buffers_;
  /** Lent memory that streams may still read: given back at the next call after they have. */
  struct Resting {
    Lender lender;
    std::vector<Mark> marks;
  };
  std::vector<Resting> resting_;
  int64_t live_ = 0;
};

/** The one registry of the process. */
Tensors& tensors();

}  // namespace wl
