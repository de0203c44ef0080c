// One operation of a communicator on its way through a stream.
#pragma once

#include <memory>
#include <string>

#include "comm/group.h"
#include "comm/header.h"
#include "comm/plan.h"

namespace wl {
class Stream;
}

namespace wl::comm {

struct Operation {
  std::shared_ptr<Group> group;
  Request request;
  uint64_t sequence = 0;
  uint64_t record = 0;
  std::string site;
  int64_t bytes_sent = 0;

  /** "allReduce 17 of world (epoch 3, rank 0 of 4) at 'step'" */
  std::string title() const;
};

/** Takes its turn, carries the operation out, or poisons the stream. On the stream's thread. */
void run_operation(Stream& stream, std::unique_ptr<Operation> operation);

}  // namespace wl::comm
