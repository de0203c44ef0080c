// The Node-API addon: a thin layer over the C ABI, one set of state for each environment.
#include "addon.h"

#include "ops.gen.inc"

static napi_value make_ops(napi_env env) {
  napi_value ops;
  napi_create_object(env, &ops);
  for (size_t i = 0; i < sizeof op_functions / sizeof *op_functions; ++i) {
    napi_value function;
    napi_create_function(env, op_functions[i].name, NAPI_AUTO_LENGTH, op_functions[i].call, NULL, &function);
    napi_set_named_property(env, ops, op_functions[i].name, function);
  }
  return ops;
}

NAPI_MODULE_INIT() {
  if (wl_start() != WL_OK) {
    napi_throw_error(env, "WL_START", wl_last_error()->message);
    return NULL;
  }
  if (open_instance(env) == NULL) {
    napi_throw_error(env, "WL_START", "out of memory");
    return NULL;
  }
  napi_define_properties(env, exports, memory_function_count, memory_functions);
  napi_define_properties(env, exports, file_function_count, file_functions);
  napi_define_properties(env, exports, machine_function_count, machine_functions);
  napi_value comm;
  napi_create_object(env, &comm);
  napi_define_properties(env, comm, comm_function_count, comm_functions);
  napi_set_named_property(env, exports, "comm", comm);
  napi_value factory;
  napi_create_function(env, "setErrorFactory", NAPI_AUTO_LENGTH, set_error_factory, NULL, &factory);
  napi_set_named_property(env, exports, "setErrorFactory", factory);
  napi_set_named_property(env, exports, "ops", make_ops(env));
  return exports;
}
