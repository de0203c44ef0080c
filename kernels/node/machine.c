// Functions for streams, events, measurements and the profile.
#include "addon.h"

#include <stdlib.h>

static napi_value isa(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value text;
  napi_create_string_utf8(env, wl_isa(), NAPI_AUTO_LENGTH, &text);
  return text;
}

static napi_value threads(napi_env env, napi_callback_info info) {
  (void)info;
  return number(env, wl_threads());
}

static napi_value pack_version(napi_env env, napi_callback_info info) {
  (void)info;
  return number(env, wl_pack_version());
}

static napi_value packed_size(napi_env env, napi_callback_info info) {
  static const char op[] = "packedSize";
  napi_value argv[2];
  int64_t n;
  int64_t k;
  if (!read_arguments(env, info, op, 2, argv)) return NULL;
  if (!read_i64(env, op, "n", argv[0], &n) || !read_i64(env, op, "k", argv[1], &k)) return NULL;
  return number(env, (double)wl_packed_size(n, k));
}

static napi_value quantized_bytes(napi_env env, napi_callback_info info) {
  static const char op[] = "quantizedBytes";
  napi_value argv[2];
  int64_t type;
  int64_t elements;
  if (!read_arguments(env, info, op, 2, argv)) return NULL;
  if (!read_i64(env, op, "type", argv[0], &type) || !read_i64(env, op, "elements", argv[1], &elements)) return NULL;
  return number(env, (double)wl_quantized_bytes(type, elements));
}

static napi_value quantized_panel_bytes(napi_env env, napi_callback_info info) {
  static const char op[] = "quantizedPanelBytes";
  napi_value argv[3];
  int64_t type;
  int64_t n;
  int64_t k;
  if (!read_arguments(env, info, op, 3, argv) || !read_i64(env, op, "type", argv[0], &type)) return NULL;
  if (!read_i64(env, op, "n", argv[1], &n) || !read_i64(env, op, "k", argv[2], &k)) return NULL;
  return number(env, (double)wl_quantized_panel_bytes(type, n, k));
}

static napi_value stream_new(napi_env env, napi_callback_info info) {
  (void)info;
  wl_stream stream;
  return wl_stream_new(owner_of(env), &stream) == WL_OK ? handle(env, stream) : throw_last(env);
}

static napi_value event_new(napi_env env, napi_callback_info info) {
  (void)info;
  wl_event event;
  return wl_event_new(owner_of(env), &event) == WL_OK ? handle(env, event) : throw_last(env);
}

static napi_value with_handle(napi_env env, napi_callback_info info, const char* op, int (*call)(uint32_t)) {
  napi_value argv[1];
  uint32_t of;
  if (!read_arguments(env, info, op, 1, argv) || !read_handle(env, op, "handle", argv[0], &of)) return NULL;
  if (call(of) != WL_OK) throw_last(env);
  return NULL;
}

static napi_value stream_free(napi_env env, napi_callback_info info) { return with_handle(env, info, "stream_free", wl_stream_free); }
static napi_value stream_reset(napi_env env, napi_callback_info info) { return with_handle(env, info, "stream_reset", wl_stream_reset); }
static napi_value event_free(napi_env env, napi_callback_info info) { return with_handle(env, info, "event_free", wl_event_free); }

static napi_value with_event(napi_env env, napi_callback_info info, const char* op, int (*call)(wl_event, wl_stream)) {
  napi_value argv[2];
  wl_event event;
  wl_stream on;
  if (!read_arguments(env, info, op, 2, argv) || !read_handle(env, op, "event", argv[0], &event)) return NULL;
  if (!read_stream(env, op, argv[1], &on)) return NULL;
  if (call(event, on) != WL_OK) throw_last(env);
  return NULL;
}

static napi_value event_record(napi_env env, napi_callback_info info) { return with_event(env, info, "event_record", wl_event_record); }
static napi_value event_wait(napi_env env, napi_callback_info info) { return with_event(env, info, "event_wait", wl_event_wait); }

static napi_value sync(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  wl_stream on;
  if (!read_arguments(env, info, "sync", 1, argv) || !read_stream(env, "sync", argv[0], &on)) return NULL;
  napi_value promise;
  Pending* pending = new_pending(env, NULL, &promise);
  if (pending == NULL) return NULL;
  return wl_sync(on, settle, pending) == WL_OK ? promise : drop_pending(env, pending);
}

typedef int (*Measure)(wl_stream, int, double*, wl_done, void*);

static napi_value measure(napi_env env, napi_callback_info info, const char* op, Measure call) {
  napi_value argv[2];
  wl_stream on;
  int64_t count;
  if (!read_arguments(env, info, op, 2, argv) || !read_stream(env, op, argv[0], &on)) return NULL;
  if (!read_i64(env, op, "threads", argv[1], &count)) return NULL;
  napi_value promise;
  Pending* pending = new_pending(env, NULL, &promise);
  if (pending == NULL) return NULL;
  return call(on, (int)count, result_of(pending), settle, pending) == WL_OK ? promise : drop_pending(env, pending);
}

static napi_value measure_fma_peak(napi_env env, napi_callback_info info) {
  return measure(env, info, "measure_fma_peak", wl_measure_fma_peak);
}
static napi_value measure_bandwidth(napi_env env, napi_callback_info info) {
  return measure(env, info, "measure_bandwidth", wl_measure_bandwidth);
}

static napi_value profile(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  bool on;
  if (!read_arguments(env, info, "profile", 1, argv)) return NULL;
  if (napi_get_value_bool(env, argv[0], &on) != napi_ok) {
    refuse_argument(env, "profile", "on", "a boolean");
    return NULL;
  }
  wl_profile(on ? 1 : 0);
  return NULL;
}

static napi_value profile_read(napi_env env, napi_callback_info info) {
  (void)info;
  enum { capacity = 128 };
  wl_profile_entry entries[capacity];
  const int64_t count = wl_profile_read(entries, capacity);
  napi_value list;
  napi_create_array(env, &list);
  for (int64_t i = 0; i < count && i < capacity; ++i) {
    napi_value entry;
    napi_create_object(env, &entry);
    set_text(env, entry, "op", entries[i].op);
    set_number(env, entry, "calls", (double)entries[i].calls);
    set_number(env, entry, "milliseconds", (double)entries[i].nanoseconds / 1e6);
    napi_set_element(env, list, (uint32_t)i, entry);
  }
  return list;
}

static napi_value trace(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  int64_t capacity;
  if (!read_arguments(env, info, "trace", 1, argv) || !read_i64(env, "trace", "capacity", argv[0], &capacity)) return NULL;
  if (capacity < 0 || capacity > 1 << 20) {
    refuse_argument(env, "trace", "capacity", "from 0 to 1048576");
    return NULL;
  }
  wl_trace(capacity);
  return NULL;
}

static napi_value trace_event(napi_env env, const wl_trace_event* event) {
  napi_value object;
  napi_create_object(env, &object);
  set_text(env, object, "op", event->op);
  set_number(env, object, "stream", event->stream);
  set_number(env, object, "beginNs", (double)event->begin);
  set_number(env, object, "endNs", (double)event->end);
  return object;
}

static napi_value trace_read(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  int64_t capacity;
  if (!read_arguments(env, info, "traceRead", 1, argv) || !read_i64(env, "traceRead", "capacity", argv[0], &capacity)) return NULL;
  if (capacity < 1 || capacity > 1 << 20) {
    refuse_argument(env, "traceRead", "capacity", "from 1 to 1048576");
    return NULL;
  }
  wl_trace_event* events = malloc((size_t)capacity * sizeof *events);
  if (events == NULL) {
    throw_invalid(env, "traceRead", "traceRead: out of memory");
    return NULL;
  }
  const int64_t seen = wl_trace_read(events, capacity);
  napi_value result;
  napi_value list;
  napi_create_object(env, &result);
  napi_create_array(env, &list);
  for (int64_t i = 0; i < seen && i < capacity; ++i) napi_set_element(env, list, (uint32_t)i, trace_event(env, &events[i]));
  free(events);
  napi_set_named_property(env, result, "events", list);
  set_number(env, result, "seen", (double)seen);
  return result;
}

#define FUNCTION(name, call) {name, NULL, call, NULL, NULL, NULL, napi_enumerable, NULL}
const napi_property_descriptor machine_functions[] = {
    FUNCTION("isa", isa),
    FUNCTION("threads", threads),
    FUNCTION("packedSize", packed_size),
    FUNCTION("packVersion", pack_version),
    FUNCTION("quantizedBytes", quantized_bytes),
    FUNCTION("quantizedPanelBytes", quantized_panel_bytes),
    FUNCTION("streamNew", stream_new),
    FUNCTION("streamFree", stream_free),
    FUNCTION("streamReset", stream_reset),
    FUNCTION("sync", sync),
    FUNCTION("eventNew", event_new),
    FUNCTION("eventFree", event_free),
    FUNCTION("eventRecord", event_record),
    FUNCTION("eventWait", event_wait),
    FUNCTION("measureFmaPeak", measure_fma_peak),
    FUNCTION("measureBandwidth", measure_bandwidth),
    FUNCTION("profile", profile),
    FUNCTION("profileRead", profile_read),
    FUNCTION("trace", trace),
    FUNCTION("traceRead", trace_read),
};
const size_t machine_function_count = sizeof machine_functions / sizeof *machine_functions;
