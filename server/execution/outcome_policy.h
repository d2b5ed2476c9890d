// What to do after a failed sub-batch and after a finished pass: pure functions, no clock, no randomness of their own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "migrationcontrol/v1/definition.pb.h"
#include "migrations/model/failure.h"
#include "migrations/model/migration.h"

namespace migrationd {

struct FailureContext {
  FailureClass failure = FailureClass::kAttempt;
  std::string sqlstate;
  std::string message;
  std::int32_t sub_batch_size = 1;   // of the sub-batch that failed
  std::int32_t attempts = 0;         // used so far by this sub-batch
  std::int32_t consecutive = 0;      // failures in a row of any class, for the back-off
  absl::Duration backoff = absl::Seconds(5);
  absl::Duration max_backoff = absl::Minutes(5);
  std::int32_t max_attempts = 3;
  double jitter = 0.5;  // 0 to 1, drawn by the caller
  bool step = false;    // a step (opening, planning, the end of a pass), not a sub-batch
  // The error budget, and what it is counted by: rows that failed, without this one, and sub-batches committed so far, without those that
  // only served to find a row at fault or to leave it out.
  std::int64_t failed_rows = 0;
  std::int64_t sub_batches = 0;
  std::int32_t max_failed_rows = 100;
  double max_failed_ratio = 0.1;
};

enum class FailureAction {
  kRetry,      // the same range again, after `delay`, with `sub_batch_size`, under `hold`
  kIsolate,    // at once, in halves, until the row at fault is alone
  kSkip,       // record the one row, and go on after it; with a halt_code: record it, and halt
  kReopen,     // fenced or unknown: take the owner row again before anything else
  kHalt,       // `halt_code` and `message`
};

struct FailureDecision {
  FailureAction action = FailureAction::kRetry;
  absl::Duration delay;
  std::int32_t sub_batch_size = 1;
  std::int32_t attempts = 0;
  HoldKind hold = HoldKind::kNone;
  std::string halt_code;
  std::string message;
};

// Design 6. Deterministic in its argument.
FailureDecision DecideFailure(const FailureContext& context);

// The ratio of the error budget counts from so many sub-batches on, those that failed for a row among them.
inline constexpr std::int64_t kRatioCountsFrom = 20;

// Doubles from `first` up to `longest`, spread by jitter to between half and the whole. `consecutive` counts from 1.
absl::Duration BackOff(absl::Duration first, absl::Duration longest, std::int32_t consecutive, double jitter);

struct PassContext {
  bool has_where = false;
  std::int32_t pass = 1;
  std::int64_t pass_affected = 0;   // rows affected in the pass that ended
  std::int64_t unchanged_rows = 0;  // recorded so far
  std::int64_t failed_rows = 0;     // likewise
  migrationcontrol::v1::OnUnchanged on_unchanged = migrationcontrol::v1::ON_UNCHANGED_HALT;
  // Rows affected by each VERIFY pass of this run before, oldest first.
  std::vector<std::int64_t> earlier_passes;
};

enum class PassAction { kNextPass, kComplete, kHalt };

struct PassDecision {
  PassAction action = PassAction::kComplete;
  std::int64_t accepted_rows = 0;
  std::string halt_code;
  std::string message;
};

// After the last lane of a pass. EXECUTE without `where` is the end; with `where`, VERIFY passes follow until one finds nothing. Then
// rows that failed, and rows left as they are, keep it from being COMPLETED.
PassDecision DecideAfterPass(const PassContext& context);

// VERIFY passes that may fail to shrink before the migration is HALTED with VERIFY_INFLOW.
inline constexpr int kInflowPassesMax = 5;

}  // namespace migrationd
