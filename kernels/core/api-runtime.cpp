// The C ABI of the process as a whole: start, machine, memory, and giving back what an owner has.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <sched.h>

#include "core/error.h"
#include "core/isa.h"
#include "core/memory.h"
#include "core/ops.gen.h"
#include "core/pack-version.h"
#include "core/quant-types.h"
#include "core/runtime.h"
#include "core/tensors.h"

namespace wl {
namespace {

// Never destroyed: threads may still run while the process exits.
Pool* the_pool = nullptr;

int cores() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

/** Reads a whole number from the environment; `otherwise` where it is not set. */
bool read_setting(const char* name, int64_t least, int64_t most, int64_t otherwise, int64_t& out) {
  const char* text = std::getenv(name);
  out = otherwise;
  if (text == nullptr || *text == '\0') return true;
  char* end = nullptr;
  const long long value = std::strtoll(text, &end, 10);
  if (*end == '\0' && value >= least && value <= most) {
    out = value;
    return true;
  }
  fail(WL_INVALID, "start", "%s is '%.40s'; it must be a whole number from %lld to %lld", name, text, static_cast<long long>(least),
       static_cast<long long>(most));
  return false;
}

int start() {
  if (const char* fault = choose_isa(std::getenv("WL_ISA"))) return fail(WL_INVALID, "start", "%s", fault);
  int64_t threads;
  int64_t limit;
  if (!read_setting("WL_THREADS", 1, 1024, cores(), threads)) return WL_INVALID;
  if (!read_setting("WL_MEMORY_LIMIT", 0, int64_t{1} << 60, 0, limit)) return WL_INVALID;
  memory().set_limit(limit);
  the_pool = new Pool(static_cast<int>(threads));
  return WL_OK;
}

}  // namespace

Pool& pool() { return *the_pool; }

}  // namespace wl

using namespace wl;

extern "C" {

int wl_start(void) {
  static std::mutex lock;
  const std::lock_guard guard(lock);
  return the_pool != nullptr ? WL_OK : start();
}

const char* wl_isa(void) { return isa_name(); }
int wl_threads(void) { return pool().threads(); }
int64_t wl_packed_size(int64_t n, int64_t k) { return op::packed_size(n, k); }
int wl_pack_version(void) { return kPackVersion; }
int64_t wl_quantized_bytes(int64_t type, int64_t elements) { return quantized_bytes(type, elements); }
int64_t wl_quantized_panel_bytes(int64_t type, int64_t n, int64_t k) { return quantized_panel_bytes(type, n, k); }

void wl_memory_stats(wl_memory* out) {
  memory().stats(*out);
  out->live_tensors = tensors().live(nullptr, 0);
}
void wl_memory_set_limit(int64_t bytes) { memory().set_limit(std::max<int64_t>(bytes, 0)); }
void wl_memory_trim(void) { memory().trim(); }

int wl_tensor_new(wl_owner owner, int dtype, int ndim, const int64_t* shape, const char* label, wl_tensor* out) {
  return tensors().create(owner, dtype, ndim, shape, label, out);
}
int wl_tensor_view(wl_owner owner, wl_tensor base, int64_t offset, int ndim, const int64_t* shape, wl_tensor* out) {
  return tensors().create_view(owner, base, offset, ndim, shape, false, out);
}
int wl_tensor_view_rounded(wl_owner owner, wl_tensor base, int64_t offset, int ndim, const int64_t* shape, wl_tensor* out) {
  return tensors().create_view(owner, base, offset, ndim, shape, true, out);
}
int wl_tensor_free(wl_tensor tensor) { return tensors().free(tensor); }
int wl_tensor_describe(wl_tensor tensor, wl_tensor_info* out) { return tensors().describe(tensor, out); }
void wl_release_owner(wl_owner owner) {
  release_comms_of(owner);
  release_streams_of(owner);
  release_maps_of(owner);
  tensors().free_all_of(owner);
}
int64_t wl_live_tensors(wl_tensor_info* out, int64_t capacity) { return tensors().live(out, capacity); }

}  // extern "C"
