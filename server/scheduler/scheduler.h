// The scheduler: read what is wanted, decide (policy.h), act. One thread, three steps; tests pump RunOnce by hand.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/clock.h"
#include "server/control/controller.h"
#include "server/execution/migration_run.h"
#include "server/execution/worker_pool.h"
#include "server/health/health_source.h"
#include "server/health/pace_log.h"
#include "server/observability/metrics.h"
#include "server/scheduler/board.h"
#include "server/scheduler/lease_keeper.h"
#include "server/scheduler/policy.h"
#include "store/control_store.h"

namespace migrationd {

struct SchedulerOptions {
  std::string owner;                                 // host:pid:random
  absl::Duration lease_ttl = absl::Seconds(15);
  absl::Duration poll_interval = absl::Milliseconds(500);   // of the store, without a wake-up
  absl::Duration publish_interval = absl::Milliseconds(200);  // of live counters on the board
  absl::Duration record_interval = absl::Seconds(1);        // of counters and job rows in the store
  PolicyLimits limits;
  std::map<std::string, std::vector<std::string>> target_search_path;  // default: public
  // Looks after the health of targets; outlives the scheduler. Null: nothing is measured, and nothing held or slowed by it.
  HealthSource* health = nullptr;
  // The classes of kind `native`, which outlive the scheduler; null: none.
  const NativeRegistry* natives = nullptr;
  // Makes the store ready (schema); asked again until it is OK, before anything is read.
  std::function<absl::Status()> prepare_store = [] { return absl::OkStatus(); };
};

// RunOnce, Start, Stop: from one thread. Wake and Interrupt: from any.
class Scheduler : public SchedulerSignal {
 public:
  // All referenced objects outlive the scheduler. `workers` run lanes; `steps` everything else that waits for databases, one thread for
  // each run, so that neither a long statement nor many lanes keep an operator waiting. `heartbeat_store` is used by the lease keeper
  // alone, so that it never waits for a connection.
  Scheduler(SchedulerOptions options, ControlStore& store, ControlStore& heartbeat_store, const TargetMap& targets, Board& board,
            WorkerPool& workers, WorkerPool& steps, Metrics& metrics, Clock& clock);
  ~Scheduler() override;

  void Wake() override ABSL_LOCKS_EXCLUDED(mutex_);
  void Interrupt(MigrationId id) override ABSL_LOCKS_EXCLUDED(mutex_);

  // One round. Returns the process-clock time by which the next one is due.
  absl::Time RunOnce();

  // The thread that loops over RunOnce, and the lease keeper's.
  void Start();
  // Lets sub-batches in flight commit, gives the claims back and joins; after `deadline` (from now) what still waits for a target is told
  // to stop (Target::WithStop). Claims that could not be given back run out by themselves.
  void Stop(absl::Duration deadline);

  // Runs under way, for tests.
  std::size_t run_count() const { return runs_.size(); }

 private:
  void Loop();
  // Reads the store when due; keeps the last snapshot when it cannot be read.
  void Refresh(absl::Time now);
  // Says what is at work where, and takes in the newest verdicts.
  void LookAtHealth(absl::Time now);
  // What of them is history.
  void LogPace(absl::Time database_now);
  void Act(const Action& action);
  void Claim(const Action& action);
  void MutateSimple(const Action& action);
  void ReapFinished();
  // Their last counters and job rows, while the claims still hold; then the claims. In two calls, whatever their number.
  void GiveBack(const std::vector<ProgressUpdate>& last_words, const std::vector<LeaseKey>& claims);
  void Record(absl::Time now);
  void Publish(absl::Time now);
  PolicySnapshot MakeSnapshot(absl::Time now) const;
  StoredMigration* Find(MigrationId id);
  // Empty for one that the store does not know any more.
  std::string TargetOf(MigrationId id);
  // The holds whose kind and reason stay keep their `since`.
  Hold Stamp(const Hold& hold, const Hold& before, absl::Time database_now) const;

  const SchedulerOptions options_;
  ControlStore& store_;
  const TargetMap& targets_;
  Board& board_;
  WorkerPool& workers_;
  WorkerPool& steps_;
  Metrics& metrics_;
  Clock& clock_;
  LeaseKeeper keeper_;

  // Of the scheduler's thread.
  StoreSnapshot snapshot_;
  absl::Time snapshot_asked_at_ = absl::InfinitePast();
  std::uint64_t snapshot_asked_version_ = 0;  // of the board, then
  absl::Time snapshot_read_at_ = absl::InfinitePast();
  bool loaded_ = false;
  bool store_prepared_ = false;
  std::string control_id_;
  absl::Status store_status_;
  int store_failures_ = 0;
  absl::Time next_refresh_ = absl::InfinitePast();
  absl::Time next_publish_ = absl::InfinitePast();
  absl::Time published_at_ = absl::InfinitePast();
  absl::Time next_record_ = absl::InfinitePast();
  std::vector<HoldUpdate> holds_to_record_;
  HealthVerdicts health_;
  PaceLog pace_log_;
  std::vector<EventRecord> events_to_record_;
  std::map<std::int64_t, Hold> run_holds_;  // last shown, for `since`
  std::map<std::int64_t, std::unique_ptr<MigrationRun>> runs_;
  std::thread thread_;

  mutable absl::Mutex mutex_;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;       // something happened
  bool refresh_wanted_ ABSL_GUARDED_BY(mutex_) = false;  // look at the store
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool aborting_ ABSL_GUARDED_BY(mutex_) = false;  // the deadline of Stop is over
  bool loop_over_ ABSL_GUARDED_BY(mutex_) = false;
  // Runs that other threads may touch (Interrupt, lease keeper). Erased before the run is destroyed.
  std::map<std::int64_t, MigrationRun*> reachable_ ABSL_GUARDED_BY(mutex_);
  std::map<std::int64_t, absl::Time> interrupted_at_ ABSL_GUARDED_BY(mutex_);  // of runs under way
};

}  // namespace migrationd
