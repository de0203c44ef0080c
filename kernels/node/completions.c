// The state of one environment: promises settled by streams through one threadsafe function, errors, and the end of the environment.
#include "addon.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct Pending {
  Pending* next;
  Instance* instance;
  napi_deferred deferred;
  napi_ref keep;
  bool has_result;
  double result;
  wl_error error; /* kind WL_OK where all went well */
};

struct Instance {
  wl_owner owner;
  napi_ref error_factory;
  napi_threadsafe_function wake;
  int64_t promises; /* not settled yet; of the JavaScript thread */
  pthread_mutex_t lock;
  pthread_cond_t quiet;
  /* under the lock */
  Pending* done;
  int64_t outstanding; /* promises whose settle() has not been called */
  bool closed;
};

static Instance* instance_of(napi_env env) {
  void* data = NULL;
  napi_get_instance_data(env, &data);
  return data;
}

wl_owner owner_of(napi_env env) { return instance_of(env)->owner; }

/* -- errors */

static napi_value error_value(napi_env env, const wl_error* error) {
  static const char* const kinds[] = {"", "invalid", "retryable", "fatal"};
  static const char* const reasons[] = {"", "mismatch", "timeout", "peerLost", "aborted"};
  napi_value arguments[6];
  napi_value result;
  napi_create_string_utf8(env, kinds[error->kind], NAPI_AUTO_LENGTH, &arguments[0]);
  napi_create_string_utf8(env, error->op, NAPI_AUTO_LENGTH, &arguments[1]);
  napi_create_string_utf8(env, error->message, NAPI_AUTO_LENGTH, &arguments[2]);
  napi_get_boolean(env, error->out_of_memory != 0, &arguments[3]);
  napi_create_string_utf8(env, reasons[error->comm_reason], NAPI_AUTO_LENGTH, &arguments[4]);
  napi_create_int32(env, error->comm_peer, &arguments[5]);
  napi_value factory = NULL;
  const Instance* instance = instance_of(env);
  if (instance->error_factory != NULL) napi_get_reference_value(env, instance->error_factory, &factory);
  if (factory != NULL) {
    napi_value undefined;
    napi_get_undefined(env, &undefined);
    if (napi_call_function(env, undefined, factory, 6, arguments, &result) == napi_ok) return result;
  }
  napi_create_error(env, arguments[0], arguments[2], &result);
  return result;
}

napi_value set_error_factory(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  if (!read_arguments(env, info, "setErrorFactory", 1, argv)) return NULL;
  Instance* instance = instance_of(env);
  if (instance->error_factory != NULL) napi_delete_reference(env, instance->error_factory);
  napi_create_reference(env, argv[0], 1, &instance->error_factory);
  return NULL;
}

napi_value throw_last(napi_env env) {
  napi_throw(env, error_value(env, wl_last_error()));
  return NULL;
}

void throw_invalid(napi_env env, const char* op, const char* message) {
  wl_error error = {.kind = WL_INVALID};
  snprintf(error.op, sizeof error.op, "%s", op);
  snprintf(error.message, sizeof error.message, "%s", message);
  napi_throw(env, error_value(env, &error));
}

/* -- promises */

Pending* new_pending(napi_env env, napi_value keep, napi_value* promise) {
  Instance* instance = instance_of(env);
  Pending* pending = calloc(1, sizeof *pending);
  if (pending == NULL) {
    throw_invalid(env, "promise", "promise: out of memory");
    return NULL;
  }
  pending->instance = instance;
  napi_create_promise(env, &pending->deferred, promise);
  if (keep != NULL) napi_create_reference(env, keep, 1, &pending->keep);
  if (instance->promises++ == 0) napi_ref_threadsafe_function(env, instance->wake);
  pthread_mutex_lock(&instance->lock);
  instance->outstanding += 1;
  pthread_mutex_unlock(&instance->lock);
  return pending;
}

double* result_of(Pending* pending) {
  pending->has_result = true;
  return &pending->result;
}

/* Called on a stream's thread. The JavaScript thread is woken once for all that is done before it comes to look. */
void settle(void* data, const wl_error* error) {
  Pending* pending = data;
  Instance* instance = pending->instance;
  if (error != NULL) pending->error = *error;
  pthread_mutex_lock(&instance->lock);
  const bool first = instance->done == NULL;
  pending->next = instance->done;
  instance->done = pending;
  if (first && !instance->closed) napi_call_threadsafe_function(instance->wake, NULL, napi_tsfn_nonblocking);
  instance->outstanding -= 1;
  if (instance->outstanding == 0) pthread_cond_signal(&instance->quiet);
  pthread_mutex_unlock(&instance->lock);
}

static void forget(napi_env env, Pending* pending) {
  Instance* instance = pending->instance;
  if (pending->keep != NULL) napi_delete_reference(env, pending->keep);
  if (--instance->promises == 0) napi_unref_threadsafe_function(env, instance->wake);
  free(pending);
}

napi_value drop_pending(napi_env env, Pending* pending) {
  Instance* instance = pending->instance;
  pthread_mutex_lock(&instance->lock);
  instance->outstanding -= 1;
  pthread_mutex_unlock(&instance->lock);
  /* The promise is never seen by anybody, but a deferred must be settled to be freed. */
  napi_value undefined;
  napi_get_undefined(env, &undefined);
  napi_resolve_deferred(env, pending->deferred, undefined);
  forget(env, pending);
  return throw_last(env);
}

static void settle_promise(napi_env env, Pending* pending) {
  napi_value value;
  if (pending->error.kind != WL_OK) {
    napi_reject_deferred(env, pending->deferred, error_value(env, &pending->error));
  } else {
    napi_get_undefined(env, &value);
    if (pending->has_result) napi_create_double(env, pending->result, &value);
    napi_resolve_deferred(env, pending->deferred, value);
  }
  forget(env, pending);
}

/* Runs on the JavaScript thread: settles the promises of all that is done, oldest first. */
static void settle_done(napi_env env, napi_value function, void* context, void* data) {
  (void)function;
  (void)data;
  if (env == NULL) return;
  Instance* instance = context;
  pthread_mutex_lock(&instance->lock);
  Pending* done = instance->done;
  instance->done = NULL;
  pthread_mutex_unlock(&instance->lock);
  Pending* oldest = NULL;
  while (done != NULL) {
    Pending* next = done->next;
    done->next = oldest;
    oldest = done;
    done = next;
  }
  while (oldest != NULL) {
    Pending* next = oldest->next;
    settle_promise(env, oldest);
    oldest = next;
  }
}

/* -- beginning and end */

/*
 * The environment ends: streams may hold pointers into JavaScript's memory (reads), so their owner's work is cancelled and what
 * has begun is waited for; that is at most one operation.
 */
static void close_instance(void* data) {
  Instance* instance = data;
  pthread_mutex_lock(&instance->lock);
  instance->closed = true;
  pthread_mutex_unlock(&instance->lock);
  wl_release_owner(instance->owner);
  pthread_mutex_lock(&instance->lock);
  while (instance->outstanding > 0) pthread_cond_wait(&instance->quiet, &instance->lock);
  pthread_mutex_unlock(&instance->lock);
}

/* The last that Node calls of an environment. */
static void free_instance(napi_env env, void* data, void* context) {
  (void)env;
  (void)context;
  Instance* instance = data;
  while (instance->done != NULL) {
    Pending* next = instance->done->next;
    free(instance->done);
    instance->done = next;
  }
  pthread_mutex_destroy(&instance->lock);
  pthread_cond_destroy(&instance->quiet);
  free(instance);
}

Instance* open_instance(napi_env env) {
  static atomic_uint owners = 0;
  Instance* instance = calloc(1, sizeof *instance);
  if (instance == NULL) return NULL;
  instance->owner = atomic_fetch_add(&owners, 1) + 1;
  pthread_mutex_init(&instance->lock, NULL);
  pthread_cond_init(&instance->quiet, NULL);
  napi_value name;
  napi_create_string_utf8(env, "windlass", NAPI_AUTO_LENGTH, &name);
  napi_create_threadsafe_function(env, NULL, NULL, name, 0, 1, instance, free_instance, instance, settle_done, &instance->wake);
  napi_unref_threadsafe_function(env, instance->wake);
  napi_set_instance_data(env, instance, NULL, NULL);
  /* Hooks run last in, first out: this one before that of the threadsafe function. */
  napi_add_env_cleanup_hook(env, close_instance, instance);
  return instance;
}
