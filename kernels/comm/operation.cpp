// Operations: turns, records, and how a failure travels: to the stream, to the group, and to the peers.
#include "comm/operation.h"

#include <algorithm>
#include <cstdio>

#include "comm/exchange.h"
#include "comm/flight-recorder.h"
#include "comm/wait.h"
#include "core/error.h"
#include "core/stream.h"

namespace wl::comm {
namespace {

Turns& turns_of(Operation& operation) {
  Group& group = *operation.group;
  const size_t peer = static_cast<size_t>(std::max(operation.request.root, 0));
  switch (operation.request.kind) {
    case Kind::send: return group.sends[peer];
    case Kind::receive: return group.receives[peer];
    default: return group.collectives;
  }
}

void carry_out(Operation& operation) {
  Group& group = *operation.group;
  wait_until(group, [&] { return group.state() == Group::State::ready; });
  Turns& turns = turns_of(operation);
  wait_until(group, [&] { return turns.next.load() == operation.sequence; });
  record_started(operation.record);
  Exchange(operation).run();
  turns.next.store(operation.sequence + 1);
  // Another stream of this rank may wait for its turn.
  group.own().bell().ring();
}

void poison(Stream& stream, const Operation& operation, const Failure& failure) {
  fail(WL_RETRYABLE, name_of(operation.request.kind), "%s: %s", operation.title().c_str(), failure.words.c_str());
  last_error().comm_reason = failure.reason;
  last_error().comm_peer = failure.peer;
  stream.poison(last_error());
}

}  // namespace

std::string Operation::title() const {
  char text[200];
  std::snprintf(text, sizeof text, "%s %llu of %s (epoch %lld, rank %d of %d) at '%s'", name_of(request.kind),
                static_cast<unsigned long long>(sequence), group->name.c_str(), static_cast<long long>(group->epoch()), group->rank, group->size,
                site.c_str());
  return text;
}

void run_operation(Stream& stream, std::unique_ptr<Operation> operation) {
  Group& group = *operation->group;
  bool failed = true;
  if (const wl_error* error = stream.error()) {
    group.fail({WL_COMM_ABORTED, group.rank, error->message});
  } else {
    try {
      carry_out(*operation);
      failed = false;
    } catch (const Failure& failure) {
      // The first failure of the group wins: a peer may have told us a better reason in the meantime.
      group.fail({failure.reason, failure.peer, operation->title() + ": " + failure.words});
      const Failure first = group.failure();
      const bool own = first.words.ends_with(failure.words);
      poison(stream, *operation, own ? failure : first);
    } catch (const GroupFailed&) {
      poison(stream, *operation, group.failure());
    }
  }
  record_ended(operation->record, failed, operation->bytes_sent);
  group.remove_user();
}

}  // namespace wl::comm
