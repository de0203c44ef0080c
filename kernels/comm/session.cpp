// Sessions: connecting, the words that peers exchange, and noticing that one is gone.
#include "comm/session.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <unistd.h>
#include <utility>

#include "comm/farewell.h"
#include "comm/hub.h"
#include "comm/service.h"
#include "comm/tcp-carrier.h"
#include "core/futex.h"

namespace wl::comm {
namespace {

constexpr int64_t kFirstRetry = 20000000;
constexpr int64_t kLongestRetry = 500000000;
// A greeting that takes longer is begun anew, each time with twice the patience: a connection may be lost on the way and nobody told.
constexpr int64_t kFirstGreeting = 5000000000;
constexpr uint32_t kLongestWords = 1024;
// What a peer may send ahead for groups that this rank has not made: more is a fault, not a burst.
constexpr size_t kMostEarly = 1024;

int64_t pause_after(int failures) { return std::min(kFirstRetry << std::min(failures, 8), kLongestRetry); }
int64_t patience_after(int failures) { return kFirstGreeting << std::min(failures, 8); }

}  // namespace

enum class Word : uint32_t { segment, failure, goodbye };

struct Session::Frame {
  Word word;
  uint32_t length;  // of the words that follow
  int32_t reason;
  int32_t peer;  // in ranks of the group
  Digest group;
};

Session::Session(SessionOptions options, const Digest& digest, std::shared_ptr<Listener> listener)
    : options(std::move(options)), digest_(digest), listener_(std::move(listener)), peers_(static_cast<size_t>(this->options.size)) {}

/* -- groups */

void Session::join(const std::shared_ptr<Group>& group) {
  std::erase_if(groups_, [](const std::weak_ptr<Group>& weak) { return weak.expired(); });
  groups_.push_back(group);
  if (!opened_) {
    opened_ = true;
    add_session(shared_from_this());
    for (int other = 0; other < options.rank; ++other) call(other);
  }
  for (const std::shared_ptr<Group>& other : hub_peers(*group)) {
    if (route(group->members[static_cast<size_t>(other->rank)]) != Route::process) continue;
    hub_connect(*group, *other);
    if (other->state() == Group::State::failed) group->fail_locked(other->failure(), false);
  }
  const bool shares = std::any_of(group->members.begin(), group->members.end(), [this](int member) { return route(member) == Route::shm; });
  if (!shares) group->segment()->close_file();
  for (const int member : group->members) connect_member(group, member);
  const auto early = early_.find(group->digest);
  if (early != early_.end()) {
    Early came = std::move(early->second);
    early_.erase(early);
    for (auto& [from, file] : came.segments) segment_came(group, from, std::move(file));
    for (const auto& [hello, wire] : came.wires) data_came(group, hello, wire);
    for (const int from : came.goodbyes) group->peer_left(group->rank_of_member(from), true);
    if (came.failure != nullptr) group->fail_locked(*came.failure, false);
  }
  for (const int member : group->members) {
    if (peer(member).lost) group->peer_left(group->rank_of_member(member), false);
  }
  if (group->state() != Group::State::connecting) return;
  const std::weak_ptr<Group> weak = group;
  const uint64_t timer = Service::instance().at(nanoseconds() + group->deadline(), [weak] {
    const std::shared_ptr<Group> late = weak.lock();
    if (late != nullptr && late->state() == Group::State::connecting) late->fail_locked(late->session->missing_peers(*late), true);
  });
  group->when_ready([timer](const Failure*) { Service::instance().cancel(timer); });
}

/** "ranks 1, 3 of world have not connected within 5.0 s" */
Failure Session::missing_peers(const Group& group) const {
  std::string ranks;
  std::string problems;
  int first = -1;
  int count = 0;
  for (int member = 0; member < group.size; ++member) {
    if (group.connected(member)) continue;
    if (first < 0) first = member;
    ranks += (count++ == 0 ? "" : ", ") + std::to_string(member);
    const std::string& problem = peers_[static_cast<size_t>(group.members[static_cast<size_t>(member)])].problem;
    if (!problem.empty()) problems += "; rank " + std::to_string(member) + ": " + problem;
  }
  char seconds[32];
  std::snprintf(seconds, sizeof seconds, "%.1f s", static_cast<double>(group.deadline()) / 1e9);
  return {WL_COMM_TIMEOUT, first,
          std::string(count == 1 ? "rank " : "ranks ") + ranks + " of " + group.name + (count == 1 ? " has" : " have") +
              " not connected within " + seconds + problems};
}

void Session::tell_failure(Group& group, const Failure& failure) {
  for (const std::shared_ptr<Group>& other : hub_peers(group)) {
    if (route(group.members[static_cast<size_t>(other->rank)]) == Route::process) other->fail_locked(failure, false);
  }
  const std::string words = failure.words.substr(0, kLongestWords);
  for (const int member : group.members) {
    say(member, {Word::failure, static_cast<uint32_t>(words.size()), failure.reason, failure.peer, group.digest}, words);
  }
}

void Session::leave(Group& group) {
  for (const std::shared_ptr<Group>& other : hub_peers(group)) {
    if (route(group.members[static_cast<size_t>(other->rank)]) == Route::process) other->peer_left(group.rank, true);
  }
  for (const int member : group.members) say(member, {Word::goodbye, 0, 0, 0, group.digest}, {});
  for (const std::unique_ptr<Link>& link : group.links()) {
    if (link != nullptr && link->carrier != nullptr) link->carrier->finish();
  }
  hub_remove(group);
  group.segment()->close_file();
  for (const int member : group.members) sockets_.erase({group.digest, group.rank_of_member(member)});
  std::erase_if(groups_, [&](const std::weak_ptr<Group>& weak) {
    const std::shared_ptr<Group> other = weak.lock();
    return other == nullptr || other.get() == &group;
  });
  if (groups_.empty()) close();
  Farewell::end();
}

void Session::close() {
  closed_ = true;
  remove_session(*this);
  for (Peer& each : peers_) {
    Service::instance().cancel(each.timer);
    if (each.control != nullptr) each.control->close();
    if (each.greeting != nullptr) each.greeting->close();
    each.control = nullptr;
    each.greeting = nullptr;
  }
  for (auto& [digest, early] : early_) {
    for (const auto& [hello, wire] : early.wires) wire->close();
  }
  early_.clear();
  sockets_.clear();
  listener_ = nullptr;
}

std::shared_ptr<Group> Session::group_of(const Digest& digest) const {
  for (const std::weak_ptr<Group>& weak : groups_) {
    std::shared_ptr<Group> group = weak.lock();
    if (group != nullptr && group->digest == digest) return group;
  }
  return nullptr;
}

/* -- the line to a peer */

/** The higher rank calls the lower one. */
void Session::call(int to) {
  if (route(to) != Route::shm && route(to) != Route::tcp) return;
  Peer& callee = peer(to);
  const Endpoint& endpoint = options.endpoints[static_cast<size_t>(to)];
  const std::shared_ptr<Wire> wire = route(to) == Route::shm ? call_local(endpoint) : call_over_network(to);
  if (wire == nullptr) return call_again(to, "nobody listens at its endpoint");
  callee.greeting = wire;
  const std::weak_ptr<Session> weak = weak_from_this();
  callee.timer = Service::instance().at(nanoseconds() + patience_after(callee.failures), [weak, to] {
    const std::shared_ptr<Session> session = weak.lock();
    if (session == nullptr || session->closed_ || session->peer(to).greeting == nullptr) return;
    session->peer(to).greeting->close();
    session->call_again(to, "it does not answer");
  });
  greet(wire, make_hello(Purpose::control, options.rank, to, digest_), options.secret, [weak, to, weak_wire = std::weak_ptr(wire)](const GreetingFault* fault) {
    const std::shared_ptr<Session> session = weak.lock();
    const std::shared_ptr<Wire> wire = weak_wire.lock();
    if (session == nullptr || wire == nullptr || session->closed_) return;
    if (fault != nullptr && fault->differs_in_tls) return session->differs_in_tls(to);
    if (fault != nullptr) return session->call_again(to, fault->words);
    session->greeted(to, wire);
  });
}

std::shared_ptr<Wire> Session::call_over_network(int to) {
  const Endpoint& endpoint = options.endpoints[static_cast<size_t>(to)];
  if (!options.encrypts) return call_address(endpoint);
  const TlsIdentity identity = tls_identity(options.rank, to, digest_);
  return call_address(endpoint, identity, tls_key(options.secret, identity));
}

void Session::call_again(int to, const std::string& problem) {
  Peer& callee = peer(to);
  callee.problem = problem;
  callee.greeting = nullptr;
  Service::instance().cancel(callee.timer);
  const std::weak_ptr<Session> weak = weak_from_this();
  callee.timer = Service::instance().at(nanoseconds() + pause_after(callee.failures++), [weak, to] {
    if (const std::shared_ptr<Session> session = weak.lock(); session != nullptr && !session->closed_) session->call(to);
  });
}

void Session::failed_to_call(int from, const std::string& problem) {
  if (from >= 0 && from < options.size && peer(from).control == nullptr) peer(from).problem = problem;
}

/** Nothing can come of it: all groups with that peer fail, and it has learnt it too. */
void Session::differs_in_tls(int with) {
  peer(with).greeting = nullptr;
  Service::instance().cancel(peer(with).timer);
  const std::vector<std::weak_ptr<Group>> groups = groups_;
  for (const std::weak_ptr<Group>& each : groups) {
    const std::shared_ptr<Group> group = each.lock();
    const int at = group == nullptr ? -1 : group->rank_of_member(with);
    if (at < 0) continue;
    const std::string words = "rank " + std::to_string(at) + " of " + group->name + (options.encrypts ? " was opened without TLS, this one with it" : " was opened with TLS, this one without it");
    group->fail_locked({WL_COMM_MISMATCH, at, words + "; all ranks must agree about it"}, true);
  }
}

void Session::called(const std::shared_ptr<Wire>& wire, const Hello& hello) {
  const int from = hello.from;
  const bool known = from >= 0 && from < options.size && from > options.rank;
  if (!known || (hello.purpose == Purpose::control && peer(from).control != nullptr)) return wire->close();
  const std::weak_ptr<Session> weak = weak_from_this();
  const uint64_t timer = Service::instance().at(nanoseconds() + options.deadline, [weak_wire = std::weak_ptr(wire)] {
    if (const std::shared_ptr<Wire> slow = weak_wire.lock()) slow->close();
  });
  // The wire is kept by the answer's own callback until it is greeted.
  const bool takes_it = !wire->comes_from_network() || wire->is_encrypted() == options.encrypts;
  answer(wire, hello, options.secret, takes_it, [weak, hello, wire, timer](const GreetingFault* fault) {
    Service::instance().cancel(timer);
    const std::shared_ptr<Wire> kept = wire;
    const std::shared_ptr<Session> session = weak.lock();
    if (session == nullptr || session->closed_) return kept->close();
    if (fault != nullptr && fault->differs_in_tls) {
      session->differs_in_tls(hello.from);
    } else if (fault != nullptr) {
      session->peer(hello.from).problem = fault->words;
    } else if (hello.purpose == Purpose::control) {
      session->greeted(hello.from, kept);
    } else if (const std::shared_ptr<Group> group = session->group_of(hello.group)) {
      session->data_came(group, hello, kept);
    } else if (session->early_.size() < kMostEarly) {
      kept->when_closed(nullptr);
      session->early_[hello.group].wires.emplace_back(hello, kept);
    }
  });
}

void Session::greeted(int from, const std::shared_ptr<Wire>& wire) {
  Peer& other = peer(from);
  if (other.control != nullptr) return wire->close();
  other.control = wire;
  other.greeting = nullptr;
  Service::instance().cancel(other.timer);
  other.problem.clear();
  const std::weak_ptr<Session> weak = weak_from_this();
  wire->when_closed([weak, from] {
    if (const std::shared_ptr<Session> session = weak.lock()) session->lost(from);
  });
  listen(from);
  const std::vector<std::weak_ptr<Group>> groups = groups_;
  for (const std::weak_ptr<Group>& each : groups) {
    if (const std::shared_ptr<Group> group = each.lock()) connect_member(group, from);
  }
}

/** The line is cut: the process of the peer has ended, or its host is out of reach. */
void Session::lost(int from) {
  peer(from).lost = true;
  peer(from).control = nullptr;
  const std::vector<std::weak_ptr<Group>> groups = groups_;
  for (const std::weak_ptr<Group>& each : groups) {
    const std::shared_ptr<Group> group = each.lock();
    if (group != nullptr && group->rank_of_member(from) >= 0) group->peer_left(group->rank_of_member(from), false);
  }
}

void Session::say(int to, const Frame& frame, const std::string& words, int file) {
  const std::shared_ptr<Wire> wire = peer(to).control;
  if (wire == nullptr) return;
  std::string bytes(reinterpret_cast<const char*>(&frame), sizeof frame);
  bytes += words;
  wire->send(bytes.data(), bytes.size(), file);
}

void Session::listen(int from) {
  const std::shared_ptr<Wire> wire = peer(from).control;
  if (wire == nullptr) return;
  const std::weak_ptr<Session> weak = weak_from_this();
  wire->expect(sizeof(Frame), [weak, from](const char* data) {
    const std::shared_ptr<Session> session = weak.lock();
    if (session == nullptr || session->peer(from).control == nullptr) return;
    Frame frame;
    std::memcpy(&frame, data, sizeof frame);
    if (frame.length > kLongestWords) {
      session->peer(from).control->close();
      return session->lost(from);
    }
    if (frame.length > 0) {
      return session->peer(from).control->expect(frame.length, [weak, from, frame](const char* text) {
        if (const std::shared_ptr<Session> again = weak.lock()) again->heard(from, frame, std::string(text, frame.length));
      });
    }
    session->heard(from, frame, {});
  });
}

void Session::heard(int from, const Frame& frame, const std::string& words) {
  const std::shared_ptr<Group> group = group_of(frame.group);
  const int member = group == nullptr ? -1 : group->rank_of_member(from);
  if (group == nullptr && early_.size() >= kMostEarly) return listen(from);
  if (group != nullptr && member < 0) return listen(from);
  switch (frame.word) {
    case Word::segment: {
      OwnedFile file(peer(from).control == nullptr ? -1 : peer(from).control->take_file());
      if (!file) break;
      if (group != nullptr) {
        segment_came(group, from, std::move(file));
      } else {
        early_[frame.group].segments.emplace(from, std::move(file));
      }
      break;
    }
    case Word::failure: {
      const Failure failure{frame.reason, frame.peer, words};
      if (group != nullptr) {
        group->fail_locked(failure, false);
      } else {
        early_[frame.group].failure = std::make_unique<Failure>(failure);
      }
      break;
    }
    case Word::goodbye:
      if (group != nullptr) {
        group->peer_left(member, true);
      } else {
        early_[frame.group].goodbyes.push_back(from);
      }
      break;
  }
  listen(from);
}

/* -- links */

/** Begins to connect a group with one of its members, once there is a line to it. */
void Session::connect_member(const std::shared_ptr<Group>& group, int member) {
  const int at = group->rank_of_member(member);
  if (at < 0 || member == options.rank || peer(member).control == nullptr || group->connected(at)) return;
  if (group->state() == Group::State::failed) {
    const Failure failure = group->failure();
    const std::string words = failure.words.substr(0, kLongestWords);
    return say(member, {Word::failure, static_cast<uint32_t>(words.size()), failure.reason, failure.peer, group->digest}, words);
  }
  if (route(member) == Route::shm) say(member, {Word::segment, 0, 0, 0, group->digest}, {}, group->segment()->file());
  if (route(member) == Route::tcp && member < options.rank) call_data(group, member);
}

void Session::segment_came(const std::shared_ptr<Group>& group, int member, OwnedFile file) {
  const int at = group->rank_of_member(member);
  std::shared_ptr<Segment> theirs = at < 0 || group->connected(at) ? nullptr : Segment::attach(file.get(), group->size, group->rank);
  if (theirs == nullptr) return;
  auto link = std::make_unique<Link>();
  for (const Channel channel : {Channel::collective, Channel::message}) {
    link->out[static_cast<int>(channel)] = RingWriter(theirs->ring(channel, group->rank));
    link->in[static_cast<int>(channel)] = RingReader(group->segment()->ring(channel, at));
  }
  link->theirs = std::move(theirs);
  group->connect(at, std::move(link));
}

Session::Sockets& Session::sockets_of(const Group& group, int member) {
  const int at = group.rank_of_member(member);
  Sockets& sockets = sockets_[{group.digest, at}];
  if (sockets.missing == 0) {
    const int count = options.endpoints[static_cast<size_t>(std::min(member, options.rank))].sockets;
    for (std::vector<Connection>& connections : sockets.connections) connections = std::vector<Connection>(static_cast<size_t>(count));
    sockets.missing = count * kChannels;
  }
  return sockets;
}

/** Calls a peer once for each socket of the link. */
void Session::call_data(const std::shared_ptr<Group>& group, int member) {
  const int stripes = static_cast<int>(sockets_of(*group, member).connections[0].size());
  for (const Channel channel : {Channel::collective, Channel::message}) {
    for (int stripe = 0; stripe < stripes; ++stripe) call_data_socket(group, member, channel, stripe, 0);
  }
}

void Session::call_data_socket(const std::shared_ptr<Group>& group, int member, Channel channel, int stripe, int failures) {
  const std::shared_ptr<Wire> wire = call_over_network(member);
  if (wire == nullptr) return call_data_socket_again(group, member, channel, stripe, failures);
  sockets_of(*group, member).greetings.push_back(wire);
  Hello hello = make_hello(Purpose::data, options.rank, member, digest_);
  hello.channel = static_cast<uint8_t>(channel);
  hello.stripe = static_cast<uint8_t>(stripe);
  hello.group = group->digest;
  const std::weak_ptr<Session> weak = weak_from_this();
  const std::weak_ptr<Group> weak_group = group;
  const uint64_t timer = Service::instance().at(nanoseconds() + patience_after(failures), [=, weak_wire = std::weak_ptr(wire)] {
    const std::shared_ptr<Session> session = weak.lock();
    const std::shared_ptr<Group> group = weak_group.lock();
    const std::shared_ptr<Wire> wire = weak_wire.lock();
    if (session == nullptr || group == nullptr || wire == nullptr) return;
    wire->close();
    session->call_data_socket_again(group, member, channel, stripe, failures);
  });
  greet(wire, hello, options.secret, [=, weak_wire = std::weak_ptr(wire)](const GreetingFault* fault) {
    Service::instance().cancel(timer);
    const std::shared_ptr<Session> session = weak.lock();
    const std::shared_ptr<Group> group = weak_group.lock();
    const std::shared_ptr<Wire> wire = weak_wire.lock();
    if (session == nullptr || group == nullptr || wire == nullptr || session->closed_) return;
    if (fault != nullptr) return session->call_data_socket_again(group, member, channel, stripe, failures);
    Hello seen = hello;
    seen.from = hello.to;
    session->data_came(group, seen, wire);
  });
}

void Session::call_data_socket_again(const std::shared_ptr<Group>& group, int member, Channel channel, int stripe, int failures) {
  const std::weak_ptr<Session> weak = weak_from_this();
  const std::weak_ptr<Group> weak_group = group;
  Service::instance().at(nanoseconds() + pause_after(failures), [=] {
    const std::shared_ptr<Session> session = weak.lock();
    const std::shared_ptr<Group> group = weak_group.lock();
    if (session == nullptr || group == nullptr || session->closed_ || group->state() != Group::State::connecting) return;
    session->call_data_socket(group, member, channel, stripe, failures + 1);
  });
}

/** One of the sockets of a link is connected; the last one makes the link. */
void Session::data_came(const std::shared_ptr<Group>& group, const Hello& hello, const std::shared_ptr<Wire>& wire) {
  const int at = group->rank_of_member(hello.from);
  if (at < 0 || group->connected(at)) return wire->close();
  Sockets& sockets = sockets_of(*group, hello.from);
  if (hello.channel >= kChannels || hello.stripe >= sockets.connections[hello.channel].size()) return wire->close();
  Connection& place = sockets.connections[hello.channel][hello.stripe];
  if (place) return wire->close();
  place = wire->release();
  if (--sockets.missing > 0) return;
  std::unique_ptr<Link> link = TcpCarrier::connect(group->segment(), at, group->size, sockets.connections, group->deadline());
  sockets_.erase({group->digest, at});
  if (link != nullptr) group->connect(at, std::move(link));
}

}  // namespace wl::comm
