// TLS between ranks: what is seen on the way, who is let in, what becomes of nonsense, and that keys are changed.
#include <arpa/inet.h>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <malloc.h>
#include <mutex>
#include <netinet/in.h>
#include <poll.h>
#include <random>
#include <sstream>
#include <set>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

#include "check.h"
#include "comm-ranks.h"
#include "comm-relay.h"
#include "comm/endpoint.h"
#include "comm/owned-file.h"
#include "comm/tls.h"
#include "process-state.h"

namespace {

using ranks::Options;
using ranks::Outcome;
using ranks::Rank;
using ranks::World;
using relay::connect_to;
using relay::Relay;
using state::contains;
using state::within_deadline;
using wl::comm::Digest;
using wl::comm::OwnedFile;
using wl::comm::Tls;

constexpr int kRecordHead = 5;
constexpr int kRecordRest = 17;      // type and tag
constexpr int kKeyUpdateRecord = 27;  // with a message of five bytes

/** How each of the ranks sees a world being opened. */
std::vector<std::unique_ptr<Outcome>> openings(World& world) {
  std::vector<std::unique_ptr<Outcome>> all;
  for (Rank& self : world.ranks) {
    all.push_back(std::make_unique<Outcome>());
    wl_comm_ready(self.comm, Outcome::settle, all.back().get());
  }
  for (const auto& outcome : all) outcome->wait();
  return all;
}

/** Sockets of callers that a port has accepted and this process has not closed. */
int callers_at(const std::string& port) {
  char local[16];
  std::snprintf(local, sizeof local, ":%04X ", std::stoi(port));
  std::ifstream table("/proc/self/net/tcp");
  int count = 0;
  std::string number, from, to, state;
  for (std::string line; std::getline(table, line);) {
    std::istringstream(line) >> number >> from >> to >> state;
    // 01: connected; 08: closed by the other side alone.
    if (contains(from + ' ', local) && (state == "01" || state == "08")) count += 1;
  }
  return count;
}

/** Two ranks that talk through a relay add up a tensor of this text, repeated; what rank 1 gets, or why not. */
std::string reduced_through(Relay& relay, int transport, const std::string& text, std::vector<uint8_t>& out) {
  Options options;
  options.transport = transport;
  options.opened = 0;
  World world(2, options);
  world.set_endpoint(0, relay.before(world.endpoint(0)));
  for (int rank = 0; rank < 2; ++rank) world.open(rank);
  std::vector<uint8_t> bytes;
  while (bytes.size() < 400000) bytes.insert(bytes.end(), text.begin(), text.end());
  std::vector<wl_tensor> x;
  for (Rank& self : world.ranks) {
    x.push_back(self.bytes(bytes));
    wl_comm_broadcast(self.stream, self.comm, x.back(), 0, WL_COMM_OWN, "relayed");
  }
  std::string fault;
  for (Rank& self : world.ranks) fault += self.finish();
  if (fault.empty()) out = world.at(1).read(x[1], static_cast<int64_t>(bytes.size()));
  return fault;
}

/** Both ends of a connection, hands shaken. */
struct TlsPair {
  OwnedFile files[2];
  std::unique_ptr<Tls> calling, called;

  explicit TlsPair(Digest theirs = {7}) {
    int ends[2];
    CHECK_EQUAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    for (int i = 0; i < 2; ++i) files[i] = OwnedFile(ends[i]);
    calling = Tls::calling(ends[0], wl::comm::tls_identity(1, 0, {}), {7});
    called = Tls::called(ends[1], [theirs](const wl::comm::TlsIdentity&) { return std::optional(theirs); });
    for (int turn = 0; turn < 4; ++turn) {
      char nothing;
      CHECK_EQUAL(calling->read(&nothing, 1), -1);
      CHECK_EQUAL(called->read(&nothing, 1), -1);
    }
  }
};

/** While true, the first look at what has come through a socket finds nothing, as where it comes just after that look. */
std::atomic<bool> comes_late{false};

/** Whether this is the first look at what has come through a socket. */
bool is_first_look(int fd) {
  static std::mutex lock;
  static std::set<uint64_t> seen;
  char byte;
  uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  if (recvfrom(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT, nullptr, nullptr) <= 0) return false;
  if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) != 0) return false;
  const std::lock_guard guard(lock);
  return seen.insert(cookie).second;
}

}  // namespace

/** In the place of the system's, for all of this program. */
extern "C" ssize_t recv(int fd, void* to, size_t bytes, int flags) {
  if (comes_late.load() && is_first_look(fd)) {
    errno = EAGAIN;
    return -1;
  }
  return recvfrom(fd, to, bytes, flags, nullptr, nullptr);
}

TEST("what is to be sent goes out, however the handshake comes to its end") {
  comes_late = true;
  Options options;
  options.transport = ranks::kTls;
  World world(3, options);
  world.ready();
  comes_late = false;
}

TEST("who listens on the way reads the tensors of ranks without TLS, and nothing of those with it") {
  const std::string text = "the whale swims north of the island; ";
  for (const int transport : {int{WL_COMM_TCP}, ranks::kTls}) {
    Relay relay;
    std::vector<uint8_t> out;
    CHECK_EQUAL(reduced_through(relay, transport, text, out), std::string());
    CHECK_EQUAL(std::string(out.begin(), out.begin() + 37), text);
    const std::string seen = relay.seen();
    CHECK(seen.size() > 400000);
    const bool in_the_clear = transport == WL_COMM_TCP;
    CHECK_EQUAL(contains(seen, text), in_the_clear);
    CHECK_EQUAL(contains(seen, "WLHL"), in_the_clear);
    CHECK_EQUAL(contains(seen, "relayed"), in_the_clear);
  }
}

TEST("a bit that is changed on the way changes the result without TLS, and ends the connection with it") {
  // In the middle of the data: what is said before takes a few thousand bytes.
  for (const int transport : {int{WL_COMM_TCP}, ranks::kTls}) {
    Relay relay(150000);
    std::vector<uint8_t> out;
    const std::string fault = reduced_through(relay, transport, "0123456789abcdef", out);
    if (transport == WL_COMM_TCP) {
      CHECK_EQUAL(fault, std::string());
      int changed = 0;
      for (size_t i = 0; i < out.size(); ++i) changed += out[i] != "0123456789abcdef"[i % 16];
      CHECK_EQUAL(changed, 1);
    } else {
      CHECK(contains(fault, "rank 0 is cut off: what came was not what it had sent"));
    }
  }
}

TEST("a rank with TLS and one without it both fail because they differ, not at the deadline, and so does everybody else") {
  using Transports = std::vector<int>;
  for (const Transports& transports : {Transports{WL_COMM_TCP, ranks::kTls}, {ranks::kTls, WL_COMM_TCP}, {ranks::kTls, ranks::kTls, WL_COMM_TCP}}) {
    Options options;
    options.transport = WL_COMM_TCP;
    options.transports = transports;
    options.deadline_ms = 60000;
    World world(static_cast<int>(transports.size()), options);
    const auto all = openings(world);
    for (const auto& outcome : all) {
      CHECK_EQUAL(outcome->reason, WL_COMM_MISMATCH);
      CHECK(contains(outcome->message, "all ranks must agree"));
    }
    const bool first_encrypts = transports[0] == ranks::kTls;
    const std::string words = first_encrypts ? " was opened without TLS, this one with it" : " was opened with TLS, this one without it";
    if (transports.size() == 2) CHECK(contains(all[0]->message, "rank 1 of world" + words));
  }
}

TEST("a rank of another secret or another epoch is not let in, and missed at the deadline") {
  Options options;
  options.transport = ranks::kTls;
  options.deadline_ms = 8000;
  Options other_secret = options;
  other_secret.secrets = {"right", "wrong"};
  Options other_epoch = options;
  other_epoch.epochs = {1, 2};
  World strangers(2, other_secret);
  World late(2, other_epoch);
  for (const auto& outcome : openings(strangers)) {
    CHECK_EQUAL(outcome->reason, WL_COMM_TIMEOUT);
    CHECK(contains(outcome->message, "it has another secret"));
  }
  for (const auto& outcome : openings(late)) {
    CHECK_EQUAL(outcome->reason, WL_COMM_TIMEOUT);
    CHECK(contains(outcome->message, "not connected within 8.0 s"));
  }
}

TEST("a caller waits for its session to be opened, and is forgotten if it does not wait") {
  for (const bool waits : {true, false}) {
    Options options;
    options.transport = ranks::kTls;
    options.opened = 0;
    World world(2, options);
    const std::string port = wl::comm::parse_endpoint(world.endpoint(0))->port;
    world.open(1);
    CHECK(within_deadline([&] { return callers_at(port) == 1; }));
    if (waits) {
      world.open(0);
      world.ready();
    } else {
      wl_comm_free(world.at(1).comm);
      world.at(1).comm = 0;
      CHECK(within_deadline([&] { return callers_at(port) == 0; }));
    }
  }
}

TEST("callers whose handshake is cut off, changed or nonsense disturb nobody, and are forgotten") {
  Options options;
  options.transport = ranks::kTls;
  options.opened = 0;
  World world(2, options);
  const std::string port = wl::comm::parse_endpoint(world.endpoint(0))->port;
  // The first words of a caller who is as good as one can be without the secret.
  int ends[2];
  CHECK_EQUAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const std::unique_ptr<Tls> model = Tls::calling(ends[0], wl::comm::tls_identity(1, 0, {}), {});
  char first[4096];
  CHECK_EQUAL(model->read(first, 1), -1);
  const std::string hello(first, static_cast<size_t>(recv(ends[1], first, sizeof first, 0)));
  for (const int end : ends) close(end);
  std::mt19937 random(5);
  for (int i = 0; i < 600; ++i) {
    std::string words = hello;
    if (i % 3 == 0) words.resize(random() % hello.size());
    if (i % 3 == 1) {
      for (int changes = 0; changes < 4; ++changes) words[random() % words.size()] = static_cast<char>(random());
    }
    if (i % 3 == 2) {
      words.resize(1 + random() % 3000);
      for (char& byte : words) byte = static_cast<char>(random());
      // Some have the form of a record.
      if (i % 2 == 0) {
        const size_t rest = words.size() - std::min<size_t>(words.size(), kRecordHead);
        const char head[kRecordHead] = {wl::comm::kTlsRecord, 3, 1, static_cast<char>(rest >> 8), static_cast<char>(rest)};
        words.replace(0, kRecordHead, head, kRecordHead);
      } else {
        words[0] = wl::comm::kTlsRecord;
      }
    }
    const OwnedFile caller = connect_to(port);
    CHECK(words.empty() || send(caller.get(), words.data(), words.size(), MSG_NOSIGNAL) > 0);
  }
  CHECK(within_deadline([&] { return callers_at(port) == 0; }));
  for (int rank = 0; rank < 2; ++rank) world.open(rank);
  world.ready();
}

// Sanitizers have an allocator of their own, and look for what is lost by themselves.
#ifndef WL_CHECKED
TEST("worlds that are opened through TLS, used and freed leave no socket or memory behind") {
  Options options;
  options.transport = ranks::kTls;
  const auto cycles = [&](int count) {
    for (int cycle = 0; cycle < count; ++cycle) {
      World world(3, options);
      for (Rank& self : world.ranks) {
        const wl_tensor x = self.floats({1, 2, 3});
        wl_comm_all_reduce(self.stream, self.comm, x, x, WL_COMM_SUM, WL_COMM_OWN, "cycle");
      }
      for (Rank& self : world.ranks) CHECK_EQUAL(self.finish(), std::string());
    }
  };
  // The threads and streams that live as long as the process come first.
  {
    World world(2);
    world.ready();
  }
  CHECK(within_deadline([] { return state::mappings() == 0; }));
  const auto files = [] { return state::entries_of("/proc/self/fd"); };
  const int before = files();
  cycles(20);
  CHECK(within_deadline([&] { return files() <= before; }));
  const size_t bytes = mallinfo2().uordblks;
  cycles(60);
  CHECK(within_deadline([&] { return files() <= before; }));
  // One connection takes some ten thousand bytes on each side; there were 900.
  CHECK(within_deadline([&] { return mallinfo2().uordblks < bytes + 500000; }));
}
#endif

TEST("keys are changed, and every byte arrives all the same") {
  const uint64_t usual = Tls::bytes_per_key.exchange(2000);
  {
    TlsPair pair;
    char sent[1000], received[1000];
    int records = 0;
    for (int i = 0; i < 5; ++i) {
      std::memset(sent, 'a' + i, sizeof sent);
      CHECK_EQUAL(pair.calling->write(sent, sizeof sent), 1000);
      int waiting = 0;
      CHECK_EQUAL(ioctl(pair.files[1].get(), FIONREAD, &waiting), 0);
      records += waiting - kRecordHead - kRecordRest - 1000;
      CHECK_EQUAL(pair.called->read(received, sizeof received), 1000);
      CHECK_EQUAL(std::memcmp(sent, received, sizeof sent), 0);
    }
    // Before the third and the fifth thousand.
    CHECK_EQUAL(records, 2 * kKeyUpdateRecord);
  }
  Tls::bytes_per_key = 50000;
  Options options;
  options.transport = ranks::kTls;
  World world(3, options);
  std::vector<float> values(1 << 19);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 1000);
  std::vector<wl_tensor> x;
  for (Rank& self : world.ranks) {
    x.push_back(self.floats(values));
    wl_comm_all_reduce(self.stream, self.comm, x.back(), x.back(), WL_COMM_SUM, WL_COMM_OWN, "keys");
  }
  for (Rank& self : world.ranks) {
    const std::vector<uint8_t> out = self.read(x[static_cast<size_t>(self.rank)], static_cast<int64_t>(values.size() * 4));
    size_t wrong = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      float value;
      std::memcpy(&value, out.data() + 4 * i, sizeof value);
      wrong += value != 3 * values[i];
    }
    CHECK_EQUAL(wrong, size_t{0});
  }
  Tls::bytes_per_key = usual;
}

TEST("nothing is read or written before both sides have proven that they have the same key") {
  TlsPair strangers({8});
  CHECK(!strangers.calling->is_shaken());
  CHECK(!strangers.called->is_shaken());
  CHECK_EQUAL(strangers.calling->problem(), std::string("it has another secret"));
  CHECK_EQUAL(strangers.called->problem(), std::string("it has another secret"));
  CHECK_EQUAL(strangers.calling->write("secret", 6), -1);
  CHECK_EQUAL(errno, EPROTO);
  int waiting = 0;
  CHECK_EQUAL(ioctl(strangers.files[1].get(), FIONREAD, &waiting), 0);
  CHECK_EQUAL(waiting, 0);
  TlsPair friends;
  CHECK(friends.calling->is_shaken());
  CHECK(friends.called->is_shaken());
}

TEST("the keys of a session differ by its secret, its ranks and who calls") {
  using wl::comm::tls_identity;
  using wl::comm::tls_key;
  const Digest base = tls_key("secret", tls_identity(1, 0, {}));
  CHECK(base == tls_key("secret", tls_identity(1, 0, {})));
  CHECK(base != tls_key("secre", tls_identity(1, 0, {})));
  CHECK(base != tls_key("secret", tls_identity(0, 1, {})));
  CHECK(base != tls_key("secret", tls_identity(2, 0, {})));
  CHECK(base != tls_key("secret", tls_identity(1, 0, {1})));
}

TEST_MAIN
