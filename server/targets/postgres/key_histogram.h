// How much of a key range is behind a key, by the histogram that ANALYZE made of the key's first column.
#pragma once

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "server/targets/postgres/connection.h"
#include "server/targets/target.h"

namespace migrationd {

// For each range the part from its lower bound to its cursor, 0 to 1; nullopt without a histogram. The database compares, so it is right
// for every type that can be a key.
absl::StatusOr<std::vector<std::optional<double>>> KeyFractionsIn(Connection& connection, const MigrationPlan& plan,
                                                                  const std::vector<LaneRange>& ranges);

}  // namespace migrationd
