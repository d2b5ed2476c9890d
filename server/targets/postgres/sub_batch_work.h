// The work of a sub-batch that is a transaction of several messages: a statement, or a native class.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/targets/postgres/connection.h"
#include "server/targets/target.h"

namespace migrationd {

struct WorkRange {
  const Key& lower;
  const Key& upper;
  bool first = false;   // `lower` is inclusive
  bool verify = false;  // rows that are recorded are left out
};

// Runs the plan's work over the range inside the transaction that the caller began, and which still is open when it is OK. Rows affected.
// A native class has `time_limit` for all that it does; past it, 57014. What it does wrong, or throws, is a DatabaseError: MD006, which
// uses an attempt, or 0A000 for statements that are not its to run.
absl::StatusOr<std::int64_t> RunWorkIn(Connection& connection, const MigrationPlan& plan, const WorkRange& range,
                                       absl::Duration time_limit);

}  // namespace migrationd
