// Endpoints as text: "wl1;process=...;host=..." fields in any order.
#include "comm/endpoint.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sys/random.h>
#include <sys/stat.h>

namespace wl::comm {
namespace {

constexpr char kVersion[] = "wl1";

}  // namespace

std::string to_text(const Endpoint& endpoint) {
  std::string text = std::string(kVersion) + ";process=" + endpoint.process + ";host=" + endpoint.host + ";local=" + endpoint.local;
  if (!endpoint.address.empty()) {
    text += ";address=" + endpoint.address + ";port=" + endpoint.port + ";sockets=" + std::to_string(endpoint.sockets);
  }
  return text;
}

std::optional<Endpoint> parse_endpoint(const std::string& text) {
  Endpoint endpoint;
  size_t begin = text.find(';');
  if (text.substr(0, begin) != kVersion) return std::nullopt;
  while (begin != std::string::npos) {
    const size_t end = text.find(';', begin + 1);
    const std::string field = text.substr(begin + 1, end == std::string::npos ? end : end - begin - 1);
    const size_t equals = field.find('=');
    if (equals == std::string::npos) return std::nullopt;
    const std::string name = field.substr(0, equals);
    const std::string value = field.substr(equals + 1);
    if (name == "process") endpoint.process = value;
    if (name == "host") endpoint.host = value;
    if (name == "local") endpoint.local = value;
    if (name == "address") endpoint.address = value;
    if (name == "port") endpoint.port = value;
    if (name == "sockets") endpoint.sockets = std::atoi(value.c_str());
    begin = end;
  }
  if (endpoint.sockets < 1 || endpoint.sockets > 16) return std::nullopt;
  return endpoint;
}

std::string random_name() {
  unsigned char bytes[8] = {};
  [[maybe_unused]] const ssize_t size = getrandom(bytes, sizeof bytes, 0);
  char text[17];
  for (int i = 0; i < 8; ++i) std::snprintf(text + 2 * i, 3, "%02x", bytes[i]);
  return text;
}

const std::string& host_id() {
  static const std::string* const id = [] {
    std::ifstream file("/proc/sys/kernel/random/boot_id");
    std::string boot;
    std::getline(file, boot);
    struct stat network = {};
    stat("/proc/self/ns/net", &network);
    // Without them nobody is on the same host, and TCP is used.
    if (boot.empty() || network.st_ino == 0) return new std::string(random_name());
    return new std::string(boot + "." + std::to_string(network.st_ino));
  }();
  return *id;
}

}  // namespace wl::comm
