// A connected socket that is read and written without blocking, in the clear or through TLS.
#pragma once

#include <memory>
#include <sys/socket.h>

#include "comm/owned-file.h"
#include "comm/tls.h"

namespace wl::comm {

struct Connection {
  OwnedFile file;
  std::unique_ptr<Tls> tls;  // null: in the clear

  explicit operator bool() const { return static_cast<bool>(file); }

  ssize_t read(void* to, size_t bytes) { return tls != nullptr ? tls->read(to, bytes) : recv(file.get(), to, bytes, MSG_DONTWAIT); }
  ssize_t write(const void* from, size_t bytes) {
    return tls != nullptr ? tls->write(from, bytes) : send(file.get(), from, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  /** Nothing more is sent. */
  void shut() {
    if (tls != nullptr) tls->say_goodbye();
    shutdown(file.get(), SHUT_WR);
  }
};

}  // namespace wl::comm
