// One claimed migration in this process: drives its steps and lanes on the worker pools. The scheduler thread pumps it; the run never
// blocks that thread.
//
//   opening --> working --> ending a pass --> working (next pass) ...
//      |           |              '--> finished (completed, halted)
//      '-----------+--> closing --> finished (paused, cancelled, released)
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/random/random.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "migrations/model/progress.h"
#include "migrations/pacing/pace.h"
#include "server/clock.h"
#include "server/execution/activity_clock.h"
#include "server/execution/lane_runner.h"
#include "server/execution/outcome_policy.h"
#include "server/execution/steps.h"
#include "server/execution/verification.h"
#include "server/execution/worker_pool.h"
#include "server/observability/metrics.h"
#include "server/scheduler/board.h"
#include "store/control_store.h"

namespace migrationd {

// What the scheduler wants of a run.
enum class Directive {
  kWork,     // go on
  kHold,     // begin nothing new; keep the claim
  kQuiesce,  // stop, make durable, record PAUSED or CANCELLED, give the claim back
  kRelease,  // stop, make durable, give the claim back; the state stays (shutdown, or another replica's turn)
  kAbandon,  // the claim is lost: stop at once, write nothing
};

struct RunServices {
  ControlStore& store;
  std::shared_ptr<Target> target;
  WorkerPool& workers;  // for lanes
  WorkerPool& steps;    // for what may take long and must not keep lanes, or the answer to an operator, waiting
  Clock& clock;
  Metrics& metrics;
  std::string control_id;
  std::string actor;
  std::vector<std::string> target_search_path;
  const NativeRegistry* natives = nullptr;  // outlives the run; null: none
  std::function<void()> wake;  // tells the scheduler that something happened; any thread
  std::function<void()> refresh;  // the same, and that the store holds something new
};

// For one thread (the scheduler's), except where said.
class MigrationRun {
 public:
  enum class Purpose { kMigrate, kQuiesce, kCleanup, kVerify };

  MigrationRun(StoredMigration stored, Lease lease, absl::Time trusted_until, Purpose purpose, RunServices services);
  // REQUIRES: idle() (nothing of it is on a worker pool).
  ~MigrationRun();
  MigrationRun(const MigrationRun&) = delete;
  MigrationRun& operator=(const MigrationRun&) = delete;

  // The store's newest word on it: sizes, intent. `directive` with the hold to show while kHold.
  void Update(const StoredMigration& stored, Directive directive, const Hold& hold);
  // Takes in results and submits what is due. Call when woken and when next_due() has come.
  void Pump();
  // Process-clock time of the next thing to do; InfiniteFuture when only a result will bring it on.
  absl::Time next_due() const;

  // No sub-batch begins until the next Update. Any thread.
  void Interrupt() { controls_.Interrupt(); }
  void TrustUntil(absl::Time until) { controls_.TrustUntil(until); }

  bool finished() const { return stage_ == Stage::kFinished; }
  bool idle() const ABSL_LOCKS_EXCLUDED(mutex_);
  // When finished: whether the claim still has to be given back.
  bool release_claim() const { return release_claim_; }
  // When finished because of a hold (SKIPPED, PREFLIGHT; BACKOFF of a cleanup or a verification that failed): what to show, and for how
  // long not to claim it again.
  std::optional<Hold> parting_hold() const { return parting_hold_; }
  absl::Duration parting_recheck() const { return parting_recheck_; }

  const Lease& lease() const { return lease_; }
  MigrationId id() const { return stored_.migration.id; }
  std::int64_t epoch() const { return claim_.has_value() ? claim_->epoch : lease_.epoch; }
  bool trusted() const { return controls_.trusted(); }
  Purpose purpose() const { return purpose_; }
  // The database's time of an error that was just seen.
  void StampLastError(absl::Time at) {
    if (counters_.last_error.has_value() && counters_.last_error->at == absl::InfinitePast()) counters_.last_error->at = at;
  }
  bool limit_reached() const { return controls_.limit_reached(); }
  // By the health of the target; see RunControls.
  void SetAllowed(double allowed) { controls_.SetAllowed(allowed); }
  bool TakeAllowanceUsed() { return controls_.TakeAllowanceUsed(); }
  // The claim under which lanes are at work; nullopt while none are.
  std::optional<FenceClaim> WorkingClaim() const { return stage_ == Stage::kWorking && !reopen_wanted_ ? claim_ : std::nullopt; }
  // It has no connection to the target, and tries to get one.
  bool Away() const { return target_away_ && OwnHold().kind == HoldKind::kBackoff; }

  // Charges the time since the last call to what it was spent on (ProgressCounters::time_seconds).
  void Account(absl::Time database_now);
  // Counters, hold and history for the store and the board. Hold times are set by the caller, who knows the database's time.
  ProgressCounters Counters();
  Hold CurrentHold() const;
  // Why the target cannot be worked with, as far as this run knows: connections lost or refused, a standby, no room. Empty: it can, or
  // what holds the run is another thing.
  std::string TargetTrouble() const;
  LiveWork Live() const;
  // Takes the job rows out; at most 10,000 wait.
  std::vector<JobRecord> TakeJobs();
  void ReturnJobs(std::vector<JobRecord> jobs);

 private:
  enum class Stage { kOpening, kWorking, kEndingPass, kHalting, kClosing, kFinished };

  struct LaneSlot {
    std::unique_ptr<LaneRunner> runner;
    bool busy = false;
    bool done = false;
    absl::Time due = absl::InfinitePast();
    // The work that it rests from; a back-off is no rest, but may be longer.
    struct Rest {
      absl::Time since;
      absl::Duration took;
      std::int64_t rows = 0;
      absl::Time not_before = absl::InfinitePast();
    };
    std::optional<Rest> rest;
    std::optional<Rest> owed;  // done, and not rested from yet: looking for a row at fault goes on at once
    std::int32_t attempts = 0;
    std::int32_t consecutive = 0;
    Hold hold;
    bool skipping = false;  // a row that failed is about to be recorded, or was in the batch that is under way
    std::int64_t failed_before = 0;  // rows of this lane that were recorded before that one
    // ... and then it is to be HALTED.
    std::optional<std::pair<std::string, std::string>> halt_after_skip;
  };
  // What is known of a lane's failures; outlives the lane when everything is opened anew.
  struct LaneFailures {
    std::int32_t attempts = 0;
    std::int32_t consecutive = 0;
    std::int32_t sub_batch_cap = 0;
  };
  using Completion = std::function<void()>;
  static constexpr std::size_t kJobsWaitingMax = 10000;

  StepContext Context() const { return ContextOn(*target_); }
  StepContext ContextOn(Target& target) const;
  // With what was counted, for a step that may be the last.
  StepContext LastContext();
  // For opening and cleaning up, one at a time: also ends when somebody wants it stopped.
  StepContext LongStepContext();
  // Whether the long step that just ended was told to stop; what runs later was not.
  bool LongStepWasStopped();
  // Runs `work` on the pool; `then` later on the scheduler's thread. `work` must look at nothing that this thread changes.
  template <typename Result>
  void Submit(WorkerPool& pool, std::function<Result()> work, std::function<void(Result)> then);
  void TakeCompletions() ABSL_LOCKS_EXCLUDED(mutex_);
  void Step();

  void StartOpening();
  void Opened(OpenOutcome outcome);
  void AdoptCheckpoint(const Checkpoint& checkpoint);
  void DispatchLanes();
  void LaneFinishedBatch(std::size_t index, BatchOutcome outcome, absl::Duration took);
  void LaneFailed(LaneSlot& slot, const BatchOutcome& outcome);
  // What the definition says about trying again, with chance for the next wait.
  FailureContext RetryRules();
  // What is known of the failure; counts it as one of the lane's.
  FailureContext ContextOf(LaneSlot& slot, const BatchOutcome& outcome);
  void ActOn(const FailureDecision& decision, LaneSlot& slot, const BatchOutcome& outcome);
  // While a lane tries again at a lock that was taken, finds out who holds it.
  void LookForBlocker(const LaneSlot& slot);
  void StartSchemaCheck();
  void StartFractionLook();
  // How much of the pass is done, 0 to 1, by the positions of the lanes in its range.
  std::optional<double> PassFraction() const;
  // Another pass begins.
  void ForgetPosition();
  // How much of the range passes in a second, now that so much has passed; nullopt: it cannot be told yet.
  std::optional<double> PositionPace(double fraction);
  std::vector<LaneRange> PlacesInPass() const;
  // Lanes that may be at work: the first that are not done, as many as the pace allows.
  std::vector<std::size_t> LanesInTurn() const;
  // Whether more lanes could be at work than are left, and enough is left to be worth it.
  bool SplitIsDue(absl::Time now) const;
  void StartSplit();
  // A lane that looks for a row at fault goes on looking; then false.
  bool SplitUnlessInTrouble();
  void StartEndPass();
  void PassEnded(absl::StatusOr<PassEnd> end);
  void Halt(std::string code, std::string message);
  void StartClosing();
  void Closed(absl::Status status);
  void StartCleanup();
  void CleanedUp(const absl::Status& status);
  void StartVerification();
  void VerifiedStep(absl::StatusOr<VerificationWalk> walk);
  // Everything about the target is to be read anew (fenced, lost connection, unknown commit).
  void Reopen(absl::Duration delay);
  // Keeps what the lanes counted and how they failed. What was committed under the claim is not known, so it is none any more.
  void DropLanes();
  void Finish(bool release_claim);
  void StepFailed(const absl::Status& status);
  // The claim, unless what was committed under it is not known: then the fence has to be taken anew.
  std::optional<FenceClaim> KnownClaim() const { return reopen_wanted_ ? std::nullopt : claim_; }
  bool closing() const { return directive_ == Directive::kQuiesce || directive_ == Directive::kRelease; }
  // Of the run itself, whatever the scheduler directs.
  Hold OwnHold() const;
  bool LanesBusy() const;
  bool AllLanesDone() const;
  void ApplySizes();
  // The pace in force; what is open already follows.
  void ApplyPace();
  // How long a rest is follows the pace and what health allows, also one that has begun.
  void PlanRest(LaneSlot& slot);
  // From what is owed; and nothing before `delay` is over.
  void BeginRest(LaneSlot& slot, absl::Duration delay);
  // The longest of the rests that have begun, for lanes that are about to take the place of these.
  void KeepRest();
  // Tells the activity clock what is going on now.
  void NoteActivity();
  std::int32_t FirstSubBatchSize() const;

  // Constant after construction.
  const Lease lease_;
  const Purpose purpose_;
  const RunServices services_;
  std::stop_source stop_;
  const std::shared_ptr<Target> target_;  // the services' one; stops with stop_
  // Opening and cleaning up run an operator's statements, which may take a day: each such step has a target of its own, which stops too
  // when the run is to close.
  std::stop_source long_step_stop_;
  std::shared_ptr<Target> long_step_target_;

  StoredMigration stored_;
  RunControls controls_;
  PaceInForce pace_;
  ActivityClock activity_;
  std::string gap_word_;  // what the time before this claim is called
  bool gap_charged_ = false;
  Directive directive_ = Directive::kWork;
  Hold directive_hold_;
  Stage stage_ = Stage::kOpening;
  bool step_busy_ = false;
  bool schema_check_busy_ = false;
  bool reopen_wanted_ = false;
  absl::Time step_due_ = absl::InfinitePast();
  absl::Time closing_due_ = absl::InfinitePast();  // an operator does not wait for the back-off of a failed step
  absl::Time schema_check_due_ = absl::InfinitePast();
  std::int32_t step_attempts_ = 0;
  std::map<std::int32_t, std::string> blockers_;  // by lane, as last seen
  std::set<std::int32_t> looking_for_blockers_;
  bool split_wanted_ = false;
  bool splitting_ = false;
  absl::Time split_due_ = absl::InfinitePast();
  absl::Duration split_pause_;
  std::optional<double> looked_fraction_;  // by the table's statistics, as last looked up
  bool fraction_look_busy_ = false;
  absl::Time fraction_look_due_ = absl::InfinitePast();
  bool target_away_ = false;  // what the last failure was
  std::int32_t step_consecutive_ = 0;
  Hold step_hold_;
  bool release_claim_ = true;
  std::optional<Hold> parting_hold_;
  absl::Duration parting_recheck_;
  std::optional<std::pair<std::string, std::string>> halt_;  // code, message: once the lanes have stopped

  std::optional<FenceClaim> claim_;
  std::shared_ptr<const MigrationPlan> plan_;
  std::vector<LaneSlot> lanes_;
  std::optional<LaneSlot::Rest> kept_rest_;
  std::map<std::int32_t, LaneFailures> lane_failures_;  // by lane; until it commits something
  std::vector<std::int64_t> earlier_passes_;
  ProgressCounters counters_;  // as of the last checkpoint or pass; live lanes are added by Counters()
  std::int64_t base_sub_batches_ = 0;
  std::int64_t base_unchanged_ = 0;
  std::int64_t base_failed_ = 0;
  std::int64_t isolating_before_ = 0;  // of lanes that are not there any more
  std::int64_t pass_affected_base_ = 0;
  absl::Duration working_base_;
  RateMeter rate_{absl::Seconds(10)};
  RateMeter long_rate_{absl::Minutes(2)};
  RateMeter position_rate_{absl::Minutes(2)};  // of this pass
  VerificationWalk verification_;
  std::vector<JobRecord> jobs_;
  absl::BitGen random_;

  mutable absl::Mutex mutex_;
  std::deque<Completion> completions_ ABSL_GUARDED_BY(mutex_);
  int in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
  Phase opening_phase_ ABSL_GUARDED_BY(mutex_) = Phase::kPrepare;
};

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

}  // namespace migrationd
