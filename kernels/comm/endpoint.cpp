// Endpoints as text: "wl1;process=..." fields in any order.
#include "comm/endpoint.h"

namespace wl::comm {
namespace {

constexpr char kVersion[] = "wl1";

}  // namespace

std::string to_text(const Endpoint& endpoint) { return std::string(kVersion) + ";process=" + endpoint.process; }

std::optional<Endpoint> parse_endpoint(const std::string& text) {
  Endpoint endpoint;
  size_t begin = text.find(';');
  if (text.substr(0, begin) != kVersion) return std::nullopt;
  while (begin != std::string::npos) {
    const size_t end = text.find(';', begin + 1);
    const std::string field = text.substr(begin + 1, end == std::string::npos ? end : end - begin - 1);
    const size_t equals = field.find('=');
    if (equals == std::string::npos) return std::nullopt;
    if (field.substr(0, equals) == "process") endpoint.process = field.substr(equals + 1);
    begin = end;
  }
  return endpoint;
}

}  // namespace wl::comm
