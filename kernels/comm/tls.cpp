// TLS 1.3 with a pre-shared key and an exchange of fresh ones (psk_dhe_ke): who learns the secret later can't read what was sent before.
#include "comm/tls.h"

#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <utility>

#include "comm/openssl.h"

namespace wl::comm {
namespace {

constexpr char kMagic[8] = {'W', 'L', 'T', 'L', 'S', 0, 0, 1};

// Of OpenSSL's headers.
constexpr int kControlMode = 33, kControlClearMode = 78, kControlSessionCache = 44, kControlGroups = 92, kControlLeastVersion = 123;
constexpr long kPartialWrites = 1, kMovingWrites = 2, kReleaseBuffers = 16;
constexpr int kTls13 = 0x0304;
constexpr int kVerifyPeer = 1;
constexpr int kWantRead = 2, kWantWrite = 3, kClosed = 6, kWantHello = 11;
constexpr int kHelloRefused = 0, kHelloGood = 1, kHelloLater = -1;
constexpr int kFlush = 11;
constexpr int kRetryRead = 1 | 8, kRetryWrite = 2 | 8, kEveryRetry = 15;
constexpr unsigned kPreSharedKey = 41;
constexpr int kUnknownIdentity = 115;
constexpr int kCertificateRefused = 134, kBinderWrong = 253, kVersionWrong = 267, kAlert = 1000;
constexpr int kIllegalParameter = 47, kDecryptError = 51;

// The key comes from SHA-256, and with it the hash of the cipher.
constexpr char kCipherName[] = "TLS_AES_128_GCM_SHA256";
constexpr uint8_t kCipher[2] = {0x13, 0x01};

constexpr size_t kReadAhead = 64 << 10;

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

int reason_of(unsigned long error) { return static_cast<int>(error & 0xfff); }

/** The first key that a caller offers (RFC 8446, 4.2.11). */
std::optional<TlsIdentity> read_identity(const uint8_t* data, size_t size) {
  TlsIdentity identity;
  if (size < 4 + sizeof identity || static_cast<size_t>(data[2] << 8 | data[3]) != sizeof identity) return std::nullopt;
  std::memcpy(&identity, data + 4, sizeof identity);
  if (std::memcmp(identity.magic, kMagic, sizeof kMagic) != 0) return std::nullopt;
  return identity;
}

}  // namespace

std::atomic<uint64_t> Tls::bytes_per_key{uint64_t{1} << 36};

/** What OpenSSL calls. */
struct TlsInside {
  static Tls& of(const Ssl* ssl) { return *static_cast<Tls*>(openssl()->SSL_get_ex_data(ssl, 0)); }
  static Tls& of(Bio* bio) { return *static_cast<Tls*>(openssl()->BIO_get_data(bio)); }

  static SslSession* session_with(Ssl* ssl, const Digest& key) {
    const OpenSsl& o = *openssl();
    SslSession* const session = o.SSL_SESSION_new();
    if (session == nullptr) return nullptr;
    o.SSL_SESSION_set1_master_key(session, key.data(), key.size());
    o.SSL_SESSION_set_cipher(session, o.SSL_CIPHER_find(ssl, kCipher));
    o.SSL_SESSION_set_protocol_version(session, kTls13);
    return session;
  }

  static int use_session(Ssl* ssl, const void*, const uint8_t** identity, size_t* size, SslSession** session) {
    Tls& tls = of(ssl);
    *session = session_with(ssl, *tls.key_);
    *identity = reinterpret_cast<const uint8_t*>(&*tls.identity_);
    *size = sizeof *tls.identity_;
    return *session != nullptr;
  }

  static int hello(Ssl* ssl, int* alert, void*) {
    Tls& tls = of(ssl);
    const uint8_t* data;
    size_t size;
    *alert = kUnknownIdentity;
    tls.waits_for_key_ = false;
    if (openssl()->SSL_client_hello_get0_ext(ssl, kPreSharedKey, &data, &size) != 1) return kHelloRefused;
    tls.identity_ = read_identity(data, size);
    if (!tls.identity_) return kHelloRefused;
    tls.key_ = tls.find_key_(*tls.identity_);
    tls.waits_for_key_ = !tls.key_;
    return tls.key_ ? kHelloGood : kHelloLater;
  }

  static int find_session(Ssl* ssl, const uint8_t* identity, size_t size, SslSession** session) {
    const Tls& tls = of(ssl);
    *session = nullptr;
    if (!tls.key_ || size != sizeof *tls.identity_ || std::memcmp(identity, &*tls.identity_, size) != 0) return 1;
    *session = session_with(ssl, *tls.key_);
    return *session != nullptr;
  }

  static int read(Bio* bio, char* to, int bytes) {
    Tls& tls = of(bio);
    openssl()->BIO_clear_flags(bio, kEveryRetry);
    const ssize_t got = recv(tls.fd_, to, static_cast<size_t>(bytes), MSG_DONTWAIT);
    if (got < 0 && would_block()) openssl()->BIO_set_flags(bio, kRetryRead);
    if (got < 0 && !would_block()) tls.socket_error_ = errno;
    if (got == 0) tls.closed_ = true;
    return static_cast<int>(got);
  }

  static int write(Bio* bio, const char* from, int bytes) {
    Tls& tls = of(bio);
    openssl()->BIO_clear_flags(bio, kEveryRetry);
    const ssize_t put = send(tls.fd_, from, static_cast<size_t>(bytes), MSG_NOSIGNAL | MSG_DONTWAIT);
    // A socket that is still connecting says so.
    const bool later = would_block() || errno == ENOTCONN;
    if (put < 0 && later) openssl()->BIO_set_flags(bio, kRetryWrite);
    if (put < 0 && !later) tls.socket_error_ = errno;
    return static_cast<int>(put);
  }

  static long control(Bio*, int command, long, void*) { return command == kFlush; }

  static const BioMethod* sockets() {
    static const BioMethod* const method = [] {
      const OpenSsl& o = *openssl();
      BioMethod* const made = o.BIO_meth_new(0x80, "windlass socket");
      o.BIO_meth_set_read(made, read);
      o.BIO_meth_set_write(made, write);
      o.BIO_meth_set_ctrl(made, control);
      return made;
    }();
    return method;
  }

  /** For all connections of the process; null where TLS can't be had. */
  static SslContext* context() {
    static SslContext* const context = []() -> SslContext* {
      const OpenSsl* o = openssl();
      SslContext* const made = o == nullptr ? nullptr : o->SSL_CTX_new(o->TLS_method());
      if (made == nullptr) return nullptr;
      static char groups[] = "X25519";
      const bool good = o->SSL_CTX_ctrl(made, kControlLeastVersion, kTls13, nullptr) == 1 &&
                        o->SSL_CTX_set_ciphersuites(made, kCipherName) == 1 && o->SSL_CTX_ctrl(made, kControlGroups, 0, groups) == 1;
      o->SSL_CTX_ctrl(made, kControlMode, kPartialWrites | kMovingWrites | kReleaseBuffers, nullptr);
      o->SSL_CTX_ctrl(made, kControlSessionCache, 0, nullptr);
      o->SSL_CTX_set_num_tickets(made, 0);
      o->SSL_CTX_set_default_read_buffer_len(made, kReadAhead);
      o->SSL_CTX_set_psk_use_session_callback(made, use_session);
      o->SSL_CTX_set_psk_find_session_callback(made, find_session);
      o->SSL_CTX_set_client_hello_cb(made, hello, nullptr);
      return good ? made : nullptr;
    }();
    return context;
  }
};

TlsIdentity tls_identity(int from, int to, const Digest& session) {
  TlsIdentity identity{};
  std::memcpy(identity.magic, kMagic, sizeof kMagic);
  identity.from = from;
  identity.to = to;
  identity.session = session;
  return identity;
}

Digest tls_key(const std::string& secret, const TlsIdentity& identity) {
  const Digest extracted = hmac_sha256("windlass ranks over TLS", secret);
  std::string said(reinterpret_cast<const char*>(&identity), sizeof identity);
  said.push_back(1);
  return hmac_sha256({reinterpret_cast<const char*>(extracted.data()), extracted.size()}, said);
}

bool tls_available() { return TlsInside::context() != nullptr; }

std::unique_ptr<Tls> Tls::over(int fd) {
  if (!tls_available()) return nullptr;
  const OpenSsl& o = *openssl();
  std::unique_ptr<Tls> tls(new Tls);
  tls->fd_ = fd;
  tls->ssl_ = o.SSL_new(TlsInside::context());
  Bio* const bio = tls->ssl_ == nullptr ? nullptr : o.BIO_new(TlsInside::sockets());
  if (bio == nullptr) return nullptr;
  o.BIO_set_data(bio, tls.get());
  o.BIO_set_init(bio, 1);
  o.SSL_set_bio(tls->ssl_, bio, bio);
  o.SSL_set_ex_data(tls->ssl_, 0, tls.get());
  return tls;
}

std::unique_ptr<Tls> Tls::calling(int fd, const TlsIdentity& identity, const Digest& key) {
  std::unique_ptr<Tls> tls = over(fd);
  if (tls == nullptr) return nullptr;
  tls->identity_ = identity;
  tls->key_ = key;
  // No certificate is good: the key alone says who answers.
  openssl()->SSL_set_verify(tls->ssl_, kVerifyPeer, nullptr);
  openssl()->SSL_set_connect_state(tls->ssl_);
  return tls;
}

std::unique_ptr<Tls> Tls::called(int fd, FindKey find_key) {
  std::unique_ptr<Tls> tls = over(fd);
  if (tls == nullptr) return nullptr;
  tls->find_key_ = std::move(find_key);
  openssl()->SSL_set_accept_state(tls->ssl_);
  return tls;
}

Tls::~Tls() {
  if (ssl_ != nullptr) openssl()->SSL_free(ssl_);
}

/** What recv() or send() would give after an operation of OpenSSL that has not succeeded. */
ssize_t Tls::outcome(int result, bool& wants_room) {
  const int error = openssl()->SSL_get_error(ssl_, result);
  wants_room = error == kWantWrite;
  errno = EAGAIN;
  if (error == kWantRead || error == kWantWrite || error == kWantHello) return -1;
  if (error == kClosed || (closed_ && shaken_)) return 0;
  const int socket_error = std::exchange(socket_error_, 0);
  const unsigned long fault = openssl()->ERR_peek_error();
  if (socket_error == 0 && !closed_) note_problem(fault);
  // An alert is the peer's word: it is the peer that could not make sense of what came.
  errno = socket_error != 0 ? socket_error : reason_of(fault) > kAlert ? ECONNRESET : EPROTO;
  return -1;
}

void Tls::note_problem(unsigned long error) {
  const int reason = reason_of(error);
  const char* const words = error == 0 ? nullptr : openssl()->ERR_reason_error_string(error);
  if (reason == kBinderWrong || reason == kAlert + kIllegalParameter || reason == kAlert + kDecryptError) {
    problem_ = "it has another secret";
  } else if (reason == kVersionWrong) {
    problem_ = "it does not speak TLS";
  } else if (reason == kCertificateRefused) {
    problem_ = "it came with a certificate, where the secret was to be proven";
  } else if (words != nullptr) {
    problem_ = std::string(shaken_ ? "TLS: " : "the TLS handshake failed: ") + words;
  }
}

/** True once both sides have proven themselves; else errno says why not. */
bool Tls::shake() {
  if (shaken_) return true;
  errno = EPROTO;
  if (cant_read_) return false;
  const OpenSsl& o = *openssl();
  o.ERR_clear_error();
  const int result = o.SSL_do_handshake(ssl_);
  if (result != 1) {
    bool wants_room;
    outcome(result, wants_room);
    cant_read_ = cant_write_ = errno != EAGAIN;
    reading_wants_room_ = writing_wants_room_ = wants_room;
    return false;
  }
  // "Reused" means that the key was used.
  if (o.SSL_session_reused(ssl_) != 1) {
    cant_read_ = cant_write_ = true;
    problem_ = "it has not proven that it knows the secret";
    errno = EPROTO;
    return false;
  }
  shaken_ = true;
  reading_wants_room_ = writing_wants_room_ = false;
  find_key_ = nullptr;
  return true;
}

ssize_t Tls::read(void* to, size_t bytes) {
  const std::lock_guard guard(lock_);
  if (!shake()) return -1;
  errno = EPROTO;
  if (cant_read_) return -1;
  openssl()->ERR_clear_error();
  size_t got = 0;
  const int result = openssl()->SSL_read_ex(ssl_, to, bytes, &got);
  reading_wants_room_ = false;
  if (result == 1) return static_cast<ssize_t>(got);
  const ssize_t failed = outcome(result, reading_wants_room_);
  cant_read_ = failed < 0 && errno != EAGAIN;
  return failed;
}

ssize_t Tls::write(const void* from, size_t bytes) {
  const std::lock_guard guard(lock_);
  if (!shake()) return -1;
  errno = EPROTO;
  if (cant_write_) return -1;
  const OpenSsl& o = *openssl();
  o.ERR_clear_error();
  // A record that waits for room keeps the key that it was made with.
  if (written_ >= bytes_per_key.load(std::memory_order_relaxed) && !writing_wants_room_ && o.SSL_key_update(ssl_, 0) == 1) written_ = 0;
  size_t put = 0;
  const int result = o.SSL_write_ex(ssl_, from, bytes, &put);
  writing_wants_room_ = false;
  if (result == 1) {
    written_ += put;
    return static_cast<ssize_t>(put);
  }
  outcome(result, writing_wants_room_);
  // What has come before can be read all the same.
  cant_write_ = !writing_wants_room_;
  return -1;
}

void Tls::say_goodbye() {
  const std::lock_guard guard(lock_);
  if (!shaken_ || cant_write_) return;
  openssl()->ERR_clear_error();
  openssl()->SSL_shutdown(ssl_);
}

void Tls::read_ahead() {
  const std::lock_guard guard(lock_);
  openssl()->SSL_set_read_ahead(ssl_, 1);
  // Giving buffers back after each record costs more than encrypting it.
  openssl()->SSL_ctrl(ssl_, kControlClearMode, kReleaseBuffers, nullptr);
}

bool Tls::has_pending() const {
  const std::lock_guard guard(lock_);
  return openssl()->SSL_pending(ssl_) > 0;
}

}  // namespace wl::comm
