// The C ABI of communicators apart from their operations: listening, opening, splitting, aborting, freeing.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "comm/dtype.h"
#include "comm/endpoint.h"
#include "comm/farewell.h"
#include "comm/find.h"
#include "comm/hub.h"
#include "comm/listener.h"
#include "comm/service.h"
#include "comm/session.h"
#include "core/error.h"
#include "core/runtime.h"

namespace wl {
namespace comm {
namespace {

Table<std::shared_ptr<Group>>& groups() {
  static auto* const table = new Table<std::shared_ptr<Group>>;
  return *table;
}

Table<std::shared_ptr<Listener>>& listeners() {
  static auto* const table = new Table<std::shared_ptr<Listener>>;
  return *table;
}

int refuse(const char* op, const char* words) { return fail(WL_INVALID, op, "%s: %s", op, words); }

/** Registers a group, gives it a handle and begins to connect it. */
int start_group(const char* op, wl_owner owner, const std::shared_ptr<Session>& session, Group* parent, Group::Identity identity, wl_comm* out) {
  const int size = static_cast<int>(identity.members.size());
  std::shared_ptr<Segment> segment = Segment::create(size);
  if (segment == nullptr) {
    return fail(WL_RETRYABLE, op, "%s: no shared memory for %s: %s", op, identity.name.c_str(), std::strerror(errno));
  }
  const auto group = std::make_shared<Group>(session, std::move(identity), std::move(segment));
  const std::lock_guard guard(Service::instance().lock);
  if (!hub_add(group)) {
    return fail(WL_INVALID, op, "%s: rank %d of %s, epoch %lld, is open in this process already", op, group->rank, group->name.c_str(),
                static_cast<long long>(group->epoch()));
  }
  *out = groups().add(group, owner);
  if (*out == 0) {
    hub_remove(*group);
    return fail(WL_INVALID, op, "%s: more than %u communicators live", op, Table<std::shared_ptr<Group>>::kCapacity);
  }
  if (parent != nullptr) {
    std::erase_if(parent->splits, [](const std::weak_ptr<Group>& weak) { return weak.expired(); });
    parent->splits.push_back(group);
    if (parent->state() == Group::State::failed) group->fail_locked(parent->failure(), false);
  }
  session->join(group);
  return WL_OK;
}

void settle_with(const Group& group, const Failure* failure, wl_done done, void* user) {
  if (failure == nullptr) return done(user, nullptr);
  fail(WL_RETRYABLE, "commReady", "commReady: %s (epoch %lld, rank %d of %d): %s", group.name.c_str(), static_cast<long long>(group.epoch()),
       group.rank, group.size, failure->words.c_str());
  last_error().comm_reason = failure->reason;
  last_error().comm_peer = failure->peer;
  done(user, &last_error());
}

/** What is wrong with the options, or null. */
const char* fault_of(const wl_comm_options& options) {
  if (options.size < 1 || options.size > WL_COMM_MAX_RANKS) return "size must be from 1 to 64";
  if (options.rank < 0 || options.rank >= options.size) return "rank must be from 0 to size - 1";
  if (options.name == nullptr || *options.name == '\0' || std::strlen(options.name) >= WL_COMM_NAME) return "name must have 1 to 47 bytes";
  if (options.secret == nullptr) return "secret is missing";
  if (options.deadline_ms < 1) return "deadlineMs must be at least 1";
  if (options.transport < WL_COMM_AUTO || options.transport > WL_COMM_TCP) return "there is no such transport";
  return nullptr;
}

/** The fastest way to an endpoint that the caller allows; or why there is none. Both ranks of a pair come to the same. */
const char* choose_route(const Endpoint& endpoint, int transport, Route& out) {
  const bool same_process = endpoint.process == process_id();
  const bool same_host = endpoint.host == host_id();
  if (transport == WL_COMM_PROCESS && !same_process) return "is not in this process";
  if (transport == WL_COMM_SHM && !same_host) return "is not on this host";
  const bool tcp = transport == WL_COMM_TCP || (transport == WL_COMM_AUTO && !same_host);
  if (tcp && endpoint.address.empty()) return "listens at no IP address";
  out = tcp ? Route::tcp : transport != WL_COMM_SHM && same_process ? Route::process : Route::shm;
  return nullptr;
}

/** It leaves when what is enqueued has run. */
void give_back(Group& group) {
  {
    const std::lock_guard guard(Service::instance().lock);
    Farewell::begin();
  }
  group.remove_user();
}

}  // namespace

std::shared_ptr<Group> find_group(wl_comm handle) {
  std::shared_ptr<Group> group;
  groups().find(handle, group);
  return group;
}

}  // namespace comm

void release_comms_of(wl_owner owner) {
  using namespace comm;
  while (const wl_comm handle = groups().any_of(owner)) {
    std::shared_ptr<Group> group;
    if (!groups().remove(handle, group)) continue;
    group->fail({WL_COMM_ABORTED, group->rank, "the environment of rank " + std::to_string(group->rank) + " ends"});
    give_back(*group);
  }
  while (const wl_listener listener = listeners().any_of(owner)) wl_comm_close_listener(listener);
}

}  // namespace wl

using namespace wl;
using namespace wl::comm;

extern "C" {

int wl_comm_listen(wl_owner owner, const char* address, int sockets, wl_listener* out, char endpoint[WL_COMM_ENDPOINT]) {
  const char* const op = "commListen";
  if (sockets < 1 || sockets > 16) return refuse(op, "sockets must be from 1 to 16");
  const std::lock_guard guard(Service::instance().lock);
  const std::shared_ptr<Listener> listener = Listener::open(address, sockets);
  if (listener == nullptr) {
    return fail(WL_INVALID, op, "%s: can't listen at %s: %s", op, address == nullptr ? "a local socket" : address, std::strerror(errno));
  }
  *out = listeners().add(listener, owner);
  if (*out == 0) return refuse(op, "more than 255 listeners live");
  std::snprintf(endpoint, WL_COMM_ENDPOINT, "%s", to_text(listener->endpoint()).c_str());
  return WL_OK;
}

int wl_comm_close_listener(wl_listener handle) {
  const std::lock_guard guard(Service::instance().lock);
  std::shared_ptr<Listener> listener;
  return listeners().remove(handle, listener) ? WL_OK : fail(WL_INVALID, "commCloseListener", "commCloseListener: %u is not a live listener", handle);
}

int wl_comm_open(wl_owner owner, const wl_comm_options* options, wl_comm* out) {
  const char* const op = "commOpen";
  if (const char* fault = fault_of(*options)) return refuse(op, fault);
  std::shared_ptr<Listener> listener;
  if (!listeners().find(options->listener, listener)) return fail(WL_INVALID, op, "%s: %u is not a live listener", op, options->listener);
  SessionOptions session{options->name, options->epoch, options->rank, options->size, {}, {}, options->secret, options->deadline_ms * 1000000,
                         options->tls != 0};
  std::string agreed = session.name + '\n' + std::to_string(session.epoch);
  Group::Identity identity{session.name, {}, {}, session.rank};
  for (int rank = 0; rank < session.size; ++rank) {
    const std::string text = options->endpoints[rank] == nullptr ? "" : options->endpoints[rank];
    const std::optional<Endpoint> endpoint = parse_endpoint(text);
    if (!endpoint) return fail(WL_INVALID, op, "%s: the endpoint of rank %d is none: '%.80s'", op, rank, text.c_str());
    Route route = Route::self;
    if (rank != session.rank) {
      const char* fault = choose_route(*endpoint, options->transport, route);
      if (fault != nullptr) return fail(WL_INVALID, op, "%s: rank %d %s", op, rank, fault);
    }
    if (route == Route::tcp && session.encrypts && !tls_available()) {
      return refuse(op, "TLS needs the OpenSSL that Node carries, or libssl.so.3 (Debian: libssl3); neither is there");
    }
    agreed += '\n' + text;
    session.endpoints.push_back(*endpoint);
    session.routes.push_back(route);
    identity.members.push_back(rank);
  }
  const Digest digest = sha256(agreed);
  identity.key = std::string(digest.begin(), digest.end());
  return start_group(op, owner, std::make_shared<Session>(std::move(session), digest, std::move(listener)), nullptr, std::move(identity), out);
}

int wl_comm_ready(wl_comm handle, wl_done done, void* user) {
  const std::shared_ptr<Group> group = find_group(handle);
  if (group == nullptr) return no_comm("commReady", handle);
  const std::lock_guard guard(Service::instance().lock);
  group->when_ready([group = group.get(), done, user](const Failure* failure) { settle_with(*group, failure, done, user); });
  return WL_OK;
}

int wl_comm_split(wl_owner owner, wl_comm handle, int count, const int* ranks, const char* name, wl_comm* out) {
  const char* const op = "commSplit";
  const std::shared_ptr<Group> parent = find_group(handle);
  if (parent == nullptr) return no_comm(op, handle);
  if (name == nullptr || *name == '\0' || std::strlen(name) >= WL_COMM_NAME) return refuse(op, "name must have 1 to 47 bytes");
  if (count < 1 || count > parent->size) return refuse(op, "ranks must be 1 to all ranks of the parent");
  Group::Identity identity{name, parent->key + '\n' + name, {}, -1};
  for (int i = 0; i < count; ++i) {
    if (ranks[i] < 0 || ranks[i] >= parent->size) return fail(WL_INVALID, op, "%s: %d is not a rank of %s", op, ranks[i], parent->name.c_str());
    const int member = parent->members[static_cast<size_t>(ranks[i])];
    if (std::count(identity.members.begin(), identity.members.end(), member) > 0) {
      return fail(WL_INVALID, op, "%s: rank %d is named twice", op, ranks[i]);
    }
    if (ranks[i] == parent->rank) identity.rank = i;
    identity.members.push_back(member);
    identity.key += ' ' + std::to_string(member);
  }
  if (identity.rank < 0) return fail(WL_INVALID, op, "%s: rank %d, which splits, is not among the ranks of %s", op, parent->rank, name);
  {
    const std::lock_guard guard(Service::instance().lock);
    identity.key += '#' + std::to_string(parent->ordinal_of_split(identity.key));
  }
  return start_group(op, owner, parent->session, parent.get(), std::move(identity), out);
}

int wl_comm_abort(wl_comm handle, const char* message) {
  const std::shared_ptr<Group> group = find_group(handle);
  if (group == nullptr) return no_comm("commAbort", handle);
  group->fail({WL_COMM_ABORTED, group->rank, message});
  return WL_OK;
}

int wl_comm_free(wl_comm handle) {
  std::shared_ptr<Group> group;
  if (!groups().remove(handle, group)) return no_comm("commFree", handle);
  give_back(*group);
  return WL_OK;
}

int wl_comm_farewell(wl_done done, void* user) {
  const std::lock_guard guard(Service::instance().lock);
  Farewell::when_over([done, user] { done(user, nullptr); });
  return WL_OK;
}

int wl_comm_describe(wl_comm handle, int* rank, int* size) {
  const std::shared_ptr<Group> group = find_group(handle);
  if (group == nullptr) return no_comm("commDescribe", handle);
  if (rank != nullptr) *rank = group->rank;
  if (size != nullptr) *size = group->size;
  return WL_OK;
}

int wl_comm_bytes_sent(wl_comm handle, int64_t* out) {
  const std::shared_ptr<Group> group = find_group(handle);
  if (group == nullptr) return no_comm("commBytesSent", handle);
  *out = group->bytes_sent.load();
  return WL_OK;
}

const char* wl_comm_dtype_name(int dtype) { return name_of(static_cast<Type>(dtype)); }

}  // extern "C"
