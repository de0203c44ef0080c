// Lists of tensors, for tests of operations that take them.
#pragma once

#include "tests/every-isa.h"

namespace every {

/** Several tensors as the kernels take them. */
struct List {
  std::vector<Floats> tensors;
  std::vector<float*> data;
  std::vector<int64_t> sizes;

  List(const std::vector<int64_t>& of, uint64_t seed, float factor = 1.0f) : sizes(of) {
    for (const int64_t size : of) {
      tensors.push_back(every::values(size, seed++));
      for (float& value : tensors.back()) value *= factor;
    }
    for (Floats& tensor : tensors) data.push_back(tensor.data());
  }
  List(const List& other) : tensors(other.tensors), sizes(other.sizes) {
    for (Floats& tensor : tensors) data.push_back(tensor.data());
  }
  List& operator=(const List&) = delete;

  int64_t count() const { return static_cast<int64_t>(sizes.size()); }
};

}  // namespace every
