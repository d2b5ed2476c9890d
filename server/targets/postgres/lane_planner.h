// Where the lanes of a pass begin and end.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "server/targets/postgres/connection.h"
#include "server/targets/target.h"

namespace migrationd {

// See Target::PlanLanes. In a transaction with pinned settings that the caller has begun.
absl::StatusOr<std::vector<LaneRange>> PlanLanesIn(Connection& connection, const MigrationPlan& plan, int lanes);

}  // namespace migrationd
