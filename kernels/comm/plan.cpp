// Plans. Reductions are made by the rank that owns a slice, out of what all others send it: (n - 1) / n of the data moves, as in a ring.
#include "comm/plan.h"

#include <algorithm>
#include <cstring>

namespace wl::comm {
namespace {

// Below this, one exchange of everything is faster than two of a part.
constexpr int64_t kWholeBytes = 16 << 10;
// How many chunks a rank contributes to before it waits for the first result: they are under way together, and fit the ring.
constexpr int64_t kAhead = 4;
constexpr int64_t kPiecesInRing = 8;

}  // namespace

const char* name_of(Kind kind) {
  static constexpr const char* names[] = {"allReduce", "reduceScatter", "allGather", "broadcast", "reduce", "allToAll", "send", "receive", "barrier"};
  return names[static_cast<int>(kind)];
}

Plan::Plan(const Request& request, int rank, int size, int64_t ring_bytes)
    : request_(request), rank_(rank), size_(size), element_(size_of(request.type)), chunk_bytes_(ring_bytes / kPiecesInRing) {
  const int64_t bytes = request.count * element_;
  const auto chunks_in = [this](int64_t of) { return (of + chunk_bytes_ - 1) / chunk_bytes_; };
  switch (request.kind) {
    case Kind::all_reduce:
      whole_ = bytes <= std::min(kWholeBytes, chunk_bytes_) || size == 1;
      chunks_ = whole_ ? 1 : chunks_in(((bytes + 63) / 64 + size - 1) / size * 64);
      own_chunks_ = whole_ ? 1 : chunks_in(slice(rank).bytes);
      pieces_ = whole_ ? 1 : 2 * chunks_;
      break;
    case Kind::reduce_scatter:
    case Kind::reduce:
      chunks_ = chunks_in(bytes);
      own_chunks_ = request.kind == Kind::reduce && rank != request.root ? 0 : chunks_;
      pieces_ = chunks_;
      break;
    case Kind::all_gather:
    case Kind::broadcast:
    case Kind::all_to_all:
    case Kind::send:
    case Kind::receive:
      pieces_ = 1;
      break;
    case Kind::barrier:
      break;
  }
  int64_t send_begin = 0;
  int64_t receive_begin = 0;
  for (size_t peer = 0; peer < request.send_counts.size(); ++peer) {
    send_begins_.push_back(send_begin);
    receive_begins_.push_back(receive_begin);
    send_begin += request.send_counts[peer] * element_;
    receive_begin += request.receive_counts[peer] * element_;
  }
}

/** The bytes of an all-reduce that a rank owns: cut at whole cache lines. */
Plan::Range Plan::slice(int rank) const {
  const int64_t lines = (request_.count * element_ + 63) / 64;
  const int64_t begin = lines * rank / size_ * 64;
  const int64_t end = std::min(lines * (rank + 1) / size_ * 64, request_.count * element_);
  return {begin, end - begin};
}

Plan::Range Plan::chunk_of(const Range& slice, int64_t at) const {
  const int64_t begin = std::min(at * chunk_bytes_, slice.bytes);
  return {slice.begin + begin, std::min(chunk_bytes_, slice.bytes - begin)};
}

/**
 * The order of the pieces of an all-reduce between two ranks: the contributions to the first chunks, then by turns a result and a
 * contribution, then the last results.
 */
Plan::Place Plan::place(int64_t at) const {
  if (request_.kind != Kind::all_reduce || whole_) return {false, at};
  const int64_t ahead = std::min(kAhead, chunks_);
  if (at < ahead) return {false, at};
  const int64_t turn = at - ahead;
  if (turn >= 2 * (chunks_ - ahead)) return {true, at - chunks_};
  return turn % 2 == 0 ? Place{true, turn / 2} : Place{false, ahead + turn / 2};
}

Piece Plan::outgoing(int peer, int64_t at) const {
  const Request& request = request_;
  const int64_t bytes = request.count * element_;
  switch (request.kind) {
    case Kind::all_reduce: {
      if (whole_) return {request.x, bytes, false, 0};
      const Place where = place(at);
      const Range range = chunk_of(slice(where.gather ? rank_ : peer), where.chunk);
      return {(where.gather ? request.y : request.x) + range.begin, range.bytes, where.gather, where.chunk};
    }
    case Kind::reduce_scatter: {
      const Range range = chunk_of({bytes * peer, bytes}, at);
      return {request.x + range.begin, range.bytes, false, at};
    }
    case Kind::reduce: {
      if (peer != request.root) return {};
      const Range range = chunk_of({0, bytes}, at);
      return {request.x + range.begin, range.bytes, false, at};
    }
    case Kind::all_gather:
    case Kind::send:
      return {request.x, bytes, false, 0};
    case Kind::broadcast:
      return rank_ == request.root ? Piece{request.x, bytes, false, 0} : Piece{};
    case Kind::all_to_all: {
      if (request.send_counts.empty()) return {request.x + bytes * peer, bytes, false, 0};
      const size_t to = static_cast<size_t>(peer);
      return {request.x + send_begins_[to], request.send_counts[to] * element_, false, 0};
    }
    case Kind::receive:
    case Kind::barrier:
      break;
  }
  return {};
}

Piece Plan::incoming(int peer, int64_t at) const {
  const Request& request = request_;
  const int64_t bytes = request.count * element_;
  switch (request.kind) {
    case Kind::all_reduce: {
      const Place where = place(at);
      if (where.gather) {
        const Range range = chunk_of(slice(peer), where.chunk);
        return {request.y + range.begin, range.bytes, false, 0};
      }
      return {nullptr, chunk(where.chunk).bytes, true, where.chunk};
    }
    case Kind::reduce_scatter:
      return {nullptr, chunk(at).bytes, true, at};
    case Kind::reduce:
      return rank_ == request.root ? Piece{nullptr, chunk(at).bytes, true, at} : Piece{};
    case Kind::all_gather:
      return {request.y + bytes * peer, bytes, false, 0};
    case Kind::broadcast:
      return peer == request.root ? Piece{request.x, bytes, false, 0} : Piece{};
    case Kind::all_to_all: {
      if (request.receive_counts.empty()) return {request.y + bytes * peer, bytes, false, 0};
      const size_t from = static_cast<size_t>(peer);
      return {request.y + receive_begins_[from], request.receive_counts[from] * element_, false, 0};
    }
    case Kind::receive:
      return {request.x, bytes, false, 0};
    case Kind::send:
    case Kind::barrier:
      break;
  }
  return {};
}

Plan::Chunk Plan::chunk(int64_t at) const {
  const Request& request = request_;
  const int64_t bytes = request.count * element_;
  if (request.kind == Kind::all_reduce) {
    const Range range = whole_ ? Range{0, bytes} : chunk_of(slice(rank_), at);
    return {request.x + range.begin, request.y + range.begin, range.bytes, whole_ || at < kAhead ? at : kAhead + 2 * (at - kAhead) + 1};
  }
  const Range range = chunk_of({0, bytes}, at);
  const int64_t own = request.kind == Kind::reduce_scatter ? bytes * rank_ : 0;
  return {request.x + own + range.begin, request.y + range.begin, range.bytes, at};
}

void Plan::copy_own() const {
  const Request& request = request_;
  const int64_t bytes = request.count * element_;
  const char* from = request.x;
  char* to = request.y;
  int64_t size = bytes;
  if (request.kind == Kind::all_gather) {
    to += bytes * rank_;
  } else if (request.kind == Kind::all_to_all && request.send_counts.empty()) {
    from += bytes * rank_;
    to += bytes * rank_;
  } else if (request.kind == Kind::all_to_all) {
    const size_t self = static_cast<size_t>(rank_);
    from += send_begins_[self];
    to += receive_begins_[self];
    size = request.send_counts[self] * element_;
  } else {
    return;
  }
  if (from != to && size > 0) std::memcpy(to, from, static_cast<size_t>(size));
}

int64_t Plan::count_to(int peer) const {
  return request_.send_counts.empty() ? request_.count : request_.send_counts[static_cast<size_t>(peer)];
}
int64_t Plan::count_from(int peer) const {
  return request_.receive_counts.empty() ? request_.count : request_.receive_counts[static_cast<size_t>(peer)];
}

}  // namespace wl::comm
