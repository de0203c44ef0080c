// A socket that is talked over in exact numbers of bytes, without blocking; a local one carries files too, one over the network may be encrypted.
// With the service's lock held.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "comm/connection.h"

namespace wl::comm {

class Wire : public std::enable_shared_from_this<Wire> {
 public:
  using OnBytes = std::function<void(const char* data)>;
  using OnClosed = std::function<void()>;

  /** Takes over a connected (or connecting) socket that does not block. */
  static std::shared_ptr<Wire> over(Connection line);
  /** The same for one that was accepted from the network: the first byte tells whether the caller wants TLS. */
  static std::shared_ptr<Wire> called(OwnedFile file, Tls::FindKey find_key);
  ~Wire();
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  /** Calls on_bytes when so many bytes have come. One at a time; the callback asks for the next. */
  void expect(size_t bytes, OnBytes on_bytes);
  /** Called once when the other side has closed, or the socket fails; not for close() and release(). */
  void when_closed(OnClosed on_closed) { on_closed_ = std::move(on_closed); }
  /** Queues bytes, and with the first of them a file, which stays the caller's. */
  void send(const void* data, size_t bytes, int file = -1);
  /** The oldest file that has come, or -1; the caller closes it. */
  int take_file();
  /** Gives the socket up: nothing has been read beyond what was expected, but by TLS. */
  Connection release();
  void close();
  bool open() const { return static_cast<bool>(line_); }

  /** Whether TLS is used: known once bytes have come. */
  bool is_encrypted() const { return line_.tls != nullptr; }
  /** What a caller through TLS has said about itself, before it proves it, and after it has gone too. */
  const std::optional<TlsIdentity>& identity() const { return line_.tls != nullptr ? line_.tls->identity() : identity_; }
  bool comes_from_network() const { return from_network_; }
  /** Goes on with a handshake that waits for the key of its session. */
  void look_for_key();
  /** Why TLS could not be talked, or "". */
  const std::string& problem() const { return problem_; }

 private:
  struct Outgoing {
    std::string bytes;
    size_t sent = 0;
    int file = -1;  // a duplicate
  };

  explicit Wire(Connection line) : line_(std::move(line)) {}
  static std::shared_ptr<Wire> watched(std::shared_ptr<Wire> wire);
  void on_events(uint32_t events);
  bool read_some();
  ssize_t read_plain();
  bool choose();
  void write_some();
  ssize_t write_plain(const Outgoing& next);
  void fail();
  void watch_for();

  Connection line_;
  bool from_network_ = false;
  Tls::FindKey find_key_;  // until the first byte has come
  std::string problem_;
  std::optional<TlsIdentity> identity_;
  uint64_t watch_ = 0;
  OnBytes on_bytes_;
  OnClosed on_closed_;
  std::string incoming_;
  size_t wanted_ = 0;
  size_t have_ = 0;
  std::deque<Outgoing> outgoing_;
  std::deque<int> files_;
};

}  // namespace wl::comm
