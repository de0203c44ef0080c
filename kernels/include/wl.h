/*
 * The C ABI of the compute core.
 *
 * Handles are 32-bit integers that carry a generation: a handle of something freed is detected, never followed. Every function
 * may be called from any thread. Functions that return int return WL_OK or the kind of an error, whose words wl_last_error()
 * of the same thread gives.
 *
 * Operations (wl_ops.gen.h) and the functions that take a stream are checked and enqueued in order; the stream's own thread
 * carries them out. What a call is given by pointer (shapes, data to write) has been copied when it returns. A stream holds up
 * to WL_STREAM_CAPACITY commands; a call that finds it full waits for room.
 *
 * Memory of a tensor that is freed is used again by later operations without waiting. A tensor that one stream wrote may be
 * used on another stream only after wl_event_record on the first and wl_event_wait on the second.
 *
 * Errors: what a call can see is returned at once and changes nothing (WL_INVALID, or WL_RETRYABLE where memory is short). What
 * arises while a stream runs (memory for a kernel, or values that it can't work with, such as an id outside of a table) poisons
 * the stream: the first error wins, everything after it is skipped, completions carry it, and it flows through events to
 * streams that wait, until wl_stream_reset. After WL_FATAL the process must be replaced.
 */
#ifndef WL_H
#define WL_H

#include <stddef.h>
#include <stdint.h>

#define WL_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

typedef uint32_t wl_tensor;
typedef uint32_t wl_stream;
typedef uint32_t wl_event;
typedef uint32_t wl_map;
/* Who made a tensor, stream, event or mapping, so that all of an owner's can be given back at once; 0 is nobody. */
typedef uint32_t wl_owner;

enum { WL_OK = 0, WL_INVALID = 1, WL_RETRYABLE = 2, WL_FATAL = 3 };
enum { WL_COMM_MISMATCH = 1, WL_COMM_TIMEOUT = 2, WL_COMM_PEER_LOST = 3, WL_COMM_ABORTED = 4 };
/* A tensor is made of the first four; the last is a view that reads each f32 as the bf16 nearest to it (wl_tensor_view_rounded). */
enum { WL_F32 = 0, WL_I32 = 1, WL_U8 = 2, WL_BF16 = 5, WL_F32_ROUNDED = 7 };
enum { WL_MAX_DIMS = 4, WL_STREAM_CAPACITY = 4096 };

typedef struct {
  int kind;
  int out_of_memory; /* 1 where memory was short */
  int comm_reason;   /* of a collective that failed: WL_COMM_MISMATCH and so on; 0 for all other errors */
  int comm_peer;     /* the rank in the communicator that it is about, or -1; means something beside a comm_reason only */
  char op[32];
  char message[472];
} wl_error;

/* The last error returned on this thread; valid until the next call on it. */
WL_API const wl_error* wl_last_error(void);

/* Reads WL_ISA, WL_THREADS and WL_MEMORY_LIMIT and starts the worker pool. Idempotent; everything else needs it first. */
WL_API int wl_start(void);
/* "generic", "avx2" or "avx512": what the kernels in use are compiled for. */
WL_API const char* wl_isa(void);
/* Threads that share the work of one operation: WL_THREADS, or the cores this process may run on. */
WL_API int wl_threads(void);
/* Floats that linear_pack writes for a weight of N x K. */
WL_API int64_t wl_packed_size(int64_t n, int64_t k);
/* Rises whenever linear_pack or quantized_pack come to write other bytes for the same weight: what is kept in files is packed anew then. */
WL_API int wl_pack_version(void);
/* Bytes of `elements` of a quantised type in whole blocks, and of the panels of a weight of N x K; -1: no such type, or no whole blocks. */
WL_API int64_t wl_quantized_bytes(int64_t type, int64_t elements);
WL_API int64_t wl_quantized_panel_bytes(int64_t type, int64_t n, int64_t k);

/* -- tensors: up to WL_MAX_DIMS dims, each at least 1; contents are undefined until written */
WL_API int wl_tensor_new(wl_owner owner, int dtype, int ndim, const int64_t* shape, const char* label, wl_tensor* out);
/* Elements [offset, offset + size of shape) of a tensor under another shape; shares its memory, which lives until the last one is freed. */
WL_API int wl_tensor_view(wl_owner owner, wl_tensor base, int64_t offset, int ndim, const int64_t* shape, wl_tensor* out);
/* The same of an f32 tensor, for operations that take f32 or bf16: they read each element as the bf16 nearest to it. */
WL_API int wl_tensor_view_rounded(wl_owner owner, wl_tensor base, int64_t offset, int ndim, const int64_t* shape, wl_tensor* out);
WL_API int wl_tensor_free(wl_tensor tensor);

typedef struct {
  wl_tensor handle;
  int dtype;
  int ndim;
  int64_t shape[WL_MAX_DIMS];
  int64_t bytes;
  int is_view;
  char label[48];
} wl_tensor_info;
WL_API int wl_tensor_describe(wl_tensor tensor, wl_tensor_info* out);
/* Fills up to `capacity` entries with the tensors that live, oldest handle index first; returns how many live. */
WL_API int64_t wl_live_tensors(wl_tensor_info* out, int64_t capacity);

typedef struct {
  int64_t live_bytes;   /* held by tensors and scratch arenas */
  int64_t peak_bytes;   /* highest live_bytes so far */
  int64_t cached_bytes; /* free, kept for reuse */
  int64_t system_bytes; /* taken from the operating system: what the limit is about */
  int64_t limit_bytes;  /* 0: none */
  int64_t system_allocations; /* calls to the operating system so far */
  int64_t live_tensors;
} wl_memory;
WL_API void wl_memory_stats(wl_memory* out);
WL_API void wl_memory_set_limit(int64_t bytes);
/* Gives cached memory that no stream still needs back to the operating system. */
WL_API void wl_memory_trim(void);

/* -- streams and events */
WL_API int wl_stream_new(wl_owner owner, wl_stream* out);
/* Lets what is enqueued run to its end; the handle is invalid at once. */
WL_API int wl_stream_free(wl_stream stream);
/* Ends the poison for what is enqueued after this call. */
WL_API int wl_stream_reset(wl_stream stream);
/* Makes everything enqueued and not yet begun fail with a retryable error, which poisons the stream as any other. */
WL_API int wl_stream_cancel(wl_stream stream);

WL_API int wl_event_new(wl_owner owner, wl_event* out);
WL_API int wl_event_free(wl_event event);
/* Marks the end of what `stream` holds now; recording again moves the mark. */
WL_API int wl_event_record(wl_event event, wl_stream stream);
/* What is enqueued on `stream` after this call runs after the mark; an event never recorded is not waited for. */
WL_API int wl_event_wait(wl_event event, wl_stream stream);

/* Called once on the stream's thread; `error` is null where all went well, and valid during the call only. Must not block. */
typedef void (*wl_done)(void* user, const wl_error* error);

/* Calls `done` after everything enqueued so far. */
WL_API int wl_sync(wl_stream on, wl_done done, void* user);
/* Copies `bytes` of host memory into the tensor; `bytes` must be its size. The host memory may change after the call. */
WL_API int wl_write(wl_stream on, wl_tensor tensor, const void* data, int64_t bytes);
/* Copies the tensor to host memory that must stay valid until `done`. */
WL_API int wl_read(wl_stream on, wl_tensor tensor, void* data, int64_t bytes, wl_done done, void* user);

/* -- files, mapped read-only */
/*
 * Who maps a file sees to it that nobody makes it shorter: the process is killed where it reads beyond the end. Files that are moved to their
 * name when they are whole, and are not changed any more, are safe; they may be removed.
 */
WL_API int wl_map_open(wl_owner owner, const char* path, wl_map* out, int64_t* bytes);
/*
 * A tensor over bytes of the file from `offset`, a multiple of 64, without a copy: processes that map the file share the memory. Operations may
 * read it and not write it. The mapping stays until the tensor is freed and no stream reads it any more.
 */
WL_API int wl_map_tensor(wl_owner owner, wl_map map, int64_t offset, int dtype, int ndim, const int64_t* shape, const char* label, wl_tensor* out);
WL_API int wl_map_read(wl_map map, int64_t offset, int64_t bytes, void* out);
/* Copies a byte range of the file into the tensor; the mapping stays until the stream has done so. */
WL_API int wl_write_from_map(wl_stream on, wl_tensor tensor, wl_map map, int64_t offset, int64_t bytes);
WL_API int wl_map_close(wl_map map);

/* -- CRC-32, as of zip files; it is in *out when `done` is called */
/*
 * Fills the tensor with the bytes from `position` of an open file, which may be closed after the call. *out is -1 where the file ends before.
 * A file that can't be read is an error of this call alone: it does not poison the stream.
 */
WL_API int wl_read_file(wl_stream on, wl_tensor tensor, int file, int64_t position, double* out, wl_done done, void* user);
/* Of host memory that must stay valid until `done`. With `finite`, *out is -1 where one of the f32 values in it is NaN or infinite. */
WL_API int wl_checksum(wl_stream on, const void* data, int64_t bytes, int finite, double* out, wl_done done, void* user);
/* One number for the bytes of all these tensors, to be compared with another digest only. */
WL_API int wl_digest(wl_stream on, const wl_tensor* tensors, int64_t count, double* out, wl_done done, void* user);

/* Cancels and frees the streams of an owner, and frees its tensors, events and mappings. */
WL_API void wl_release_owner(wl_owner owner);

/* -- measurements; the result is in *out when `done` is called. threads: 1 to wl_threads() */
/* Highest fp32 multiply-add rate of the vector units in use, GFLOP/s, best of several short runs. */
WL_API int wl_measure_fma_peak(wl_stream on, int threads, double* out, wl_done done, void* user);
/* Rate of reading memory far larger than the caches, GB/s, best of several runs. */
WL_API int wl_measure_bandwidth(wl_stream on, int threads, double* out, wl_done done, void* user);

typedef struct {
  const char* op;
  int64_t calls;
  int64_t nanoseconds;
} wl_profile_entry;
/* Turns the table of wall time per operation on (from zero) or off. */
WL_API void wl_profile(int on);
/* Fills up to `capacity` entries, most time first; returns how many there are. */
WL_API int64_t wl_profile_read(wl_profile_entry* out, int64_t capacity);

typedef struct {
  const char* op; /* the command, or "idle": the stream had nothing to do */
  wl_stream stream;
  int64_t begin; /* nanoseconds of CLOCK_MONOTONIC */
  int64_t end;
} wl_trace_event;
/* Starts to record what each stream does when, up to `capacity` events, and forgets those before; 0 stops and keeps them. */
WL_API void wl_trace(int64_t capacity);
/*
 * Fills up to `capacity` events, in the order in which they ended; returns how many there were, those included that found no room. The event
 * of a command is there once a later command of its stream has begun.
 */
WL_API int64_t wl_trace_read(wl_trace_event* out, int64_t capacity);

#include "wl_ops.gen.h"

#ifdef __cplusplus
}
#endif
#endif
