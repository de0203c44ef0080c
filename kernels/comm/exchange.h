// Moves the pieces of one operation between the rings of a group, all links at the same time, and reduces what has come.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/header.h"
#include "comm/operation.h"
#include "comm/wait.h"

namespace wl::comm {

class Exchange {
 public:
  explicit Exchange(Operation& operation);

  /** Returns when all has been sent and received. Throws Failure and GroupFailed. */
  void run();

 private:
  /** How far one direction of a link is; piece -1 is the header. */
  struct Cursor {
    int64_t piece = -1;
    int64_t done = 0;  // bytes of the piece
  };
  struct Lane {
    int peer;
    bool sends;
    bool receives;
    Link* link;
    Cursor out;
    Cursor in;
    bool gone = false;     // had left before the last look
    bool crowded = false;  // no room to send, at the last look
  };

  bool step();
  bool push(Lane& lane);
  bool pull(Lane& lane);
  bool reduce();
  bool sent(const Lane& lane) const { return !lane.sends || lane.out.piece == plan_.pieces(); }
  bool received(const Lane& lane) const { return !lane.receives || lane.in.piece == plan_.pieces(); }
  bool done() const;
  bool announce();
  int64_t rest(const Lane& lane, int64_t last) const;
  Header header_to(int peer) const;
  void check(const Lane& lane, const Header& theirs) const;
  [[noreturn]] void lost(const Lane& lane) const;
  [[noreturn]] void late() const;

  Operation& operation_;
  Group& group_;
  const Channel channel_;
  const Plan plan_;
  std::vector<Lane> lanes_;
  int64_t reduced_ = 0;
};

}  // namespace wl::comm
