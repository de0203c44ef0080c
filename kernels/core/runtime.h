// The process-wide parts: the pool, and the tables that turn handles into streams, events and mappings.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <utility>

#include "core/pool.h"
#include "wl.h"

namespace wl {

/** The worker pool; wl_start() has made it. */
Pool& pool();

/** Frees the streams and events, the mappings, or the communicators and listeners of an owner. Communicators are aborted: streams wait in them. */
void release_streams_of(wl_owner owner);
void release_maps_of(wl_owner owner);
void release_comms_of(wl_owner owner);

/** Things found by a handle: an index in the lower 8 bits, a generation above. A freed thing's handle is never valid again. */
template <class Thing>
class Table {
 public:
  static constexpr uint32_t kCapacity = 255;

  /** A handle for `thing`, or 0 where the table is full. */
  uint32_t add(Thing thing, wl_owner owner) {
    const std::lock_guard lock(lock_);
    for (uint32_t at = 0; at < kCapacity; ++at) {
      Slot& slot = slots_[at];
      if (slot.live) continue;
      slot = {thing, owner, slot.generation + 1, true};
      return handle_of(at);
    }
    return 0;
  }

  bool find(uint32_t handle, Thing& out) {
    const std::lock_guard lock(lock_);
    const Slot* slot = slot_of(handle);
    if (slot == nullptr) return false;
    out = slot->thing;
    return true;
  }

  /** Replaces the thing of a live handle. */
  bool set(uint32_t handle, const Thing& thing) {
    const std::lock_guard lock(lock_);
    Slot* slot = slot_of(handle);
    if (slot == nullptr) return false;
    slot->thing = thing;
    return true;
  }

  bool remove(uint32_t handle, Thing& out) {
    const std::lock_guard lock(lock_);
    Slot* slot = slot_of(handle);
    if (slot == nullptr) return false;
    out = std::exchange(slot->thing, Thing{});
    slot->live = false;
    return true;
  }

  /** Some live handle of the owner, or 0. */
  uint32_t any_of(wl_owner owner) {
    const std::lock_guard lock(lock_);
    for (uint32_t at = 0; at < kCapacity; ++at) {
      if (slots_[at].live && slots_[at].owner == owner) return handle_of(at);
    }
    return 0;
  }

 private:
  struct Slot {
    Thing thing{};
    wl_owner owner = 0;
    uint32_t generation = 0;
    bool live = false;
  };

  uint32_t handle_of(uint32_t at) const { return slots_[at].generation << 8 | (at + 1); }

  Slot* slot_of(uint32_t handle) {
    const uint32_t at = (handle & 0xff) - 1;
    if (at >= kCapacity || !slots_[at].live || handle_of(at) != handle) return nullptr;
    return &slots_[at];
  }

  std::mutex lock_;
  std::array<Slot, kCapacity> slots_;
};

}  // namespace wl
