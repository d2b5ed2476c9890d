// Every verb that changes something, as a plain blocking call over plain types: what the gRPC service unpacks requests
// for, and what tests call without a network. Looks migrations up on the board, decides with migrations/model/verbs.h,
// writes through the control store, shows the result on the board, and tells the scheduler.
//
// Thread-safe; calls block on databases, so never from a gRPC handler thread.
//
// Errors, for every method besides those named at each: NOT_FOUND and INVALID_ARGUMENT of Resolve; what the verb in
// verbs.h returns; what ControlStore::Mutate returns.
#pragma once

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
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "migrations/definition/definition.h"
#include "migrations/model/verbs.h"
#include "migrations/pacing/duration_estimate.h"
#include "server/clock.h"
#include "server/control/rehearsal_findings.h"
#include "server/scheduler/board.h"
#include "server/targets/target.h"
#include "store/control_store.h"

namespace migrationd {

// What the controller asks of the scheduler. Both return at once.
class SchedulerSignal {
 public:
  virtual ~SchedulerSignal() = default;
  // Look at the store again, now.
  virtual void Wake() = 0;
  // A local owner must not begin another sub-batch of this migration before it has looked at the store.
  virtual void Interrupt(MigrationId id) = 0;
};

// The configured targets by name.
using TargetMap = std::map<std::string, std::shared_ptr<Target>>;

// The targets that a caller may know of; nullopt: all. Errors name no others.
using VisibleTargets = std::optional<std::set<std::string>>;

struct ControllerOptions {
  bool allow_inline_definitions = true;
  // --default-start MANUAL: batched kinds that do not say otherwise wait for Start.
  bool default_start_manual = false;
  absl::Duration quiesce_timeout = absl::Seconds(10);  // for the backends of an immediate Pause to be gone
  std::map<std::string, std::vector<std::string>> target_search_path = {};  // for names without a schema; default: public
  // The classes of kind `native`, which outlive the controller; null: none.
  const NativeRegistry* natives = nullptr;
};

// What Plan found out.
struct RehearsalReport {
  bool feasible = false;  // no finding is an error
  std::vector<RehearsalFinding> findings;  // errors first
  std::string target;
  std::string name;
  migrationcontrol::v1::MigrationDefinition definition;  // normalized
  std::string schema;  // of the table; empty: there is no such table
  std::string table;
  std::vector<std::string> key;
  double estimated_rows = -1;  // of the table, by its statistics; below 0: never analysed
  Rehearsal rehearsal;
  std::optional<DurationEstimate> estimate;
};

class Controller {
 public:
  // All referenced objects outlive the controller.
  Controller(ControllerOptions options, ControlStore& store, Board& board, const TargetMap& targets,
             SchedulerSignal& scheduler, Clock& clock);

  absl::StatusOr<StoredMigration> Start(const std::string& migration, const MutationContext& context);

  struct PauseOutcome {
    StoredMigration migration;
    std::optional<absl::Time> quiesced_at;
  };
  // Plain: answers PAUSING, or PAUSED when it was not running; the owner (or, without a live one, any scheduler)
  // completes it. Immediate: first records the intent, then revokes on the target, then records PAUSED. UNAVAILABLE
  // when the target cannot be reached: the state stays PAUSING (PAUSED for one that never ran). FAILED_PRECONDITION
  // when the target's checkpoint is lost or belongs to another control store; the migration is HALTED then. ABORTED
  // when somebody resumed it meanwhile. A repeated call, also with the same request_id, finishes what the first one
  // began. `patience`: how long the caller waits for it, of which the fenced backends have what is left after the answer.
  absl::StatusOr<PauseOutcome> Pause(const std::string& migration, std::optional<absl::Time> until, bool immediate,
                                     const MutationContext& context, absl::Duration patience = absl::InfiniteDuration());
  absl::StatusOr<StoredMigration> Resume(const std::string& migration, const MutationContext& context);
  // `from`: see RetryOptions.
  absl::StatusOr<StoredMigration> Retry(const std::string& migration, std::optional<RestartFrom> from, bool acknowledge_repeat,
                                        const MutationContext& context);
  // Completes it on the target first; UNAVAILABLE, nothing changed, when the target cannot be reached.
  absl::StatusOr<StoredMigration> Accept(const std::string& migration, const MutationContext& context);
  absl::StatusOr<StoredMigration> Cancel(const std::string& migration, const MutationContext& context);
  // Only asks for it; a scheduler brings it about.
  absl::StatusOr<StoredMigration> Verify(const std::string& migration, const MutationContext& context);
  // Ends a verification that waits or is under way; none: nothing changes.
  absl::StatusOr<StoredMigration> StopVerification(const std::string& migration, const MutationContext& context);
  absl::StatusOr<StoredMigration> Cleanup(const std::string& migration, const MutationContext& context);
  // Also leaves the tombstone on the target; UNAVAILABLE, nothing deleted, when the target cannot be reached. With a
  // request_id this process answers a repeated call like the first one. FAILED_PRECONDITION while its cleanup has not
  // run, unless `acknowledge_leftovers`.
  absl::StatusOr<StoredMigration> Delete(const std::string& migration, const MutationContext& context,
                                         bool acknowledge_leftovers = false);
  absl::StatusOr<StoredMigration> SetPace(const std::string& migration, const PaceRequest& request, const MutationContext& context);
  absl::StatusOr<StoredMigration> SetBatchSize(const std::string& migration, const SizeRequest& request,
                                               const MutationContext& context);

  struct EnqueueArguments {
    std::string migration;                                 // of the catalogue; or:
    std::optional<DefinitionName> name;                    // of an inline definition, with
    migrationcontrol::v1::MigrationDefinition definition;  // normalized
    bool start_given = true;                               // of the inline definition: DefinitionResult::start_given
    std::map<std::string, std::string> parameters;
    bool start = false;
    std::int64_t pause_after_rows = 0;
    VisibleTargets visible = {};
  };
  // PERMISSION_DENIED: inline definitions are not allowed. ALREADY_EXISTS: known with other parameters or another
  // definition, naming it. INVALID_ARGUMENT: parameters, unknown target (naming the known ones), a native class that is not registered
  // (naming those that are), or its parameters.
  absl::StatusOr<RegisterResult> Enqueue(const EnqueueArguments& arguments, const MutationContext& context);

  // Registers one file of the catalogue; used by the catalogue loader. `start_given`: whether the file itself says AUTO
  // or MANUAL; where it does not, ControllerOptions::default_start_manual decides. A definition with a parameter that
  // has no default waits for Enqueue.
  absl::StatusOr<RegisterResult> RegisterCatalogFile(const std::string& path, const DefinitionName& name,
                                                     const migrationcontrol::v1::MigrationDefinition& definition,
                                                     bool start_given = true);

  absl::StatusOr<FreezeRecord> Freeze(const FreezeRecord& freeze, const MutationContext& context, const VisibleTargets& visible = {});
  absl::StatusOr<FreezeRecord> Unfreeze(const std::string& target, const MutationContext& context);

  // Without a target: what only this server knows, namely its native classes. Empty: valid.
  std::vector<DefinitionProblem> ValidateHere(const migrationcontrol::v1::MigrationDefinition& definition) const;
  // Against the target, and the same: table, key, statement. Empty: valid. UNAVAILABLE: the target is away.
  absl::StatusOr<std::vector<DefinitionProblem>> ValidateOnTarget(
      const DefinitionName& name, const migrationcontrol::v1::MigrationDefinition& definition, const VisibleTargets& visible = {});

  struct RehearsalArguments {
    std::string migration;                                 // one that is known; or:
    std::optional<DefinitionName> name;                    // of an inline definition, with
    migrationcontrol::v1::MigrationDefinition definition;  // normalized
    std::map<std::string, std::string> parameters;
    VisibleTargets visible = {};
  };
  // Tries it out on the target and keeps nothing; what stands in the way is in the report. Takes at most `patience`, and a minute.
  // PERMISSION_DENIED: inline definitions are not allowed. INVALID_ARGUMENT: parameters, unknown target. UNAVAILABLE: the target is away,
  // or is not configured here. RESOURCE_EXHAUSTED: two are under way.
  absl::StatusOr<RehearsalReport> Rehearse(const RehearsalArguments& arguments, absl::Duration patience);
  // For the end of the process: those under way, and all later ones, end soon with UNAVAILABLE.
  void StopRehearsals();

  // From the target. NOT_FOUND: no such migration. UNAVAILABLE: the target cannot be reached, or is not configured here.
  absl::StatusOr<std::vector<RowFailure>> ListFailures(const std::string& migration, const Key& after, int limit);
  absl::StatusOr<JobPage> ListJobs(const std::string& migration, std::int64_t before, int limit);
  absl::StatusOr<EventPage> ListEvents(const std::string& migration, const std::vector<std::string>& kinds,
                                       std::int64_t before, int limit);

 private:
  // `still_wanted` is asked once the target is fenced, and its error returned.
  // Returns how many rows were left as they are.
  absl::StatusOr<std::int64_t> CompleteOnTarget(const StoredMigration& stored, const std::function<absl::Status()>& still_wanted);
  // Resolves, mutates, publishes, wakes.
  absl::StatusOr<StoredMigration> Act(const std::string& migration, const MutationContext& context,
                                      const MutationFn& decide);
  absl::StatusOr<StoredMigration> ActOn(MigrationId id, const MutationContext& context, const MutationFn& decide);

  // The second half of an immediate Pause; the intent of `stored` is recorded.
  absl::StatusOr<PauseOutcome> QuiesceNow(const StoredMigration& stored, const MutationContext& context, absl::Duration patience);
  absl::StatusOr<QuiesceResult> Fence(const StoredMigration& stored, absl::Duration patience);
  // What to answer when the target could not be fenced; records HALTED when a person is needed.
  absl::Status FenceFailure(const StoredMigration& stored, const MutationContext& context, const absl::Status& error);

  // The definition's target, or the only one. INVALID_ARGUMENT naming the known ones.
  absl::StatusOr<std::string> TargetName(const migrationcontrol::v1::MigrationDefinition& definition, const VisibleTargets& visible) const;
  // UNAVAILABLE: not one of this process.
  absl::StatusOr<std::shared_ptr<Target>> FindTarget(const std::string& name) const;
  // "main, other" or "none", as far as the caller may know of them.
  std::string KnownTargets(const VisibleTargets& visible) const;
  // INVALID_ARGUMENT: of kind `native`, with a class that is not registered here, or with parameters that it does not take.
  absl::Status CheckNative(const migrationcontrol::v1::MigrationDefinition& definition) const;
  // Whether it tells the rows that still need the work.
  bool HasWhere(const migrationcontrol::v1::MigrationDefinition& definition) const;
  bool StartsByItself(const migrationcontrol::v1::MigrationDefinition& definition, bool start_given) const;

  absl::StatusOr<RegisterResult> EnqueueInline(const EnqueueArguments& arguments, const MutationContext& context);
  // One that the store knows.
  absl::StatusOr<RegisterResult> EnqueueKnown(MigrationId id, const EnqueueArguments& arguments,
                                              const MutationContext& context);
  absl::StatusOr<RegisterResult> Register(const Registration& registration);

  // Until `end`, of the process clock.
  absl::Status RehearseOn(Target& target, const std::map<std::string, std::string>& parameters, absl::Time end,
                          RehearsalReport& report) const;
  absl::Status AskConditions(Target& target, const MigrationPlan& plan, RehearsalReport& report) const;

  const ControllerOptions options_;
  ControlStore& store_;
  Board& board_;
  const TargetMap& targets_;
  SchedulerSignal& scheduler_;
  Clock& clock_;

  // Answers of Delete by request id and what was named, newest last: the migration is gone, so the store cannot be
  // asked by name.
  absl::Mutex deleted_mutex_;
  std::deque<std::pair<std::string, StoredMigration>> deleted_ ABSL_GUARDED_BY(deleted_mutex_);

  std::stop_source rehearsals_stop_;
  absl::Mutex rehearsals_mutex_;
  int rehearsals_ ABSL_GUARDED_BY(rehearsals_mutex_) = 0;
};

}  // namespace migrationd
