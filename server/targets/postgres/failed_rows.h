// Rows that cannot be done: recorded, listed, done again. Each function runs inside a transaction that the caller began.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/targets/postgres/connection.h"
#include "server/targets/target.h"

namespace migrationd {

// Records the rows of the range and moves the lane's cursor past them. `lower`: the cursor, or the lane's inclusive beginning.
absl::StatusOr<SkipResult> SkipRowIn(Connection& connection, const LaneOptions& lane, const Key& lower, const SkipRequest& request);

// Takes the record away and does the row.
absl::StatusOr<std::int64_t> RetryRowIn(Connection& connection, const RowRetry& retry, std::int32_t pass);

// Has the record say what the row failed with now, when it still is recorded.
absl::Status RecordAgainIn(Connection& connection, const FenceClaim& claim, const Key& key, const absl::Status& error);

absl::StatusOr<std::vector<RowFailure>> ListFailuresIn(Connection& connection, const std::string& migration, const Key& after, int limit);

}  // namespace migrationd
