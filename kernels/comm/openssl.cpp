// Looking for OpenSSL: in the process, then as the shared library of the system.
#include "comm/openssl.h"

#include <dlfcn.h>

namespace wl::comm {
namespace {

/** All from one place: functions of two versions do not go together. */
const OpenSsl* look_in(void* place) {
  auto* const found = new OpenSsl{};
  bool complete = true;
#define WL_LOOK_UP(result, name, parameters)                           \
  found->name = reinterpret_cast<result(*) parameters>(dlsym(place, #name)); \
  complete = complete && found->name != nullptr;
  WL_OPENSSL(WL_LOOK_UP)
#undef WL_LOOK_UP
  if (complete) return found;
  delete found;
  return nullptr;
}

}  // namespace

const OpenSsl* openssl() {
  static const OpenSsl* const functions = [] {
    const OpenSsl* found = look_in(RTLD_DEFAULT);
    if (found != nullptr) return found;
    void* const library = dlopen("libssl.so.3", RTLD_NOW | RTLD_LOCAL);
    return library == nullptr ? nullptr : look_in(library);
  }();
  return functions;
}

}  // namespace wl::comm
