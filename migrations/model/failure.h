// What an error of a database means for a sub-batch, and how its SQLSTATE travels inside an absl::Status.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace migrationd {

// SQLSTATEs of our own, raised on the target. Class MD is in the range that the SQL standard leaves to implementations.
inline constexpr std::string_view kSqlStateFenced = "MD001";             // another owner took over: drop the lane
inline constexpr std::string_view kSqlStateWhereNotSatisfied = "MD002";  // no row stopped matching `where`
inline constexpr std::string_view kSqlStateFrozen = "MD003";             // migration_control.freeze() is in force
inline constexpr std::string_view kSqlStateSchemaChanged = "MD004";      // the table was replaced or a column changed
inline constexpr std::string_view kSqlStateLockNotAvailable = "55P03";   // PostgreSQL's own: lock_timeout
inline constexpr std::string_view kSqlStateNotCompleted = "MD005";       // require_completed()
inline constexpr std::string_view kSqlStateNativeFailed = "MD006";       // not of the database: a native class failed; uses an attempt

// What to do about a failed sub-batch (design 6).
enum class FailureClass {
  kRetryNow,           // 40001, 40P01
  kRetrySmaller,       // 57014, 55P03
  kBackOff,            // 08, 53, 57P, 25006 and lost connections: for ever, never an attempt
  kBadRows,            // 21, 22, 23, 44, 54, P0, 38, 39: some row of the range is at fault
  kHalt,               // 42, 0A: no retry can help
  kAttempt,            // anything else: uses an attempt, with back-off
  kFenced,             // MD001
  kWhereNotSatisfied,  // MD002
  kFrozen,             // MD003
  kSchemaChanged,      // MD004
};

// `sqlstate` is five characters, or empty for a connection that broke.
FailureClass ClassifyFailure(std::string_view sqlstate);

// "RETRY_NOW" ..., for metrics.
std::string_view FailureClassName(FailureClass failure);

// The status with that SQLSTATE attached. Code: UNAVAILABLE for kBackOff, ABORTED for kRetryNow and kFenced, FAILED_PRECONDITION
// otherwise. `message` must hold no row values.
absl::Status DatabaseError(std::string_view sqlstate, std::string_view message);

// The SQLSTATE attached to `status`; empty for a lost connection or when it did not come from a database.
std::string SqlStateOf(const absl::Status& status);

// Whether it came from a database, or from what stands in for one: an SQLSTATE is attached, perhaps that of a lost connection.
bool IsDatabaseError(const absl::Status& status);

// The refusal (42501) of a statement that would not see all rows of a table, since the role is subject to its row-level security. Says after
// `message`, which names the table, what to do about it.
absl::Status RowSecurityError(std::string_view message);
bool IsRowSecurityError(const absl::Status& status);

// True when a commit was under way and its outcome is unknown: only taking the owner row again tells.
bool IsCommitUnknown(const absl::Status& status);
absl::Status CommitUnknownError(std::string_view message);

}  // namespace migrationd
