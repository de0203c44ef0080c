// Groups: becoming ready, failing, and ending.
#include "comm/group.h"

#include <algorithm>

#include "comm/service.h"
#include "comm/session.h"

namespace wl::comm {

Group::Group(std::shared_ptr<Session> session, Identity identity, std::shared_ptr<Segment> own)
    : name(std::move(identity.name)),
      key(std::move(identity.key)),
      digest(sha256(key)),
      members(std::move(identity.members)),
      rank(identity.rank),
      size(static_cast<int>(members.size())),
      session(std::move(session)),
      sends(members.size()),
      receives(members.size()),
      own_(std::move(own)),
      links_(members.size()),
      goodbyes_(members.size()),
      missing_(size - 1) {
  if (missing_ == 0) state_.store(State::ready);
}

Group::~Group() = default;

int64_t Group::epoch() const { return session->options.epoch; }
int64_t Group::deadline() const { return session->options.deadline; }

int Group::rank_of_member(int session_rank) const {
  const auto found = std::find(members.begin(), members.end(), session_rank);
  return found == members.end() ? -1 : static_cast<int>(found - members.begin());
}

Failure Group::failure() const {
  const std::lock_guard guard(failure_lock_);
  return failure_;
}

void Group::fail(const Failure& failure) {
  if (state() == State::failed) return;
  const std::lock_guard guard(Service::instance().lock);
  fail_locked(failure, true);
}

void Group::fail_locked(const Failure& failure, bool tell_peers) {
  if (state() == State::failed) return;
  {
    const std::lock_guard guard(failure_lock_);
    failure_ = failure;
  }
  state_.store(State::failed);
  own_->bell().ring_loudly();
  if (tell_peers) session->tell_failure(*this, failure);
  settle();
  for (const std::weak_ptr<Group>& weak : splits) {
    const std::shared_ptr<Group> split = weak.lock();
    if (split == nullptr) continue;
    Failure translated = failure;
    if (failure.peer >= 0) translated.peer = split->rank_of_member(members[static_cast<size_t>(failure.peer)]);
    split->fail_locked(translated, tell_peers);
  }
}

void Group::remove_user() {
  if (users_.fetch_sub(1) > 1) return;
  const std::lock_guard guard(Service::instance().lock);
  session->leave(*this);
}

void Group::connect(int peer, std::unique_ptr<Link> link) {
  if (connected(peer)) return;
  if (goodbyes_[static_cast<size_t>(peer)]) link->left.store(true);
  links_[static_cast<size_t>(peer)] = std::move(link);
  if (--missing_ > 0 || state() != State::connecting) return;
  state_.store(State::ready);
  own_->bell().ring_loudly();
  settle();
}

void Group::peer_left(int peer, bool in_peace) {
  const size_t at = static_cast<size_t>(peer);
  if (goodbyes_[at]) return;
  if (!in_peace) return fail_locked({WL_COMM_PEER_LOST, peer, "rank " + std::to_string(peer) + " of " + name + " is gone"}, true);
  goodbyes_[at] = true;
  if (links_[at] != nullptr) links_[at]->left.store(true);
  own_->bell().ring_loudly();
}

void Group::when_ready(Ready ready) {
  waiting_.push_back(std::move(ready));
  if (state() != State::connecting) settle();
}

void Group::settle() {
  const Failure failed = failure();
  const std::vector<Ready> waiting = std::move(waiting_);
  waiting_.clear();
  for (const Ready& ready : waiting) ready(state() == State::failed ? &failed : nullptr);
}

int64_t Group::ordinal_of_split(const std::string& identity) {
  for (auto& [known, count] : split_counts_) {
    if (known == identity) return ++count;
  }
  split_counts_.emplace_back(identity, 0);
  return 0;
}

}  // namespace wl::comm
