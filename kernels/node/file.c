// Functions for checksums of files, host memory and tensors.
#include "addon.h"

static napi_value read_file(napi_env env, napi_callback_info info) {
  static const char op[] = "read_file";
  napi_value argv[4];
  wl_stream on;
  wl_tensor tensor;
  int64_t file;
  int64_t position;
  if (!read_arguments(env, info, op, 4, argv) || !read_stream(env, op, argv[0], &on)) return NULL;
  if (!read_tensor(env, op, "tensor", argv[1], &tensor) || !read_i64(env, op, "file", argv[2], &file)) return NULL;
  if (!read_i64(env, op, "position", argv[3], &position)) return NULL;
  napi_value promise;
  Pending* pending = new_pending(env, NULL, &promise);
  if (pending == NULL) return NULL;
  const int kind = wl_read_file(on, tensor, (int)file, position, result_of(pending), settle, pending);
  return kind == WL_OK ? promise : drop_pending(env, pending);
}

static napi_value checksum(napi_env env, napi_callback_info info) {
  static const char op[] = "checksum";
  napi_value argv[3];
  wl_stream on;
  void* data;
  int64_t bytes;
  bool finite;
  if (!read_arguments(env, info, op, 3, argv) || !read_stream(env, op, argv[0], &on)) return NULL;
  if (!read_view(env, op, "data", argv[1], &data, &bytes)) return NULL;
  if (napi_get_value_bool(env, argv[2], &finite) != napi_ok) {
    refuse_argument(env, op, "finite", "a boolean");
    return NULL;
  }
  napi_value promise;
  Pending* pending = new_pending(env, argv[1], &promise);
  if (pending == NULL) return NULL;
  const int kind = wl_checksum(on, data, bytes, finite, result_of(pending), settle, pending);
  return kind == WL_OK ? promise : drop_pending(env, pending);
}

static napi_value digest(napi_env env, napi_callback_info info) {
  static const char op[] = "digest";
  napi_value argv[2];
  wl_stream on;
  const wl_tensor* tensors;
  int64_t count;
  if (!read_arguments(env, info, op, 2, argv) || !read_stream(env, op, argv[0], &on)) return NULL;
  if (!read_list(env, op, "tensors", argv[1], &tensors, &count)) return NULL;
  napi_value promise;
  Pending* pending = new_pending(env, NULL, &promise);
  if (pending == NULL) return NULL;
  return wl_digest(on, tensors, count, result_of(pending), settle, pending) == WL_OK ? promise : drop_pending(env, pending);
}

#define FUNCTION(name, call) {name, NULL, call, NULL, NULL, NULL, napi_enumerable, NULL}
const napi_property_descriptor file_functions[] = {
    FUNCTION("readFile", read_file),
    FUNCTION("checksum", checksum),
    FUNCTION("digest", digest),
};
const size_t file_function_count = sizeof file_functions / sizeof *file_functions;
