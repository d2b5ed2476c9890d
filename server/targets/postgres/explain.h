// How the database would execute a statement.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/targets/postgres/connection.h"
#include "server/targets/rehearsal.h"

namespace migrationd {

// EXPLAIN without running it, as text and for its sequential scans; with these values, not with unknown ones. In a transaction that is
// there, which an error ends.
absl::Status ExplainIn(Connection& connection, const Parameters& parameters, ExplainedSql& explained);

// The index that gives the rows of this query in its order, or "ctid" where they are read by their place on disk; empty: none, so that
// they would have to be sorted. Changes settings of the transaction.
absl::StatusOr<std::string> OrderingIndexIn(Connection& connection, const std::string& sql, const Parameters& parameters);

}  // namespace migrationd
