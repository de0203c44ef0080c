// The C ABI of collectives: their checks, and the commands that they become.
#include <cstdio>
#include <cstring>
#include <optional>

#include "comm/find.h"
#include "comm/flight-recorder.h"
#include "comm/operation.h"
#include "core/error.h"
#include "core/runtime.h"
#include "core/stream.h"
#include "core/tensors.h"

namespace wl::comm {
namespace {

/** The checks of one call, in order; the first that fails is remembered. The locks are held until the call has been enqueued. */
class CollectiveCall {
 public:
  CollectiveCall(Kind kind, wl_stream on, wl_comm comm, const char* site) : operation_(std::make_unique<Operation>()) {
    operation_->request.kind = kind;
    operation_->site = std::string(site == nullptr ? "" : site, site == nullptr ? 0 : strnlen(site, WL_COMM_SITE - 1));
    operation_->group = find_group(comm);
    stream_ = find_stream(on);
    if (stream_ == nullptr) {
      refuse("%u is not a live stream", on);
    } else if (operation_->group == nullptr) {
      refuse("%u is not a live communicator", comm);
    } else {
      producer_ = std::unique_lock(stream_->producer);
      registry_ = std::unique_lock(tensors().lock);
    }
  }

  int size() const { return good() ? operation_->group->size : 1; }
  int rank() const { return good() ? operation_->group->rank : 0; }
  bool good() const { return kind_ == WL_OK; }

  CollectiveCall& reduction(int reduction) {
    if (good() && (reduction < WL_COMM_SUM || reduction > WL_COMM_MIN)) refuse("there is no reduction %d", reduction);
    operation_->request.reduction = static_cast<Reduction>(reduction);
    return *this;
  }

  CollectiveCall& root(int root, const char* what, bool may_be_self) {
    if (good() && (root < 0 || root >= size())) refuse("%s is %d, but ranks are 0 to %d", what, root, size() - 1);
    if (good() && !may_be_self && root == rank()) refuse("%s is the own rank, %d", what, root);
    operation_->request.root = root;
    return *this;
  }

  /** Looks up x, and y where there is one: y_parts : x_parts is their proportion. y may be 0 where it is not used. */
  CollectiveCall& pair(wl_tensor x, wl_tensor y, int as, int x_parts, int y_parts, bool with_y = true) {
    const std::optional<Operand> source = operand("x", x, as);
    if (!source) return *this;
    Request& request = operation_->request;
    request.x = source->data;
    request.type = source->type;
    if (source->count % x_parts != 0) {
      refuse("x has %lld elements, which %d ranks can't share evenly", static_cast<long long>(source->count), x_parts);
      return *this;
    }
    request.count = source->count / x_parts;
    if (!with_y) {
      request.y = request.x;
      return *this;
    }
    const std::optional<Operand> target = operand("y", y, as);
    if (!target) return *this;
    request.y = target->data;
    if (target->type != source->type) refuse("x is %s but y is %s", name_of(source->type), name_of(target->type));
    if (good() && target->count != request.count * y_parts) {
      refuse("y has %lld elements, needs %lld for x with %lld", static_cast<long long>(target->count),
             static_cast<long long>(request.count * y_parts), static_cast<long long>(source->count));
    }
    overlap(*source, *target, x_parts, y_parts);
    return *this;
  }

  CollectiveCall& varying(wl_tensor x, wl_tensor y, int as, const int64_t* send_counts, const int64_t* receive_counts) {
    const std::optional<Operand> source = operand("x", x, as);
    if (!source) return *this;
    const std::optional<Operand> target = operand("y", y, as);
    if (!target) return *this;
    Request& request = operation_->request;
    request.x = source->data;
    request.y = target->data;
    request.type = source->type;
    if (target->type != source->type) refuse("x is %s but y is %s", name_of(source->type), name_of(target->type));
    request.send_counts.assign(send_counts, send_counts + size());
    request.receive_counts.assign(receive_counts, receive_counts + size());
    within("x", *source, request.send_counts, "sendCounts");
    within("y", *target, request.receive_counts, "recvCounts");
    const size_t self = static_cast<size_t>(rank());
    if (good() && send_counts[self] != receive_counts[self]) refuse("sendCounts and recvCounts differ for the own rank");
    if (good() && touches(*source, *target)) refuse("y overlaps x");
    return *this;
  }

  int enqueue() {
    if (!good()) return kind_;
    Group& group = *operation_->group;
    Request& request = operation_->request;
    const size_t peer = static_cast<size_t>(std::max(request.root, 0));
    Turns& turns = request.kind == Kind::send ? group.sends[peer] : request.kind == Kind::receive ? group.receives[peer] : group.collectives;
    operation_->sequence = turns.given++;
    wl_comm_record record{};
    record.epoch = group.epoch();
    std::snprintf(record.group, sizeof record.group, "%s", group.name.c_str());
    record.rank = group.rank;
    record.sequence = static_cast<int64_t>(operation_->sequence);
    record.op = name_of(request.kind);
    record.dtype = static_cast<int>(request.type);
    record.count = request.count;
    record.peer = request.root;
    std::snprintf(record.site, sizeof record.site, "%s", operation_->site.c_str());
    operation_->record = record_enqueued(record);
    group.add_user();
    Command command;
    command.name = name_of(request.kind);
    command.always = true;
    command.run = [](Stream& stream, void* payload) {
      run_operation(stream, std::unique_ptr<Operation>(*static_cast<Operation**>(payload)));
    };
    command.set_payload(operation_.release());
    stream_->push(command);
    return WL_OK;
  }

 private:
  struct Operand {
    char* data;
    Type type;
    int64_t count;
    int64_t bytes;
  };

  std::optional<Operand> operand(const char* name, wl_tensor handle, int as) {
    if (!good()) return std::nullopt;
    const Tensor* tensor = tensors().find(handle);
    if (tensor == nullptr) {
      refuse("%s is not a live tensor (handle %u)", name, handle);
      return std::nullopt;
    }
    const int type = as == WL_COMM_OWN ? tensor->dtype : as;
    if (tensor->buffer->lent()) {
      refuse("%s is mapped from a file", name);
    } else if (type < 0 || type >= kTypes) {
      refuse("there is no dtype %d", type);
    } else if (type != tensor->dtype && tensor->dtype != WL_U8) {
      refuse("%s is %s, and only u8 can be taken for %s", name, name_of_dtype(tensor->dtype), name_of(static_cast<Type>(type)));
    } else if (tensor->bytes() % size_of(static_cast<Type>(type)) != 0) {
      refuse("%s has %lld bytes, no whole number of %s", name, static_cast<long long>(tensor->bytes()), name_of(static_cast<Type>(type)));
    }
    if (!good()) return std::nullopt;
    Tensors::use(*tensor->buffer, *stream_);
    return Operand{tensor->data(), static_cast<Type>(type), tensor->bytes() / size_of(static_cast<Type>(type)), tensor->bytes()};
  }

  static bool touches(const Operand& a, const Operand& b) { return a.data < b.data + b.bytes && b.data < a.data + a.bytes; }

  /** x and y may share memory where one is the own slice of the other, or both are the same. */
  void overlap(const Operand& x, const Operand& y, int x_parts, int y_parts) {
    if (!good() || !touches(x, y)) return;
    const int64_t slice = operation_->request.count * size_of(x.type);
    bool same = x.data == y.data;
    if (x_parts > 1 && y_parts == 1) same = y.data == x.data + slice * rank();
    if (y_parts > 1 && x_parts == 1) same = x.data == y.data + slice * rank();
    if (x_parts > 1 && y_parts > 1) same = false;
    if (!same) refuse("%s", x_parts == y_parts ? "y overlaps x" : "x and y overlap, and not in the own slice");
  }

  void within(const char* name, const Operand& operand, const std::vector<int64_t>& counts, const char* what) {
    int64_t total = 0;
    for (const int64_t count : counts) {
      if (count < 0 || count > operand.count) return refuse("%s must be from 0 to the elements of %s", what, name);
      total += count;
    }
    if (good() && total > operand.count) {
      refuse("%s has %lld elements, but %s add up to %lld", name, static_cast<long long>(operand.count), what, static_cast<long long>(total));
    }
  }

  template <class... Values>
  void refuse(const char* format, Values... values) {
    if (!good()) return;
    char text[300];
    std::snprintf(text, sizeof text, format, values...);
    const char* op = name_of(operation_->request.kind);
    kind_ = fail(WL_INVALID, op, "%s: %s", op, text);
  }

  std::unique_ptr<Operation> operation_;
  Stream* stream_ = nullptr;
  std::unique_lock<std::mutex> producer_;
  std::unique_lock<std::mutex> registry_;
  int kind_ = WL_OK;
};

}  // namespace
}  // namespace wl::comm

using wl::comm::CollectiveCall;
using wl::comm::Kind;

extern "C" {

int wl_comm_all_reduce(wl_stream on, wl_comm comm, wl_tensor x, wl_tensor y, int reduction, int as, const char* site) {
  return CollectiveCall(Kind::all_reduce, on, comm, site).reduction(reduction).pair(x, y, as, 1, 1).enqueue();
}

int wl_comm_reduce_scatter(wl_stream on, wl_comm comm, wl_tensor x, wl_tensor y, int reduction, int as, const char* site) {
  CollectiveCall call(Kind::reduce_scatter, on, comm, site);
  return call.reduction(reduction).pair(x, y, as, call.size(), 1).enqueue();
}

int wl_comm_all_gather(wl_stream on, wl_comm comm, wl_tensor x, wl_tensor y, int as, const char* site) {
  CollectiveCall call(Kind::all_gather, on, comm, site);
  return call.pair(x, y, as, 1, call.size()).enqueue();
}

int wl_comm_broadcast(wl_stream on, wl_comm comm, wl_tensor x, int root, int as, const char* site) {
  return CollectiveCall(Kind::broadcast, on, comm, site).root(root, "root", true).pair(x, 0, as, 1, 1, false).enqueue();
}

int wl_comm_reduce(wl_stream on, wl_comm comm, wl_tensor x, wl_tensor y, int root, int reduction, int as, const char* site) {
  CollectiveCall call(Kind::reduce, on, comm, site);
  return call.root(root, "root", true).reduction(reduction).pair(x, y, as, 1, 1, call.rank() == root).enqueue();
}

int wl_comm_all_to_all(wl_stream on, wl_comm comm, wl_tensor x, wl_tensor y, int as, const char* site) {
  CollectiveCall call(Kind::all_to_all, on, comm, site);
  return call.pair(x, y, as, call.size(), call.size()).enqueue();
}

int wl_comm_all_to_all_v(wl_stream on, wl_comm comm, wl_tensor x, wl_tensor y, const int64_t* send_counts, const int64_t* receive_counts, int as,
                         const char* site) {
  return CollectiveCall(Kind::all_to_all, on, comm, site).varying(x, y, as, send_counts, receive_counts).enqueue();
}

int wl_comm_send(wl_stream on, wl_comm comm, wl_tensor x, int peer, int as, const char* site) {
  return CollectiveCall(Kind::send, on, comm, site).root(peer, "peer", false).pair(x, 0, as, 1, 1, false).enqueue();
}

int wl_comm_receive(wl_stream on, wl_comm comm, wl_tensor x, int peer, int as, const char* site) {
  return CollectiveCall(Kind::receive, on, comm, site).root(peer, "peer", false).pair(x, 0, as, 1, 1, false).enqueue();
}

int wl_comm_barrier(wl_stream on, wl_comm comm, const char* site) { return CollectiveCall(Kind::barrier, on, comm, site).enqueue(); }

}  // extern "C"
