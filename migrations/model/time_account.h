// Where a migration's wall time went, so that the parts sum to it. Pure: times come in, all of them database time.
//
// The account is kept in ProgressCounters: seconds by word, charged without a gap from started_at up to `accounted_until`. An owner
// charges what it measured by its own clock, stretched to the database's; what passed while nobody worked is charged as a whole.
#pragma once

#include <map>
#include <string>

#include "absl/time/time.h"
#include "migrations/model/migration.h"

namespace migrationd {

// The words besides the names of hold kinds and states.
inline constexpr char kTimeWorking[] = "working";
inline constexpr char kTimeLockWait[] = "lock_wait";
inline constexpr char kTimeInterval[] = "interval";
inline constexpr char kTimeSteps[] = "steps";

using TimeShares = std::map<std::string, double>;  // seconds, or any other unit: only their proportion counts

// Charges [accounted_until, now), in proportion to `shares`; to `otherwise` where they are empty. Nothing when `now` is not later, or the
// migration never started (`started_at` InfinitePast).
void ChargeTime(ProgressCounters& counters, absl::Time started_at, absl::Time now, const TimeShares& shares, const std::string& otherwise);

// What the time is to be called in which nobody charged any: the state, or why a RUNNING one is held.
std::string IdleTimeWord(const Migration& migration);

// The account up to `now`, or to finished_at: sums to that wall time. Empty for a migration that never started.
TimeShares TimeAccountAt(const Migration& migration, absl::Time now);

}  // namespace migrationd
