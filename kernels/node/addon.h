// What the files of the Node-API layer share: the state of one environment, errors, and reading of arguments.
#ifndef WL_ADDON_H
#define WL_ADDON_H

#include <node_api.h>
#include <stdbool.h>
#include <stdio.h>

#include "wl.h"

/* State of one JavaScript environment (the main thread or a worker). */
typedef struct Instance Instance;

/* completions.c */
Instance* open_instance(napi_env env);
wl_owner owner_of(napi_env env);
napi_value set_error_factory(napi_env env, napi_callback_info info);
/* Throws what wl_last_error() says; always returns NULL. */
napi_value throw_last(napi_env env);
void throw_invalid(napi_env env, const char* op, const char* message);

typedef struct Pending Pending;
/* A promise to be settled from any thread, once, by settle(pending, error). `keep` (or NULL) stays alive until then. */
Pending* new_pending(napi_env env, napi_value keep, napi_value* promise);
void settle(void* pending, const wl_error* error);
/* Where the number lies that the promise resolves with; a promise whose result is not touched resolves with undefined. */
double* result_of(Pending* pending);
/* For a call that was refused: throws the last error, frees. Always returns NULL. */
napi_value drop_pending(napi_env env, Pending* pending);

/* machine.c, memory.c, file.c, comm.c: the functions beside the operations */
extern const napi_property_descriptor machine_functions[];
extern const size_t machine_function_count;
extern const napi_property_descriptor memory_functions[];
extern const size_t memory_function_count;
extern const napi_property_descriptor file_functions[];
extern const size_t file_function_count;
extern const napi_property_descriptor comm_functions[];
extern const size_t comm_function_count;

static inline bool is_nothing(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  napi_typeof(env, value, &type);
  return type == napi_undefined || type == napi_null;
}

static inline bool refuse_argument(napi_env env, const char* op, const char* name, const char* needed) {
  char message[160];
  snprintf(message, sizeof message, "%s: argument %s must be %s", op, name, needed);
  throw_invalid(env, op, message);
  return false;
}

static inline bool read_arguments(napi_env env, napi_callback_info info, const char* op, size_t count, napi_value* argv) {
  size_t given = count;
  napi_get_cb_info(env, info, &given, argv, NULL, NULL);
  if (given == count) return true;
  char message[96];
  snprintf(message, sizeof message, "%s: needs %zu arguments, got %zu", op, count, given);
  throw_invalid(env, op, message);
  return false;
}

static inline bool read_handle(napi_env env, const char* op, const char* name, napi_value value, uint32_t* out) {
  return napi_get_value_uint32(env, value, out) == napi_ok ? true : refuse_argument(env, op, name, "a handle");
}

static inline bool read_stream(napi_env env, const char* op, napi_value value, wl_stream* out) {
  return read_handle(env, op, "stream", value, out);
}

static inline bool read_tensor(napi_env env, const char* op, const char* name, napi_value value, wl_tensor* out) {
  return read_handle(env, op, name, value, out);
}

static inline bool read_optional_tensor(napi_env env, const char* op, const char* name, napi_value value, wl_tensor* out) {
  if (napi_get_value_uint32(env, value, out) == napi_ok) return true;
  *out = 0;
  return is_nothing(env, value) ? true : refuse_argument(env, op, name, "a handle or null");
}

static inline bool read_i64(napi_env env, const char* op, const char* name, napi_value value, int64_t* out) {
  return napi_get_value_int64(env, value, out) == napi_ok ? true : refuse_argument(env, op, name, "a whole number");
}

static inline bool read_f32(napi_env env, const char* op, const char* name, napi_value value, float* out) {
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok) return refuse_argument(env, op, name, "a number");
  *out = (float)number;
  return true;
}

static inline bool read_list(napi_env env, const char* op, const char* name, napi_value value, const wl_tensor** out, int64_t* count) {
  napi_typedarray_type type;
  size_t length;
  void* data;
  if (napi_get_typedarray_info(env, value, &type, &length, &data, NULL, NULL) != napi_ok || type != napi_uint32_array) {
    return refuse_argument(env, op, name, "a Uint32Array of handles");
  }
  *out = data;
  *count = (int64_t)length;
  return true;
}

/* The bytes of a typed array, Buffer or DataView. */
bool read_view(napi_env env, const char* op, const char* name, napi_value value, void** data, int64_t* bytes);

static inline void set_number(napi_env env, napi_value object, const char* name, double number) {
  napi_value value;
  napi_create_double(env, number, &value);
  napi_set_named_property(env, object, name, value);
}

static inline void set_text(napi_env env, napi_value object, const char* name, const char* text) {
  napi_value value;
  napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &value);
  napi_set_named_property(env, object, name, value);
}

static inline napi_value number(napi_env env, double of) {
  napi_value value;
  napi_create_double(env, of, &value);
  return value;
}

static inline napi_value handle(napi_env env, uint32_t of) {
  napi_value value;
  napi_create_uint32(env, of, &value);
  return value;
}

#endif
