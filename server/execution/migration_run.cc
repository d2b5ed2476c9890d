#include "server/execution/migration_run.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "migrations/model/verbs.h"

namespace migrationd {
namespace {

// A RateMeter counts in whole numbers: parts of the key range.
constexpr double kPositions = 1e12;
constexpr absl::Duration kPositionPaceAfter = absl::Seconds(10);
constexpr absl::Duration kPositionStandsAfter = absl::Minutes(1);

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
  // As TimeAccountAt has what is missing of one that is over.
  gap_word_ = stored_.migration.finished_at.has_value() ? kTimeSteps : IdleTimeWord(stored_.migration);
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

void MigrationRun::ApplySizes() {
  const Migration& m = stored_.migration;
  // Whether an override is over is the scheduler's to tell, which ends it in the store.
  controls_.SetSizes(EffectiveSizes(m, absl::InfinitePast()), m.size_override.has_value() && m.size_override->sub_batch_size > 0);
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
  if (split && stage_ == Stage::kWorking && SplitUnlessInTrouble()) return;
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

void MigrationRun::Reopen(absl::Duration delay) {
  controls_.Interrupt();
  reopen_wanted_ = true;
  // The longest wait that any lane asks for.
  step_due_ = std::max(step_due_, services_.clock.Now() + delay);
}

void MigrationRun::DropLanes() {
  counters_ = Counters();
  working_base_ = counters_.working;
  KeepRest();
  for (const LaneSlot& slot : lanes_) {
    isolating_before_ += slot.runner->View().isolating;
    const LaneFailures failures{slot.attempts, slot.consecutive, slot.runner->failure_cap()};
    if (failures.consecutive > 0) lane_failures_[slot.runner->View().range.lane] = failures;
  }
  lanes_.clear();
  claim_.reset();
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
  // A cleanup or a verification after the end is no time of the migration.
  const absl::Time until = std::min(database_now, stored_.migration.finished_at.value_or(absl::InfiniteFuture()));
  // What came before this run's claim.
  if (!std::exchange(gap_charged_, true)) {
    ChargeTime(counters_, started, until, {}, gap_word_);
    activity_.Take(services_.clock.Now());
    return;
  }
  ChargeTime(counters_, started, until, activity_.Take(services_.clock.Now()), activity_.word());
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
  now.fraction_per_second.reset();
  if (const auto fraction = PassFraction(); fraction.has_value() && !lanes_.empty()) {
    now.fraction = *fraction;
    now.fraction_per_second = PositionPace(*fraction);
  }
  rate_.Add(services_.clock.Now(), now.rows_done);
  now.rows_per_second = rate_.PerSecond(services_.clock.Now());
  long_rate_.Add(services_.clock.Now(), now.rows_done);
  now.rows_per_second_long = long_rate_.PerSecond(services_.clock.Now());
  return now;
}

// Told once it can be relied on: positions come from statistics every few seconds, and a single sub-batch may take long.
std::optional<double> MigrationRun::PositionPace(double fraction) {
  const absl::Time now = services_.clock.Now();
  position_rate_.Add(now, std::llround(fraction * kPositions));
  const double pace = position_rate_.PerSecond(now) / kPositions;
  const absl::Duration least = pace > 0 ? kPositionPaceAfter : kPositionStandsAfter;
  return position_rate_.Covers(now) >= least ? std::optional(pace) : std::nullopt;
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
