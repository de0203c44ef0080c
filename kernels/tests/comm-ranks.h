// Ranks of one communicator in this process, for tests: each with a stream of its own, driven from one thread through the C ABI.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "check.h"
#include "wl_comm.h"

namespace ranks {

/** The outcome of waiting for a stream, or for a communicator to become ready. */
struct Outcome {
  std::atomic<bool> done{false};
  std::string message;
  int reason = 0;
  int peer = -1;

  static void settle(void* user, const wl_error* error) {
    auto& outcome = *static_cast<Outcome*>(user);
    if (error != nullptr) {
      outcome.message = error->message;
      outcome.reason = error->comm_reason;
      outcome.peer = error->comm_peer;
    }
    outcome.done.store(true);
    outcome.done.notify_all();
  }
  void wait() { done.wait(false); }
};

struct Rank {
  int rank = 0;
  wl_listener listener = 0;
  wl_comm comm = 0;
  wl_stream stream = 0;
  std::vector<wl_tensor> tensors;

  wl_tensor tensor(int dtype, int64_t count) {
    wl_tensor made = 0;
    CHECK_EQUAL(wl_tensor_new(0, dtype, 1, &count, "test", &made), 0);
    tensors.push_back(made);
    return made;
  }
  /** A u8 tensor of these bytes. */
  wl_tensor bytes(const std::vector<uint8_t>& values) {
    const wl_tensor made = tensor(WL_U8, static_cast<int64_t>(values.size()));
    wl_write(stream, made, values.data(), static_cast<int64_t>(values.size()));
    return made;
  }
  wl_tensor floats(const std::vector<float>& values) {
    const wl_tensor made = tensor(WL_F32, static_cast<int64_t>(values.size()));
    wl_write(stream, made, values.data(), static_cast<int64_t>(values.size() * 4));
    return made;
  }
  /** Waits for the stream. */
  void finish(Outcome& outcome) {
    CHECK_EQUAL(wl_sync(stream, Outcome::settle, &outcome), 0);
    outcome.wait();
  }
  std::string finish() {
    Outcome outcome;
    finish(outcome);
    return outcome.message;
  }
  std::vector<uint8_t> read(wl_tensor of, int64_t count) {
    std::vector<uint8_t> out(static_cast<size_t>(count));
    Outcome outcome;
    CHECK_EQUAL(wl_read(stream, of, out.data(), count, Outcome::settle, &outcome), 0);
    outcome.wait();
    CHECK_EQUAL(outcome.message, std::string());
    return out;
  }
  float first(wl_tensor of, int64_t count) {
    const std::vector<uint8_t> out = read(of, count * 4);
    float value;
    std::memcpy(&value, out.data(), sizeof value);
    return value;
  }
};

/** Beside the transports: TCP through TLS. */
constexpr int kTls = 100;

/** Sets how ranks talk. */
inline void talk_over(wl_comm_options& options, int transport) {
  options.transport = transport == kTls ? WL_COMM_TCP : transport;
  options.tls = transport == kTls;
}
/** Where a rank has to listen for that. */
inline const char* address_for(int transport) { return transport == WL_COMM_TCP || transport == kTls ? "127.0.0.1" : nullptr; }

struct Options {
  int transport = WL_COMM_PROCESS;
  std::vector<int> transports;  // of each rank, where they differ
  int64_t deadline_ms = 20000;
  const char* name = "world";
  int64_t epoch = 1;
  std::vector<int64_t> epochs;  // of each rank, where they differ
  const char* address = nullptr;
  std::vector<std::string> secrets;  // of each rank, where they differ
  int opened = -1;                   // how many of the ranks open it at once; the others with open(rank)
};

class World {
 public:
  explicit World(int size, const Options& options = {}) : ranks(static_cast<size_t>(size)), options_(options), endpoints_(ranks.size()) {
    const char* address = options.address == nullptr ? address_for(options.transport) : options.address;
    for (int rank = 0; rank < size; ++rank) {
      char endpoint[WL_COMM_ENDPOINT];
      at(rank).rank = rank;
      CHECK_EQUAL(wl_comm_listen(0, address, 2, &at(rank).listener, endpoint), 0);
      CHECK_EQUAL(wl_stream_new(0, &at(rank).stream), 0);
      endpoints_[static_cast<size_t>(rank)] = endpoint;
    }
    for (int rank = 0; rank < (options.opened < 0 ? size : options.opened); ++rank) open(rank);
  }
  void open(int rank) {
    std::vector<const char*> texts;
    for (const std::string& endpoint : endpoints_) texts.push_back(endpoint.c_str());
    const char* secret = options_.secrets.empty() ? "secret" : options_.secrets[static_cast<size_t>(rank)].c_str();
    const int64_t epoch = options_.epochs.empty() ? options_.epoch : options_.epochs[static_cast<size_t>(rank)];
    wl_comm_options open = {at(rank).listener, rank, size(), texts.data(), options_.name, epoch, secret, options_.deadline_ms, 0, 0};
    talk_over(open, options_.transports.empty() ? options_.transport : options_.transports[static_cast<size_t>(rank)]);
    CHECK_EQUAL(wl_comm_open(0, &open, &at(rank).comm), 0);
  }
  ~World() {
    for (Rank& rank : ranks) {
      for (const wl_tensor tensor : rank.tensors) wl_tensor_free(tensor);
      if (rank.comm != 0) wl_comm_free(rank.comm);
      wl_comm_close_listener(rank.listener);
      wl_stream_free(rank.stream);
    }
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  Rank& at(int rank) { return ranks[static_cast<size_t>(rank)]; }
  const std::string& endpoint(int rank) const { return endpoints_[static_cast<size_t>(rank)]; }
  /** As all ranks see it that are opened from now on. */
  void set_endpoint(int rank, const std::string& endpoint) { endpoints_[static_cast<size_t>(rank)] = endpoint; }
  int size() const { return static_cast<int>(ranks.size()); }
  void ready() {
    for (Rank& rank : ranks) {
      Outcome outcome;
      CHECK_EQUAL(wl_comm_ready(rank.comm, Outcome::settle, &outcome), 0);
      outcome.wait();
      CHECK_EQUAL(outcome.message, std::string());
    }
  }

  std::vector<Rank> ranks;

 private:
  const Options options_;
  std::vector<std::string> endpoints_;
};

}  // namespace ranks
