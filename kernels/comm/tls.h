// One connection through TLS 1.3 over a socket that does not block. Both sides prove with the session's secret who they are; there are no certificates.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <sys/types.h>

#include "comm/sha256.h"

namespace wl::comm {

struct Ssl;
struct TlsInside;

/** Who calls whom in which session: what the first words of a handshake say in the clear. Also the order of bytes is agreed about. */
struct TlsIdentity {
  char magic[8];
  int32_t from;  // ranks of the session
  int32_t to;
  Digest session;
};
static_assert(sizeof(TlsIdentity) == 48);

TlsIdentity tls_identity(int from, int to, const Digest& session);
/** The key that only those two ranks of the session have, in these roles (HKDF, RFC 5869). */
Digest tls_key(const std::string& secret, const TlsIdentity& identity);

/** Whether TLS can be had in this process. */
bool tls_available();
/** The first byte of every TLS connection, and of no hello. */
constexpr char kTlsRecord = 0x16;

/** Several threads may use it at the same time. */
class Tls {
 public:
  /** As the side that connects. Null where TLS can't be had. */
  static std::unique_ptr<Tls> calling(int fd, const TlsIdentity& identity, const Digest& key);
  /** The key of a caller, or none as long as its session is not open here. */
  using FindKey = std::function<std::optional<Digest>(const TlsIdentity& identity)>;
  /** As the side that was called. The handshake waits until there is a key. */
  static std::unique_ptr<Tls> called(int fd, FindKey find_key);
  ~Tls();
  Tls(const Tls&) = delete;
  Tls& operator=(const Tls&) = delete;

  /** As recv() and send() that don't block; errno is EPROTO where what came is not what the peer sent. They shake hands first; nothing goes or comes before. */
  ssize_t read(void* to, size_t bytes);
  ssize_t write(const void* from, size_t bytes);
  /** Tells the peer that nothing more is sent, if there is room for that. */
  void say_goodbye();
  /** From now on much is read at once, more than is asked for. */
  void read_ahead();

  bool is_shaken() const { return shaken_; }
  /** Whether the last try to read or to write needs room in the socket. */
  bool wants_room() const { return reading_wants_room_ || writing_wants_room_; }
  /** What has come can be read without a look at the socket. */
  bool has_pending() const;
  /** The handshake stands still until the caller's session is open: see FindKey. */
  bool waits_for_key() const { return waits_for_key_; }
  /** Who calls whom; on the called side as the caller says, which has proven it once hands are shaken. */
  const std::optional<TlsIdentity>& identity() const { return identity_; }
  /** What went wrong, or "". */
  const std::string& problem() const { return problem_; }

  /** A key is replaced after so many bytes: an AES-GCM key is good for some 2^24 records (RFC 8446, 5.5), which have up to 2^14 bytes. */
  static std::atomic<uint64_t> bytes_per_key;

 private:
  friend struct TlsInside;
  Tls() = default;
  static std::unique_ptr<Tls> over(int fd);
  bool shake();
  ssize_t outcome(int result, bool& wants_room);
  void note_problem(unsigned long error);

  int fd_ = -1;
  mutable std::mutex lock_;
  Ssl* ssl_ = nullptr;
  std::optional<TlsIdentity> identity_;
  std::optional<Digest> key_;
  FindKey find_key_;  // of the called side
  bool shaken_ = false;
  bool cant_read_ = false;
  bool cant_write_ = false;
  bool closed_ = false;  // by the peer
  int socket_error_ = 0;
  bool waits_for_key_ = false;
  bool reading_wants_room_ = false;
  bool writing_wants_room_ = false;
  uint64_t written_ = 0;  // with the key in use
  std::string problem_;
};

}  // namespace wl::comm
