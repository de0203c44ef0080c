// The handshake: hello with a nonce; nonce and proof of the called side; proof of the calling side.
#include "comm/hello.h"

#include <cstring>
#include <sys/random.h>

namespace wl::comm {
namespace {

constexpr uint32_t kMagic = 0x4c484c57;  // "WLHL"
constexpr uint8_t kVersion = 1;

struct Answer {
  uint8_t nonce[16];
  Digest proof;
};
static_assert(sizeof(Answer) == 48);

void fill_random(uint8_t (&bytes)[16]) {
  [[maybe_unused]] const ssize_t size = getrandom(bytes, sizeof bytes, 0);
}

/** What a side can only say if it knows the secret; both nonces are in it, and which side it is. */
Digest proof_of(const char* side, const std::string& secret, const Hello& hello, const uint8_t (&nonce)[16]) {
  std::string said = side;
  said.append(reinterpret_cast<const char*>(&hello), sizeof hello);
  said.append(reinterpret_cast<const char*>(nonce), sizeof nonce);
  return hmac_sha256(secret, said);
}

constexpr char kTaken[] = "called";
constexpr char kRefused[] = "called, but with TLS on one side only";
constexpr char kCalling[] = "calling";

constexpr char kOtherSecret[] = "it has another secret";
constexpr char kClosed[] = "it closed the connection in the middle of the greeting";
constexpr char kOtherTls[] = "one side uses TLS and the other does not";

void when_closed(const std::shared_ptr<Wire>& wire, const Greeted& greeted) {
  wire->when_closed([self = wire.get(), greeted] {
    const GreetingFault fault{self->problem().empty() ? kClosed : self->problem()};
    greeted(&fault);
  });
}

/** The last that happens on a wire that can't be used. */
void settle(Wire& wire, const Greeted& greeted, const GreetingFault& fault) {
  wire.close();
  greeted(&fault);
}

}  // namespace

Hello make_hello(Purpose purpose, int from, int to, const Digest& session) {
  Hello hello{};
  hello.magic = kMagic;
  hello.version = kVersion;
  hello.purpose = purpose;
  hello.from = from;
  hello.to = to;
  hello.session = session;
  fill_random(hello.nonce);
  return hello;
}

bool well_formed(const Hello& hello) { return hello.magic == kMagic && hello.version == kVersion && hello.purpose <= Purpose::data; }

void greet(const std::shared_ptr<Wire>& wire, const Hello& hello, const std::string& secret, Greeted greeted) {
  when_closed(wire, greeted);
  wire->send(&hello, sizeof hello);
  wire->expect(sizeof(Answer), [self = wire.get(), hello, secret, greeted](const char* data) {
    Answer theirs;
    std::memcpy(&theirs, data, sizeof theirs);
    const bool taken = equal(theirs.proof, proof_of(kTaken, secret, hello, theirs.nonce));
    const bool refused = equal(theirs.proof, proof_of(kRefused, secret, hello, theirs.nonce));
    // Where the secrets differ, a wrong proof tells the other side so.
    const Digest ours = taken || refused ? proof_of(kCalling, secret, hello, theirs.nonce) : Digest{};
    self->send(ours.data(), ours.size());
    if (taken) return greeted(nullptr);
    settle(*self, greeted, refused ? GreetingFault{kOtherTls, true} : GreetingFault{kOtherSecret});
  });
}

void answer(const std::shared_ptr<Wire>& wire, const Hello& hello, const std::string& secret, bool takes_it, Greeted greeted) {
  Answer ours;
  fill_random(ours.nonce);
  ours.proof = proof_of(takes_it ? kTaken : kRefused, secret, hello, ours.nonce);
  const Digest needed = proof_of(kCalling, secret, hello, ours.nonce);
  when_closed(wire, greeted);
  wire->send(&ours, sizeof ours);
  wire->expect(sizeof(Digest), [self = wire.get(), needed, takes_it, greeted](const char* data) {
    Digest theirs;
    std::memcpy(theirs.data(), data, theirs.size());
    const bool known = equal(theirs, needed);
    if (known && takes_it) return greeted(nullptr);
    settle(*self, greeted, known ? GreetingFault{kOtherTls, true} : GreetingFault{kOtherSecret});
  });
}

}  // namespace wl::comm
