// What goes wrong between ranks: disagreement, silence, ends, wrong secrets; who is named, and that nothing is left behind.
#include <chrono>
#include <cinttypes>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "check.h"
#include "comm-ranks.h"
#include "comm-relay.h"
#include "comm/sha256.h"
#include "process-state.h"

extern char** environ;

namespace {

using state::contains;
using state::entries_of;
using state::mappings;
using state::seconds;
using state::within_deadline;
using ranks::Options;
using ranks::Outcome;
using ranks::Rank;
using ranks::World;

/** Those between processes. */
constexpr int kProcesses[] = {WL_COMM_SHM, WL_COMM_TCP, ranks::kTls};
constexpr int kEvery[] = {WL_COMM_PROCESS, WL_COMM_SHM, WL_COMM_TCP, ranks::kTls};

Options over(int transport, int64_t deadline_ms = 20000) {
  Options options;
  options.transport = transport;
  options.deadline_ms = deadline_ms;
  return options;
}

/** Waits for all streams of a world; what each says. */
std::vector<std::unique_ptr<Outcome>> outcomes(World& world) {
  std::vector<std::unique_ptr<Outcome>> all;
  for (Rank& self : world.ranks) {
    all.push_back(std::make_unique<Outcome>());
    wl_sync(self.stream, Outcome::settle, all.back().get());
  }
  for (const auto& outcome : all) outcome->wait();
  return all;
}

/** Whether `once`, which gives the seconds that it took, takes less than `limit` in one of three tries: a machine may stand still for a moment. */
template <class Once>
bool takes_less(double limit, Once once) {
  for (int tries = 0; tries < 3; ++tries) {
    const double took = once();
    std::printf("named after %.1f ms\n", 1e3 * took);
    if (took < limit) return true;
  }
  return false;
}

/** A process that takes part as a rank: this program with other arguments. */
struct Child {
  pid_t pid = 0;
  explicit Child(const std::vector<std::string>& arguments) {
    std::vector<char*> argv;
    static char self[] = "/proc/self/exe";
    argv.push_back(self);
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    CHECK_EQUAL(posix_spawn(&pid, self, nullptr, nullptr, argv.data(), environ), 0);
  }
  void kill(int signal) const { ::kill(pid, signal); }
  int wait() {
    int status = 0;
    waitpid(pid, &status, 0);
    return status;
  }
};

/** Rank 0 of 2 here, rank 1 in a process of its own, which tells its endpoint through a pipe and learns ours by an argument. */
struct Pair {
  wl_listener listener = 0;
  wl_comm comm = 0;
  wl_stream stream = 0;
  std::unique_ptr<Child> child;

  Pair(int transport, const char* behaviour, int64_t deadline_ms) {
    char own[WL_COMM_ENDPOINT];
    CHECK_EQUAL(wl_comm_listen(0, ranks::address_for(transport), 2, &listener, own), 0);
    int pipe_ends[2];
    CHECK_EQUAL(pipe(pipe_ends), 0);
    fcntl(pipe_ends[0], F_SETFD, FD_CLOEXEC);
    child = std::make_unique<Child>(std::vector<std::string>{"--child", own, std::to_string(pipe_ends[1]), std::to_string(transport), behaviour});
    close(pipe_ends[1]);
    char theirs[WL_COMM_ENDPOINT] = "";
    size_t have = 0;
    for (ssize_t got; (got = read(pipe_ends[0], theirs + have, sizeof theirs - have)) > 0;) have += static_cast<size_t>(got);
    close(pipe_ends[0]);
    const char* endpoints[] = {own, theirs};
    wl_comm_options options = {listener, 0, 2, endpoints, "pair", 7, "secret", deadline_ms, 0, 0};
    ranks::talk_over(options, transport);
    CHECK_EQUAL(wl_comm_open(0, &options, &comm), 0);
    CHECK_EQUAL(wl_stream_new(0, &stream), 0);
  }
  ~Pair() {
    wl_comm_free(comm);
    wl_comm_close_listener(listener);
    wl_stream_free(stream);
  }
};

/** Seen with the output of a test that did not expect it. */
int child_fault(int status, const std::string& words) {
  std::printf("the child of a pair ends: %s\n", words.c_str());
  return status;
}

/** Rank 1 of a pair. */
int child_main(char** argv) {
  if (wl_start() != WL_OK) return 1;
  const int transport = std::atoi(argv[3]);
  const std::string behaviour = argv[4];
  const int out = std::atoi(argv[2]);
  wl_listener listener = 0;
  char own[WL_COMM_ENDPOINT];
  if (wl_comm_listen(0, ranks::address_for(transport), 2, &listener, own) != WL_OK) return 1;
  if (write(out, own, std::strlen(own)) < 0) return 1;
  close(out);
  const char* endpoints[] = {argv[1], own};
  wl_comm comm = 0;
  wl_comm_options options = {listener, 1, 2, endpoints, "pair", 7, "secret", 20000, 0, 0};
  ranks::talk_over(options, transport);
  if (wl_comm_open(0, &options, &comm) != WL_OK) return child_fault(1, wl_last_error()->message);
  Rank self;
  self.rank = 1;
  self.comm = comm;
  wl_stream_new(0, &self.stream);
  const wl_tensor x = self.floats(std::vector<float>(1 << 20, 2.0f));
  const bool once = behaviour != "loop";
  for (int step = 0; step == 0 || !once; ++step) {
    if (wl_comm_all_reduce(self.stream, comm, x, x, WL_COMM_SUM, WL_COMM_OWN, "child") != WL_OK) return 1;
    const std::string end = self.finish();
    if (!end.empty()) return child_fault(3, end);
  }
  if (behaviour == "stay") pause();
  wl_comm_free(comm);
  return 0;
}

}  // namespace

TEST("ranks that disagree all fail within a second, with both call sites") {
  for (const int transport : kEvery) {
    CHECK(takes_less(1, [transport] {
      World world(3, over(transport));
      world.ready();
      const double begin = seconds();
      for (Rank& self : world.ranks) {
        const wl_tensor x = self.floats(std::vector<float>(self.rank == 2 ? 5 : 6, 1.0f));
        wl_comm_all_reduce(self.stream, self.comm, x, x, WL_COMM_SUM, WL_COMM_OWN, self.rank == 2 ? "loss.ts:7" : "step.ts:9");
      }
      for (const auto& outcome : outcomes(world)) {
        CHECK_EQUAL(outcome->reason, WL_COMM_MISMATCH);
        CHECK(contains(outcome->message, "5 f32, sum at 'loss.ts:7'"));
        CHECK(contains(outcome->message, "6 f32, sum at 'step.ts:9'"));
      }
      return seconds() - begin;
    }));
  }
}

TEST("operation, order, type, reduction and root are compared as well") {
  using Call = std::function<void(Rank&, wl_tensor)>;
  const Call reduce = [](Rank& self, wl_tensor x) { wl_comm_all_reduce(self.stream, self.comm, x, x, WL_COMM_SUM, WL_COMM_OWN, "a"); };
  const Call others[] = {
      [](Rank& self, wl_tensor x) { wl_comm_broadcast(self.stream, self.comm, x, 0, WL_COMM_OWN, "b"); },
      [](Rank& self, wl_tensor x) { wl_comm_all_reduce(self.stream, self.comm, x, x, WL_COMM_MAX, WL_COMM_OWN, "b"); },
      [](Rank& self, wl_tensor) {
        const wl_tensor y = self.tensor(WL_I32, 4);
        wl_comm_all_reduce(self.stream, self.comm, y, y, WL_COMM_SUM, WL_COMM_OWN, "b");
      },
      [](Rank& self, wl_tensor) { wl_comm_barrier(self.stream, self.comm, "b"); },
  };
  for (const Call& other : others) {
    World world(2);
    for (Rank& self : world.ranks) (self.rank == 0 ? reduce : other)(self, self.floats({1, 2, 3, 4}));
    for (const auto& outcome : outcomes(world)) CHECK_EQUAL(outcome->reason, WL_COMM_MISMATCH);
  }
  World world(2);
  for (Rank& self : world.ranks) {
    const wl_tensor x = self.floats({1, 2, 3, 4});
    wl_comm_broadcast(self.stream, self.comm, x, self.rank, WL_COMM_OWN, "c");
  }
  for (const auto& outcome : outcomes(world)) CHECK(contains(outcome->message, "root 0 at 'c'") && contains(outcome->message, "root 1 at 'c'"));
}

TEST("a message that is not what the receiver expects is a disagreement") {
  World world(2);
  const wl_tensor x = world.at(0).floats({1, 2});
  const wl_tensor y = world.at(1).floats({1, 2, 3});
  wl_comm_send(world.at(0).stream, world.at(0).comm, x, 1, WL_COMM_OWN, "sender");
  wl_comm_receive(world.at(1).stream, world.at(1).comm, y, 0, WL_COMM_OWN, "receiver");
  const std::string words = world.at(1).finish();
  CHECK(contains(words, "'sender'") && contains(words, "'receiver'"));
}

TEST("a silent peer is named by all others when the deadline has passed") {
  // All at once: the deadlines take seconds, so that hands can be shaken in them on a busy machine.
  std::vector<std::unique_ptr<World>> worlds;
  for (const int transport : kEvery) worlds.push_back(std::make_unique<World>(4, over(transport, 8000)));
  for (const std::unique_ptr<World>& world : worlds) world->ready();
  const double begin = seconds();
  for (const std::unique_ptr<World>& world : worlds) {
    for (Rank& self : world->ranks) {
      const wl_tensor x = self.floats(std::vector<float>(100000, 1.0f));
      if (self.rank != 2) wl_comm_all_reduce(self.stream, self.comm, x, x, WL_COMM_SUM, WL_COMM_OWN, "step");
    }
  }
  for (const std::unique_ptr<World>& world : worlds) {
    const auto all = outcomes(*world);
    for (size_t rank = 0; rank < all.size(); ++rank) {
      if (rank == 2) continue;
      CHECK_EQUAL(all[rank]->reason, WL_COMM_TIMEOUT);
      CHECK_EQUAL(all[rank]->peer, 2);
      CHECK(contains(all[rank]->message, "rank 2 has sent nothing for 8.0 s; it has not come to the operation"));
    }
  }
  CHECK(seconds() - begin < 8 + 5);
}

TEST("who is missing when a communicator is opened is named, and so is why") {
  std::vector<std::unique_ptr<World>> worlds;
  for (const int transport : kProcesses) {
    Options options = over(transport, 8000);
    options.secrets = {"right", "right", "wrong"};
    worlds.push_back(std::make_unique<World>(3, options));
  }
  for (const std::unique_ptr<World>& world : worlds) {
    for (Rank& self : world->ranks) {
      Outcome outcome;
      wl_comm_ready(self.comm, Outcome::settle, &outcome);
      outcome.wait();
      CHECK_EQUAL(outcome.reason, WL_COMM_TIMEOUT);
      CHECK(contains(outcome.message, "it has another secret"));
      if (self.rank < 2) CHECK_EQUAL(outcome.peer, 2);
      if (self.rank < 2) CHECK(contains(outcome.message, "rank 2 of world has not connected within 8.0 s"));
    }
  }
}

TEST("a connection that is cut off or swallowed while ranks greet each other is made anew") {
  using relay::Relay;
  using enum Relay::Fate;
  const std::vector<Relay::Fate> first_connections[] = {{swallowed}, {cut, cut}, {carried, swallowed, cut}, {carried, cut, carried, cut, swallowed}};
  // All at once: patience takes seconds.
  std::vector<std::unique_ptr<Relay>> relays;
  std::vector<std::unique_ptr<World>> worlds;
  for (const int transport : {int{WL_COMM_TCP}, ranks::kTls}) {
    for (const std::vector<Relay::Fate>& fates : first_connections) {
      relays.push_back(std::make_unique<Relay>(-1, fates));
      Options options = over(transport, 60000);
      options.opened = 0;
      worlds.push_back(std::make_unique<World>(2, options));
      World& world = *worlds.back();
      world.set_endpoint(0, relays.back()->before(world.endpoint(0)));
      for (int rank = 0; rank < 2; ++rank) world.open(rank);
    }
  }
  for (const std::unique_ptr<World>& world : worlds) world->ready();
}

TEST("an abort ends what waits, here and on the peers, and what comes later") {
  for (const int transport : kEvery) {
    World world(3, over(transport));
    world.ready();
    for (Rank& self : world.ranks) {
      if (self.rank > 0) wl_comm_barrier(self.stream, self.comm, "wait");
    }
    CHECK_EQUAL(wl_comm_abort(world.at(0).comm, "the user said so"), 0);
    wl_comm_barrier(world.at(0).stream, world.at(0).comm, "later");
    for (const auto& outcome : outcomes(world)) {
      CHECK_EQUAL(outcome->reason, WL_COMM_ABORTED);
      CHECK_EQUAL(outcome->peer, 0);
      CHECK(contains(outcome->message, "the user said so"));
    }
  }
}

TEST("a rank that opens a communicator of which a peer has failed already learns it at once") {
  for (const int transport : kEvery) {
    Options options = over(transport);
    options.opened = 1;
    World world(2, options);
    CHECK_EQUAL(wl_comm_abort(world.at(0).comm, "too early"), 0);
    world.open(1);
    wl_comm_barrier(world.at(1).stream, world.at(1).comm, "late");
    Outcome outcome;
    world.at(1).finish(outcome);
    CHECK_EQUAL(outcome.reason, WL_COMM_ABORTED);
    CHECK(contains(outcome.message, "too early"));
  }
}

TEST("what was sent before a rank said goodbye arrives, and what it did not send fails") {
  for (const int transport : kEvery) {
    World world(2, over(transport));
    Rank& sender = world.at(0);
    Rank& receiver = world.at(1);
    world.ready();
    const wl_tensor x = sender.floats(std::vector<float>(50000, 3.0f));
    wl_comm_send(sender.stream, sender.comm, x, 1, WL_COMM_OWN, "last");
    CHECK_EQUAL(sender.finish(), std::string());
    wl_comm_free(sender.comm);
    sender.comm = 0;
    const wl_tensor y = receiver.floats(std::vector<float>(50000, 0.0f));
    wl_comm_receive(receiver.stream, receiver.comm, y, 0, WL_COMM_OWN, "last");
    CHECK_EQUAL(receiver.first(y, 50000), 3.0f);
    wl_comm_receive(receiver.stream, receiver.comm, y, 0, WL_COMM_OWN, "none");
    Outcome outcome;
    receiver.finish(outcome);
    CHECK_EQUAL(outcome.reason, WL_COMM_PEER_LOST);
    CHECK(contains(outcome.message, "rank 0 has left the group"));
  }
}

TEST("both sides of a pair may send before they receive, more than the rings hold") {
  for (const int transport : kEvery) {
    World world(2, over(transport));
    const int64_t count = 1 << 20;
    wl_stream second[2];
    wl_tensor y[2];
    for (Rank& self : world.ranks) {
      wl_stream_new(0, &second[self.rank]);
      const wl_tensor x = self.floats(std::vector<float>(static_cast<size_t>(count), static_cast<float>(self.rank + 1)));
      y[self.rank] = self.tensor(WL_F32, count);
      CHECK_EQUAL(self.finish(), std::string());
      wl_comm_send(second[self.rank], self.comm, x, 1 - self.rank, WL_COMM_OWN, "send");
      wl_comm_receive(self.stream, self.comm, y[self.rank], 1 - self.rank, WL_COMM_OWN, "receive");
    }
    for (Rank& self : world.ranks) CHECK_EQUAL(self.first(y[self.rank], count), static_cast<float>(2 - self.rank));
    for (const wl_stream stream : second) wl_stream_free(stream);
  }
}

TEST("messages of a pair keep their order, and collectives on another stream do not wait for them") {
  World world(2);
  wl_stream second[2];
  for (wl_stream& stream : second) wl_stream_new(0, &stream);
  std::vector<wl_tensor> received;
  for (int i = 0; i < 50; ++i) received.push_back(world.at(1).tensor(WL_F32, 1));
  for (const wl_tensor into : received) wl_comm_receive(second[1], world.at(1).comm, into, 0, WL_COMM_OWN, "ordered");
  for (Rank& self : world.ranks) {
    wl_comm_barrier(self.stream, self.comm, "between");
  }
  for (Rank& self : world.ranks) CHECK_EQUAL(self.finish(), std::string());
  for (int i = 0; i < 50; ++i) {
    const wl_tensor x = world.at(0).floats({static_cast<float>(i)});
    wl_comm_send(world.at(0).stream, world.at(0).comm, x, 1, WL_COMM_OWN, "ordered");
  }
  Outcome outcome;
  wl_sync(second[1], Outcome::settle, &outcome);
  outcome.wait();
  for (int i = 0; i < 50; ++i) CHECK_EQUAL(world.at(1).first(received[static_cast<size_t>(i)], 1), static_cast<float>(i));
  for (const wl_stream stream : second) wl_stream_free(stream);
}

TEST("a process that gave its communicator back learns when its peer has taken all that it sent") {
  for (const int transport : kEvery) {
    World world(2, over(transport));
    world.ready();
    Rank& first = world.at(0);
    Rank& second = world.at(1);
    constexpr int64_t count = 1 << 16;
    const wl_tensor y = second.floats(std::vector<float>(count, 0.0f));
    wl_comm_broadcast(second.stream, second.comm, y, 0, WL_COMM_OWN, "last");
    wl_comm_broadcast(first.stream, first.comm, first.floats(std::vector<float>(count, 5.0f)), 0, WL_COMM_OWN, "last");
    CHECK_EQUAL(first.finish(), std::string());
    wl_comm_free(first.comm);
    first.comm = 0;
    Outcome farewell;
    CHECK_EQUAL(wl_comm_farewell(Outcome::settle, &farewell), 0);
    // Over a network only the peer's own end tells that it has everything.
    if (transport == WL_COMM_TCP || transport == ranks::kTls) CHECK(!farewell.done.load());
    CHECK_EQUAL(second.first(y, count), 5.0f);
    wl_comm_free(second.comm);
    second.comm = 0;
    farewell.wait();
  }
}

TEST("a process of its own reduces with this one") {
  for (const int transport : kProcesses) {
    Pair pair(transport, "once", 20000);
    Rank self;
    self.stream = pair.stream;
    const wl_tensor x = self.floats(std::vector<float>(1 << 20, 1.0f));
    wl_comm_all_reduce(self.stream, pair.comm, x, x, WL_COMM_SUM, WL_COMM_OWN, "parent");
    CHECK_EQUAL(self.first(x, 1 << 20), 3.0f);
    CHECK_EQUAL(pair.child->wait(), 0);
    wl_tensor_free(x);
  }
}

TEST("a peer that is killed is noticed within two seconds, in the middle of an operation and outside of one") {
  for (const int transport : kProcesses) {
    for (const char* behaviour : {"loop", "stay"}) {
      CHECK(takes_less(2, [transport, behaviour] {
        Pair pair(transport, behaviour, 60000);
        Rank self;
        self.stream = pair.stream;
        const wl_tensor x = self.floats(std::vector<float>(1 << 20, 1.0f));
        const int steps = std::string(behaviour) == "loop" ? 3 : 1;
        for (int step = 0; step < steps; ++step) wl_comm_all_reduce(self.stream, pair.comm, x, x, WL_COMM_SUM, WL_COMM_OWN, "parent");
        CHECK_EQUAL(self.finish(), std::string());
        pair.child->kill(SIGKILL);
        const double begin = seconds();
        wl_comm_all_reduce(self.stream, pair.comm, x, x, WL_COMM_SUM, WL_COMM_OWN, "parent");
        wl_comm_all_reduce(self.stream, pair.comm, x, x, WL_COMM_SUM, WL_COMM_OWN, "parent");
        Outcome outcome;
        self.finish(outcome);
        const double took = seconds() - begin;
        CHECK_EQUAL(outcome.reason, WL_COMM_PEER_LOST);
        CHECK_EQUAL(outcome.peer, 1);
        CHECK(WIFSIGNALED(pair.child->wait()));
        wl_tensor_free(x);
        return took;
      }));
    }
  }
}

TEST("a stopped process is named when the deadline has passed, and learns of it when it goes on") {
  std::vector<std::unique_ptr<Pair>> pairs;
  std::vector<Rank> selves;
  for (const int transport : kProcesses) {
    pairs.push_back(std::make_unique<Pair>(transport, "loop", 8000));
    Rank& self = selves.emplace_back();
    self.stream = pairs.back()->stream;
    const wl_tensor x = self.floats(std::vector<float>(1 << 20, 1.0f));
    wl_comm_all_reduce(self.stream, pairs.back()->comm, x, x, WL_COMM_SUM, WL_COMM_OWN, "parent");
    CHECK_EQUAL(self.finish(), std::string());
    pairs.back()->child->kill(SIGSTOP);
    for (int i = 0; i < 3; ++i) wl_comm_all_reduce(self.stream, pairs.back()->comm, x, x, WL_COMM_SUM, WL_COMM_OWN, "parent");
  }
  for (size_t i = 0; i < pairs.size(); ++i) {
    Outcome outcome;
    selves[i].finish(outcome);
    CHECK_EQUAL(outcome.reason, WL_COMM_TIMEOUT);
    CHECK_EQUAL(outcome.peer, 1);
    pairs[i]->child->kill(SIGCONT);
    const int status = pairs[i]->child->wait();
    CHECK_EQUAL(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 3);
    wl_tensor_free(selves[i].tensors.front());
  }
}

TEST("500 communicators that are opened, used, aborted or not, and freed leave no file, mapping or thread behind") {
  // The threads and streams that live as long as the process come first.
  {
    World world(3, over(WL_COMM_SHM));
    world.ready();
  }
  CHECK(within_deadline([] { return mappings() == 0; }));
  const int files = entries_of("/proc/self/fd");
  const int threads = entries_of("/proc/self/task");
  for (int cycle = 0; cycle < 500; ++cycle) {
    Options options = over(kEvery[cycle % std::size(kEvery)]);
    options.epoch = cycle;
    World world(3, options);
    wl_comm splits[3];
    for (Rank& self : world.ranks) {
      const int members[] = {2, 0, 1};
      CHECK_EQUAL(wl_comm_split(0, self.comm, 3, members, "split", &splits[self.rank]), 0);
      const wl_tensor x = self.floats({1, 2, 3});
      wl_comm_all_reduce(self.stream, splits[self.rank], x, x, WL_COMM_SUM, WL_COMM_OWN, "cycle");
      if (cycle % 2 == 0 || self.rank > 0) wl_comm_barrier(self.stream, self.comm, "cycle");
    }
    if (cycle % 2 == 1) wl_comm_abort(world.at(0).comm, "as planned");
    outcomes(world);
    for (const wl_comm split : splits) wl_comm_free(split);
  }
  CHECK(within_deadline([&] { return entries_of("/proc/self/fd") <= files; }));
  CHECK(within_deadline([] { return mappings() == 0; }));
  CHECK_EQUAL(entries_of("/proc/self/task"), threads);
}

TEST("peers that are killed leave no file, mapping or thread behind") {
  int files = 0;
  int threads = 0;
  for (int cycle = 0; cycle < 20; ++cycle) {
    {
      Pair pair(kProcesses[cycle % 3], "stay", 1000);
      Rank self;
      self.stream = pair.stream;
      const wl_tensor x = self.floats(std::vector<float>(1 << 20, 1.0f));
      wl_comm_all_reduce(self.stream, pair.comm, x, x, WL_COMM_SUM, WL_COMM_OWN, "parent");
      pair.child->kill(SIGKILL);
      self.finish();
      pair.child->wait();
      wl_tensor_free(x);
    }
    // The first one over each of them may leave what lives as long as the process.
    if (cycle >= 3) continue;
    CHECK(within_deadline([] { return mappings() == 0; }));
    files = entries_of("/proc/self/fd");
    threads = entries_of("/proc/self/task");
  }
  CHECK(within_deadline([&] { return entries_of("/proc/self/fd") <= files; }));
  CHECK(within_deadline([] { return mappings() == 0; }));
  CHECK_EQUAL(entries_of("/proc/self/task"), threads);
}

TEST("peers that are killed while they connect leave no file, mapping or thread behind") {
  // The threads and streams that live as long as the process come first.
  {
    World world(3, over(WL_COMM_SHM));
    world.ready();
  }
  CHECK(within_deadline([] { return mappings() == 0; }));
  const int files = entries_of("/proc/self/fd");
  const int threads = entries_of("/proc/self/task");
  for (int cycle = 0; cycle < 60; ++cycle) {
    Pair pair(cycle % 2 == 0 ? WL_COMM_TCP : ranks::kTls, "stay", 200);
    Rank self;
    self.stream = pair.stream;
    const wl_tensor x = self.floats({1});
    wl_comm_all_reduce(self.stream, pair.comm, x, x, WL_COMM_SUM, WL_COMM_OWN, "parent");
    // From before the first socket is connected to after the last one.
    std::this_thread::sleep_for(std::chrono::microseconds(cycle / 2 * 50));
    pair.child->kill(SIGKILL);
    self.finish();
    pair.child->wait();
    wl_tensor_free(x);
  }
  CHECK(within_deadline([&] { return entries_of("/proc/self/fd") <= files; }));
  CHECK(within_deadline([] { return mappings() == 0; }));
  CHECK_EQUAL(entries_of("/proc/self/task"), threads);
}

TEST("callers that send nonsense, or nothing, disturb nobody") {
  Options options = over(WL_COMM_SHM);
  char endpoint[WL_COMM_ENDPOINT];
  wl_listener listener = 0;
  CHECK_EQUAL(wl_comm_listen(0, nullptr, 2, &listener, endpoint), 0);
  const std::string text = endpoint;
  const size_t begin = text.find("local=") + 6;
  const std::string name = text.substr(begin, text.find(';', begin) - begin);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  std::vector<int> callers;
  for (int i = 0; i < 20; ++i) {
    const int caller = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const socklen_t size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    CHECK_EQUAL(connect(caller, reinterpret_cast<const sockaddr*>(&address), size), 0);
    const std::string nonsense(static_cast<size_t>(i) * 17, 'x');
    CHECK_EQUAL(send(caller, nonsense.data(), nonsense.size(), MSG_NOSIGNAL), static_cast<ssize_t>(nonsense.size()));
    callers.push_back(caller);
  }
  World world(2, options);
  world.ready();
  for (const int caller : callers) close(caller);
  wl_comm_close_listener(listener);
}

TEST("the digests are those of the standards") {
  const auto hex = [](const wl::comm::Digest& digest) {
    std::string text;
    char byte[3];
    for (const uint8_t value : digest) {
      std::snprintf(byte, sizeof byte, "%02x", value);
      text += byte;
    }
    return text;
  };
  // FIPS 180-2 B.2; RFC 4231 cases 2 and 6.
  CHECK_EQUAL(hex(wl::comm::sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK_EQUAL(hex(wl::comm::hmac_sha256("Jefe", "what do ya want for nothing?")),
              "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  CHECK_EQUAL(hex(wl::comm::hmac_sha256(std::string(131, '\xaa'), "Test Using Larger Than Block-Size Key - Hash Key First")),
              "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

int main(int argc, char** argv) {
  if (argc > 4 && std::string(argv[1]) == "--child") return child_main(argv + 1);
  return check::main_of(argc, argv);
}
