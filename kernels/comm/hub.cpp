// The registry of the groups of this process.
#include "comm/hub.h"

#include <algorithm>
#include <unordered_map>

#include "comm/endpoint.h"
#include "comm/session.h"

namespace wl::comm {
namespace {

using Members = std::vector<std::weak_ptr<Group>>;

std::unordered_map<std::string, Members>& groups() {
  static auto* const map = new std::unordered_map<std::string, Members>;
  return *map;
}

/** Groups with another secret do not belong together. */
std::string key_of(const Group& group) { return group.key + '\n' + group.session->options.secret; }

/** The link of `from` to `to`: writes into the memory of `to`, reads from its own. */
std::unique_ptr<Link> memory_link(Group& from, Group& to) {
  auto link = std::make_unique<Link>();
  link->theirs = to.segment();
  for (const Channel channel : {Channel::collective, Channel::message}) {
    link->out[static_cast<int>(channel)] = RingWriter(to.segment()->ring(channel, from.rank));
    link->in[static_cast<int>(channel)] = RingReader(from.segment()->ring(channel, to.rank));
  }
  return link;
}

}  // namespace

const std::string& process_id() {
  static const std::string* const id = new std::string(random_name());
  return *id;
}

bool hub_add(const std::shared_ptr<Group>& group) {
  Members& members = groups()[key_of(*group)];
  for (const std::weak_ptr<Group>& weak : members) {
    const std::shared_ptr<Group> member = weak.lock();
    if (member != nullptr && member->rank == group->rank) return false;
  }
  members.push_back(group);
  return true;
}

void hub_remove(Group& group) {
  const auto found = groups().find(key_of(group));
  if (found == groups().end()) return;
  std::erase_if(found->second, [&](const std::weak_ptr<Group>& weak) {
    const std::shared_ptr<Group> member = weak.lock();
    return member == nullptr || member.get() == &group;
  });
  if (found->second.empty()) groups().erase(found);
}

std::vector<std::shared_ptr<Group>> hub_peers(const Group& group) {
  std::vector<std::shared_ptr<Group>> peers;
  const auto found = groups().find(key_of(group));
  if (found == groups().end()) return peers;
  for (const std::weak_ptr<Group>& weak : found->second) {
    std::shared_ptr<Group> member = weak.lock();
    if (member != nullptr && member->rank != group.rank) peers.push_back(std::move(member));
  }
  return peers;
}

void hub_connect(Group& a, Group& b) {
  std::unique_ptr<Link> to_b = memory_link(a, b);
  std::unique_ptr<Link> to_a = memory_link(b, a);
  a.connect(b.rank, std::move(to_b));
  b.connect(a.rank, std::move(to_a));
}

}  // namespace wl::comm
