// What a collective moves: for each peer, a sequence of pieces to send and one to receive, the same on both sides of a pair.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/dtype.h"

namespace wl::comm {

enum class Kind : uint8_t { all_reduce, reduce_scatter, all_gather, broadcast, reduce, all_to_all, send, receive, barrier };
const char* name_of(Kind kind);

/** What the caller asked for. */
struct Request {
  Kind kind = Kind::barrier;
  Type type = Type::f32;
  Reduction reduction = Reduction::sum;
  int root = -1;      // or peer
  int64_t count = 0;  // elements: of x, or of the slice of one rank where x and y differ in size
  char* x = nullptr;
  char* y = nullptr;
  std::vector<int64_t> send_counts;  // all_to_all with different counts; else empty
  std::vector<int64_t> receive_counts;
};

struct Piece {
  char* data = nullptr;
  int64_t bytes = 0;
  bool reduced = false;  // to send: has to be reduced first. To receive: goes into the reduction of its chunk
  int64_t chunk = 0;     // which one
};

class Plan {
 public:
  Plan(const Request& request, int rank, int size, int64_t ring_bytes);

  /** Pieces for each peer and direction; some may be empty. */
  int64_t pieces() const { return pieces_; }
  Piece outgoing(int peer, int64_t at) const;
  Piece incoming(int peer, int64_t at) const;

  /** Reductions that this rank makes, in order: of the own bytes at `own` and a piece of each peer, to `to`. */
  struct Chunk {
    const char* own;
    char* to;
    int64_t bytes;
    int64_t piece;  // of every peer, that goes into it
  };
  int64_t chunks() const { return own_chunks_; }
  Chunk chunk(int64_t at) const;
  /** The first reduction overwrites what is sent, so all must be sent before. */
  bool send_first() const { return whole_; }

  /** What this rank has itself and only copies. */
  void copy_own() const;
  /** Elements that a header to, or from, this peer speaks of. */
  int64_t count_to(int peer) const;
  int64_t count_from(int peer) const;

 private:
  struct Range {
    int64_t begin;
    int64_t bytes;
  };
  Range slice(int rank) const;
  Range chunk_of(const Range& slice, int64_t at) const;
  struct Place {
    bool gather;
    int64_t chunk;
  };
  Place place(int64_t at) const;

  const Request& request_;
  const int rank_;
  const int size_;
  const int64_t element_;
  bool whole_ = false;  // all-reduce of few bytes: everybody sends all to all
  int64_t chunk_bytes_;
  int64_t chunks_ = 0;      // of the longest slice
  int64_t own_chunks_ = 0;  // that this rank reduces
  int64_t pieces_ = 0;
  std::vector<int64_t> send_begins_;
  std::vector<int64_t> receive_begins_;
};

}  // namespace wl::comm
