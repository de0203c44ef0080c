// A group: one rank's side of a communicator or of a split of one, as its operations see it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "comm/link.h"
#include "comm/sha256.h"
#include "wl_comm.h"

namespace wl::comm {

class Session;

/** Why a group failed. `peer` is a rank of the group, or -1. */
struct Failure {
  int reason = WL_COMM_ABORTED;
  int peer = -1;
  std::string words;
};

/** Lets operations of one kind run in the order in which they were enqueued, whatever streams they are on. */
struct Turns {
  uint64_t given = 0;             // of the enqueueing thread
  std::atomic<uint64_t> next{0};  // that may run
};

class Group : public std::enable_shared_from_this<Group> {
 public:
  struct Identity {
    std::string name;
    std::string key;           // the same on all ranks, different from that of every other group
    std::vector<int> members;  // rank in the group -> rank in the session
    int rank;
  };
  Group(std::shared_ptr<Session> session, Identity identity, std::shared_ptr<Segment> own);
  ~Group();

  const std::string name;
  const std::string key;
  const Digest digest;  // of the key
  const std::vector<int> members;
  const int rank;
  const int size;
  const std::shared_ptr<Session> session;
  int64_t epoch() const;
  int64_t deadline() const;  // nanoseconds
  /** Rank in the group of a rank of the session, or -1. */
  int rank_of_member(int session_rank) const;

  // -- for operations
  enum class State { connecting, ready, failed };
  State state() const { return state_.load(); }
  /** Why it failed. */
  Failure failure() const;
  Link& link(int peer) { return *links_[static_cast<size_t>(peer)]; }
  Segment& own() { return *own_; }
  Turns collectives;
  std::vector<Turns> sends;
  std::vector<Turns> receives;
  std::atomic<int64_t> bytes_sent{0};
  /** Fails the group here and on its peers, unless it has failed before. Takes the service's lock. */
  void fail(const Failure& failure);
  /** The handle and every enqueued operation are users; after the last one the peers are told goodbye. Takes the service's lock. */
  void add_user() { users_.fetch_add(1); }
  void remove_user();

  // -- with the service's lock held
  using Ready = std::function<void(const Failure* failure)>;
  void when_ready(Ready ready);
  /** Adds the link to a peer; the last one makes the group ready. */
  void connect(int peer, std::unique_ptr<Link> link);
  /** The links that there are, each for its peer's rank. */
  const std::vector<std::unique_ptr<Link>>& links() const { return links_; }
  bool connected(int peer) const { return peer == rank || links_[static_cast<size_t>(peer)] != nullptr; }
  void fail_locked(const Failure& failure, bool tell_peers);
  /** The peer has gone: in peace (its operations are done), or lost. */
  void peer_left(int peer, bool in_peace);
  const std::shared_ptr<Segment>& segment() const { return own_; }
  std::vector<std::weak_ptr<Group>> splits;
  /** How often a split of this identity was made: tells its instances apart. */
  int64_t ordinal_of_split(const std::string& identity);

 private:
  void settle();

  std::shared_ptr<Segment> own_;
  std::vector<std::unique_ptr<Link>> links_;
  std::vector<bool> goodbyes_;
  std::atomic<State> state_{State::connecting};
  int missing_;
  std::atomic<int> users_{1};
  std::vector<Ready> waiting_;
  std::vector<std::pair<std::string, int64_t>> split_counts_;
  mutable std::mutex failure_lock_;
  Failure failure_;
};

}  // namespace wl::comm
