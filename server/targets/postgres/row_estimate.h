// How many rows a migration is for.
#pragma once

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/targets/postgres/connection.h"
#include "server/targets/target.h"

namespace migrationd {

// Target::EstimateRows, in a transaction that is there. `whole`: the range of all keys; empty bounds: there are none.
absl::StatusOr<RowEstimate> EstimateRowsIn(Connection& connection, const MigrationPlan& plan, const LaneRange& whole,
                                           absl::Duration patience);

}  // namespace migrationd
