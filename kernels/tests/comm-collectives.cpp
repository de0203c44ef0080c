// Every collective, for all types, numbers of ranks and ways to connect them, bit for bit against scalar loops.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "check.h"
#include "comm-ranks.h"
#include "comm-reference.h"
#include "comm/dtype.h"

namespace {

using Bytes = std::vector<uint8_t>;
using ranks::World;

uint64_t state = 1;
uint64_t random_bits() {
  state ^= state << 13;
  state ^= state >> 7;
  return state ^= state << 17;
}

/** Numbers of very different sizes, so that another order of a sum gives other bits. */
void put_random(int dtype, uint8_t* to) {
  const float value = std::ldexp(static_cast<float>(random_bits() % 4096) - 2048.0f, static_cast<int>(random_bits() % 13) - 12);
  switch (dtype) {
    case WL_F32: std::memcpy(to, &value, 4); break;
    case WL_COMM_F64: {
      const double wide = static_cast<double>(value) * 1.000000001;
      std::memcpy(to, &wide, 8);
      break;
    }
    case WL_COMM_F16: {
      const uint16_t half = reference::float_to_half(value);
      std::memcpy(to, &half, 2);
      break;
    }
    case WL_COMM_BF16: {
      const uint16_t bits = reference::float_to_bfloat(value);
      std::memcpy(to, &bits, 2);
      break;
    }
    default: {
      const uint64_t bits = random_bits();
      std::memcpy(to, &bits, static_cast<size_t>(wl::comm::size_of(static_cast<wl::comm::Type>(dtype))));
    }
  }
}

int64_t element_bytes(int dtype) { return wl::comm::size_of(static_cast<wl::comm::Type>(dtype)); }

Bytes random_bytes(int dtype, int64_t count) {
  Bytes bytes(static_cast<size_t>(count * element_bytes(dtype)));
  for (size_t at = 0; at < bytes.size(); at += static_cast<size_t>(element_bytes(dtype))) put_random(dtype, bytes.data() + at);
  return bytes;
}

Bytes part(const Bytes& of, size_t begin, size_t size) {
  return Bytes(of.begin() + static_cast<std::ptrdiff_t>(begin), of.begin() + static_cast<std::ptrdiff_t>(begin + size));
}

Bytes joined(const std::vector<Bytes>& parts) {
  Bytes all;
  for (const Bytes& one : parts) all.insert(all.end(), one.begin(), one.end());
  return all;
}

/** Random values of each rank: `count` elements on each of n ranks. */
std::vector<Bytes> inputs(World& world, int dtype, int64_t count) {
  std::vector<Bytes> all;
  for (int rank = 0; rank < world.size(); ++rank) all.push_back(random_bytes(dtype, count));
  return all;
}

/** Enqueues call(rank, x, y) on all ranks, and checks y of those for which wanted(rank) is not empty. */
template <class Call, class Wanted>
void expect(World& world, const char* what, const std::vector<Bytes>& x, int64_t y_bytes, Call call, Wanted wanted) {
  std::vector<wl_tensor> results;
  for (ranks::Rank& self : world.ranks) {
    const wl_tensor from = self.bytes(x[static_cast<size_t>(self.rank)]);
    const wl_tensor to = y_bytes == 0 ? from : self.bytes(Bytes(static_cast<size_t>(y_bytes), 0xee));
    const int kind = call(self, from, to);
    if (kind != WL_OK) check::fault(__FILE__, __LINE__, std::string(what) + ": " + wl_last_error()->message);
    results.push_back(to);
  }
  for (ranks::Rank& self : world.ranks) {
    const Bytes needed = wanted(self.rank);
    if (needed.empty()) continue;
    const Bytes seen = self.read(results[static_cast<size_t>(self.rank)], static_cast<int64_t>(needed.size()));
    if (seen == needed) continue;
    const auto at = std::mismatch(seen.begin(), seen.end(), needed.begin()).first - seen.begin();
    check::fault(__FILE__, __LINE__, std::string(what) + ": rank " + std::to_string(self.rank) + " of " + std::to_string(world.size()) +
                                         " differs from byte " + std::to_string(at) + " of " + std::to_string(needed.size()));
  }
  for (ranks::Rank& self : world.ranks) {
    CHECK_EQUAL(self.finish(), std::string());
    for (const wl_tensor tensor : self.tensors) wl_tensor_free(tensor);
    self.tensors.clear();
  }
}

void reductions(World& world, int dtype, int reduction, int64_t count) {
  const int size = world.size();
  const size_t slice = static_cast<size_t>(count * element_bytes(dtype));
  const int root = static_cast<int>(random_bits() % static_cast<uint64_t>(size));
  const std::vector<Bytes> x = inputs(world, dtype, count);
  const Bytes sum = reference::reduce(dtype, reduction, x);
  for (const bool in_place : {false, true}) {
    const int64_t y_bytes = in_place ? 0 : static_cast<int64_t>(slice);
    expect(world, "allReduce", x, y_bytes, [&](ranks::Rank& self, wl_tensor from, wl_tensor to) {
      return wl_comm_all_reduce(self.stream, self.comm, from, to, reduction, dtype, "test");
    }, [&](int) { return sum; });
    expect(world, "reduce", x, y_bytes, [&](ranks::Rank& self, wl_tensor from, wl_tensor to) {
      return wl_comm_reduce(self.stream, self.comm, from, self.rank == root ? to : 0, root, reduction, dtype, "test");
    }, [&](int rank) { return rank == root ? sum : in_place ? x[static_cast<size_t>(rank)] : Bytes(slice, 0xee); });
  }
  const std::vector<Bytes> wide = inputs(world, dtype, count * size);
  const Bytes wide_sum = reference::reduce(dtype, reduction, wide);
  expect(world, "reduceScatter", wide, static_cast<int64_t>(slice), [&](ranks::Rank& self, wl_tensor from, wl_tensor to) {
    return wl_comm_reduce_scatter(self.stream, self.comm, from, to, reduction, dtype, "test");
  }, [&](int rank) { return part(wide_sum, static_cast<size_t>(rank) * slice, slice); });
  // y is the own slice of x; the other slices stay as they were.
  expect(world, "reduceScatter into x", wide, 0, [&](ranks::Rank& self, wl_tensor from, wl_tensor) {
    wl_tensor view = 0;
    const int64_t bytes = static_cast<int64_t>(slice);
    wl_tensor_view(0, from, bytes * self.rank, 1, &bytes, &view);
    self.tensors.push_back(view);
    return wl_comm_reduce_scatter(self.stream, self.comm, from, view, reduction, dtype, "test");
  }, [&](int rank) {
    Bytes all = wide[static_cast<size_t>(rank)];
    std::copy_n(wide_sum.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(rank) * slice), slice,
                all.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(rank) * slice));
    return all;
  });
}

void movements(World& world, int dtype, int64_t count) {
  const int size = world.size();
  const size_t slice = static_cast<size_t>(count * element_bytes(dtype));
  const int64_t all_bytes = static_cast<int64_t>(slice) * size;
  const int root = static_cast<int>(random_bits() % static_cast<uint64_t>(size));
  const std::vector<Bytes> x = inputs(world, dtype, count);
  expect(world, "allGather", x, all_bytes, [&](ranks::Rank& self, wl_tensor from, wl_tensor to) {
    return wl_comm_all_gather(self.stream, self.comm, from, to, dtype, "test");
  }, [&](int) { return joined(x); });
  expect(world, "broadcast", x, 0, [&](ranks::Rank& self, wl_tensor from, wl_tensor) {
    return wl_comm_broadcast(self.stream, self.comm, from, root, dtype, "test");
  }, [&](int) { return x[static_cast<size_t>(root)]; });
  const std::vector<Bytes> wide = inputs(world, dtype, count * size);
  expect(world, "allGather from y", wide, 0, [&](ranks::Rank& self, wl_tensor to, wl_tensor) {
    wl_tensor view = 0;
    const int64_t bytes = static_cast<int64_t>(slice);
    wl_tensor_view(0, to, bytes * self.rank, 1, &bytes, &view);
    self.tensors.push_back(view);
    return wl_comm_all_gather(self.stream, self.comm, view, to, dtype, "test");
  }, [&](int) {
    Bytes all;
    for (size_t rank = 0; rank < wide.size(); ++rank) {
      const Bytes own = part(wide[rank], rank * slice, slice);
      all.insert(all.end(), own.begin(), own.end());
    }
    return all;
  });
  expect(world, "allToAll", wide, all_bytes, [&](ranks::Rank& self, wl_tensor from, wl_tensor to) {
    return wl_comm_all_to_all(self.stream, self.comm, from, to, dtype, "test");
  }, [&](int rank) {
    Bytes all;
    for (const Bytes& from : wide) {
      const Bytes own = part(from, static_cast<size_t>(rank) * slice, slice);
      all.insert(all.end(), own.begin(), own.end());
    }
    return all;
  });
}

/** Rank a sends (a + 2 b) % 5 * count elements to rank b. */
void varying(World& world, int dtype, int64_t count) {
  const int size = world.size();
  const auto sent = [count](int from, int to) { return (from + 2 * to) % 5 * count; };
  const auto total = [&](auto of) {
    int64_t sum = 0;
    for (int rank = 0; rank < size; ++rank) sum += of(rank);
    return sum;
  };
  std::vector<Bytes> x;
  int64_t most = 1;
  for (int rank = 0; rank < size; ++rank) {
    x.push_back(random_bytes(dtype, total([&](int to) { return sent(rank, to); }) + 1));
    most = std::max(most, total([&](int from) { return sent(from, rank); }));
  }
  expect(world, "allToAllV", x, most * element_bytes(dtype), [&](ranks::Rank& self, wl_tensor from, wl_tensor to) {
    std::vector<int64_t> sends, receives;
    for (int peer = 0; peer < size; ++peer) {
      sends.push_back(sent(self.rank, peer));
      receives.push_back(sent(peer, self.rank));
    }
    return wl_comm_all_to_all_v(self.stream, self.comm, from, to, sends.data(), receives.data(), dtype, "test");
  }, [&](int rank) {
    Bytes all;
    for (int from = 0; from < size; ++from) {
      int64_t before = 0;
      for (int to = 0; to < rank; ++to) before += sent(from, to);
      const Bytes own = part(x[static_cast<size_t>(from)], static_cast<size_t>(before * element_bytes(dtype)),
                             static_cast<size_t>(sent(from, rank) * element_bytes(dtype)));
      all.insert(all.end(), own.begin(), own.end());
    }
    all.resize(static_cast<size_t>(most * element_bytes(dtype)), 0xee);
    return all;
  });
}

/** Each rank sends to the next and receives from the one before, on two streams. */
void around(World& world, int dtype, int64_t count) {
  const int size = world.size();
  if (size == 1) return;
  std::vector<wl_stream> second(static_cast<size_t>(size));
  for (wl_stream& stream : second) wl_stream_new(0, &stream);
  const std::vector<Bytes> x = inputs(world, dtype, count);
  expect(world, "send, receive", x, count * element_bytes(dtype), [&](ranks::Rank& self, wl_tensor from, wl_tensor to) {
    const wl_stream sending = second[static_cast<size_t>(self.rank)];
    wl_event written = 0;
    wl_event_new(0, &written);
    wl_event_record(written, self.stream);
    wl_event_wait(written, sending);
    wl_event_free(written);
    if (const int kind = wl_comm_send(sending, self.comm, from, (self.rank + 1) % size, dtype, "test")) return kind;
    return wl_comm_receive(self.stream, self.comm, to, (self.rank + size - 1) % size, dtype, "test");
  }, [&](int rank) { return x[static_cast<size_t>((rank + size - 1) % size)]; });
  for (const wl_stream stream : second) wl_stream_free(stream);
}

// Sanitizers look for races and stray accesses, which do not depend on every number of ranks and type.
#ifdef WL_CHECKED
constexpr int kSizes[] = {2, 3};
constexpr int kDTypes[] = {WL_F32, WL_COMM_BF16};
#else
constexpr int kSizes[] = {1, 2, 3, 4, 6, 8};
constexpr int kDTypes[] = {WL_F32, WL_I32, WL_U8, WL_COMM_F64, WL_COMM_F16, WL_COMM_BF16, WL_COMM_I64};
#endif

void everything(int transport) {
  for (const int size : kSizes) {
    ranks::Options options;
    options.transport = transport;
    World world(size, options);
    world.ready();
    for (const int dtype : kDTypes) {
      // Below, at and above the limits: one line, what is exchanged whole, one piece, more than a ring.
      for (const int64_t count : {int64_t{1}, int64_t{17}, int64_t{2100}, 150000 / element_bytes(dtype)}) {
        const bool large = count > 10000;
        for (const int reduction : {WL_COMM_SUM, WL_COMM_MAX, WL_COMM_MIN}) {
          if (!large || reduction == WL_COMM_SUM) reductions(world, dtype, reduction, count);
        }
        movements(world, dtype, count);
        varying(world, dtype, large ? count / 4 : count);
        around(world, dtype, count);
      }
    }
  }
}

}  // namespace

TEST("every collective gives the bits of the scalar loop between ranks of one process") { everything(WL_COMM_PROCESS); }

TEST("every collective gives the bits of the scalar loop through shared memory") { everything(WL_COMM_SHM); }

TEST("every collective gives the bits of the scalar loop over TCP") { everything(WL_COMM_TCP); }

TEST("every collective gives the bits of the scalar loop over TCP through TLS") { everything(ranks::kTls); }

TEST("a sum of more ranks than are unrolled keeps the order of the tree") {
  for (const int size : {9, 16, 21}) {
    World world(size);
    reductions(world, WL_F32, WL_COMM_SUM, 700);
    reductions(world, WL_COMM_BF16, WL_COMM_SUM, 700);
  }
}

TEST("the greatest of values of which one is no number is no number") {
  World world(3);
  const float nan = std::nanf("");
  for (int reduction : {WL_COMM_MAX, WL_COMM_MIN}) {
    std::vector<wl_tensor> x;
    for (ranks::Rank& self : world.ranks) {
      x.push_back(self.floats({self.rank == 0 ? nan : 1.0f, self.rank == 1 ? nan : 2.0f, self.rank == 2 ? nan : 3.0f, 4.0f}));
      wl_comm_all_reduce(self.stream, self.comm, x.back(), x.back(), reduction, WL_COMM_OWN, "test");
    }
    for (ranks::Rank& self : world.ranks) {
      const Bytes out = self.read(x[static_cast<size_t>(self.rank)], 16);
      float seen[4];
      std::memcpy(seen, out.data(), sizeof seen);
      for (int i = 0; i < 3; ++i) CHECK(std::isnan(seen[i]));
      CHECK_EQUAL(seen[3], 4.0f);
    }
  }
}

TEST("bytes sent are those of a ring: (n - 1) / n of the data for each phase") {
  const int64_t count = 1 << 18;
  World world(4);
  for (ranks::Rank& self : world.ranks) {
    const wl_tensor x = self.floats(std::vector<float>(static_cast<size_t>(count), 1.0f));
    wl_comm_all_reduce(self.stream, self.comm, x, x, WL_COMM_SUM, WL_COMM_OWN, "test");
  }
  for (ranks::Rank& self : world.ranks) {
    CHECK_EQUAL(self.finish(), std::string());
    int64_t sent = 0;
    CHECK_EQUAL(wl_comm_bytes_sent(self.comm, &sent), 0);
    CHECK_EQUAL(sent, 2 * count * 4 * 3 / 4);
  }
}

TEST_MAIN
