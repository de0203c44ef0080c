/*
 * The C ABI of communicators: groups of ranks, in one process, on one host or on several, that exchange tensors.
 *
 * A collective is enqueued on a stream like an operation and runs on the stream's thread. All ranks of a communicator enqueue the
 * same collectives in the same order; send and receive are matched in order for each pair and direction, apart from collectives.
 * Sums are added in the balanced binary tree over ranks, so every transport gives the same bits.
 *
 * A collective that fails poisons its stream with a retryable error that carries comm_reason and comm_peer, and takes the whole
 * communicator with it: its other operations and those of its splits fail, here and on all peers. One that finds its stream
 * poisoned fails the communicator with the words of that error.
 */
#ifndef WL_COMM_H
#define WL_COMM_H

#include "wl.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef uint32_t wl_comm;
typedef uint32_t wl_listener;

enum { WL_COMM_MAX_RANKS = 64, WL_COMM_ENDPOINT = 512, WL_COMM_NAME = 48, WL_COMM_SITE = 48, WL_COMM_LOG = 4096 };
/* How the bytes of a tensor are understood: WL_F32, WL_I32, WL_U8, or one of these (WL_BF16 is WL_COMM_BF16) on a u8 tensor; WL_COMM_OWN is the tensor's own type. */
enum { WL_COMM_OWN = -1, WL_COMM_F64 = 3, WL_COMM_F16 = 4, WL_COMM_BF16 = 5, WL_COMM_I64 = 6 };
enum { WL_COMM_SUM = 0, WL_COMM_MAX = 1, WL_COMM_MIN = 2 };
enum { WL_COMM_AUTO = 0, WL_COMM_PROCESS = 1, WL_COMM_SHM = 2, WL_COMM_TCP = 3 };

/* -- where peers connect. `address`: an IP address to bind, or null for peers on the same host only. The endpoint goes to the peers. */
WL_API int wl_comm_listen(wl_owner owner, const char* address, int sockets, wl_listener* out, char endpoint[WL_COMM_ENDPOINT]);
/* Communicators that are open stay so. */
WL_API int wl_comm_close_listener(wl_listener listener);

typedef struct {
  wl_listener listener;
  int rank;
  int size;
  const char* const* endpoints; /* of each rank */
  const char* name;             /* the same on all ranks, as are epoch, size and secret */
  int64_t epoch;
  const char* secret;
  int64_t deadline_ms; /* for connecting, and for how long an operation waits without any progress */
  int transport;
  int tls; /* not 0: what goes over TCP goes through TLS 1.3, in which both sides prove with the secret who they are; the same on all ranks */
} wl_comm_options;
/* Returns at once and connects in the background; what is enqueued before it is ready waits. */
WL_API int wl_comm_open(wl_owner owner, const wl_comm_options* options, wl_comm* out);
/* Calls `done` once all peers are connected, or with the error that names who is missing. */
WL_API int wl_comm_ready(wl_comm comm, wl_done done, void* user);
/* A communicator of `ranks` of the parent, in their new order, this one among them. All of them must call it, in the same order for equal names. */
WL_API int wl_comm_split(wl_owner owner, wl_comm parent, int count, const int* ranks, const char* name, wl_comm* out);
/* Fails what waits in the communicator and in its splits, here and on its peers, with this message. */
WL_API int wl_comm_abort(wl_comm comm, const char* message);
/* Gives the communicator back when what is enqueued has run; splits stay. */
WL_API int wl_comm_free(wl_comm comm);
/* Calls `done` when all communicators that were given back have left, and peers have what was sent to them, or have been silent for the deadline. To
   be waited for before the process ends: what it has not handed over by then is lost. */
WL_API int wl_comm_farewell(wl_done done, void* user);
/* The own rank and the number of ranks; either may be null. */
WL_API int wl_comm_describe(wl_comm comm, int* rank, int* size);
/* Payload bytes that this rank has sent to peers through the communicator. */
WL_API int wl_comm_bytes_sent(wl_comm comm, int64_t* out);

/* -- collectives. `site` is a short label of the call site, copied */
/* y = reduction of x over all ranks; y may be x */
WL_API int wl_comm_all_reduce(wl_stream on, wl_comm comm, wl_tensor x, wl_tensor y, int reduction, int as, const char* site);
/* y = the own slice of the reduction; x has size times the elements of y; y may be the own slice of x */
WL_API int wl_comm_reduce_scatter(wl_stream on, wl_comm comm, wl_tensor x, wl_tensor y, int reduction, int as, const char* site);
/* y = the x of all ranks, one after the other; x may be the own slice of y */
WL_API int wl_comm_all_gather(wl_stream on, wl_comm comm, wl_tensor x, wl_tensor y, int as, const char* site);
WL_API int wl_comm_broadcast(wl_stream on, wl_comm comm, wl_tensor x, int root, int as, const char* site);
/* y of the root = reduction of x; y may be x; elsewhere y may be 0 and is not touched */
WL_API int wl_comm_reduce(wl_stream on, wl_comm comm, wl_tensor x, wl_tensor y, int root, int reduction, int as, const char* site);
/* slice i of y = own slice of the x of rank i */
WL_API int wl_comm_all_to_all(wl_stream on, wl_comm comm, wl_tensor x, wl_tensor y, int as, const char* site);
/* The same with send_counts[i] elements to rank i and receive_counts[i] from it, packed. */
WL_API int wl_comm_all_to_all_v(wl_stream on, wl_comm comm, wl_tensor x, wl_tensor y, const int64_t* send_counts,
                                const int64_t* receive_counts, int as, const char* site);
WL_API int wl_comm_send(wl_stream on, wl_comm comm, wl_tensor x, int peer, int as, const char* site);
WL_API int wl_comm_receive(wl_stream on, wl_comm comm, wl_tensor x, int peer, int as, const char* site);
WL_API int wl_comm_barrier(wl_stream on, wl_comm comm, const char* site);

/* -- the newest WL_COMM_LOG operations of the process */
enum { WL_COMM_QUEUED = 0, WL_COMM_RUNNING = 1, WL_COMM_DONE = 2, WL_COMM_FAILED = 3 };
typedef struct {
  int64_t epoch;
  char group[WL_COMM_NAME];
  int rank;
  int64_t sequence; /* of the group's collectives; for send and receive, of the pair and direction */
  const char* op;
  int dtype;
  int64_t count;
  int peer; /* peer or root, or -1 */
  char site[WL_COMM_SITE];
  int64_t bytes_sent;
  int64_t enqueued_ns; /* since 1970; 0: not yet */
  int64_t started_ns;
  int64_t ended_ns;
  int state;
} wl_comm_record;
/* Fills up to `capacity` records, oldest first; returns how many there are. */
WL_API int64_t wl_comm_log(wl_comm_record* out, int64_t capacity);
WL_API const char* wl_comm_dtype_name(int dtype);

#ifdef __cplusplus
}
#endif
#endif
