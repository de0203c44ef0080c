// Where a rank can be reached: made by its listener, carried to the peers as text.
#pragma once

#include <optional>
#include <string>

namespace wl::comm {

struct Endpoint {
  std::string process;  // names the process
};

std::string to_text(const Endpoint& endpoint);
std::optional<Endpoint> parse_endpoint(const std::string& text);

}  // namespace wl::comm
