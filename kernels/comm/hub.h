// Groups of one process that belong together find each other here. All with the service's lock held.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace wl::comm {

class Group;

/** Names this process, different from every other one on any host. */
const std::string& process_id();

/** Adds a group; false where its rank is there already. */
bool hub_add(const std::shared_ptr<Group>& group);
void hub_remove(Group& group);
/** The groups of the same key on other ranks, in this process. */
std::vector<std::shared_ptr<Group>> hub_peers(const Group& group);
/** Connects two groups of this process to each other. */
void hub_connect(Group& a, Group& b);

}  // namespace wl::comm
