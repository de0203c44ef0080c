// A file descriptor that is closed with its owner.
#pragma once

#include <unistd.h>
#include <utility>

namespace wl::comm {

class OwnedFile {
 public:
  OwnedFile() = default;
  explicit OwnedFile(int file) : file_(file) {}
  OwnedFile(OwnedFile&& other) noexcept : file_(other.release()) {}
  OwnedFile& operator=(OwnedFile&& other) noexcept {
    std::swap(file_, other.file_);
    return *this;
  }
  ~OwnedFile() {
    if (file_ >= 0) close(file_);
  }

  explicit operator bool() const { return file_ >= 0; }
  int get() const { return file_; }
  /** Leaves the file to the caller. */
  int release() { return std::exchange(file_, -1); }

 private:
  int file_ = -1;
};

}  // namespace wl::comm
