// The exchange: a loop over all links that does what can be done, and waits when nothing can.
#include "comm/exchange.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "comm/reduce.h"

namespace wl::comm {
namespace {

// Peers see what is sent in steps of this, so that they work on the first while the next is copied.
constexpr int64_t kPublishBytes = 32 << 10;
constexpr int64_t kHeaderBytes = padded(sizeof(Header));

bool is_message(Kind kind) { return kind == Kind::send || kind == Kind::receive; }

/** "allReduce of 12 f32 (sum) at 'step'" */
std::string words_of(Kind kind, Type type, Reduction reduction, int root, int64_t count, uint64_t sequence, const char* site) {
  char text[200];
  const bool reduces = kind == Kind::all_reduce || kind == Kind::reduce_scatter || kind == Kind::reduce;
  const bool rooted = kind == Kind::reduce || kind == Kind::broadcast;
  char to[32] = "";
  if (rooted) std::snprintf(to, sizeof to, ", root %d", root);
  std::snprintf(text, sizeof text, "%s %" PRIu64 " of %" PRId64 " %s%s%s%s at '%.*s'", name_of(kind), sequence, count, name_of(type),
                reduces ? ", " : "", reduces ? name_of(reduction) : "", to, WL_COMM_SITE, site);
  return text;
}

}  // namespace

Exchange::Exchange(Operation& operation)
    : operation_(operation),
      group_(*operation.group),
      channel_(is_message(operation.request.kind) ? Channel::message : Channel::collective),
      plan_(operation.request, group_.rank, group_.size, group_.own().ring_bytes()) {
  // Each rank begins with another peer, so that they don't all write to the same one.
  for (int i = 1; i < group_.size; ++i) {
    const int peer = (group_.rank + i) % group_.size;
    const Kind kind = operation.request.kind;
    if (is_message(kind) && peer != operation.request.root) continue;
    lanes_.push_back({peer, kind != Kind::receive, kind != Kind::send, &group_.link(peer), {}, {}});
  }
}

void Exchange::run() {
  plan_.copy_own();
  Waiter waiter(group_);
  while (!done()) {
    for (Lane& lane : lanes_) {
      lane.gone = lane.link->ended();
      if (lane.link->carrier != nullptr) lane.link->carrier->poll(channel_);
    }
    if (step()) {
      waiter.advanced();
      continue;
    }
    for (const Lane& lane : lanes_) {
      if (lane.gone && (!received(lane) || !sent(lane))) lost(lane);
    }
    if (!waiter.pause([this] { return announce(); })) late();
  }
  group_.bytes_sent.fetch_add(operation_.bytes_sent);
}

bool Exchange::done() const {
  return reduced_ == plan_.chunks() &&
         std::all_of(lanes_.begin(), lanes_.end(), [this](const Lane& lane) { return sent(lane) && received(lane); });
}

/**
 * Tells each peer what to wake this rank for: a reduction needs the pieces of all, so only the last one wakes it. Where there is nothing
 * to reduce, half a ring is worth waking up for.
 */
bool Exchange::announce() {
  const bool reduces = reduced_ < plan_.chunks();
  const Plan::Chunk chunk = reduces ? plan_.chunk(reduced_) : Plan::Chunk{};
  bool news = false;
  int missing = 0;
  for (Lane& lane : lanes_) {
    RingReader& reader = lane.link->reader(channel_);
    int64_t wanted = 0;
    if (!received(lane)) {
      wanted = reduces ? rest(lane, chunk.piece) : std::min(rest(lane, plan_.pieces() - 1), reader.bytes() / 2);
      if (reader.available() >= wanted) wanted = 0;
    }
    missing += wanted > 0;
    news = reader.want_bytes(wanted) || news;
    news = lane.link->writer(channel_).want_room(lane.crowded) || news;
  }
  if (news && channel_ == Channel::collective) group_.own().bell().expect(reduces ? missing : 1);
  return news;
}

/** Bytes that are to come from a peer up to the end of a piece, as far as a ring holds them. */
int64_t Exchange::rest(const Lane& lane, int64_t last) const {
  int64_t bytes = (lane.in.piece < 0 ? kHeaderBytes : 0) - lane.in.done;
  for (int64_t at = std::max<int64_t>(lane.in.piece, 0); at <= last && bytes <= lane.link->reader(channel_).bytes(); ++at) {
    bytes += padded(plan_.incoming(lane.peer, at).bytes);
  }
  return bytes;
}

bool Exchange::step() {
  bool advanced = false;
  for (Lane& lane : lanes_) {
    if (lane.receives) advanced = pull(lane) || advanced;
  }
  while (reduce()) advanced = true;
  for (Lane& lane : lanes_) {
    lane.crowded = false;
    if (lane.sends) advanced = push(lane) || advanced;
  }
  return advanced;
}

bool Exchange::push(Lane& lane) {
  RingWriter& writer = lane.link->writer(channel_);
  Cursor& at = lane.out;
  int64_t written = 0;
  int64_t unpublished = 0;
  Header header;
  while (at.piece < plan_.pieces()) {
    Piece piece;
    if (at.piece < 0) {
      header = header_to(lane.peer);
      piece = {reinterpret_cast<char*>(&header), sizeof header, false, 0};
    } else {
      piece = plan_.outgoing(lane.peer, at.piece);
      if (piece.bytes > 0 && piece.reduced && piece.chunk >= reduced_) break;
    }
    const int64_t rest = piece.bytes - at.done;
    int64_t bytes = std::min({rest, writer.room(), kPublishBytes});
    // All but the end of a piece moves in whole lines; its end is followed by what is missing to one.
    if (bytes < rest) bytes -= bytes % kRingAlign;
    if (bytes <= 0 && rest > 0) {
      lane.crowded = true;
      break;
    }
    writer.append(piece.data + at.done, bytes);
    at.done += bytes;
    if (at.done == piece.bytes) {
      writer.skip(padded(piece.bytes) - piece.bytes);
      if (at.piece >= 0) operation_.bytes_sent += piece.bytes;
      at = {at.piece + 1, 0};
    }
    written += bytes;
    unpublished += bytes;
    if (unpublished >= kPublishBytes) {
      lane.link->publish(channel_);
      unpublished = 0;
    }
  }
  lane.link->publish(channel_);
  return written > 0;
}

bool Exchange::pull(Lane& lane) {
  RingReader& reader = lane.link->reader(channel_);
  Cursor& at = lane.in;
  bool advanced = false;
  while (at.piece < plan_.pieces()) {
    if (at.piece < 0) {
      if (reader.available() < kHeaderBytes) break;
      Header theirs;
      std::memcpy(&theirs, reader.data(), sizeof theirs);
      check(lane, theirs);
      lane.link->consume(channel_, kHeaderBytes);
      at.piece = 0;
      advanced = true;
      continue;
    }
    const Piece piece = plan_.incoming(lane.peer, at.piece);
    if (piece.bytes == 0) {
      at = {at.piece + 1, 0};
      continue;
    }
    if (piece.reduced) break;
    const int64_t rest = piece.bytes - at.done;
    const int64_t available = reader.available();
    const bool to_the_end = available >= padded(rest);
    const int64_t bytes = to_the_end ? rest : available - available % kRingAlign;
    if (bytes <= 0) break;
    std::memcpy(piece.data + at.done, reader.data(), static_cast<size_t>(bytes));
    lane.link->consume(channel_, to_the_end ? padded(rest) : bytes);
    at.done += bytes;
    if (to_the_end) at = {at.piece + 1, 0};
    advanced = true;
  }
  return advanced;
}

/** Makes the next reduction if the pieces of all peers have come. */
bool Exchange::reduce() {
  if (reduced_ == plan_.chunks()) return false;
  const Plan::Chunk chunk = plan_.chunk(reduced_);
  if (plan_.send_first() && !std::all_of(lanes_.begin(), lanes_.end(), [this](const Lane& lane) { return sent(lane); })) return false;
  const void* sources[WL_COMM_MAX_RANKS];
  sources[group_.rank] = chunk.own;
  for (Lane& lane : lanes_) {
    const RingReader& reader = lane.link->reader(channel_);
    if (lane.in.piece != chunk.piece || reader.available() < padded(chunk.bytes)) return false;
    sources[lane.peer] = reader.data();
  }
  const Request& request = operation_.request;
  WL_SELECT(reduce_ranks)(request.type, request.reduction, group_.size, sources, chunk.to, chunk.bytes / size_of(request.type));
  for (Lane& lane : lanes_) {
    lane.link->consume(channel_, padded(chunk.bytes));
    lane.in = {chunk.piece + 1, 0};
    pull(lane);
  }
  reduced_ += 1;
  return true;
}

Header Exchange::header_to(int peer) const {
  const Request& request = operation_.request;
  int32_t group;
  std::memcpy(&group, group_.digest.data(), sizeof group);
  Header header{kHeaderMagic, request.kind,   request.type,         request.reduction,    0, request.root,
                group,        group_.epoch(), operation_.sequence, plan_.count_to(peer), {}};
  // What belongs to a message is the pair; both sides name the direction.
  if (is_message(request.kind)) header.root = -1;
  if (is_message(request.kind)) header.kind = Kind::send;
  std::snprintf(header.site, sizeof header.site, "%s", operation_.site.c_str());
  return header;
}

void Exchange::check(const Lane& lane, const Header& theirs) const {
  const Header ours = header_to(lane.peer);
  const bool same = theirs.magic == ours.magic && theirs.kind == ours.kind && theirs.type == ours.type && theirs.reduction == ours.reduction &&
                    theirs.root == ours.root && theirs.group == ours.group && theirs.epoch == ours.epoch &&
                    theirs.sequence == ours.sequence && theirs.count == plan_.count_from(lane.peer);
  if (same) return;
  if (theirs.magic != ours.magic || static_cast<int>(theirs.kind) > static_cast<int>(Kind::barrier) || static_cast<int>(theirs.type) >= kTypes) {
    throw Failure{WL_COMM_MISMATCH, lane.peer, "rank " + std::to_string(lane.peer) + " sent something that is no operation"};
  }
  const Request& request = operation_.request;
  const std::string here =
      words_of(request.kind, request.type, request.reduction, request.root, plan_.count_from(lane.peer), operation_.sequence, ours.site);
  const std::string there =
      words_of(theirs.kind, theirs.type, theirs.reduction, theirs.root, theirs.count, theirs.sequence, theirs.site);
  throw Failure{WL_COMM_MISMATCH, lane.peer,
                "ranks disagree: rank " + std::to_string(lane.peer) + " does " + there + ", rank " + std::to_string(group_.rank) + " does " + here};
}

void Exchange::lost(const Lane& lane) const {
  const bool corrupt = lane.link->carrier != nullptr && lane.link->carrier->is_corrupt();
  const char* const words = corrupt ? " is cut off: what came was not what it had sent" : " has left the group";
  throw Failure{WL_COMM_PEER_LOST, lane.peer, "rank " + std::to_string(lane.peer) + words};
}

/** Names the peer that is behind all others. */
void Exchange::late() const {
  const Lane* last = nullptr;
  const auto behind = [](const Cursor& a, const Cursor& b) { return a.piece != b.piece ? a.piece < b.piece : a.done < b.done; };
  for (const Lane& lane : lanes_) {
    if (!received(lane) && (last == nullptr || behind(lane.in, last->in))) last = &lane;
  }
  const bool receiving = last != nullptr;
  for (const Lane& lane : lanes_) {
    if (!receiving && !sent(lane) && (last == nullptr || behind(lane.out, last->out))) last = &lane;
  }
  const bool begun = last->in.piece >= 0 || !receiving;
  char text[160];
  std::snprintf(text, sizeof text, "rank %d has %s for %.1f s%s", last->peer, receiving ? "sent nothing" : "taken nothing",
                static_cast<double>(group_.deadline()) / 1e9, begun ? " in the middle of the operation" : "; it has not come to the operation");
  throw Failure{WL_COMM_TIMEOUT, last->peer, text};
}

}  // namespace wl::comm
