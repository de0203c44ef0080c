// A session: one rank's membership in a communicator that was opened: a line to each peer for words beside the data. Its groups share it.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "comm/endpoint.h"
#include "comm/group.h"
#include "comm/hello.h"
#include "comm/listener.h"
#include "comm/owned-file.h"
#include "comm/wire.h"

namespace wl::comm {

/** How the bytes between two ranks go. */
enum class Route { self, process, shm, tcp };

struct SessionOptions {
  std::string name;
  int64_t epoch;
  int rank;
  int size;
  std::vector<Endpoint> endpoints;
  std::vector<Route> routes;
  std::string secret;
  int64_t deadline;  // nanoseconds
  bool encrypts;     // what goes over the network
};

class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(SessionOptions options, const Digest& digest, std::shared_ptr<Listener> listener);
  const SessionOptions options;
  const Digest& digest() const { return digest_; }
  Route route(int peer) const { return options.routes[static_cast<size_t>(peer)]; }

  // -- all with the service's lock held
  /** Begins to connect a group of this session. */
  void join(const std::shared_ptr<Group>& group);
  /** Tells the peers of a group that it failed. */
  void tell_failure(Group& group, const Failure& failure);
  /** Tells the peers of a group that this rank has done with it. The session closes with its last group. */
  void leave(Group& group);
  /** A peer is calling; the hello has been read. */
  void called(const std::shared_ptr<Wire>& wire, const Hello& hello);
  /** What came from there, as it says, was no good. */
  void failed_to_call(int from, const std::string& problem);

 private:
  struct Peer {
    std::shared_ptr<Wire> control;  // greeted
    std::shared_ptr<Wire> greeting;
    bool lost = false;
    int failures = 0;
    uint64_t timer = 0;  // of the next call, or of the greeting
    std::string problem;  // of the last attempt to connect
  };
  /** What came for a group that this rank has not made yet. */
  struct Early {
    std::map<int, OwnedFile> segments;  // by peer
    std::vector<std::pair<Hello, std::shared_ptr<Wire>>> wires;
    std::vector<int> goodbyes;
    std::unique_ptr<Failure> failure;
  };
  /** A link over TCP that is being connected. Where that ends too early, the sockets that were are closed. */
  struct Sockets {
    std::vector<Connection> connections[kChannels];
    int missing = 0;
    std::vector<std::shared_ptr<Wire>> greetings;
  };
  struct Frame;

  void call(int peer);
  std::shared_ptr<Wire> call_over_network(int peer);
  void call_again(int peer, const std::string& problem);
  void differs_in_tls(int peer);
  void greeted(int peer, const std::shared_ptr<Wire>& wire);
  void lost(int peer);
  void listen(int peer);
  void heard(int peer, const Frame& frame, const std::string& words);
  void say(int peer, const Frame& frame, const std::string& words, int file = -1);
  void connect_member(const std::shared_ptr<Group>& group, int member);
  void segment_came(const std::shared_ptr<Group>& group, int member, OwnedFile file);
  void call_data(const std::shared_ptr<Group>& group, int member);
  void call_data_socket(const std::shared_ptr<Group>& group, int member, Channel channel, int stripe, int failures);
  void call_data_socket_again(const std::shared_ptr<Group>& group, int member, Channel channel, int stripe, int failures);
  void data_came(const std::shared_ptr<Group>& group, const Hello& hello, const std::shared_ptr<Wire>& wire);
  Sockets& sockets_of(const Group& group, int member);
  std::shared_ptr<Group> group_of(const Digest& digest) const;
  Failure missing_peers(const Group& group) const;
  void close();

  Peer& peer(int rank) { return peers_[static_cast<size_t>(rank)]; }

  const Digest digest_;
  std::shared_ptr<Listener> listener_;
  std::vector<Peer> peers_;
  std::vector<std::weak_ptr<Group>> groups_;
  std::map<Digest, Early> early_;
  std::map<std::pair<Digest, int>, Sockets> sockets_;
  bool opened_ = false;
  bool closed_ = false;
};

}  // namespace wl::comm
