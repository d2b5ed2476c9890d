// Addresses to listen on, and sockets bound to them.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace migrationd {

// INVALID_ARGUMENT unless it is host:port, [ipv6]:port or unix:path.
absl::Status CheckListenAddress(const std::string& address);

struct BoundSockets {
  std::vector<int> descriptors;  // listening, non-blocking; the caller's
  int port = 0;                  // 0 for a unix socket
};

// Binds all that the address stands for: a host name for every address it has, 0.0.0.0 and [::] for every address of the machine. Port 0
// is any free one. A socket that a dead process left at a unix path is replaced. INVALID_ARGUMENT: no address. UNAVAILABLE: it cannot be bound,
// with the system's reason.
absl::StatusOr<BoundSockets> BindSockets(const std::string& address);

}  // namespace migrationd
