// A session: one rank's membership in a communicator that was opened, with its ways to tell peers something. Its groups share it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/group.h"

namespace wl::comm {

struct SessionOptions {
  std::string name;
  int64_t epoch;
  int rank;
  int size;
  std::vector<std::string> endpoints;
  std::string secret;
  int64_t deadline;  // nanoseconds
  int transport;
};

class Session : public std::enable_shared_from_this<Session> {
 public:
  explicit Session(SessionOptions options) : options(std::move(options)) {}
  const SessionOptions options;

  // -- all with the service's lock held
  /** Begins to connect the links of a group of this session. */
  void join(const std::shared_ptr<Group>& group);
  /** Tells the peers of a group that it failed. */
  void tell_failure(Group& group, const Failure& failure);
  /** Tells the peers of a group that this rank has done with it. */
  void leave(Group& group);
  /** A group of a key, or null. */
  std::shared_ptr<Group> group_of(const std::string& key) const;

 private:
  std::vector<std::weak_ptr<Group>> groups_;
};

}  // namespace wl::comm
