// Where a rank can be reached: made by its listener, carried to the peers as text.
#pragma once

#include <optional>
#include <string>

namespace wl::comm {

struct Endpoint {
  std::string process;  // names the process
  std::string host;     // names the host and its network, within which local sockets are found
  std::string local;    // name of the local socket
  std::string address;  // IP address and port for other hosts; empty: only this host
  std::string port;
  int sockets = 1;  // for each channel of a pair over TCP
};

std::string to_text(const Endpoint& endpoint);
std::optional<Endpoint> parse_endpoint(const std::string& text);

/** Names this host and network namespace. */
const std::string& host_id();
/** Random letters, different each time. */
std::string random_name();

}  // namespace wl::comm
