// From the status of a gRPC call to absl::Status, with what the server says about trying again.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "grpcpp/support/status.h"

namespace migrationcontrol {

// Same code, same message; each error detail becomes a payload under its type URL. A code that gRPC does not define is
// UNKNOWN.
absl::Status ToAbslStatus(const grpc::Status& status);

// How long google.rpc.RetryInfo in the error details asks to wait; nullopt without one, or with one that is malformed
// or negative.
std::optional<absl::Duration> RetryDelay(const absl::Status& status);

}  // namespace migrationcontrol
