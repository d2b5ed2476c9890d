// The long steps of a migration's life on its target, each a plain blocking function: open (take the fence, prepare, plan the lanes),
// end of a pass, quiesce, halt, clean up. They run on worker threads; MigrationRun decides when.
//
// Every write to the control store is guarded by the claim, so a step of a process that lost it changes nothing there; every write to
// the target is fenced.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "migrations/kinds/plan.h"
#include "server/execution/lane_runner.h"
#include "server/execution/outcome_policy.h"
#include "server/targets/target.h"
#include "store/control_store.h"

namespace migrationd {

// What the steps work with. The references outlive it.
struct StepContext {
  ControlStore& store;
  Target& target;
  RunControls& controls;
  MigrationId id;
  Lease lease;
  std::string control_id;
  std::string actor;  // of events: the process
  // Of a row that is tried again: as in sub-batches.
  absl::Duration lock_timeout = absl::Milliseconds(500);
  absl::Duration statement_timeout = absl::Seconds(5);
  // Into how many lanes a pass is cut.
  int lanes = 1;
  // The target's search_path for unqualified names, below the table's own schema.
  std::vector<std::string> target_search_path = {"public"};
  // Of kind `native`; null: none.
  const NativeRegistry* natives = nullptr;
  // What was counted, at the end of a pass and when a run closes: recorded together with the state that ends it, so that whoever sees
  // COMPLETED, PAUSED, CANCELLED or HALTED reads final numbers. nullopt: the store's are left alone.
  std::optional<ProgressCounters> counters = {};
};

struct OpenOutcome {
  enum class Kind {
    kReady,      // lanes can run
    kHeld,       // `hold` says why; to be looked at again after `recheck`; the claim is not needed meanwhile
    kHalted,     // recorded
    kCompleted,  // recorded
    kStopped,    // told to stop, or the migration is another than it was: look at the store again
    kFailed,     // `error`
  };
  Kind kind = Kind::kStopped;
  absl::Status error;
  Hold hold;
  absl::Duration recheck;
  Checkpoint checkpoint;
  std::shared_ptr<const MigrationPlan> plan;
  RowEstimate estimate;  // method empty: not made anew
  bool where_satisfied = false;  // the statement has changed rows here before, of which the checkpoint need not know any more
};

// `phase` is told what is being done, for Status.
OpenOutcome OpenMigration(const StepContext& context, const StoredMigration& stored, const std::function<void(Phase)>& on_phase);

struct PassEnd {
  // kRefused: the store has another state, or another owner; look at it again.
  enum class Kind { kNextPass, kCompleted, kHalted, kRefused };
  Kind kind = Kind::kCompleted;
  Checkpoint checkpoint;  // kNextPass
};
// All lanes of the pass are done: the next pass, or the end. OK outcomes are recorded on the target and in the store. Errors of CheckSchema.
absl::StatusOr<PassEnd> EndPass(const StepContext& context, const StoredMigration& stored, const FenceClaim& claim, const MigrationPlan& plan,
                                const PassContext& pass);

// After OK nothing of the migration executes or can commit, and what was committed is durable. `claim`: of this process, nothing
// unknown having been sent under it; without one, whoever worked on it before is fenced.
absl::Status StopOnTarget(const StepContext& context, const std::optional<FenceClaim>& claim);

// Stops it on the target and records PAUSED or CANCELLED, which answers the operator; HALTED when the checkpoint of one that was to
// pause is lost or another's. OK: there is nothing left to do, also when it is to run again meanwhile. Otherwise to be tried again.
absl::Status QuiesceOnTarget(const StepContext& context, const std::optional<FenceClaim>& claim);

// Records HALTED. OK also when the store refuses, since it has another state, or another owner.
absl::Status RecordHalt(const StepContext& context, const std::string& code, const std::string& message);

// The same once nothing of the migration can commit any more. A target that does not answer keeps it from being HALTED only while it is
// not known what was committed there (no `claim`); then it is to be tried again.
absl::Status HaltOnTarget(const StepContext& context, const std::optional<FenceClaim>& claim, const std::string& code,
                          const std::string& message);

// Whether table and columns still are what they were: SCHEMA_CHANGED (MD004) otherwise.
absl::Status CheckSchema(const StepContext& context, const StoredMigration& stored, const MigrationPlan& plan);

// Runs the cleanup statements of a COMPLETED or CANCELLED migration, once each, and records it.
absl::Status CleanUp(const StepContext& context, const StoredMigration& stored);

}  // namespace migrationd
