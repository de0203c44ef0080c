// From handles of communicators to groups.
#pragma once

#include <memory>

#include "comm/group.h"
#include "core/error.h"

namespace wl::comm {

/** The group of a handle, or null. */
std::shared_ptr<Group> find_group(wl_comm handle);

inline int no_comm(const char* op, wl_comm handle) { return fail(WL_INVALID, op, "%s: %u is not a live communicator", op, handle); }

}  // namespace wl::comm
