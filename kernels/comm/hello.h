// How two ranks greet each other on a new connection: each proves that it knows the secret, without saying it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "comm/sha256.h"
#include "comm/wire.h"

namespace wl::comm {

enum class Purpose : uint8_t { control, data };

/** The first that the connecting side says. Also the order of bytes is part of what both sides must agree about. */
struct Hello {
  uint32_t magic;
  uint8_t version;
  Purpose purpose;
  uint8_t channel;  // of data
  uint8_t stripe;   // of data
  int32_t from;     // ranks of the session
  int32_t to;
  Digest session;
  Digest group;  // of data
  uint8_t nonce[16];
};
static_assert(sizeof(Hello) == 96);

Hello make_hello(Purpose purpose, int from, int to, const Digest& session);
bool well_formed(const Hello& hello);

/** Why two ranks have not become acquainted; the wire is closed then. */
struct GreetingFault {
  std::string words;
  /** Both have proven that they know the secret, but one uses TLS and the other does not: trying again is of no use. */
  bool differs_in_tls = false;
};
/** Called with null when both sides have proven themselves, else with what went wrong. */
using Greeted = std::function<void(const GreetingFault* fault)>;

/** As the side that connects. */
void greet(const std::shared_ptr<Wire>& wire, const Hello& hello, const std::string& secret, Greeted greeted);
/** As the side that was called, after it has read the hello. One that does not take the caller as it comes, with TLS or without, proves and says so. */
void answer(const std::shared_ptr<Wire>& wire, const Hello& hello, const std::string& secret, bool takes_it, Greeted greeted);

}  // namespace wl::comm
