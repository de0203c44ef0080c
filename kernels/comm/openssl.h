// What TLS needs of OpenSSL, looked up when first used: Node carries it, and nothing is linked for those who never ask for TLS.
#pragma once

#include <cstddef>
#include <cstdint>

namespace wl::comm {

struct Ssl;
struct SslContext;
struct SslMethod;
struct SslSession;
struct SslCipher;
struct Bio;
struct BioMethod;

using UseSession = int (*)(Ssl*, const void* digest, const uint8_t** identity, size_t* size, SslSession**);
using FindSession = int (*)(Ssl*, const uint8_t* identity, size_t size, SslSession**);
using ClientHello = int (*)(Ssl*, int* alert, void* argument);
using BioRead = int (*)(Bio*, char*, int);
using BioWrite = int (*)(Bio*, const char*, int);
using BioControl = long (*)(Bio*, int command, long, void*);

// FUNCTION(result, name, parameters), as in OpenSSL 1.1.1 and all of 3.
#define WL_OPENSSL(FUNCTION)                                                               \
  FUNCTION(const SslMethod*, TLS_method, ())                                               \
  FUNCTION(SslContext*, SSL_CTX_new, (const SslMethod*))                                   \
  FUNCTION(long, SSL_CTX_ctrl, (SslContext*, int, long, void*))                            \
  FUNCTION(int, SSL_CTX_set_ciphersuites, (SslContext*, const char*))                      \
  FUNCTION(int, SSL_CTX_set_num_tickets, (SslContext*, size_t))                            \
  FUNCTION(void, SSL_CTX_set_default_read_buffer_len, (SslContext*, size_t))               \
  FUNCTION(void, SSL_CTX_set_psk_use_session_callback, (SslContext*, UseSession))          \
  FUNCTION(void, SSL_CTX_set_psk_find_session_callback, (SslContext*, FindSession))        \
  FUNCTION(void, SSL_CTX_set_client_hello_cb, (SslContext*, ClientHello, void*))           \
  FUNCTION(int, SSL_client_hello_get0_ext, (Ssl*, unsigned, const uint8_t**, size_t*))     \
  FUNCTION(Ssl*, SSL_new, (SslContext*))                                                   \
  FUNCTION(void, SSL_free, (Ssl*))                                                         \
  FUNCTION(int, SSL_set_ex_data, (Ssl*, int, void*))                                       \
  FUNCTION(void*, SSL_get_ex_data, (const Ssl*, int))                                      \
  FUNCTION(void, SSL_set_connect_state, (Ssl*))                                            \
  FUNCTION(void, SSL_set_accept_state, (Ssl*))                                             \
  FUNCTION(void, SSL_set_verify, (Ssl*, int, void*))                                       \
  FUNCTION(void, SSL_set_bio, (Ssl*, Bio*, Bio*))                                          \
  FUNCTION(void, SSL_set_read_ahead, (Ssl*, int))                                          \
  FUNCTION(long, SSL_ctrl, (Ssl*, int, long, void*))                                       \
  FUNCTION(int, SSL_do_handshake, (Ssl*))                                                  \
  FUNCTION(int, SSL_read_ex, (Ssl*, void*, size_t, size_t*))                               \
  FUNCTION(int, SSL_write_ex, (Ssl*, const void*, size_t, size_t*))                        \
  FUNCTION(int, SSL_shutdown, (Ssl*))                                                      \
  FUNCTION(int, SSL_pending, (const Ssl*))                                                 \
  FUNCTION(int, SSL_get_error, (const Ssl*, int))                                          \
  FUNCTION(int, SSL_session_reused, (const Ssl*))                                          \
  FUNCTION(int, SSL_key_update, (Ssl*, int))                                               \
  FUNCTION(SslSession*, SSL_SESSION_new, ())                                               \
  FUNCTION(int, SSL_SESSION_set1_master_key, (SslSession*, const uint8_t*, size_t))        \
  FUNCTION(int, SSL_SESSION_set_cipher, (SslSession*, const SslCipher*))                   \
  FUNCTION(int, SSL_SESSION_set_protocol_version, (SslSession*, int))                      \
  FUNCTION(const SslCipher*, SSL_CIPHER_find, (Ssl*, const uint8_t*))                      \
  FUNCTION(BioMethod*, BIO_meth_new, (int, const char*))                                   \
  FUNCTION(int, BIO_meth_set_read, (BioMethod*, BioRead))                                  \
  FUNCTION(int, BIO_meth_set_write, (BioMethod*, BioWrite))                                \
  FUNCTION(int, BIO_meth_set_ctrl, (BioMethod*, BioControl))                               \
  FUNCTION(Bio*, BIO_new, (const BioMethod*))                                              \
  FUNCTION(void, BIO_set_data, (Bio*, void*))                                              \
  FUNCTION(void*, BIO_get_data, (Bio*))                                                    \
  FUNCTION(void, BIO_set_init, (Bio*, int))                                                \
  FUNCTION(void, BIO_set_flags, (Bio*, int))                                               \
  FUNCTION(void, BIO_clear_flags, (Bio*, int))                                             \
  FUNCTION(void, ERR_clear_error, ())                                                      \
  FUNCTION(unsigned long, ERR_peek_error, ())                                              \
  FUNCTION(const char*, ERR_reason_error_string, (unsigned long))

struct OpenSsl {
#define WL_DECLARE(result, name, parameters) result(*name) parameters;
  WL_OPENSSL(WL_DECLARE)
#undef WL_DECLARE
};

/** The functions of this process, or of libssl.so.3; null where neither has all of them. */
const OpenSsl* openssl();

}  // namespace wl::comm
