// Sessions: which way to each peer, and words to all of them.
#include "comm/session.h"

#include "comm/hub.h"
#include "comm/service.h"
#include "core/futex.h"

namespace wl::comm {
namespace {

/** "ranks 1, 3 of world have not connected within 5.0 s" */
Failure missing_peers(const Group& group) {
  std::string ranks;
  int first = -1;
  int count = 0;
  for (int peer = 0; peer < group.size; ++peer) {
    if (group.connected(peer)) continue;
    if (first < 0) first = peer;
    ranks += (count++ == 0 ? "" : ", ") + std::to_string(peer);
  }
  char seconds[32];
  std::snprintf(seconds, sizeof seconds, "%.1f s", static_cast<double>(group.deadline()) / 1e9);
  return {WL_COMM_TIMEOUT, first,
          std::string(count == 1 ? "rank " : "ranks ") + ranks + " of " + group.name + (count == 1 ? " has" : " have") +
              " not connected within " + seconds};
}

}  // namespace

void Session::join(const std::shared_ptr<Group>& group) {
  std::erase_if(groups_, [](const std::weak_ptr<Group>& weak) { return weak.expired(); });
  groups_.push_back(group);
  for (const std::shared_ptr<Group>& peer : hub_peers(*group)) hub_connect(*group, *peer);
  if (group->state() != Group::State::connecting) return;
  const std::weak_ptr<Group> weak = group;
  const uint64_t timer = Service::instance().at(nanoseconds() + group->deadline(), [weak] {
    const std::shared_ptr<Group> late = weak.lock();
    if (late != nullptr && late->state() == Group::State::connecting) late->fail_locked(missing_peers(*late), true);
  });
  group->when_ready([timer](const Failure*) { Service::instance().cancel(timer); });
}

void Session::tell_failure(Group& group, const Failure& failure) {
  for (const std::shared_ptr<Group>& peer : hub_peers(group)) peer->fail_locked(failure, false);
}

void Session::leave(Group& group) {
  for (const std::shared_ptr<Group>& peer : hub_peers(group)) peer->peer_left(group.rank, true);
  hub_remove(group);
}

}  // namespace wl::comm
