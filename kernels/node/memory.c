// Functions for tensors, copies and mapped files.
#include "addon.h"

#include <stdlib.h>

bool read_view(napi_env env, const char* op, const char* name, napi_value value, void** data, int64_t* bytes) {
  static const int sizes[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8};
  napi_typedarray_type type;
  size_t length;
  if (napi_get_typedarray_info(env, value, &type, &length, data, NULL, NULL) == napi_ok && (size_t)type < sizeof sizes / sizeof *sizes) {
    *bytes = (int64_t)length * sizes[type];
    return true;
  }
  if (napi_get_dataview_info(env, value, &length, data, NULL, NULL) != napi_ok) {
    return refuse_argument(env, op, name, "a typed array, Buffer or DataView");
  }
  *bytes = (int64_t)length;
  return true;
}

/* ndim and four dims, of which the first ndim count. */
static bool read_shape(napi_env env, const char* op, const napi_value* argv, int* ndim, int64_t* shape) {
  int64_t count;
  if (!read_i64(env, op, "ndim", argv[0], &count)) return false;
  *ndim = (int)count;
  for (int i = 0; i < WL_MAX_DIMS; ++i) {
    if (!read_i64(env, op, "shape", argv[1 + i], &shape[i])) return false;
  }
  return true;
}

static napi_value tensor_new(napi_env env, napi_callback_info info) {
  static const char op[] = "tensor_new";
  napi_value argv[7];
  int64_t dtype;
  int ndim;
  int64_t shape[WL_MAX_DIMS];
  char label[48] = "";
  if (!read_arguments(env, info, op, 7, argv) || !read_i64(env, op, "dtype", argv[0], &dtype)) return NULL;
  if (!read_shape(env, op, argv + 1, &ndim, shape)) return NULL;
  if (!is_nothing(env, argv[6])) napi_get_value_string_utf8(env, argv[6], label, sizeof label, NULL);
  wl_tensor tensor;
  if (wl_tensor_new(owner_of(env), (int)dtype, ndim, shape, label, &tensor) != WL_OK) return throw_last(env);
  return handle(env, tensor);
}

static napi_value view_of(napi_env env, napi_callback_info info, bool rounded) {
  static const char op[] = "tensor_view";
  napi_value argv[7];
  wl_tensor base;
  int64_t offset;
  int ndim;
  int64_t shape[WL_MAX_DIMS];
  if (!read_arguments(env, info, op, 7, argv) || !read_tensor(env, op, "base", argv[0], &base)) return NULL;
  if (!read_i64(env, op, "offset", argv[1], &offset) || !read_shape(env, op, argv + 2, &ndim, shape)) return NULL;
  wl_tensor tensor;
  const int kind = rounded ? wl_tensor_view_rounded(owner_of(env), base, offset, ndim, shape, &tensor)
                           : wl_tensor_view(owner_of(env), base, offset, ndim, shape, &tensor);
  return kind == WL_OK ? handle(env, tensor) : throw_last(env);
}

static napi_value tensor_view(napi_env env, napi_callback_info info) { return view_of(env, info, false); }
static napi_value tensor_view_rounded(napi_env env, napi_callback_info info) { return view_of(env, info, true); }

static napi_value tensor_free(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  wl_tensor tensor;
  if (!read_arguments(env, info, "tensor_free", 1, argv) || !read_tensor(env, "tensor_free", "tensor", argv[0], &tensor)) return NULL;
  if (wl_tensor_free(tensor) != WL_OK) throw_last(env);
  return NULL;
}

static napi_value tensor_write(napi_env env, napi_callback_info info) {
  static const char op[] = "write";
  napi_value argv[3];
  wl_stream on;
  wl_tensor tensor;
  void* data;
  int64_t bytes;
  if (!read_arguments(env, info, op, 3, argv) || !read_stream(env, op, argv[0], &on)) return NULL;
  if (!read_tensor(env, op, "tensor", argv[1], &tensor) || !read_view(env, op, "data", argv[2], &data, &bytes)) return NULL;
  if (wl_write(on, tensor, data, bytes) != WL_OK) throw_last(env);
  return NULL;
}

static napi_value tensor_read(napi_env env, napi_callback_info info) {
  static const char op[] = "read";
  napi_value argv[3];
  wl_stream on;
  wl_tensor tensor;
  void* data;
  int64_t bytes;
  if (!read_arguments(env, info, op, 3, argv) || !read_stream(env, op, argv[0], &on)) return NULL;
  if (!read_tensor(env, op, "tensor", argv[1], &tensor) || !read_view(env, op, "data", argv[2], &data, &bytes)) return NULL;
  napi_value promise;
  Pending* pending = new_pending(env, argv[2], &promise);
  if (pending == NULL) return NULL;
  return wl_read(on, tensor, data, bytes, settle, pending) == WL_OK ? promise : drop_pending(env, pending);
}

static napi_value describe(napi_env env, const wl_tensor_info* tensor) {
  napi_value object;
  napi_value shape;
  napi_value view;
  napi_create_object(env, &object);
  napi_create_array_with_length(env, (size_t)tensor->ndim, &shape);
  for (int i = 0; i < tensor->ndim; ++i) napi_set_element(env, shape, (uint32_t)i, number(env, (double)tensor->shape[i]));
  napi_get_boolean(env, tensor->is_view != 0, &view);
  set_number(env, object, "handle", tensor->handle);
  set_text(env, object, "label", tensor->label);
  set_number(env, object, "dtype", tensor->dtype);
  napi_set_named_property(env, object, "shape", shape);
  set_number(env, object, "bytes", (double)tensor->bytes);
  napi_set_named_property(env, object, "view", view);
  return object;
}

static napi_value live_tensors(napi_env env, napi_callback_info info) {
  (void)info;
  const int64_t capacity = wl_live_tensors(NULL, 0);
  wl_tensor_info* tensors = calloc((size_t)capacity + 1, sizeof *tensors);
  napi_value list;
  napi_create_array(env, &list);
  if (tensors == NULL) return list;
  const int64_t live = wl_live_tensors(tensors, capacity);
  for (int64_t i = 0; i < live && i < capacity; ++i) napi_set_element(env, list, (uint32_t)i, describe(env, &tensors[i]));
  free(tensors);
  return list;
}

static napi_value memory_stats(napi_env env, napi_callback_info info) {
  (void)info;
  wl_memory memory;
  wl_memory_stats(&memory);
  napi_value object;
  napi_create_object(env, &object);
  set_number(env, object, "liveBytes", (double)memory.live_bytes);
  set_number(env, object, "peakBytes", (double)memory.peak_bytes);
  set_number(env, object, "cachedBytes", (double)memory.cached_bytes);
  set_number(env, object, "systemBytes", (double)memory.system_bytes);
  set_number(env, object, "limitBytes", (double)memory.limit_bytes);
  set_number(env, object, "systemAllocations", (double)memory.system_allocations);
  set_number(env, object, "liveTensors", (double)memory.live_tensors);
  return object;
}

static napi_value set_memory_limit(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  int64_t bytes;
  if (!read_arguments(env, info, "setMemoryLimit", 1, argv) || !read_i64(env, "setMemoryLimit", "bytes", argv[0], &bytes)) return NULL;
  wl_memory_set_limit(bytes);
  return NULL;
}

static napi_value trim_memory(napi_env env, napi_callback_info info) {
  (void)env;
  (void)info;
  wl_memory_trim();
  return NULL;
}

static napi_value map_open(napi_env env, napi_callback_info info) {
  static const char op[] = "map_open";
  napi_value argv[1];
  char path[4096];
  size_t length;
  if (!read_arguments(env, info, op, 1, argv)) return NULL;
  if (napi_get_value_string_utf8(env, argv[0], path, sizeof path, &length) != napi_ok || length + 1 == sizeof path) {
    refuse_argument(env, op, "path", "a path of less than 4095 bytes");
    return NULL;
  }
  wl_map map;
  int64_t bytes;
  if (wl_map_open(owner_of(env), path, &map, &bytes) != WL_OK) return throw_last(env);
  napi_value object;
  napi_create_object(env, &object);
  set_number(env, object, "handle", map);
  set_number(env, object, "bytes", (double)bytes);
  return object;
}

static napi_value map_tensor(napi_env env, napi_callback_info info) {
  static const char op[] = "map_tensor";
  napi_value argv[9];
  wl_map map;
  int64_t offset;
  int64_t dtype;
  int ndim;
  int64_t shape[WL_MAX_DIMS];
  char label[48] = "";
  if (!read_arguments(env, info, op, 9, argv) || !read_handle(env, op, "map", argv[0], &map)) return NULL;
  if (!read_i64(env, op, "offset", argv[1], &offset) || !read_i64(env, op, "dtype", argv[2], &dtype)) return NULL;
  if (!read_shape(env, op, argv + 3, &ndim, shape)) return NULL;
  if (!is_nothing(env, argv[8])) napi_get_value_string_utf8(env, argv[8], label, sizeof label, NULL);
  wl_tensor tensor;
  if (wl_map_tensor(owner_of(env), map, offset, (int)dtype, ndim, shape, label, &tensor) != WL_OK) return throw_last(env);
  return handle(env, tensor);
}

static napi_value map_read(napi_env env, napi_callback_info info) {
  static const char op[] = "map_read";
  napi_value argv[3];
  wl_map map;
  int64_t offset;
  void* data;
  int64_t bytes;
  if (!read_arguments(env, info, op, 3, argv) || !read_handle(env, op, "map", argv[0], &map)) return NULL;
  if (!read_i64(env, op, "offset", argv[1], &offset) || !read_view(env, op, "into", argv[2], &data, &bytes)) return NULL;
  if (wl_map_read(map, offset, bytes, data) != WL_OK) throw_last(env);
  return NULL;
}

static napi_value map_close(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  wl_map map;
  if (!read_arguments(env, info, "map_close", 1, argv) || !read_handle(env, "map_close", "map", argv[0], &map)) return NULL;
  if (wl_map_close(map) != WL_OK) throw_last(env);
  return NULL;
}

static napi_value write_from_map(napi_env env, napi_callback_info info) {
  static const char op[] = "write_from_map";
  napi_value argv[5];
  wl_stream on;
  wl_tensor tensor;
  wl_map map;
  int64_t offset;
  int64_t bytes;
  if (!read_arguments(env, info, op, 5, argv) || !read_stream(env, op, argv[0], &on)) return NULL;
  if (!read_tensor(env, op, "tensor", argv[1], &tensor) || !read_handle(env, op, "map", argv[2], &map)) return NULL;
  if (!read_i64(env, op, "offset", argv[3], &offset) || !read_i64(env, op, "bytes", argv[4], &bytes)) return NULL;
  if (wl_write_from_map(on, tensor, map, offset, bytes) != WL_OK) throw_last(env);
  return NULL;
}

#define FUNCTION(name, call) {name, NULL, call, NULL, NULL, NULL, napi_enumerable, NULL}
const napi_property_descriptor memory_functions[] = {
    FUNCTION("tensorNew", tensor_new),
    FUNCTION("tensorView", tensor_view),
    FUNCTION("tensorViewRounded", tensor_view_rounded),
    FUNCTION("tensorFree", tensor_free),
    FUNCTION("tensorWrite", tensor_write),
    FUNCTION("tensorRead", tensor_read),
    FUNCTION("liveTensors", live_tensors),
    FUNCTION("memoryStats", memory_stats),
    FUNCTION("setMemoryLimit", set_memory_limit),
    FUNCTION("trimMemory", trim_memory),
    FUNCTION("mapOpen", map_open),
    FUNCTION("mapTensor", map_tensor),
    FUNCTION("mapRead", map_read),
    FUNCTION("mapClose", map_close),
    FUNCTION("writeFromMap", write_from_map),
};
const size_t memory_function_count = sizeof memory_functions / sizeof *memory_functions;
