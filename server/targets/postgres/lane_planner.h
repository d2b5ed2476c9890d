// Where the lanes of a pass begin and end.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "server/targets/postgres/connection.h"
#include "server/targets/target.h"

namespace migrationd {

// See Target::PlanLanes. In a transaction with pinned settings that the caller has begun.
absl::StatusOr<std::vector<LaneRange>> PlanLanesIn(Connection& connection, const MigrationPlan& plan, int lanes);

// Cuts what is left of the lanes (contiguous, in the order of the key) so that at least `wanted` are not done, as far as there are keys
// enough; lanes that are done, or are not cut, stay as they are. The first part of a lane keeps its counts. Numbers them anew, in order.
absl::StatusOr<std::vector<LaneRange>> SplitLanesIn(Connection& connection, const MigrationPlan& plan, const std::vector<LaneRange>& lanes, int wanted);

}  // namespace migrationd
