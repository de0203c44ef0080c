// What this process has still to say to its peers. A process that ends before takes it along, and peers fail in an operation that was done here.
#pragma once

#include <functional>

namespace wl::comm {

/** Counts groups that are given back until they have left, and links until their peer has all bytes. All with the service's lock held. */
class Farewell {
 public:
  static void begin();
  static void end();
  /** Calls `over` once there is nothing left to say: at once where there is nothing now. */
  static void when_over(std::function<void()> over);
};

}  // namespace wl::comm
