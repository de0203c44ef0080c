// A listener: the sockets at which peers call, and the callers that wait for their session to be opened. With the service's lock held.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "comm/endpoint.h"
#include "comm/hello.h"
#include "comm/wire.h"

namespace wl::comm {

class Session;

class Listener {
 public:
  /** Listens at a local socket, and at an IP address where one is given. Null, with errno, where that can't be. */
  static std::shared_ptr<Listener> open(const char* address, int sockets);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  const Endpoint& endpoint() const { return endpoint_; }

 private:
  Listener() = default;
  bool listen_local();
  bool listen_address(const char* address);
  void watch(int fd, bool is_network);

  Endpoint endpoint_;
  int files_[2] = {-1, -1};
  uint64_t watches_[2] = {0, 0};
  int count_ = 0;
};

/** Connects to an endpoint of another process without blocking; null where it is refused at once. */
std::shared_ptr<Wire> call_local(const Endpoint& endpoint);
std::shared_ptr<Wire> call_address(const Endpoint& endpoint);
/** The same through TLS, which must be there. */
std::shared_ptr<Wire> call_address(const Endpoint& endpoint, const TlsIdentity& identity, const Digest& key);

/** Lets a session be found by callers; those who came before it are answered now. */
void add_session(const std::shared_ptr<Session>& session);
void remove_session(Session& session);

}  // namespace wl::comm
