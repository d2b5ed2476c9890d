// The lanes of a run at work: begun, resting, failing.
#include "server/execution/migration_run.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "migrations/model/failure.h"
#include "server/observability/log.h"

namespace migrationd {
namespace {

// How often the table and its columns are compared with what they were.
constexpr absl::Duration kSchemaCheckInterval = absl::Seconds(1);
constexpr std::int32_t kFirstSubBatchSize = 100;
// The orderly stop waits for what is under way.
constexpr absl::Duration kBlockerLookMax = absl::Seconds(1);

// A function or trigger may put what it likes into its error. That text is for whoever may see the rows: migrationctl failures.
std::string PublicMessage(const std::string& sqlstate, const std::string& message) {
  const std::string sqlclass = sqlstate.substr(0, 2);
  if (sqlclass != "P0" && sqlclass != "38" && sqlclass != "39") return message;
  return "raised by a function or trigger; its text is shown by migrationctl failures, since it may hold row values";
}

std::string BlockedReason(const std::string& blocker) { return absl::StrCat("waits for a lock that ", blocker, " holds"); }

absl::Duration DurationOf(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

}  // namespace

void MigrationRun::AdoptCheckpoint(const Checkpoint& checkpoint) {
  claim_ = checkpoint.claim;
  if (checkpoint.pass != counters_.pass) ForgetPosition();
  counters_.pass = checkpoint.pass;
  counters_.phase = checkpoint.pass <= 1 ? Phase::kExecute : Phase::kVerify;
  counters_.rows_done = checkpoint.rows_total;
  base_sub_batches_ = checkpoint.sub_batches_total;
  base_unchanged_ = checkpoint.unchanged_rows;
  base_failed_ = checkpoint.failed_rows;
  pass_affected_base_ = checkpoint.pass_affected;
  controls_.SetRowsDone(checkpoint.rows_total);
  // What it has changed shows that the statement does what it should. A lane that is opened anew may well begin at rows that rightly stay.
  if (checkpoint.rows_total > 0) controls_.NoteWhereSatisfied();
  ApplySizes();
  KeepRest();
  for (const LaneSlot& slot : lanes_) isolating_before_ += slot.runner->View().isolating;
  lanes_.clear();
  const auto rest = std::exchange(kept_rest_, std::nullopt);
  for (const LaneRange& range : checkpoint.lanes) {
    const auto& definition = *stored_.definition;
    LaneRunner::Options options;
    options.lane.claim = *claim_;
    options.lane.range = range;
    options.lane.pass = checkpoint.pass;
    options.lane.plan = plan_.get();
    options.lane.synchronous_commit = definition.commit() == migrationcontrol::v1::COMMIT_MODE_SYNC;
    options.lane.lock_timeout = pace_.lock_timeout;
    options.lane.statement_timeout = pace_.statement_timeout;
    options.has_where = plan_->has_where;
    options.rows_share_keys = plan_->rows_share_keys;
    options.first_sub_batch_size = FirstSubBatchSize();
    options.adaptive = definition.pace().adaptive().enabled();
    options.on_sub_batch = [&metrics = services_.metrics, target = stored_.migration.target, name = stored_.migration.name](
                               std::int64_t rows, absl::Duration took) { metrics.SubBatchDone(target, name, rows, took); };
    LaneSlot slot;
    slot.runner = std::make_unique<LaneRunner>(std::move(options), *target_, controls_, services_.clock);
    slot.done = range.done();
    if (const auto failures = lane_failures_.find(range.lane); failures != lane_failures_.end()) {
      slot.attempts = failures->second.attempts;
      slot.consecutive = failures->second.consecutive;
      if (failures->second.sub_batch_cap > 0) slot.runner->ShrinkTo(failures->second.sub_batch_cap);
    }
    slot.rest = rest;
    lanes_.push_back(std::move(slot));
  }
  for (LaneSlot& slot : lanes_) PlanRest(slot);
  schema_check_due_ = services_.clock.Now() + kSchemaCheckInterval;
  stage_ = AllLanesDone() ? Stage::kEndingPass : Stage::kWorking;
  step_due_ = absl::InfinitePast();
  if (stage_ == Stage::kEndingPass) services_.wake();
}

std::int32_t MigrationRun::FirstSubBatchSize() const {
  const auto& pace = stored_.definition->pace();
  if (pace.sub_batch_size() > 0) return pace.sub_batch_size();
  // Of the definition: where its size is fixed, it is the same again after an override.
  return std::min(kFirstSubBatchSize, stored_.migration.sizes.batch_size);
}

void MigrationRun::DispatchLanes() {
  const absl::Time now = services_.clock.Now();
  if (!schema_check_busy_ && now >= schema_check_due_) StartSchemaCheck();
  if (!fraction_look_busy_ && now >= fraction_look_due_) StartFractionLook();
  if (SplitIsDue(now)) {
    split_wanted_ = true;
    controls_.Interrupt();
    services_.wake();
    return;
  }
  // Told to stop, or the scheduler is about to pause it.
  if (!controls_.may_begin() || controls_.limit_reached()) return;
  for (const std::size_t i : LanesInTurn()) {
    LaneSlot& slot = lanes_[i];
    if (slot.busy || now < slot.due) continue;
    slot.busy = true;
    slot.rest.reset();
    if (slot.hold.kind == HoldKind::kBlocked) LookForBlocker(slot);
    LaneRunner* runner = slot.runner.get();
    struct Timed {
      BatchOutcome outcome;
      absl::Duration took;
    };
    Clock& clock = services_.clock;
    Submit<Timed>(
        services_.workers,
        [runner, &clock] {
          const absl::Time begun = clock.Now();
          Timed timed{runner->RunBatch(), {}};
          timed.took = clock.Now() - begun;
          return timed;
        },
        [this, i](Timed timed) { LaneFinishedBatch(i, std::move(timed.outcome), timed.took); });
  }
}

void MigrationRun::PlanRest(LaneSlot& slot) {
  if (!slot.rest.has_value()) return;
  const LaneSlot::Rest& rest = *slot.rest;
  const absl::Duration asked = RestAfterBatch(pace_, rest.rows, rest.took, static_cast<int>(LanesInTurn().size()));
  slot.due = std::max(rest.not_before, rest.since + controls_.RestAfter(rest.took, asked));
}

void MigrationRun::BeginRest(LaneSlot& slot, absl::Duration delay) {
  const absl::Time now = services_.clock.Now();
  slot.due = now + delay;
  if (!slot.owed.has_value()) return;
  slot.rest = *std::exchange(slot.owed, std::nullopt);
  slot.rest->since = now;
  slot.rest->not_before = slot.due;
  PlanRest(slot);
}

void MigrationRun::KeepRest() {
  const LaneSlot* longest = nullptr;
  for (const LaneSlot& slot : lanes_) {
    if (slot.rest.has_value() && !slot.busy && (longest == nullptr || longest->due < slot.due)) longest = &slot;
  }
  if (longest == nullptr) return;
  kept_rest_ = longest->rest;
  // A back-off is not what is kept: whatever is opened anew has waited for it.
  kept_rest_->not_before = absl::InfinitePast();
}

void MigrationRun::LookForBlocker(const LaneSlot& slot) {
  const LaneView view = slot.runner->View();
  const std::int32_t lane = view.range.lane;
  if (view.backend_pid == 0 || !looking_for_blockers_.insert(lane).second) return;
  Submit<absl::StatusOr<std::string>>(
      services_.steps,
      [context = Context(), pid = view.backend_pid] {
        return context.target.FindBlocker(pid, std::min(context.lock_timeout, kBlockerLookMax));
      },
      [this, lane](absl::StatusOr<std::string> blocker) {
        looking_for_blockers_.erase(lane);
        // Not known is not worth a word: the lock is what holds the lane. Who was seen before may hold nothing any more.
        if (!blocker.ok() || blocker->empty()) {
          blockers_.erase(lane);
          return;
        }
        blockers_[lane] = *blocker;
        for (LaneSlot& one : lanes_) {
          if (one.runner->View().range.lane == lane && one.hold.kind == HoldKind::kBlocked) one.hold.reason = BlockedReason(*blocker);
        }
      });
}

void MigrationRun::LaneFinishedBatch(std::size_t index, BatchOutcome outcome, absl::Duration took) {
  LaneSlot& slot = lanes_[index];
  slot.busy = false;
  slot.skipping = false;
  const auto halt_after_skip = std::exchange(slot.halt_after_skip, std::nullopt);
  if (halt_after_skip.has_value() && outcome.kind != BatchOutcome::Kind::kFailed && outcome.job.has_value()) {
    controls_.Interrupt();
    halt_ = {halt_after_skip->first, halt_after_skip->second};
  }
  if (outcome.job.has_value()) {
    // Attempts come back with a committed sub-batch.
    slot.attempts = 0;
    slot.consecutive = 0;
    slot.hold = Hold{};
    blockers_.erase(outcome.job->lane);
    step_attempts_ = 0;
    step_consecutive_ = 0;
    lane_failures_.erase(outcome.job->lane);
    services_.metrics.BatchDone(stored_.migration.target, stored_.migration.name, outcome.job->outcome);
    if (jobs_.size() < kJobsWaitingMax) jobs_.push_back(*outcome.job);
    if (outcome.job->outcome == "DONE") counters_.batches_done += 1;
    // Also of one that then failed: what was done weighs the same.
    if (!slot.owed.has_value()) slot.owed = LaneSlot::Rest{};
    slot.owed->took += took;
    slot.owed->rows += outcome.rows;
  }
  switch (outcome.kind) {
    case BatchOutcome::Kind::kLaneDone:
      slot.done = true;
      slot.runner->Close();
      if (AllLanesDone()) {
        stage_ = Stage::kEndingPass;
        step_due_ = absl::InfinitePast();
      }
      return;
    case BatchOutcome::Kind::kBatchDone:
    case BatchOutcome::Kind::kStopped: BeginRest(slot, absl::ZeroDuration()); return;
    case BatchOutcome::Kind::kFailed: LaneFailed(slot, outcome); return;
  }
}

FailureContext MigrationRun::RetryRules() {
  const auto& retry = stored_.definition->retry();
  FailureContext context;
  context.max_failed_rows = retry.max_failed_ranges();
  context.max_failed_ratio = retry.max_failed_ratio();
  if (retry.has_backoff()) context.backoff = DurationOf(retry.backoff());
  if (retry.has_max_backoff()) context.max_backoff = DurationOf(retry.max_backoff());
  if (retry.max_attempts() > 0) context.max_attempts = retry.max_attempts();
  context.jitter = absl::Uniform(random_, 0.0, 1.0);
  return context;
}

FailureContext MigrationRun::ContextOf(LaneSlot& slot, const BatchOutcome& outcome) {
  FailureContext context = RetryRules();
  context.sqlstate = SqlStateOf(outcome.error);
  context.message = PublicMessage(context.sqlstate, std::string(outcome.error.message()));
  context.failure = IsCommitUnknown(outcome.error) ? FailureClass::kBackOff : ClassifyFailure(context.sqlstate);
  // Only the work can fail for a row of its own; what makes the session, looks up a bound or records a row would fail again and again.
  if (!outcome.in_work && context.failure == FailureClass::kBadRows) context.failure = FailureClass::kAttempt;
  context.sub_batch_size = outcome.failed_sub_batch_size;
  context.attempts = slot.attempts;
  // Looking for a row at fault is no reason for a back-off.
  if (context.failure != FailureClass::kBadRows) ++slot.consecutive;
  context.consecutive = slot.consecutive;
  const ProgressCounters counters = Counters();
  context.failed_rows = counters.failed_ranges;
  context.sub_batches = counters.sub_batches_done - isolating_before_;
  for (const LaneSlot& other : lanes_) {
    context.sub_batches -= other.runner->View().isolating;
    // Once it is recorded it is among the others.
    if (&other != &slot && other.skipping && other.runner->View().failed == other.failed_before) ++context.failed_rows;
  }
  return context;
}

void MigrationRun::LaneFailed(LaneSlot& slot, const BatchOutcome& outcome) {
  // Cancelled because we were told to stop: no failure.
  if (controls_.stopped()) return;
  const FailureContext context = ContextOf(slot, outcome);
  target_away_ = context.failure == FailureClass::kBackOff;
  // Nothing else was done meanwhile.
  if (context.sqlstate == kSqlStateLockNotAvailable && !LanesBusy()) {
    activity_.Reclassify(kTimeWorking, kTimeLockWait, pace_.lock_timeout, services_.clock.Now());
  }
  const FailureDecision decision = DecideFailure(context);
  slot.attempts = decision.attempts;
  counters_.attempts = decision.attempts;
  counters_.last_error = LastError{context.sqlstate, context.message, absl::InfinitePast()};
  if (context.failure == FailureClass::kFenced) services_.metrics.Fenced(stored_.migration.target);
  services_.metrics.SubBatchFailed(stored_.migration.target, IsCommitUnknown(outcome.error) ? std::string("COMMIT_UNKNOWN")
                                                                                           : std::string(FailureClassName(context.failure)));
  // Which row it is takes several failures to find out; they are one to the reader.
  Log(decision.action == FailureAction::kIsolate ? LogLevel::kDebug : LogLevel::kWarning,
      decision.action == FailureAction::kSkip ? "row_failed" : "sub_batch_failed",
      {{"migration", stored_.migration.name}, {"target", stored_.migration.target}, {"sqlstate", context.sqlstate},
       {"message", context.message}, {"delay", absl::FormatDuration(decision.delay)}, {"halt", decision.halt_code}});
  ActOn(decision, slot, outcome);
}

void MigrationRun::ActOn(const FailureDecision& decision, LaneSlot& slot, const BatchOutcome& outcome) {
  switch (decision.action) {
    case FailureAction::kRetry:
      slot.runner->ShrinkTo(decision.sub_batch_size);
      BeginRest(slot, decision.delay);
      slot.hold.kind = decision.hold;
      slot.hold.reason = decision.message;
      if (const auto blocker = blockers_.find(slot.runner->View().range.lane); decision.hold == HoldKind::kBlocked && blocker != blockers_.end()) {
        slot.hold.reason = BlockedReason(blocker->second);
      }
      return;
    case FailureAction::kIsolate:
      slot.runner->Isolate(outcome.failed_sub_batch_size);
      slot.due = services_.clock.Now();
      return;
    case FailureAction::kSkip:
      slot.runner->SkipFailedRow(SqlStateOf(outcome.error), std::string(outcome.error.message()), !decision.halt_code.empty());
      slot.skipping = true;
      slot.failed_before = slot.runner->View().failed;
      if (!decision.halt_code.empty()) slot.halt_after_skip = {decision.halt_code, decision.message};
      slot.due = services_.clock.Now();
      return;
    case FailureAction::kReopen:
      BeginRest(slot, absl::ZeroDuration());
      slot.hold.kind = decision.delay > absl::ZeroDuration() ? HoldKind::kBackoff : HoldKind::kNone;
      slot.hold.reason = decision.message;
      step_hold_ = slot.hold;
      Reopen(decision.delay);
      return;
    case FailureAction::kHalt:
      controls_.Interrupt();
      halt_ = {decision.halt_code, decision.message};
      // A refused statement may have its cause in a changed table: that is what a person wants to read.
      if (decision.halt_code == kHaltStatementRefused && !schema_check_busy_) StartSchemaCheck();
      return;
  }
}

void MigrationRun::StartSchemaCheck() {
  schema_check_busy_ = true;
  const StoredMigration stored = stored_;
  const auto plan = plan_;
  Submit<absl::Status>(services_.steps, [context = Context(), stored, plan] { return CheckSchema(context, stored, *plan); },
                       [this](absl::Status status) {
                         schema_check_busy_ = false;
                         schema_check_due_ = services_.clock.Now() + kSchemaCheckInterval;
                         if (SqlStateOf(status) != kSqlStateSchemaChanged) return;
                         controls_.Interrupt();
                         halt_ = {kHaltSchemaChanged, std::string(status.message())};
                       });
}

}  // namespace migrationd
