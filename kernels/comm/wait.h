// How an operation waits for its peers: it spins a little, then sleeps at its rank's doorbell; it ends with the group or its deadline.
#pragma once

#include <cstdint>

#include "comm/group.h"

namespace wl::comm {

/** Thrown to end an operation whose group has failed; the group says why. */
struct GroupFailed {};

class Waiter {
 public:
  explicit Waiter(Group& group) : group_(group) {}
  ~Waiter() { rest(); }
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  /** There was progress: the deadline begins anew. */
  void advanced() {
    rest();
    idle_since_ = 0;
  }
  /**
   * To be called each time that a look around has found nothing to do. False where that has been so for the group's deadline.
   * Throws GroupFailed. Before it sleeps, announce() tells peers what to wake it for; true where that is not what it said last.
   */
  template <class Announce>
  bool pause(Announce announce) {
    const Turn turn = spin();
    if (turn != Turn::sleep) return turn == Turn::again;
    // The caller looks once more, now that peers know.
    const bool entered = enter();
    if (announce() || entered) {
      seen_ = group_.own().bell().pulses();
    } else {
      sleep();
    }
    return true;
  }
  bool pause() {
    return pause([] { return false; });
  }

 private:
  enum class Turn { again, sleep, late };
  Turn spin();
  bool enter();
  void sleep();
  void rest();

  Group& group_;
  int64_t idle_since_ = 0;
  int64_t idle_ = 0;
  bool asleep_ = false;
  uint32_t seen_ = 0;
};

/** Waits without a deadline of its own until condition() is true. Throws GroupFailed. */
template <class Condition>
void wait_until(Group& group, Condition condition) {
  Waiter waiter(group);
  while (!condition()) {
    if (!waiter.pause()) waiter.advanced();
  }
}

}  // namespace wl::comm
