// Listening, calling, and the waiting room of callers who came too early.
#include "comm/listener.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <list>
#include <optional>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "comm/hub.h"
#include "comm/service.h"
#include "comm/session.h"
#include "core/futex.h"

namespace wl::comm {
namespace {

constexpr size_t kMostCallers = 1024;
constexpr int64_t kCallerNanoseconds = 60000000000;  // how long one may wait for its session, or for its own words

struct Caller {
  std::shared_ptr<Wire> wire;
  Hello hello{};
  bool greeted = false;  // the hello has come
  uint64_t timer = 0;
};

std::list<Caller>& callers() {
  static auto* const list = new std::list<Caller>;
  return *list;
}
std::vector<std::weak_ptr<Session>>& sessions() {
  static auto* const list = new std::vector<std::weak_ptr<Session>>;
  return *list;
}

void drop(std::list<Caller>::iterator caller) {
  Service::instance().cancel(caller->timer);
  caller->wire->close();
  callers().erase(caller);
}

std::shared_ptr<Session> session_of(const Digest& digest, int rank) {
  for (const std::weak_ptr<Session>& weak : sessions()) {
    std::shared_ptr<Session> session = weak.lock();
    if (session != nullptr && session->digest() == digest && session->options.rank == rank) return session;
  }
  return nullptr;
}

/** Hands a caller over to the session that it wants, if that is open. */
void introduce(std::list<Caller>::iterator caller) {
  const std::shared_ptr<Session> session = session_of(caller->hello.session, caller->hello.to);
  if (session == nullptr) return;
  const std::shared_ptr<Wire> wire = caller->wire;
  const Hello hello = caller->hello;
  Service::instance().cancel(caller->timer);
  callers().erase(caller);
  session->called(wire, hello);
}

/** Whether a hello is from whom TLS has proven to be there. */
bool is_proven(const Wire& wire, const Hello& hello) {
  if (!wire.is_encrypted()) return true;
  const std::optional<TlsIdentity>& said = wire.identity();
  return said && said->from == hello.from && said->to == hello.to && said->session == hello.session;
}

std::optional<Digest> find_key(const TlsIdentity& identity) {
  const std::shared_ptr<Session> session = session_of(identity.session, identity.to);
  if (session == nullptr) return std::nullopt;
  return tls_key(session->options.secret, identity);
}

/** The caller has gone. If it was its TLS that failed, its session says so where it misses that rank. */
void lose(std::list<Caller>::iterator caller) {
  const Wire& wire = *caller->wire;
  const std::optional<TlsIdentity>& said = wire.identity();
  const std::shared_ptr<Session> session = said ? session_of(said->session, said->to) : nullptr;
  if (session != nullptr && !wire.problem().empty()) session->failed_to_call(said->from, wire.problem());
  drop(caller);
}

void receive(OwnedFile file, bool is_network) {
  if (callers().size() >= kMostCallers) return;
  const auto caller = callers().insert(callers().end(), Caller{});
  caller->wire = is_network ? Wire::called(std::move(file), find_key) : Wire::over({std::move(file), nullptr});
  caller->timer = Service::instance().at(nanoseconds() + kCallerNanoseconds, [caller] {
    caller->timer = 0;
    drop(caller);
  });
  caller->wire->when_closed([caller] { lose(caller); });
  caller->wire->expect(sizeof(Hello), [caller](const char* data) {
    std::memcpy(&caller->hello, data, sizeof caller->hello);
    caller->greeted = true;
    if (!well_formed(caller->hello) || !is_proven(*caller->wire, caller->hello)) return drop(caller);
    introduce(caller);
  });
}

sockaddr_un local_address(const std::string& name, socklen_t& size) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // An abstract name: no file, gone with the socket.
  std::memcpy(address.sun_path + 1, name.data(), std::min(name.size(), sizeof address.sun_path - 1));
  size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  return address;
}

void prepare_tcp(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/** The numeric address of an endpoint; IPv4 or IPv6. */
bool resolve(const char* address, const char* port, bool passive, sockaddr_storage& out, socklen_t& size) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | (passive ? AI_PASSIVE : 0);
  addrinfo* found = nullptr;
  if (getaddrinfo(address, port, &hints, &found) != 0) return false;
  std::memcpy(&out, found->ai_addr, found->ai_addrlen);
  size = found->ai_addrlen;
  freeaddrinfo(found);
  return true;
}

/** A socket that is connected, or will be; none where that fails at once. */
OwnedFile call(const sockaddr* address, socklen_t size) {
  OwnedFile file(socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!file) return file;
  if (address->sa_family != AF_UNIX) prepare_tcp(file.get());
  const bool begun = connect(file.get(), address, size) == 0 || errno == EINPROGRESS;
  return begun ? std::move(file) : OwnedFile();
}

OwnedFile call_number(const Endpoint& endpoint) {
  sockaddr_storage address{};
  socklen_t size = 0;
  if (!resolve(endpoint.address.c_str(), endpoint.port.c_str(), false, address, size)) return {};
  return call(reinterpret_cast<const sockaddr*>(&address), size);
}

}  // namespace

std::shared_ptr<Listener> Listener::open(const char* address, int sockets) {
  std::shared_ptr<Listener> listener(new Listener);
  listener->endpoint_.process = process_id();
  listener->endpoint_.host = host_id();
  listener->endpoint_.sockets = sockets;
  if (!listener->listen_local()) return nullptr;
  if (address != nullptr && !listener->listen_address(address)) return nullptr;
  return listener;
}

Listener::~Listener() {
  for (int i = 0; i < count_; ++i) {
    if (watches_[i] != 0) Service::instance().unwatch(watches_[i]);
    close(files_[i]);
  }
}

bool Listener::listen_local() {
  endpoint_.local = "windlass-" + random_name();
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  files_[count_++] = fd;
  socklen_t size;
  const sockaddr_un address = local_address(endpoint_.local, size);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), size) != 0 || listen(fd, 128) != 0) return false;
  watch(count_ - 1, false);
  return true;
}

bool Listener::listen_address(const char* text) {
  sockaddr_storage address{};
  socklen_t size = 0;
  if (!resolve(text, "0", true, address, size)) {
    errno = EINVAL;
    return false;
  }
  const int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  files_[count_++] = fd;
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), size) != 0 || listen(fd, 128) != 0) return false;
  size = sizeof address;
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  const uint16_t port = address.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6*>(&address)->sin6_port
                                                      : reinterpret_cast<const sockaddr_in*>(&address)->sin_port;
  endpoint_.address = text;
  endpoint_.port = std::to_string(ntohs(port));
  watch(count_ - 1, true);
  return true;
}

void Listener::watch(int at, bool is_network) {
  const int fd = files_[at];
  watches_[at] = Service::instance().watch(fd, EPOLLIN, [fd, is_network](uint32_t) {
    for (;;) {
      OwnedFile accepted(accept4(fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!accepted) return;
      if (is_network) prepare_tcp(accepted.get());
      receive(std::move(accepted), is_network);
    }
  });
}

std::shared_ptr<Wire> call_local(const Endpoint& endpoint) {
  socklen_t size;
  const sockaddr_un address = local_address(endpoint.local, size);
  OwnedFile file = call(reinterpret_cast<const sockaddr*>(&address), size);
  return file ? Wire::over({std::move(file), nullptr}) : nullptr;
}

std::shared_ptr<Wire> call_address(const Endpoint& endpoint) {
  OwnedFile file = call_number(endpoint);
  return file ? Wire::over({std::move(file), nullptr}) : nullptr;
}

std::shared_ptr<Wire> call_address(const Endpoint& endpoint, const TlsIdentity& identity, const Digest& key) {
  OwnedFile file = call_number(endpoint);
  std::unique_ptr<Tls> tls = file ? Tls::calling(file.get(), identity, key) : nullptr;
  return tls != nullptr ? Wire::over({std::move(file), std::move(tls)}) : nullptr;
}

void add_session(const std::shared_ptr<Session>& session) {
  std::erase_if(sessions(), [](const std::weak_ptr<Session>& weak) { return weak.expired(); });
  sessions().push_back(session);
  for (auto caller = callers().begin(); caller != callers().end();) {
    const auto next = std::next(caller);
    if (caller->greeted) {
      introduce(caller);
    } else {
      caller->wire->look_for_key();
    }
    caller = next;
  }
}

void remove_session(Session& session) {
  std::erase_if(sessions(), [&](const std::weak_ptr<Session>& weak) {
    const std::shared_ptr<Session> other = weak.lock();
    return other == nullptr || other.get() == &session;
  });
}

}  // namespace wl::comm
