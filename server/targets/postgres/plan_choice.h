// Whether a lane's statements may keep one plan for all sub-batches.
//
// PostgreSQL plans a statement with a key range anew each time, because without the values it guesses that the range holds half a percent
// of the table. That takes about as long as the work on a few dozen rows. One plan for all ranges is as good where it has the same shape:
// the same nodes over the same tables and indexes in the same order. Where the guess leads to another one (a hash join over a whole table,
// say), every sub-batch is planned with its own values.
#pragma once

#include <string>
#include <vector>

#include "server/targets/postgres/connection.h"
#include "server/targets/target.h"

namespace migrationd {

// Looks at the work and at the look-up of bounds, for the range of the lane's next rows. False when it cannot be told: this is about speed
// only. Outside a transaction; leaves nothing behind on the session. For EXECUTE passes.
bool OnePlanIsAsGood(Connection& connection, const LaneOptions& options);

// The nodes of a plan that EXPLAIN (COSTS OFF) printed as text, without their conditions, which hold the values.
std::vector<std::string> PlanShape(const std::vector<std::string>& lines);

}  // namespace migrationd
