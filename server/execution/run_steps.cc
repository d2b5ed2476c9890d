// The steps of a run that are no lanes: opening, ends of passes, halting, closing, cleaning up, verifying on demand.
#include "server/execution/migration_run.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "migrations/model/failure.h"
#include "server/observability/log.h"

namespace migrationd {
namespace {

// Between two attempts at a cleanup: doubling. The longest is also between two claims of a verification that fails.
constexpr absl::Duration kCleanupRetryFirst = absl::Seconds(1);
constexpr absl::Duration kCleanupRetryLongest = absl::Minutes(1);

}  // namespace

void MigrationRun::StartOpening() {
  step_busy_ = true;
  const auto on_phase = [this](Phase phase) {
    absl::MutexLock lock(&mutex_);
    opening_phase_ = phase;
  };
  const StoredMigration stored = stored_;
  Submit<OpenOutcome>(
      services_.steps, [context = LongStepContext(), stored, on_phase] { return OpenMigration(context, stored, on_phase); },
      [this](OpenOutcome outcome) { Opened(std::move(outcome)); });
}

void MigrationRun::Opened(OpenOutcome outcome) {
  step_busy_ = false;
  const bool stopped = LongStepWasStopped();
  switch (outcome.kind) {
    case OpenOutcome::Kind::kReady:
      plan_ = std::move(outcome.plan);
      if (!outcome.estimate.method.empty()) {
        counters_.rows_estimated = outcome.estimate.rows;
        counters_.estimate_method = outcome.estimate.method;
      }
      step_hold_ = Hold{};
      if (outcome.where_satisfied) controls_.NoteWhereSatisfied();
      AdoptCheckpoint(outcome.checkpoint);
      services_.metrics.TookOver(stored_.migration.target);
      // It has become RUNNING: readers should not have to wait for the next look at the store.
      services_.refresh();
      Log(LogLevel::kInfo, "opened", {{"migration", stored_.migration.name}, {"target", stored_.migration.target},
                                       {"epoch", absl::StrCat(epoch())}, {"pass", absl::StrCat(counters_.pass)},
                                       {"rows", absl::StrCat(counters_.rows_done)}});
      return;
    case OpenOutcome::Kind::kHeld:
      parting_hold_ = outcome.hold;
      parting_recheck_ = outcome.recheck;
      Finish(/*release_claim=*/true);
      return;
    case OpenOutcome::Kind::kHalted:
    case OpenOutcome::Kind::kCompleted:
      Finish(/*release_claim=*/true);
      return;
    case OpenOutcome::Kind::kStopped:
      // Decide anew from what the store says; an operator's wish arrives with the next Update.
      if (directive_ == Directive::kWork) Finish(/*release_claim=*/true);
      return;
    case OpenOutcome::Kind::kFailed:
      // Being told to stop is no failure; whatever is wanted then begins by taking over.
      if (!stopped) StepFailed(outcome.error);
      return;
  }
}

void MigrationRun::StartEndPass() {
  step_busy_ = true;
  const ProgressCounters counters = Counters();
  PassContext pass;
  pass.has_where = plan_->has_where;
  pass.pass = counters.pass;
  pass.pass_affected = pass_affected_base_;
  for (const LaneSlot& slot : lanes_) pass.pass_affected += slot.runner->View().affected;
  pass.unchanged_rows = counters.unchanged_rows;
  pass.failed_rows = counters.failed_ranges;
  const auto& definition = *stored_.definition;
  pass.on_unchanged = definition.has_copy_columns() ? definition.copy_columns().on_unchanged() : definition.sql_batch().on_unchanged();
  pass.earlier_passes = earlier_passes_;
  if (pass.pass > 1) earlier_passes_.push_back(pass.pass_affected);
  Submit<absl::StatusOr<PassEnd>>(
      services_.steps,
      [context = LastContext(), stored = stored_, pass, claim = *claim_, plan = plan_] { return EndPass(context, stored, claim, *plan, pass); },
      [this](absl::StatusOr<PassEnd> end) { PassEnded(std::move(end)); });
}

void MigrationRun::PassEnded(absl::StatusOr<PassEnd> end) {
  step_busy_ = false;
  if (!end.ok()) {
    if (stored_.definition != nullptr && counters_.pass > 1 && !earlier_passes_.empty()) earlier_passes_.pop_back();
    StepFailed(end.status());
    return;
  }
  counters_ = Counters();
  step_attempts_ = 0;
  step_consecutive_ = 0;
  step_hold_ = Hold{};
  if (end->kind == PassEnd::Kind::kNextPass) {
    lane_failures_.clear();
    working_base_ = counters_.working;
    AdoptCheckpoint(end->checkpoint);
    return;
  }
  Finish(/*release_claim=*/true);
}

void MigrationRun::StepFailed(const absl::Status& status) {
  if (controls_.stopped()) return;
  // The store refuses: the claim is lost, or the state is another one. The next look at the store tells.
  if (status.code() == absl::StatusCode::kAborted && SqlStateOf(status).empty()) {
    Finish(/*release_claim=*/true);
    return;
  }
  const std::string sqlstate = SqlStateOf(status);
  FailureContext context = RetryRules();
  context.step = true;
  const bool away = status.code() == absl::StatusCode::kUnavailable || status.code() == absl::StatusCode::kDeadlineExceeded;
  context.failure = away ? FailureClass::kBackOff : ClassifyFailure(sqlstate.empty() ? "XX000" : sqlstate);
  target_away_ = context.failure == FailureClass::kBackOff;
  // A step has no rows to leave out, nor to make fewer of: a lock that is taken is waited for.
  if (context.failure == FailureClass::kBadRows) context.failure = FailureClass::kAttempt;
  if (context.failure == FailureClass::kRetrySmaller) context.sub_batch_size = 1;
  context.sqlstate = sqlstate;
  context.message = std::string(status.message());
  context.attempts = step_attempts_;
  context.consecutive = ++step_consecutive_;
  const FailureDecision decision = DecideFailure(context);
  step_attempts_ = decision.attempts;
  counters_.attempts = decision.attempts;
  counters_.last_error = LastError{sqlstate, context.message, absl::InfinitePast()};
  services_.metrics.StepFailed(stored_.migration.target, std::string(FailureClassName(context.failure)));
  Log(LogLevel::kWarning, "step_failed",
      {{"migration", stored_.migration.name}, {"target", stored_.migration.target}, {"sqlstate", sqlstate},
       {"message", context.message}, {"delay", absl::FormatDuration(decision.delay)}, {"halt", decision.halt_code}});
  if (decision.action == FailureAction::kHalt) {
    halt_ = {decision.halt_code, decision.message};
    return;
  }
  step_hold_.kind = decision.hold == HoldKind::kNone ? HoldKind::kBackoff : decision.hold;
  step_hold_.reason = decision.message;
  step_due_ = services_.clock.Now() + decision.delay;
  if (decision.action == FailureAction::kReopen) Reopen(decision.delay);
}

void MigrationRun::Halt(std::string code, std::string message) {
  stage_ = Stage::kHalting;
  step_busy_ = true;
  Submit<absl::Status>(
      services_.steps,
      [context = LastContext(), claim = KnownClaim(), code, message] { return HaltOnTarget(context, claim, code, message); },
      [this, code, message](absl::Status status) {
        step_busy_ = false;
        if (status.ok()) {
          Finish(/*release_claim=*/true);
          return;
        }
        // halt_ is still set: tried again.
        target_away_ = absl::IsUnavailable(status);
        Log(LogLevel::kWarning, "halt_failed", {{"migration", stored_.migration.name}, {"target", stored_.migration.target},
                                                {"halt", code}, {"status", status.ToString()}});
        step_hold_.kind = HoldKind::kBackoff;
        step_hold_.reason = absl::StrCat("to be HALTED with ", code, " (", message, ") once nothing of it can commit any more: ",
                                         std::string(status.message()));
        step_due_ = services_.clock.Now() +
                    BackOff(absl::Milliseconds(200), absl::Seconds(5), ++step_consecutive_, absl::Uniform(random_, 0.0, 1.0));
      });
}

void MigrationRun::StartClosing() {
  stage_ = Stage::kClosing;
  step_busy_ = true;
  for (LaneSlot& slot : lanes_) slot.runner->Close();
  const bool quiesce = directive_ == Directive::kQuiesce;
  Submit<absl::Status>(
      services_.steps,
      [context = LastContext(), claim = KnownClaim(), quiesce]() -> absl::Status {
        if (quiesce) return QuiesceOnTarget(context, claim);
        // Released for another process, which takes over by fencing: durability is all that is left to do.
        if (claim.has_value()) context.target.Barrier(*claim, /*completed=*/false).IgnoreError();
        return absl::OkStatus();
      },
      [this](absl::Status status) { Closed(std::move(status)); });
}

void MigrationRun::Closed(absl::Status status) {
  step_busy_ = false;
  if (status.ok()) {
    Finish(/*release_claim=*/true);
    return;
  }
  target_away_ = absl::IsUnavailable(status);
  Log(LogLevel::kWarning, "quiesce_failed", {{"migration", stored_.migration.name}, {"target", stored_.migration.target}, {"status", status.ToString()}});
  counters_.last_error = LastError{SqlStateOf(status), std::string(status.message()), absl::InfinitePast()};
  step_hold_.kind = HoldKind::kBackoff;
  step_hold_.reason = std::string(status.message());
  closing_due_ = services_.clock.Now() + BackOff(absl::Milliseconds(200), absl::Seconds(5), ++step_consecutive_, absl::Uniform(random_, 0.0, 1.0));
  // Taken up again as what is then wanted: the operator may have resumed it meanwhile.
  DropLanes();
  stage_ = Stage::kOpening;
  step_due_ = absl::InfinitePast();
}

void MigrationRun::StartCleanup() {
  step_busy_ = true;
  const StoredMigration stored = stored_;
  {
    absl::MutexLock lock(&mutex_);
    opening_phase_ = Phase::kCleanup;
  }
  Submit<absl::Status>(services_.steps, [context = LongStepContext(), stored] { return CleanUp(context, stored); },
                       [this](absl::Status status) { CleanedUp(status); });
}

void MigrationRun::CleanedUp(const absl::Status& status) {
  step_busy_ = false;
  const bool told_to_stop = LongStepWasStopped() || controls_.stopped();
  if (told_to_stop) return;
  // It is not asked for any more.
  const bool over = status.ok() || (status.code() == absl::StatusCode::kAborted && SqlStateOf(status).empty());
  if (!over) {
    counters_.last_error = LastError{SqlStateOf(status), std::string(status.message()), absl::InfinitePast()};
    Log(LogLevel::kWarning, "cleanup_failed", {{"migration", stored_.migration.name}, {"target", stored_.migration.target},
                                               {"status", status.ToString()}});
    // A statement that can never succeed must not hold what others need, so the claim is given up meanwhile.
    parting_hold_ = Hold{.kind = HoldKind::kBackoff, .reason = absl::StrCat("cleanup failed: ", std::string(status.message()))};
    const Hold& last = stored_.migration.hold;
    const bool again = last.kind == HoldKind::kBackoff && last.since.has_value() && last.until.has_value();
    parting_recheck_ = again ? std::clamp(2 * (*last.until - *last.since), kCleanupRetryFirst, kCleanupRetryLongest) : kCleanupRetryFirst;
  }
  Finish(/*release_claim=*/true);
}

void MigrationRun::StartVerification() {
  step_busy_ = true;
  {
    absl::MutexLock lock(&mutex_);
    opening_phase_ = Phase::kVerify;
  }
  Submit<absl::StatusOr<VerificationWalk>>(
      services_.steps, [context = LongStepContext(), stored = stored_, walk = verification_] { return VerifySome(context, stored, walk); },
      [this](absl::StatusOr<VerificationWalk> walk) { VerifiedStep(std::move(walk)); });
}

void MigrationRun::VerifiedStep(absl::StatusOr<VerificationWalk> walk) {
  step_busy_ = false;
  const bool told_to_stop = LongStepWasStopped() || controls_.stopped();
  if (told_to_stop) return;
  VerificationNext next;
  if (walk.ok()) {
    verification_ = *std::move(walk);
    step_consecutive_ = 0;
    controls_.NoteWork();
    const absl::Duration took = verification_.last_took;
    const absl::Duration asked = RestAfterBatch(pace_, verification_.last_size, took, /*lanes_at_work=*/1);
    next = AfterStep(verification_, controls_.RestAfter(took, asked));
  } else {
    next = AfterFailure(walk.status(), ++step_consecutive_, absl::Uniform(random_, 0.0, 1.0), verification_);
    counters_.last_error = LastError{SqlStateOf(walk.status()), std::string(walk.status().message()), absl::InfinitePast()};
    Log(LogLevel::kWarning, "verification_failed", {{"migration", stored_.migration.name}, {"target", stored_.migration.target},
                                                    {"status", walk.status().ToString()}});
  }
  target_away_ = absl::IsUnavailable(walk.status());
  counters_.verify_fraction = verification_.fraction();
  counters_.verify_regressed = verification_.regressed;
  step_hold_ = next.hold;
  switch (next.action) {
    case VerificationNext::Action::kGoOn:
      step_due_ = services_.clock.Now() + next.delay;
      return;
    case VerificationNext::Action::kPart:
      // Others may need the claim meanwhile; then it begins anew.
      parting_hold_ = next.hold;
      parting_recheck_ = kCleanupRetryLongest;
      Finish(/*release_claim=*/true);
      return;
    case VerificationNext::Action::kOver: Finish(/*release_claim=*/true); return;
  }
}

}  // namespace migrationd
