#include "server/execution/migration_run.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "migrations/model/failure.h"
#include "migrations/model/verbs.h"
#include "server/observability/log.h"

namespace migrationd {
namespace {

constexpr std::size_t kJobsWaitingMax = 10000;
// How often the table and its columns are compared with what they were.
constexpr absl::Duration kSchemaCheckInterval = absl::Seconds(1);
constexpr absl::Duration kFractionLookInterval = absl::Seconds(3);
constexpr std::int32_t kFirstSubBatchSize = 100;
// Between two attempts at a cleanup: doubling. The longest is also between two claims of a verification that fails.
constexpr absl::Duration kCleanupRetryFirst = absl::Seconds(1);
constexpr absl::Duration kCleanupRetryLongest = absl::Minutes(1);

// Lanes are cut anew when fewer are left than may be at work: what is left must be worth it, and not too often.
constexpr int kBatchesWorthASplit = 4;
constexpr std::size_t kLanesMax = 64;
constexpr absl::Duration kSplitPause = absl::Seconds(2);
constexpr absl::Duration kSplitPauseMax = absl::Minutes(1);

// The orderly stop waits for what is under way.
constexpr absl::Duration kBlockerLookMax = absl::Seconds(1);

// A function or trigger may put what it likes into its error. That text is for whoever may see the rows: migrationctl failures.
std::string PublicMessage(const std::string& sqlstate, const std::string& message) {
  const std::string sqlclass = sqlstate.substr(0, 2);
  if (sqlclass != "P0" && sqlclass != "38" && sqlclass != "39") return message;
  return "raised by a function or trigger; its text is shown by migrationctl failures, since it may hold row values";
}

std::string BlockedReason(const std::string& blocker) { return absl::StrCat("waits for a lock that ", blocker, " holds"); }

// Pairs of where a lane begins and where it is; nullopt when one of them is not known.
std::optional<double> SumOfParts(const std::vector<std::optional<double>>& places) {
  double sum = 0;
  for (std::size_t i = 0; i + 1 < places.size(); i += 2) {
    if (!places[i].has_value() || !places[i + 1].has_value()) return std::nullopt;
    sum += std::max(0.0, *places[i + 1] - *places[i]);
  }
  return std::min(sum, 1.0);
}

absl::Duration DurationOf(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

}  // namespace

MigrationRun::MigrationRun(StoredMigration stored, Lease lease, absl::Time trusted_until, Purpose purpose, RunServices services)
    : lease_(std::move(lease)),
      purpose_(purpose),
      services_(std::move(services)),
      target_(services_.target->WithStop(stop_.get_token())),
      stored_(std::move(stored)),
      controls_(services_.clock),
      activity_(services_.clock.Now()) {
  controls_.TrustUntil(trusted_until);
  counters_ = stored_.migration.progress;
  working_base_ = counters_.working;
  base_sub_batches_ = counters_.sub_batches_done;
  controls_.SetRowsDone(counters_.rows_done);
  ApplySizes();
  pace_ = PaceOf(*stored_.definition, stored_.migration.pace_override, absl::InfinitePast());
  controls_.SetTargetTime(pace_.target_sub_batch_time);
  gap_word_ = IdleTimeWord(stored_.migration);
}

MigrationRun::~MigrationRun() = default;

StepContext MigrationRun::ContextOn(Target& target) const {
  StepContext context{.store = services_.store,
                      .target = target,
                      .controls = const_cast<RunControls&>(controls_),
                      .id = stored_.migration.id,
                      .lease = lease_,
                      .control_id = services_.control_id,
                      .actor = services_.actor,
                      .target_search_path = services_.target_search_path,
                      .natives = services_.natives};
  context.lock_timeout = pace_.lock_timeout;
  context.statement_timeout = pace_.statement_timeout;
  context.lanes = pace_.lanes;
  return context;
}

StepContext MigrationRun::LastContext() {
  StepContext context = Context();
  context.counters = Counters();
  context.counters->sub_batch_size = 0;
  return context;
}

StepContext MigrationRun::LongStepContext() {
  long_step_stop_ = std::stop_source();
  long_step_target_ = services_.target->WithStop(long_step_stop_.get_token());
  return ContextOn(*long_step_target_);
}

bool MigrationRun::LongStepWasStopped() {
  const bool stopped = long_step_stop_.stop_requested();
  long_step_stop_ = std::stop_source();
  return stopped;
}

template <typename Result>
void MigrationRun::Submit(WorkerPool& pool, std::function<Result()> work, std::function<void(Result)> then) {
  {
    absl::MutexLock lock(&mutex_);
    ++in_flight_;
  }
  pool.Submit([this, work = std::move(work), then = std::move(then), wake = services_.wake] {
    auto result = std::make_shared<Result>(work());
    {
      // Last touch of this object and of the scheduler: once in_flight_ is zero both may be destroyed.
      absl::MutexLock lock(&mutex_);
      completions_.push_back([then, result] { then(std::move(*result)); });
      wake();
      --in_flight_;
    }
  });
}

void MigrationRun::TakeCompletions() {
  std::deque<Completion> completions;
  {
    absl::MutexLock lock(&mutex_);
    completions.swap(completions_);
  }
  for (const Completion& completion : completions) completion();
}

bool MigrationRun::idle() const {
  absl::MutexLock lock(&mutex_);
  return in_flight_ == 0;
}

void MigrationRun::Update(const StoredMigration& stored, Directive directive, const Hold& hold) {
  if (directive == Directive::kAbandon) {
    directive_ = directive;
    controls_.Stop();
    stop_.request_stop();
    long_step_stop_.request_stop();
    return;
  }
  // The definition too: one that has not begun takes a changed file.
  stored_ = stored;
  ApplySizes();
  ApplyPace();
  // From the first row on: a migration that was just claimed is still PENDING here.
  const bool working = stored.migration.state == State::kRunning || stored.migration.state == State::kPending;
  controls_.SetRowLimit(working ? stored.migration.pause_after_rows : 0);
  directive_hold_ = hold;
  if (directive_ == Directive::kAbandon) return;  // for good
  directive_ = directive;
  // Lanes that are to be opened anew, or that end in a halt, stay interrupted until then.
  const bool stopping = reopen_wanted_ || split_wanted_ || halt_.has_value();
  if (directive_ == Directive::kWork && !stopping) {
    controls_.Continue();
  } else {
    controls_.Interrupt();
  }
  if (closing() && (stage_ == Stage::kOpening || splitting_) && step_busy_) long_step_stop_.request_stop();
  for (LaneSlot& slot : lanes_) {
    if (!slot.busy) PlanRest(slot);
  }
}

void MigrationRun::Pump() {
  Step();
  NoteActivity();
}

void MigrationRun::Step() {
  TakeCompletions();
  if (stage_ == Stage::kFinished) return;
  const bool busy = step_busy_ || schema_check_busy_ || LanesBusy();
  if (directive_ == Directive::kAbandon) {
    if (!busy) Finish(/*release_claim=*/false);
    return;
  }
  if (closing()) {
    if (!busy && services_.clock.Now() >= closing_due_) StartClosing();
    return;
  }
  if (busy && (reopen_wanted_ || split_wanted_ || halt_.has_value())) return;  // the lanes are stopping
  if (halt_.has_value()) {
    if (services_.clock.Now() >= step_due_) Halt(halt_->first, halt_->second);
    return;
  }
  if (reopen_wanted_) {
    reopen_wanted_ = false;
    DropLanes();
    stage_ = Stage::kOpening;
    split_wanted_ = false;
    controls_.Continue();
  }
  const bool split = std::exchange(split_wanted_, false);
  if (directive_ == Directive::kHold) return;
  if (split && stage_ == Stage::kWorking) {
    // One that looks for a row at fault goes on looking.
    const bool in_trouble = std::any_of(lanes_.begin(), lanes_.end(), [](const LaneSlot& slot) {
      return !slot.done && (slot.consecutive > 0 || slot.skipping || slot.runner->in_trouble());
    });
    if (!in_trouble) {
      StartSplit();
      return;
    }
    split_due_ = services_.clock.Now() + kSplitPause;
    controls_.Continue();
  }
  const bool due = !step_busy_ && services_.clock.Now() >= step_due_;
  switch (stage_) {
    case Stage::kOpening:
      if (!due) return;
      if (purpose_ == Purpose::kCleanup) {
        StartCleanup();
      } else if (purpose_ == Purpose::kVerify) {
        StartVerification();
      } else {
        StartOpening();
      }
      return;
    case Stage::kWorking:
      if (!step_busy_) DispatchLanes();
      return;
    case Stage::kEndingPass:
      if (due) StartEndPass();
      return;
    case Stage::kHalting:
    case Stage::kClosing:
    case Stage::kFinished: return;
  }
}

absl::Time MigrationRun::next_due() const {
  // A result on its way wakes the scheduler by itself.
  if (stage_ == Stage::kFinished || directive_ == Directive::kAbandon) {
    return idle() ? absl::InfinitePast() : absl::InfiniteFuture();
  }
  if (step_busy_) return absl::InfiniteFuture();
  if (closing() || halt_.has_value() || reopen_wanted_ || split_wanted_) {
    if (LanesBusy() || schema_check_busy_) return absl::InfiniteFuture();
    return closing() ? closing_due_ : step_due_;
  }
  if (directive_ == Directive::kHold) return absl::InfiniteFuture();
  if (stage_ != Stage::kWorking) return step_due_;
  // What lets lanes begin again comes with the scheduler's next look.
  if (!controls_.may_begin() || controls_.limit_reached()) return absl::InfiniteFuture();
  absl::Time next = absl::InfiniteFuture();
  for (const std::size_t i : LanesInTurn()) {
    if (!lanes_[i].busy) next = std::min(next, lanes_[i].due);
  }
  return next;
}

// ---- opening ------------------------------------------------------------------------------------------------------------------

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

void MigrationRun::AdoptCheckpoint(const Checkpoint& checkpoint) {
  claim_ = checkpoint.claim;
  counters_.pass = checkpoint.pass;
  counters_.phase = checkpoint.pass <= 1 ? Phase::kExecute : Phase::kVerify;
  counters_.rows_done = checkpoint.rows_total;
  base_sub_batches_ = checkpoint.sub_batches_total;
  base_unchanged_ = checkpoint.unchanged_rows;
  base_failed_ = checkpoint.failed_rows;
  pass_affected_base_ = checkpoint.pass_affected;
  controls_.SetRowsDone(checkpoint.rows_total);
  ApplySizes();
  for (const LaneSlot& slot : lanes_) isolating_before_ += slot.runner->View().isolating;
  lanes_.clear();
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
    options.adaptive = definition.pace().adaptive().enabled() && !stored_.migration.size_override.has_value();
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
    lanes_.push_back(std::move(slot));
  }
  schema_check_due_ = services_.clock.Now() + kSchemaCheckInterval;
  stage_ = AllLanesDone() ? Stage::kEndingPass : Stage::kWorking;
  step_due_ = absl::InfinitePast();
  if (stage_ == Stage::kEndingPass) services_.wake();
}

std::int32_t MigrationRun::FirstSubBatchSize() const {
  const auto& pace = stored_.definition->pace();
  if (stored_.migration.size_override.has_value()) return controls_.sub_batch_ceiling();
  if (pace.sub_batch_size() > 0) return pace.sub_batch_size();
  return std::min(kFirstSubBatchSize, controls_.batch_size());
}

void MigrationRun::ApplySizes() {
  const Migration& m = stored_.migration;
  Sizes sizes = m.sizes;
  if (m.size_override.has_value()) {
    sizes.batch_size = m.size_override->batch_size;
    sizes.sub_batch_size = m.size_override->sub_batch_size;
  }
  controls_.SetSizes(sizes, m.size_override.has_value());
}

void MigrationRun::ApplyPace() {
  // Whether it is over is the scheduler's to tell, which ends it in the store.
  const PaceInForce pace = PaceOf(*stored_.definition, stored_.migration.pace_override, absl::InfinitePast());
  const bool sessions_differ = pace.lock_timeout != pace_.lock_timeout || pace.statement_timeout != pace_.statement_timeout;
  pace_ = pace;
  controls_.SetTargetTime(pace_.target_sub_batch_time);
  // Sessions keep the limits that they were opened with.
  if (sessions_differ && stage_ == Stage::kWorking) Reopen(absl::ZeroDuration());
}

// ---- lanes --------------------------------------------------------------------------------------------------------------------

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
  slot.due = rest.since + controls_.RestAfter(rest.took, RestAfterBatch(pace_, rest.rows, rest.took, static_cast<int>(LanesInTurn().size())));
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
  }
  const absl::Time now = services_.clock.Now();
  switch (outcome.kind) {
    case BatchOutcome::Kind::kLaneDone:
      slot.done = true;
      slot.runner->Close();
      if (AllLanesDone()) {
        stage_ = Stage::kEndingPass;
        step_due_ = absl::InfinitePast();
      }
      return;
    case BatchOutcome::Kind::kBatchDone: {
      slot.rest = LaneSlot::Rest{now, took, outcome.rows};
      PlanRest(slot);
      return;
    }
    case BatchOutcome::Kind::kStopped: return;
    case BatchOutcome::Kind::kFailed: LaneFailed(slot, outcome); return;
  }
}

void MigrationRun::LaneFailed(LaneSlot& slot, const BatchOutcome& outcome) {
  // Cancelled because we were told to stop: no failure.
  if (controls_.stopped()) return;
  const std::string sqlstate = SqlStateOf(outcome.error);
  const auto& retry = stored_.definition->retry();
  FailureContext context;
  context.failure = IsCommitUnknown(outcome.error) ? FailureClass::kBackOff : ClassifyFailure(sqlstate);
  // Only the work can fail for a row of its own; what makes the session, looks up a bound or records a row would fail again and again.
  if (!outcome.in_work && context.failure == FailureClass::kBadRows) context.failure = FailureClass::kAttempt;
  target_away_ = context.failure == FailureClass::kBackOff;
  context.sqlstate = sqlstate;
  context.message = PublicMessage(sqlstate, std::string(outcome.error.message()));
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
  context.max_failed_rows = retry.max_failed_ranges();
  context.max_failed_ratio = retry.max_failed_ratio();
  if (retry.has_backoff()) context.backoff = DurationOf(retry.backoff());
  if (retry.has_max_backoff()) context.max_backoff = DurationOf(retry.max_backoff());
  if (retry.max_attempts() > 0) context.max_attempts = retry.max_attempts();
  context.jitter = absl::Uniform(random_, 0.0, 1.0);
  // Nothing else was done meanwhile.
  if (sqlstate == kSqlStateLockNotAvailable && !LanesBusy()) {
    activity_.Reclassify(kTimeWorking, kTimeLockWait, pace_.lock_timeout, services_.clock.Now());
  }
  const FailureDecision decision = DecideFailure(context);
  slot.attempts = decision.attempts;
  counters_.attempts = decision.attempts;
  counters_.last_error = LastError{sqlstate, context.message, absl::InfinitePast()};
  if (context.failure == FailureClass::kFenced) services_.metrics.Fenced(stored_.migration.target);
  services_.metrics.SubBatchFailed(stored_.migration.target, IsCommitUnknown(outcome.error) ? std::string("COMMIT_UNKNOWN")
                                                                                           : std::string(FailureClassName(context.failure)));
  // Which row it is takes several failures to find out; they are one to the reader.
  Log(decision.action == FailureAction::kIsolate ? LogLevel::kDebug : LogLevel::kWarning,
      decision.action == FailureAction::kSkip ? "row_failed" : "sub_batch_failed",
      {{"migration", stored_.migration.name}, {"target", stored_.migration.target}, {"sqlstate", sqlstate},
       {"message", context.message}, {"delay", absl::FormatDuration(decision.delay)}, {"halt", decision.halt_code}});
  switch (decision.action) {
    case FailureAction::kRetry:
      slot.runner->ShrinkTo(decision.sub_batch_size);
      slot.due = services_.clock.Now() + decision.delay;
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
      slot.runner->SkipFailedRow(sqlstate, std::string(outcome.error.message()), !decision.halt_code.empty());
      slot.skipping = true;
      slot.failed_before = slot.runner->View().failed;
      if (!decision.halt_code.empty()) slot.halt_after_skip = {decision.halt_code, decision.message};
      slot.due = services_.clock.Now();
      return;
    case FailureAction::kReopen:
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

void MigrationRun::Reopen(absl::Duration delay) {
  controls_.Interrupt();
  reopen_wanted_ = true;
  // The longest wait that any lane asks for.
  step_due_ = std::max(step_due_, services_.clock.Now() + delay);
}

void MigrationRun::DropLanes() {
  counters_ = Counters();
  working_base_ = counters_.working;
  for (const LaneSlot& slot : lanes_) {
    isolating_before_ += slot.runner->View().isolating;
    const LaneFailures failures{slot.attempts, slot.consecutive, slot.runner->failure_cap()};
    if (failures.consecutive > 0) lane_failures_[slot.runner->View().range.lane] = failures;
  }
  lanes_.clear();
  claim_.reset();
}

void MigrationRun::StartFractionLook() {
  fraction_look_busy_ = true;
  const std::vector<LaneRange> places = PlacesInPass();
  Submit<absl::StatusOr<std::vector<std::optional<double>>>>(
      services_.steps,
      [context = Context(), places, plan = plan_, pass = counters_.pass] { return context.target.KeyFractions(PlanOfPass(*plan, pass), places); },
      [this, pass = counters_.pass](absl::StatusOr<std::vector<std::optional<double>>> fractions) {
        fraction_look_busy_ = false;
        fraction_look_due_ = services_.clock.Now() + kFractionLookInterval;
        // Without an answer the positions in the range have to do.
        looked_fraction_.reset();
        if (fractions.ok() && pass == counters_.pass) looked_fraction_ = SumOfParts(*fractions);
      });
}

// For each lane where it begins and where it is, as positions in the whole range of the pass: the lanes lie side by side, in the order of
// the key.
std::vector<LaneRange> MigrationRun::PlacesInPass() const {
  std::vector<LaneRange> places;
  if (lanes_.empty()) return places;
  LaneRange whole;
  whole.lower = lanes_.front().runner->View().range.lower;
  whole.upper = lanes_.back().runner->View().range.upper;
  for (const LaneSlot& slot : lanes_) {
    const LaneRange range = slot.runner->View().range;
    whole.cursor = range.lower;
    places.push_back(whole);
    whole.cursor = range.cursor.empty() ? range.lower : range.cursor;
    places.push_back(whole);
  }
  return places;
}

std::optional<double> MigrationRun::PassFraction() const {
  if (looked_fraction_.has_value()) return looked_fraction_;
  if (lanes_.empty()) return std::nullopt;
  std::vector<std::optional<double>> parts;
  for (const LaneRange& place : PlacesInPass()) {
    parts.push_back(IntegerKeyFraction(PlanOfPass(*plan_, counters_.pass).key_types, place.lower, place.cursor, place.upper));
  }
  return SumOfParts(parts);
}

std::vector<std::size_t> MigrationRun::LanesInTurn() const {
  std::vector<std::size_t> in_turn;
  for (std::size_t i = 0; i < lanes_.size() && in_turn.size() < static_cast<std::size_t>(pace_.lanes); ++i) {
    if (!lanes_[i].done) in_turn.push_back(i);
  }
  return in_turn;
}

bool MigrationRun::SplitIsDue(absl::Time now) const {
  const auto left = std::count_if(lanes_.begin(), lanes_.end(), [](const LaneSlot& slot) { return !slot.done; });
  if (left == 0 || left >= pace_.lanes || lanes_.size() >= kLanesMax || now < split_due_ || plan_ == nullptr) return false;
  // Where no position is known, all that was done counts as done in this pass.
  const auto estimated = static_cast<double>(counters_.rows_estimated);
  const auto fraction = PassFraction();
  const double rows_left = fraction.has_value() ? estimated * (1 - *fraction) : estimated - static_cast<double>(controls_.rows_done());
  return rows_left >= kBatchesWorthASplit * controls_.batch_size();
}

void MigrationRun::StartSplit() {
  step_busy_ = true;
  splitting_ = true;
  for (LaneSlot& slot : lanes_) slot.runner->Close();
  Submit<absl::StatusOr<Checkpoint>>(
      services_.steps,
      [context = LongStepContext(), claim = *claim_, plan = plan_, pass = counters_.pass, wanted = pace_.lanes] {
        return context.target.SplitLanes(claim, PlanOfPass(*plan, pass), wanted);
      },
      [this, before = lanes_.size()](absl::StatusOr<Checkpoint> split) {
        step_busy_ = false;
        splitting_ = false;
        LongStepWasStopped();
        // Where there is nothing to cut, it is not tried again and again.
        const bool more = split.ok() && split->lanes.size() > before;
        split_pause_ = more ? kSplitPause : std::min(2 * std::max(split_pause_, kSplitPause), kSplitPauseMax);
        split_due_ = services_.clock.Now() + split_pause_;
        if (!split.ok()) {
          // Whether it was done is found out by taking over.
          Log(LogLevel::kWarning, "split_failed", {{"migration", stored_.migration.name}, {"target", stored_.migration.target},
                                                   {"status", split.status().ToString()}});
          Reopen(absl::ZeroDuration());
          return;
        }
        counters_ = Counters();
        working_base_ = counters_.working;
        lane_failures_.clear();
        blockers_.clear();
        AdoptCheckpoint(*split);
        if (directive_ == Directive::kWork) controls_.Continue();
      });
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

// ---- the end of a pass, halting, closing --------------------------------------------------------------------------------------

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
      [context = LastContext(), pass, claim = *claim_, plan = plan_] { return EndPass(context, claim, *plan, pass); },
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
  const auto& retry = stored_.definition->retry();
  FailureContext context;
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
  if (retry.has_backoff()) context.backoff = DurationOf(retry.backoff());
  if (retry.has_max_backoff()) context.max_backoff = DurationOf(retry.max_backoff());
  if (retry.max_attempts() > 0) context.max_attempts = retry.max_attempts();
  context.jitter = absl::Uniform(random_, 0.0, 1.0);
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
    next = AfterStep(verification_, pace_.interval);
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

void MigrationRun::Finish(bool release_claim) {
  // While the lanes still tell: afterwards Counters() only repeats what was kept here.
  counters_ = Counters();
  stage_ = Stage::kFinished;
  release_claim_ = release_claim;
  for (LaneSlot& slot : lanes_) slot.runner->Close();
  lanes_.clear();
  counters_.sub_batch_size = 0;
}

bool MigrationRun::LanesBusy() const {
  return std::any_of(lanes_.begin(), lanes_.end(), [](const LaneSlot& slot) { return slot.busy; });
}

bool MigrationRun::AllLanesDone() const {
  return std::all_of(lanes_.begin(), lanes_.end(), [](const LaneSlot& slot) { return slot.done; });
}

// ---- what others see ----------------------------------------------------------------------------------------------------------

void MigrationRun::NoteActivity() {
  const Hold hold = CurrentHold();
  std::string word = kTimeSteps;
  if (LanesBusy()) {
    word = kTimeWorking;
  } else if (hold.kind != HoldKind::kNone) {
    word = std::string(HoldKindName(hold.kind));
  } else if (stage_ == Stage::kWorking && !step_busy_) {
    word = kTimeInterval;
  }
  activity_.Switch(word, services_.clock.Now());
}

void MigrationRun::Account(absl::Time database_now) {
  const absl::Time started = stored_.migration.started_at.value_or(absl::InfinitePast());
  // What came before this run's claim.
  if (!std::exchange(gap_charged_, true)) {
    ChargeTime(counters_, started, database_now, {}, gap_word_);
    activity_.Take(services_.clock.Now());
    return;
  }
  ChargeTime(counters_, started, database_now, activity_.Take(services_.clock.Now()), activity_.word());
}

ProgressCounters MigrationRun::Counters() {
  ProgressCounters now = counters_;
  if (stage_ == Stage::kFinished) return now;
  if (stage_ == Stage::kOpening) {
    absl::MutexLock lock(&mutex_);
    now.phase = opening_phase_;
  }
  if (claim_.has_value()) {
    now.rows_done = controls_.rows_done();
    now.sub_batches_done = base_sub_batches_;
    now.unchanged_rows = base_unchanged_;
    now.failed_ranges = base_failed_;
  }
  now.working = working_base_;
  now.lanes.clear();
  now.sub_batch_size = 0;
  for (const LaneSlot& slot : lanes_) {
    const LaneView view = slot.runner->View();
    now.sub_batches_done += view.sub_batches;
    now.unchanged_rows += view.unchanged;
    now.failed_ranges += view.failed;
    now.working += view.working;
    now.sub_batch_size = std::max(now.sub_batch_size, view.sub_batch_size);
    now.lanes.push_back({view.range.lane, view.range.cursor, view.range.upper, view.range.rows});
  }
  if (const auto fraction = lanes_.empty() ? std::nullopt : PassFraction(); fraction.has_value() && now.phase == Phase::kExecute) now.fraction = *fraction;
  if (now.phase == Phase::kVerify) now.fraction = 0.99;
  rate_.Add(services_.clock.Now(), now.rows_done);
  now.rows_per_second = rate_.PerSecond(services_.clock.Now());
  long_rate_.Add(services_.clock.Now(), now.rows_done);
  now.rows_per_second_long = long_rate_.PerSecond(services_.clock.Now());
  return now;
}

Hold MigrationRun::CurrentHold() const { return directive_ == Directive::kHold ? directive_hold_ : OwnHold(); }

Hold MigrationRun::OwnHold() const {
  if (stage_ != Stage::kWorking) return step_hold_;
  // A lane that works outweighs one that waits.
  const Hold* found = nullptr;
  for (const std::size_t i : LanesInTurn()) {
    const LaneSlot& slot = lanes_[i];
    if (slot.hold.kind == HoldKind::kNone) return Hold{};
    found = &slot.hold;
  }
  return found == nullptr ? Hold{} : *found;
}

std::string MigrationRun::TargetTrouble() const {
  const Hold hold = CurrentHold();
  return target_away_ && hold.kind == HoldKind::kBackoff ? hold.reason : "";
}

LiveWork MigrationRun::Live() const {
  LiveWork live;
  for (const LaneSlot& slot : lanes_) {
    const LaneView view = slot.runner->View();
    if (slot.busy && view.backend_pid != 0) live.backends.push_back({view.backend_pid, view.range.lane});
  }
  return live;
}

std::vector<JobRecord> MigrationRun::TakeJobs() { return std::exchange(jobs_, {}); }

void MigrationRun::ReturnJobs(std::vector<JobRecord> jobs) {
  jobs.insert(jobs.end(), std::make_move_iterator(jobs_.begin()), std::make_move_iterator(jobs_.end()));
  if (jobs.size() > kJobsWaitingMax) jobs.resize(kJobsWaitingMax);
  jobs_ = std::move(jobs);
}

}  // namespace migrationd
