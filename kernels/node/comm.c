// Functions for communicators and their operations.
#include "addon.h"

#include <stdlib.h>

#include "wl_comm.h"

static bool read_text(napi_env env, const char* op, const char* name, napi_value value, char* out, size_t capacity) {
  size_t length;
  if (napi_get_value_string_utf8(env, value, out, capacity, &length) == napi_ok && length + 1 < capacity) return true;
  char needed[64];
  snprintf(needed, sizeof needed, "a text of less than %zu bytes", capacity - 1);
  return refuse_argument(env, op, name, needed);
}

/* Call sites are only labels: a longer one is cut. */
static bool read_site(napi_env env, const char* op, napi_value value, char out[WL_COMM_SITE]) {
  size_t length;
  if (napi_get_value_string_utf8(env, value, out, WL_COMM_SITE, &length) == napi_ok) return true;
  return refuse_argument(env, op, "site", "a text");
}

static bool read_int(napi_env env, const char* op, const char* name, napi_value value, int* out) {
  int32_t number;
  if (napi_get_value_int32(env, value, &number) != napi_ok) return refuse_argument(env, op, name, "a whole number");
  *out = number;
  return true;
}

/* A list of whole numbers as long as its owner says; the caller frees it. */
static int64_t* read_numbers(napi_env env, const char* op, const char* name, napi_value value, uint32_t* count) {
  bool is_array = false;
  napi_is_array(env, value, &is_array);
  if (!is_array || napi_get_array_length(env, value, count) != napi_ok || *count > WL_COMM_MAX_RANKS) {
    refuse_argument(env, op, name, "a list of at most 64 whole numbers");
    return NULL;
  }
  int64_t* numbers = calloc(*count + 1, sizeof *numbers);
  for (uint32_t i = 0; numbers != NULL && i < *count; ++i) {
    napi_value element;
    napi_get_element(env, value, i, &element);
    if (!read_i64(env, op, name, element, &numbers[i])) {
      free(numbers);
      return NULL;
    }
  }
  return numbers;
}

/* -- groups */

static napi_value comm_listen(napi_env env, napi_callback_info info) {
  static const char op[] = "commListen";
  napi_value argv[2];
  char address[64] = "";
  int sockets;
  if (!read_arguments(env, info, op, 2, argv)) return NULL;
  const bool bound = !is_nothing(env, argv[0]);
  if (bound && !read_text(env, op, "address", argv[0], address, sizeof address)) return NULL;
  if (!read_int(env, op, "sockets", argv[1], &sockets)) return NULL;
  wl_listener listener;
  char endpoint[WL_COMM_ENDPOINT];
  if (wl_comm_listen(owner_of(env), bound ? address : NULL, sockets, &listener, endpoint) != WL_OK) return throw_last(env);
  napi_value object;
  napi_create_object(env, &object);
  set_number(env, object, "handle", listener);
  set_text(env, object, "endpoint", endpoint);
  return object;
}

/* The endpoints of all ranks, one after the other in `memory`, which the caller frees. */
static bool read_endpoints(napi_env env, const char* op, napi_value value, int size, char** memory, const char** out) {
  uint32_t count = 0;
  if (napi_get_array_length(env, value, &count) != napi_ok || count != (uint32_t)size) {
    return refuse_argument(env, op, "endpoints", "a list with one text for each rank");
  }
  *memory = calloc((size_t)size, WL_COMM_ENDPOINT + 1);
  for (int i = 0; *memory != NULL && i < size; ++i) {
    char* text = *memory + (size_t)i * (WL_COMM_ENDPOINT + 1);
    napi_value element;
    napi_get_element(env, value, (uint32_t)i, &element);
    if (!read_text(env, op, "endpoints", element, text, WL_COMM_ENDPOINT + 1)) return false;
    out[i] = text;
  }
  return *memory != NULL;
}

static napi_value comm_open(napi_env env, napi_callback_info info) {
  static const char op[] = "commOpen";
  napi_value argv[10];
  wl_comm_options options;
  char name[WL_COMM_NAME];
  char secret[257];
  const char* endpoints[WL_COMM_MAX_RANKS];
  if (!read_arguments(env, info, op, 10, argv)) return NULL;
  if (!read_handle(env, op, "listener", argv[0], &options.listener)) return NULL;
  if (!read_int(env, op, "rank", argv[1], &options.rank) || !read_int(env, op, "size", argv[2], &options.size)) return NULL;
  if (options.size < 1 || options.size > WL_COMM_MAX_RANKS) {
    refuse_argument(env, op, "size", "from 1 to 64");
    return NULL;
  }
  if (!read_text(env, op, "name", argv[4], name, sizeof name) || !read_i64(env, op, "epoch", argv[5], &options.epoch)) return NULL;
  if (!read_text(env, op, "secret", argv[6], secret, sizeof secret)) return NULL;
  if (!read_i64(env, op, "deadlineMs", argv[7], &options.deadline_ms) || !read_int(env, op, "transport", argv[8], &options.transport)) return NULL;
  if (!read_int(env, op, "tls", argv[9], &options.tls)) return NULL;
  char* memory = NULL;
  wl_comm comm;
  int kind = WL_INVALID;
  const bool read = read_endpoints(env, op, argv[3], options.size, &memory, endpoints);
  if (read) {
    options.endpoints = endpoints;
    options.name = name;
    options.secret = secret;
    kind = wl_comm_open(owner_of(env), &options, &comm);
  }
  free(memory);
  if (!read) return NULL;
  return kind == WL_OK ? handle(env, comm) : throw_last(env);
}

static napi_value comm_ready(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  wl_comm comm;
  if (!read_arguments(env, info, "commReady", 1, argv) || !read_handle(env, "commReady", "comm", argv[0], &comm)) return NULL;
  napi_value promise;
  Pending* pending = new_pending(env, NULL, &promise);
  if (pending == NULL) return NULL;
  return wl_comm_ready(comm, settle, pending) == WL_OK ? promise : drop_pending(env, pending);
}

static napi_value comm_farewell(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value promise;
  Pending* pending = new_pending(env, NULL, &promise);
  if (pending == NULL) return NULL;
  return wl_comm_farewell(settle, pending) == WL_OK ? promise : drop_pending(env, pending);
}

static napi_value comm_split(napi_env env, napi_callback_info info) {
  static const char op[] = "commSplit";
  napi_value argv[3];
  wl_comm parent;
  char name[WL_COMM_NAME];
  uint32_t count;
  if (!read_arguments(env, info, op, 3, argv) || !read_handle(env, op, "comm", argv[0], &parent)) return NULL;
  if (!read_text(env, op, "name", argv[2], name, sizeof name)) return NULL;
  int64_t* numbers = read_numbers(env, op, "ranks", argv[1], &count);
  if (numbers == NULL) return NULL;
  int ranks[WL_COMM_MAX_RANKS];
  for (uint32_t i = 0; i < count; ++i) ranks[i] = (int)numbers[i];
  free(numbers);
  wl_comm comm;
  return wl_comm_split(owner_of(env), parent, (int)count, ranks, name, &comm) == WL_OK ? handle(env, comm) : throw_last(env);
}

static napi_value comm_abort(napi_env env, napi_callback_info info) {
  static const char op[] = "commAbort";
  napi_value argv[2];
  wl_comm comm;
  char message[400];
  size_t length;
  if (!read_arguments(env, info, op, 2, argv) || !read_handle(env, op, "comm", argv[0], &comm)) return NULL;
  if (napi_get_value_string_utf8(env, argv[1], message, sizeof message, &length) != napi_ok) {
    refuse_argument(env, op, "message", "a text");
    return NULL;
  }
  if (wl_comm_abort(comm, message) != WL_OK) throw_last(env);
  return NULL;
}

static napi_value with_handle(napi_env env, napi_callback_info info, const char* op, int (*call)(uint32_t)) {
  napi_value argv[1];
  uint32_t of;
  if (!read_arguments(env, info, op, 1, argv) || !read_handle(env, op, "handle", argv[0], &of)) return NULL;
  if (call(of) != WL_OK) throw_last(env);
  return NULL;
}

static napi_value comm_free(napi_env env, napi_callback_info info) { return with_handle(env, info, "commFree", wl_comm_free); }
static napi_value comm_close_listener(napi_env env, napi_callback_info info) {
  return with_handle(env, info, "commCloseListener", wl_comm_close_listener);
}

static napi_value comm_bytes_sent(napi_env env, napi_callback_info info) {
  static const char op[] = "commBytesSent";
  napi_value argv[1];
  wl_comm comm;
  int64_t bytes;
  if (!read_arguments(env, info, op, 1, argv) || !read_handle(env, op, "comm", argv[0], &comm)) return NULL;
  return wl_comm_bytes_sent(comm, &bytes) == WL_OK ? number(env, (double)bytes) : throw_last(env);
}

static napi_value describe(napi_env env, const wl_comm_record* record) {
  static const char* const states[] = {"queued", "running", "done", "failed"};
  napi_value object;
  napi_create_object(env, &object);
  set_number(env, object, "epoch", (double)record->epoch);
  set_text(env, object, "group", record->group);
  set_number(env, object, "rank", record->rank);
  set_number(env, object, "sequence", (double)record->sequence);
  set_text(env, object, "op", record->op);
  set_text(env, object, "dtype", wl_comm_dtype_name(record->dtype));
  set_number(env, object, "count", (double)record->count);
  set_number(env, object, "peer", record->peer);
  set_text(env, object, "site", record->site);
  set_number(env, object, "bytesSent", (double)record->bytes_sent);
  set_number(env, object, "enqueuedMs", (double)record->enqueued_ns / 1e6);
  set_number(env, object, "startedMs", (double)record->started_ns / 1e6);
  set_number(env, object, "endedMs", (double)record->ended_ns / 1e6);
  set_text(env, object, "state", states[record->state]);
  return object;
}

static napi_value comm_log(napi_env env, napi_callback_info info) {
  (void)info;
  wl_comm_record* records = calloc(WL_COMM_LOG, sizeof *records);
  napi_value list;
  napi_create_array(env, &list);
  if (records == NULL) return list;
  const int64_t count = wl_comm_log(records, WL_COMM_LOG);
  for (int64_t i = 0; i < count && i < WL_COMM_LOG; ++i) napi_set_element(env, list, (uint32_t)i, describe(env, &records[i]));
  free(records);
  return list;
}

/* -- operations: (stream, comm, tensors, numbers, site) */

typedef struct {
  wl_stream on;
  wl_comm comm;
  wl_tensor x;
  wl_tensor y;
  int root;
  int reduction;
  int as;
  char site[WL_COMM_SITE];
} Arguments;

/* What an operation takes beside stream, communicator and site, in this order; with x also the dtype that its bytes stand for, at the end. */
enum { takes_x = 1, takes_y = 2, takes_rank = 4, takes_reduction = 8 };

static bool read_collective(napi_env env, napi_callback_info info, const char* op, unsigned takes, Arguments* out) {
  napi_value argv[8];
  const napi_value* next = argv;
  if (!read_arguments(env, info, op, 3 + (size_t)__builtin_popcount(takes) + ((takes & takes_x) != 0), argv)) return false;
  if (!read_stream(env, op, *next++, &out->on) || !read_handle(env, op, "comm", *next++, &out->comm)) return false;
  if ((takes & takes_x) && !read_tensor(env, op, "x", *next++, &out->x)) return false;
  if ((takes & takes_y) && !read_optional_tensor(env, op, "y", *next++, &out->y)) return false;
  if ((takes & takes_rank) && !read_int(env, op, "rank", *next++, &out->root)) return false;
  if ((takes & takes_reduction) && !read_int(env, op, "reduction", *next++, &out->reduction)) return false;
  if ((takes & takes_x) && !read_int(env, op, "as", *next++, &out->as)) return false;
  return read_site(env, op, *next, out->site);
}

#define COLLECTIVE(name, op, takes, call)                                                            \
  static napi_value name(napi_env env, napi_callback_info info) {                                    \
    Arguments a;                                                                                     \
    if (read_collective(env, info, op, takes, &a) && (call) != WL_OK) throw_last(env);               \
    return NULL;                                                                                     \
  }

COLLECTIVE(all_reduce, "allReduce", takes_x | takes_y | takes_reduction, wl_comm_all_reduce(a.on, a.comm, a.x, a.y, a.reduction, a.as, a.site))
COLLECTIVE(reduce_scatter, "reduceScatter", takes_x | takes_y | takes_reduction,
           wl_comm_reduce_scatter(a.on, a.comm, a.x, a.y, a.reduction, a.as, a.site))
COLLECTIVE(all_gather, "allGather", takes_x | takes_y, wl_comm_all_gather(a.on, a.comm, a.x, a.y, a.as, a.site))
COLLECTIVE(broadcast, "broadcast", takes_x | takes_rank, wl_comm_broadcast(a.on, a.comm, a.x, a.root, a.as, a.site))
COLLECTIVE(reduce, "reduce", takes_x | takes_y | takes_rank | takes_reduction,
           wl_comm_reduce(a.on, a.comm, a.x, a.y, a.root, a.reduction, a.as, a.site))
COLLECTIVE(all_to_all, "allToAll", takes_x | takes_y, wl_comm_all_to_all(a.on, a.comm, a.x, a.y, a.as, a.site))
COLLECTIVE(send, "send", takes_x | takes_rank, wl_comm_send(a.on, a.comm, a.x, a.root, a.as, a.site))
COLLECTIVE(receive, "receive", takes_x | takes_rank, wl_comm_receive(a.on, a.comm, a.x, a.root, a.as, a.site))
COLLECTIVE(barrier, "barrier", 0, wl_comm_barrier(a.on, a.comm, a.site))

static napi_value all_to_all_v(napi_env env, napi_callback_info info) {
  static const char op[] = "allToAllV";
  napi_value argv[8];
  Arguments a;
  int size;
  uint32_t sends;
  uint32_t receives;
  if (!read_arguments(env, info, op, 8, argv)) return NULL;
  if (!read_stream(env, op, argv[0], &a.on) || !read_handle(env, op, "comm", argv[1], &a.comm)) return NULL;
  if (!read_tensor(env, op, "x", argv[2], &a.x) || !read_tensor(env, op, "y", argv[3], &a.y)) return NULL;
  if (!read_int(env, op, "as", argv[6], &a.as) || !read_site(env, op, argv[7], a.site)) return NULL;
  if (wl_comm_describe(a.comm, NULL, &size) != WL_OK) return throw_last(env);
  int64_t* send_counts = read_numbers(env, op, "sendCounts", argv[4], &sends);
  if (send_counts == NULL) return NULL;
  int64_t* receive_counts = read_numbers(env, op, "recvCounts", argv[5], &receives);
  if (receive_counts != NULL) {
    if ((int)sends != size || (int)receives != size) {
      refuse_argument(env, op, "sendCounts, recvCounts", "lists with one number for each rank");
    } else if (wl_comm_all_to_all_v(a.on, a.comm, a.x, a.y, send_counts, receive_counts, a.as, a.site) != WL_OK) {
      throw_last(env);
    }
  }
  free(send_counts);
  free(receive_counts);
  return NULL;
}

#define FUNCTION(name, call) {name, NULL, call, NULL, NULL, NULL, napi_enumerable, NULL}
const napi_property_descriptor comm_functions[] = {
    FUNCTION("commListen", comm_listen),
    FUNCTION("commCloseListener", comm_close_listener),
    FUNCTION("commOpen", comm_open),
    FUNCTION("commReady", comm_ready),
    FUNCTION("commSplit", comm_split),
    FUNCTION("commAbort", comm_abort),
    FUNCTION("commFree", comm_free),
    FUNCTION("commFarewell", comm_farewell),
    FUNCTION("commBytesSent", comm_bytes_sent),
    FUNCTION("commLog", comm_log),
    FUNCTION("allReduce", all_reduce),
    FUNCTION("reduceScatter", reduce_scatter),
    FUNCTION("allGather", all_gather),
    FUNCTION("broadcast", broadcast),
    FUNCTION("reduce", reduce),
    FUNCTION("allToAll", all_to_all),
    FUNCTION("allToAllV", all_to_all_v),
    FUNCTION("send", send),
    FUNCTION("receive", receive),
    FUNCTION("barrier", barrier),
};
const size_t comm_function_count = sizeof comm_functions / sizeof *comm_functions;
