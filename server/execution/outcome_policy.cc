#include "server/execution/outcome_policy.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace migrationd {
namespace {

// Immediate retries (deadlock, serialization) before they are spread out, so that two sides do not spin on each other.
constexpr std::int32_t kImmediateRetriesMax = 3;
// A row's lock that stays taken is looked at again this often. What is heavier to try again (a statement of a step, which keeps others
// waiting behind its lock, or one row that takes longer than it may) is tried ever more seldom.
constexpr absl::Duration kBlockedDelay = absl::Seconds(1);
constexpr absl::Duration kBlockedDelayMax = absl::Minutes(1);
constexpr absl::Duration kFrozenDelay = absl::Seconds(2);

FailureDecision HaltWith(const FailureContext& context, std::string code, std::string message) {
  FailureDecision decision;
  decision.action = FailureAction::kHalt;
  decision.attempts = context.attempts;
  decision.sub_batch_size = context.sub_batch_size;
  decision.halt_code = std::move(code);
  decision.message = std::move(message);
  return decision;
}

FailureDecision RetryAfter(const FailureContext& context, absl::Duration delay, HoldKind hold) {
  FailureDecision decision;
  decision.delay = delay;
  decision.hold = hold;
  decision.attempts = context.attempts;
  decision.sub_batch_size = context.sub_batch_size;
  decision.message = context.message;
  return decision;
}

FailureDecision RetrySmaller(const FailureContext& context) {
  if (context.sub_batch_size <= 1) {
    const bool row_lock = !context.step && context.sqlstate == kSqlStateLockNotAvailable;
    const absl::Duration delay = row_lock ? kBlockedDelay : BackOff(kBlockedDelay, kBlockedDelayMax, context.consecutive, context.jitter);
    return RetryAfter(context, delay, HoldKind::kBlocked);
  }
  FailureDecision decision = RetryAfter(context, absl::ZeroDuration(), HoldKind::kNone);
  // A quarter: locks and slow plans rarely go away by a little.
  decision.sub_batch_size = std::max(1, context.sub_batch_size / 4);
  return decision;
}

// Some row is at fault: which one is found by halves, at once and without using attempts; it is left out while the budget lasts.
FailureDecision LeaveOutBadRow(const FailureContext& context) {
  FailureDecision decision = RetryAfter(context, absl::ZeroDuration(), HoldKind::kNone);
  decision.action = FailureAction::kIsolate;
  if (context.sub_batch_size > 1) return decision;
  // Recorded in any case: who reads why it was halted wants to know which row it was.
  decision.action = FailureAction::kSkip;
  const std::int64_t failed = context.failed_rows + 1;
  const std::string last = absl::StrCat("; the last one with ", context.sqlstate, ": ", context.message,
                                        ". Their keys: migrationctl failures. Repair them or the statement, then Retry.");
  // One that failed is a sub-batch that failed, and not one that was committed.
  const std::int64_t sub_batches = context.sub_batches + failed;
  if (failed > context.max_failed_rows) {
    decision.halt_code = kHaltErrorBudget;
    decision.message = absl::StrCat(failed, " rows failed, more than max_failed_ranges (", context.max_failed_rows, ") allows", last);
  } else if (sub_batches >= kRatioCountsFrom && static_cast<double>(failed) > context.max_failed_ratio * static_cast<double>(sub_batches)) {
    decision.halt_code = kHaltErrorBudget;
    decision.message = absl::StrCat(failed, " rows failed in ", sub_batches, " sub-batches, more than max_failed_ratio (",
                                    context.max_failed_ratio, ") allows", last);
  }
  return decision;
}

FailureDecision UseAttempt(const FailureContext& context) {
  FailureDecision decision =
      RetryAfter(context, BackOff(context.backoff, context.max_backoff, context.attempts + 1, context.jitter), HoldKind::kBackoff);
  decision.attempts = context.attempts + 1;
  if (decision.attempts < context.max_attempts) return decision;
  FailureDecision halt = HaltWith(context, kHaltAttemptsExhausted,
                              absl::StrCat(decision.attempts, " attempts failed, the last with ",
                                           context.sqlstate.empty() ? "no SQLSTATE" : context.sqlstate, ": ", context.message));
  halt.attempts = decision.attempts;
  return halt;
}

}  // namespace

absl::Duration BackOff(absl::Duration first, absl::Duration longest, std::int32_t consecutive, double jitter) {
  const int doublings = std::clamp(consecutive - 1, 0, 30);
  const absl::Duration full = std::min(longest, first * std::pow(2.0, doublings));
  return full * (0.5 + 0.5 * std::clamp(jitter, 0.0, 1.0));
}

FailureDecision DecideFailure(const FailureContext& context) {
  switch (context.failure) {
    case FailureClass::kRetryNow:
      if (context.consecutive <= kImmediateRetriesMax) return RetryAfter(context, absl::ZeroDuration(), HoldKind::kNone);
      return RetryAfter(context, BackOff(absl::Milliseconds(50), absl::Seconds(5), context.consecutive - kImmediateRetriesMax, context.jitter),
                        HoldKind::kBackoff);
    case FailureClass::kRetrySmaller: return RetrySmaller(context);
    case FailureClass::kBackOff: {
      FailureDecision decision = RetryAfter(
          context, BackOff(absl::Milliseconds(200), absl::Seconds(15), context.consecutive, context.jitter), HoldKind::kBackoff);
      // The connection may be gone, and with it what we know of the last commit.
      decision.action = FailureAction::kReopen;
      return decision;
    }
    case FailureClass::kFenced: {
      // Once is an operator, or another owner who is not there any more. Again and again is two of them, who must not spin on each
      // other.
      FailureDecision decision = RetryAfter(context, absl::ZeroDuration(), HoldKind::kNone);
      if (context.consecutive > 1) {
        decision.delay = BackOff(absl::Milliseconds(50), absl::Seconds(5), context.consecutive - 1, context.jitter);
        decision.hold = HoldKind::kBackoff;
      }
      decision.action = FailureAction::kReopen;
      return decision;
    }
    case FailureClass::kFrozen: return RetryAfter(context, kFrozenDelay, HoldKind::kFrozen);
    case FailureClass::kSchemaChanged: return HaltWith(context, kHaltSchemaChanged, context.message);
    case FailureClass::kWhereNotSatisfied: return HaltWith(context, kHaltWhereNotSatisfied, context.message);
    case FailureClass::kHalt:
      return HaltWith(context, kHaltStatementRefused, absl::StrCat("The target refused the statement with ", context.sqlstate, ": ", context.message));
    case FailureClass::kBadRows: return LeaveOutBadRow(context);
    case FailureClass::kAttempt: return UseAttempt(context);
  }
  return UseAttempt(context);
}

namespace {

PassDecision HaltForFailedRows(const PassContext& context) {
  PassDecision decision;
  decision.action = PassAction::kHalt;
  decision.halt_code = kHaltFailedRanges;
  decision.message = absl::StrCat(context.failed_rows, context.failed_rows == 1 ? " row" : " rows",
                                  " failed; all others are done. Their keys, with the errors: migrationctl failures. Repair them, then Retry, "
                                  "which does just those.");
  return decision;
}

}  // namespace

PassDecision DecideAfterPass(const PassContext& context) {
  PassDecision decision;
  if (!context.has_where && context.failed_rows > 0) return HaltForFailedRows(context);
  if (!context.has_where) return decision;
  if (context.pass <= 1) {
    decision.action = PassAction::kNextPass;
    return decision;
  }
  if (context.pass_affected > 0) {
    // Not shrinking: so many passes, of which the first found the least of all.
    std::vector<std::int64_t> passes = context.earlier_passes;
    passes.push_back(context.pass_affected);
    const auto least = std::min_element(passes.begin(), passes.end());
    if (passes.end() - least >= kInflowPassesMax) {
      decision.action = PassAction::kHalt;
      decision.halt_code = kHaltVerifyInflow;
      decision.message = absl::StrCat(kInflowPassesMax, " passes in a row found no fewer rows to do than before (the last one ", context.pass_affected,
                                      "): something writes rows that match `where` as fast as they are done. Stop that writer, then Retry.");
      return decision;
    }
    decision.action = PassAction::kNextPass;
    return decision;
  }
  if (context.failed_rows > 0) return HaltForFailedRows(context);
  if (context.unchanged_rows > 0 && context.on_unchanged != migrationcontrol::v1::ON_UNCHANGED_ACCEPT) {
    decision.action = PassAction::kHalt;
    decision.halt_code = kHaltRowsLeft;
    decision.message = absl::StrCat(context.unchanged_rows,
                                    " rows still match `where` after their turn; their keys are in migration_control.failed_range on the target. "
                                    "Repair them and Retry, or Accept them as they are.");
    return decision;
  }
  decision.accepted_rows = context.unchanged_rows;
  return decision;
}

}  // namespace migrationd
