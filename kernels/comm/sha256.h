// SHA-256 (FIPS 180-4) and HMAC-SHA256 (RFC 2104): names groups, and proves that a peer knows the secret.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace wl::comm {

using Digest = std::array<uint8_t, 32>;

Digest sha256(std::string_view data);
Digest hmac_sha256(std::string_view key, std::string_view data);
/** In a time that does not depend on where they differ. */
bool equal(const Digest& a, const Digest& b);

}  // namespace wl::comm
