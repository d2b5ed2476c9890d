// Addresses to listen on.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace migrationd {

// INVALID_ARGUMENT unless it is host:port, [ipv6]:port or unix:path.
absl::Status CheckListenAddress(const std::string& address);

// Why `address` could not be bound: UNAVAILABLE with the system's reason. Tries again itself, since gRPC does not tell.
absl::Status ExplainBindFailure(const std::string& address);

}  // namespace migrationd
