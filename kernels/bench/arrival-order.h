// An all-reduce that adds what peers send in the order in which it arrives: what the fixed order of ours is measured against.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "comm/find.h"
#include "comm/plan.h"
#include "comm/reduce.h"
#include "comm/wait.h"
#include "core/tensors.h"

namespace wl::comm {

/** Moves the same pieces over the same rings as an all-reduce of f32 in place; only nobody waits for the turn of a peer. */
class ArrivalOrder {
 public:
  ArrivalOrder(wl_comm comm, wl_tensor x) : group_(find_group(comm)) {
    const Tensor* tensor = tensors().find(x);
    request_.kind = Kind::all_reduce;
    request_.count = tensor->bytes() / 4;
    request_.x = request_.y = tensor->data();
  }

  /** False where a peer has said nothing for the deadline. No operation of the communicator may be under way. */
  bool run() {
    const Plan plan(request_, group_->rank, group_->size, group_->own().ring_bytes());
    std::vector<Lane> lanes;
    for (int i = 1; i < group_->size; ++i) lanes.push_back({(group_->rank + i) % group_->size, {}, {}});
    std::vector<int> added(static_cast<size_t>(plan.chunks()));
    int64_t reduced = 0;
    Waiter waiter(*group_);
    for (;;) {
      bool advanced = false;
      bool done = true;
      for (Lane& lane : lanes) advanced = pull(plan, lane, added) || advanced;
      while (reduced < plan.chunks() && added[static_cast<size_t>(reduced)] == group_->size - 1) reduced += 1;
      for (Lane& lane : lanes) {
        advanced = push(plan, lane, reduced) || advanced;
        done = done && lane.in.piece == plan.pieces() && lane.out.piece == plan.pieces();
      }
      if (done) return true;
      if (advanced) {
        waiter.advanced();
        continue;
      }
      for (const Lane& lane : lanes) {
        if (Carrier* carrier = group_->link(lane.peer).carrier.get()) carrier->poll(kChannel);
      }
      if (!waiter.pause([&] { return announce(plan, lanes); })) return false;
    }
  }

 private:
  static constexpr auto kChannel = Channel::collective;
  static constexpr int64_t kPublishBytes = 32 << 10;

  struct Cursor {
    int64_t piece = 0;
    int64_t done = 0;
  };
  struct Lane {
    int peer;
    Cursor out;
    Cursor in;
    bool crowded = false;
  };

  /** To be woken for each piece, since each can be used. */
  bool announce(const Plan& plan, const std::vector<Lane>& lanes) {
    bool news = false;
    for (const Lane& lane : lanes) {
      Link& link = group_->link(lane.peer);
      const bool received = lane.in.piece == plan.pieces();
      news = link.reader(kChannel).want_bytes(received ? 0 : padded(plan.incoming(lane.peer, lane.in.piece).bytes) - lane.in.done) || news;
      news = link.writer(kChannel).want_room(lane.crowded) || news;
    }
    if (news) group_->own().bell().expect(1);
    return news;
  }

  bool push(const Plan& plan, Lane& lane, int64_t reduced) {
    Link& link = group_->link(lane.peer);
    RingWriter& writer = link.writer(kChannel);
    bool advanced = false;
    while (lane.out.piece < plan.pieces()) {
      const Piece piece = plan.outgoing(lane.peer, lane.out.piece);
      if (piece.bytes > 0 && piece.reduced && piece.chunk >= reduced) break;
      const int64_t rest = piece.bytes - lane.out.done;
      int64_t bytes = std::min({rest, writer.room(), kPublishBytes});
      if (bytes < rest) bytes -= bytes % kRingAlign;
      lane.crowded = bytes <= 0 && rest > 0;
      if (lane.crowded) break;
      writer.append(piece.data + lane.out.done, bytes);
      lane.out.done += bytes;
      if (lane.out.done == piece.bytes) {
        writer.skip(padded(piece.bytes) - piece.bytes);
        lane.out = {lane.out.piece + 1, 0};
      }
      link.publish(kChannel);
      advanced = true;
    }
    return advanced;
  }

  bool pull(const Plan& plan, Lane& lane, std::vector<int>& added) {
    Link& link = group_->link(lane.peer);
    RingReader& reader = link.reader(kChannel);
    bool advanced = false;
    while (lane.in.piece < plan.pieces()) {
      const Piece piece = plan.incoming(lane.peer, lane.in.piece);
      const int64_t rest = piece.bytes - lane.in.done;
      const int64_t available = reader.available();
      const bool to_the_end = available >= padded(rest);
      const int64_t bytes = to_the_end ? rest : available - available % kRingAlign;
      if (bytes <= 0 && rest > 0) break;
      if (piece.reduced) {
        char* sum = plan.chunk(piece.chunk).to + lane.in.done;
        const void* sources[] = {sum, reader.data()};
        WL_SELECT(reduce_ranks)(request_.type, request_.reduction, 2, sources, sum, bytes / 4);
      } else {
        std::copy_n(reader.data(), bytes, piece.data + lane.in.done);
      }
      link.consume(kChannel, to_the_end ? padded(rest) : bytes);
      lane.in.done += bytes;
      if (to_the_end && piece.reduced && piece.bytes > 0) added[static_cast<size_t>(piece.chunk)] += 1;
      if (to_the_end) lane.in = {lane.in.piece + 1, 0};
      advanced = true;
    }
    return advanced;
  }

  const std::shared_ptr<Group> group_;
  Request request_;
};

}  // namespace wl::comm
