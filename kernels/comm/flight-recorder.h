// The log of the newest operations of the process: what a post-mortem of a hang reads.
#pragma once

#include <cstdint>

#include "wl_comm.h"

namespace wl::comm {

/** Adds a record, its times apart; returns its number. */
uint64_t record_enqueued(const wl_comm_record& record);
/** Do nothing where newer records have taken the place. */
void record_started(uint64_t number);
void record_ended(uint64_t number, bool failed, int64_t bytes_sent);

}  // namespace wl::comm
