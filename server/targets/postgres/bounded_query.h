// Queries that may fail or be cut off without ending the transaction in which they are asked.
#pragma once

#include <functional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/targets/postgres/connection.h"

namespace migrationd {

// Asks within a savepoint, each statement for at most `patience` (0 or less: DEADLINE_EXCEEDED, nothing is asked). On an error, and
// with `undo` also without one, the transaction is as it was before, settings included. UNAVAILABLE: the connection is lost.
absl::Status AskWithin(Connection& connection, absl::Duration patience, const std::function<absl::Status()>& ask, bool undo = false);

}  // namespace migrationd
