// Trying a migration out on its target without keeping anything.
#pragma once

#include "absl/status/statusor.h"
#include "server/targets/postgres/connection.h"
#include "server/targets/target.h"

namespace migrationd {

// Target::Rehearse, on a connection that is in no transaction; it is in none afterwards, unless it broke.
absl::StatusOr<Rehearsal> RehearseOn(Connection& connection, const RehearsalRequest& request);

}  // namespace migrationd
