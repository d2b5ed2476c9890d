// Opening: from a claim to lanes that can run.
#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "migrations/kinds/native.h"
#include "migrations/model/event_kind.h"
#include "migrations/model/failure.h"
#include "migrations/model/status_macros.h"
#include "server/execution/step_parts.h"
#include "server/execution/steps.h"

namespace migrationd {
namespace {

// How often skip_if and preflight checks are asked again.
constexpr absl::Duration kSkipRecheck = absl::Seconds(30);
constexpr absl::Duration kPreflightRecheck = absl::Seconds(10);
// Rows that failed, read at once.
constexpr int kFailuresAPage = 100;
// At one of them, when it cannot be locked.
constexpr int kRowTries = 3;
// Of counting the rows to do, before the first one; twice that at most.
constexpr absl::Duration kEstimatePatience = absl::Seconds(1);

OpenOutcome Failed(absl::Status error) {
  OpenOutcome outcome;
  outcome.kind = OpenOutcome::Kind::kFailed;
  outcome.error = std::move(error);
  return outcome;
}

// One step of OpenMigration. nullopt: go on.
using MaybeOutcome = std::optional<OpenOutcome>;

// Runs the steps in order, carrying what they find.
class Opening {
 public:
  Opening(const StepContext& context, const StoredMigration& stored, const std::function<void(Phase)>& on_phase)
      : context_(context), stored_(stored), on_phase_(on_phase) {}

  OpenOutcome Run() {
    on_phase_(Phase::kPrepare);
    for (auto step : {&Opening::Identify, &Opening::Plan, &Opening::Preflight, &Opening::Begin, &Opening::TakeFence,
                      &Opening::CompareTable, &Opening::Prepare, &Opening::RetryFailedRows, &Opening::PlanPass}) {
      // The claim may have been lost, or the operator may have paused or frozen, between any two steps.
      if (!context_.controls.may_begin()) return OpenOutcome{};
      if (MaybeOutcome outcome = (this->*step)(); outcome.has_value()) return *std::move(outcome);
    }
    OpenOutcome ready;
    ready.kind = OpenOutcome::Kind::kReady;
    ready.checkpoint = std::move(checkpoint_);
    ready.plan = std::make_shared<const MigrationPlan>(std::move(plan_));
    ready.estimate = std::move(estimate_);
    ready.where_satisfied = where_satisfied_;
    return ready;
  }

 private:
  // Is this the database that we knew by that name?
  MaybeOutcome Identify() {
    auto identity = context_.target.Open(/*may_create_identity=*/false);
    if (!identity.ok()) return TargetFailure(identity.status());
    // As it is known now: another owner may have been here since this migration was claimed.
    auto snapshot = context_.store.Load();
    if (!snapshot.ok()) return Failed(snapshot.status());
    const Migration& m = stored_.migration;
    const auto known = snapshot->targets.find(m.target);
    if (known != snapshot->targets.end()) {
      const TargetIdentity& before = known->second;
      const bool same_database =
          before.system_identifier == identity->system_identifier && before.database_oid == identity->database_oid;
      if (identity->uuid.empty() && same_database && m.fence == FenceState::kCreated) {
        return Halted(kHaltCheckpointLost,
                      "The target is the same database, but its schema migration_control has lost its identity: the checkpoint is gone. "
                      "Restore it, or Retry with from FROM_START.");
      }
      // The same database with another identity has lost its schema since: whatever had begun there finds its checkpoint missing, and
      // must not begin anew.
      if (!same_database && identity->uuid != before.uuid) return Replace(*identity, *snapshot);
    }
    if (identity->uuid.empty()) {
      identity = context_.target.Open(/*may_create_identity=*/true);
      if (!identity.ok()) return TargetFailure(identity.status());
    }
    for (const auto& [name, other] : snapshot->targets) {
      if (name != m.target && other.uuid == identity->uuid) {
        return Halted(kHaltPreflightFailed,
                      absl::StrCat("Targets \"", m.target, "\" and \"", name, "\" are the same database (identity ", other.uuid,
                                   "); remove one of them."));
      }
    }
    if (known == snapshot->targets.end() || !(known->second == *identity)) {
      absl::Status recorded = context_.store.RecordTarget(m.target, *identity);
      if (!recorded.ok()) return StoreFailure(recorded);
    }
    return std::nullopt;
  }

  // Another database stands behind the name: everything on it begins anew.
  MaybeOutcome Replace(const TargetIdentity& identity, const StoreSnapshot& snapshot) {
    TargetIdentity fresh = identity;
    if (fresh.uuid.empty()) {
      auto made = context_.target.Open(/*may_create_identity=*/true);
      if (!made.ok()) return TargetFailure(made.status());
      fresh = *made;
    }
    for (const StoredMigration& other : snapshot.migrations) {
      if (other.migration.target != stored_.migration.target) continue;
      MutationContext mutation;
      mutation.caller = {context_.actor, "another database stands behind the target's name"};
      mutation.call = "TargetReplaced";
      auto restarted = context_.store.Mutate(other.migration.id, mutation, [&](const StoredMigration& current, absl::Time now) {
        return RestartOnNewTarget(current.migration, mutation.caller, now);
      });
      // Deleted meanwhile: there is nothing to begin anew.
      if (restarted.status().code() == absl::StatusCode::kNotFound) continue;
      if (!restarted.ok()) return StoreFailure(restarted.status());
    }
    absl::Status recorded = context_.store.RecordTarget(stored_.migration.target, fresh);
    if (!recorded.ok()) return StoreFailure(recorded);
    return OpenOutcome{};
  }

  MaybeOutcome Plan() {
    if (const std::string reason = MissingClass(); !reason.empty()) return Hold(HoldKind::kPreflight, reason, kSkipRecheck);
    auto planned = PlanOnTarget(context_, stored_);
    if (!planned.ok()) {
      if (!IsRefusal(planned.status())) return TargetFailure(planned.status());
      return Halted(stored_.migration.started_at.has_value() ? kHaltSchemaChanged : kHaltPreflightFailed,
                    std::string(planned.status().message()));
    }
    plan_ = *std::move(planned);
    // As EXECUTE runs it; VERIFY runs the same over ranges of another order.
    const MigrationPlan& plan = PlanOfPass(plan_, 1);
    std::vector<std::string> types = plan.key_casts;
    types.insert(types.end(), plan.key_casts.begin(), plan.key_casts.end());
    types.insert(types.end(), plan.parameter_types.begin(), plan.parameter_types.end());
    absl::Status checked = context_.target.CheckStatement(StatementToCheck(plan), types, plan.search_path);
    if (checked.ok()) return std::nullopt;
    if (!IsRefusal(checked)) return TargetFailure(checked);
    return Halted(stored_.migration.started_at.has_value() ? kHaltStatementRefused : kHaltPreflightFailed,
                  absl::StrCat("The target refuses the statement: ", std::string(checked.message())));
  }

  // A class that this process has not got may be known to another one, as in the middle of an upgrade: no reason to halt.
  std::string MissingClass() const {
    if (!stored_.definition->has_native()) return "";
    const std::string& name = stored_.definition->native().class_name();
    if (context_.natives != nullptr && context_.natives->Has(name)) return "";
    return absl::StrCat("the native class ", name, " is not registered in this migrationd; start one that has it, or cancel the migration");
  }

  // Of a native class, what migrationd itself asks with its condition.
  static const std::string& StatementToCheck(const MigrationPlan& plan) {
    if (plan.native == nullptr) return plan.work;
    return plan.has_where ? plan.count_matching : plan.select_keys;
  }

  // skip_if and checks: only before the first write.
  MaybeOutcome Preflight() {
    if (stored_.migration.state != State::kPending) return std::nullopt;
    const migrationcontrol::v1::MigrationDefinition& definition = *stored_.definition;
    if (!definition.skip_if().empty()) {
      auto skip = context_.target.AskBoolean(definition.skip_if(), plan_.search_path);
      if (!skip.ok()) return AskFailure("skip_if", skip.status());
      if (*skip) return Hold(HoldKind::kSkipped, "skip_if is true", kSkipRecheck);
    }
    for (const auto& check : definition.preflight().checks()) {
      auto passed = context_.target.AskBoolean(check.sql(), plan_.search_path);
      if (!passed.ok()) return AskFailure(absl::StrCat("preflight check \"", check.name(), "\""), passed.status());
      if (!*passed) return Hold(HoldKind::kPreflight, absl::StrCat("check \"", check.name(), "\" is not true"), kPreflightRecheck);
    }
    return std::nullopt;
  }

  // RUNNING, and CREATING before anything is written on the target.
  MaybeOutcome Begin() {
    auto begun = context_.store.Mutate(context_.id, Guarded(context_, "Begin"), [&](const StoredMigration& current, absl::Time now)
                                           -> absl::StatusOr<VerbEffect> {
      // A file that was changed before the migration began: what was planned here is not in force any more.
      if (current.migration.definition_digest != stored_.migration.definition_digest) {
        return absl::AbortedError("The migration has another definition now.");
      }
      VerbEffect effect;
      effect.after = current.migration;
      effect.changed = false;
      if (current.migration.state == State::kPending) {
        MD_ASSIGN_OR_RETURN(effect, BeginMigration(current.migration, {context_.actor, ""}, now));
      } else if (current.migration.state != State::kRunning) {
        return absl::AbortedError("The migration is not to run any more.");
      }
      if (effect.after.fence == FenceState::kNone) {
        effect.after.fence = FenceState::kCreating;
        if (!effect.changed) {
          effect.event_kind = kEventOwner;
          effect.event_reason = "about to write to the target for the first time";
        }
        effect.changed = true;
      }
      return effect;
    });
    if (!begun.ok()) return StoreFailure(begun.status());
    current_ = *std::move(begun);
    return std::nullopt;
  }

  MaybeOutcome TakeFence() {
    const Migration& m = current_.migration;
    TakeOverRequest request;
    request.migration = m.name;
    request.control_id = context_.control_id;
    request.definition_digest = m.definition_digest;
    request.store_epoch = context_.lease.epoch;
    request.may_create = m.fence == FenceState::kCreating || m.restart_from == RestartFrom::kStart;
    request.adopt = m.restart_from == RestartFrom::kAdopt;
    auto checkpoint = context_.target.TakeOver(request);
    if (!checkpoint.ok()) {
      if (checkpoint.status().code() == absl::StatusCode::kNotFound) {
        return Halted(kHaltCheckpointLost, std::string(checkpoint.status().message()));
      }
      if (checkpoint.status().code() == absl::StatusCode::kPermissionDenied) {
        return Halted(kHaltForeignControl, std::string(checkpoint.status().message()));
      }
      return TargetFailure(checkpoint.status());
    }
    checkpoint_ = *std::move(checkpoint);
    // Before it is forgotten: begun anew, it may meet nothing but rows that rightly stay at first.
    where_satisfied_ = checkpoint_.rows_total > 0;
    absl::Status raised = context_.store.RaiseEpoch({context_.id, context_.lease.token}, checkpoint_.claim.epoch);
    if (!raised.ok()) return StoreFailure(raised);
    restart_from_ = m.restart_from;
    ReportRewind(m);
    // Only now: an owner that slept through its lease was just told so by the store, and must not undo what the next one did.
    if (restart_from_ == RestartFrom::kStart || LooksAgain(restart_from_)) {
      auto left = context_.target.Reset(checkpoint_.claim, restart_from_ == RestartFrom::kStart ? Forgetting::kProgress : Forgetting::kVerdict);
      if (!left.ok()) return TargetFailure(left.status());
      checkpoint_ = *std::move(left);
    }
    if (checkpoint_.completed_at.has_value()) return AlreadyCompleted();
    return std::nullopt;
  }

  // The target's cursors win over the store's counters; history says so.
  void ReportRewind(const Migration& m) {
    if (restart_from_ == RestartFrom::kStart || m.progress.sub_batches_done <= checkpoint_.sub_batches_total) return;
    EventRecord event;
    event.target = m.target;
    event.migration = m.name;
    event.kind = kEventTargetRewound;
    event.actor = context_.actor;
    event.from = absl::StrCat(m.progress.rows_done, " rows");
    event.to = absl::StrCat(checkpoint_.rows_total, " rows");
    event.reason = "the target lost commits (failover or restore); its cursors are in force";
    // The event is a courtesy: without it the counters still are corrected.
    context_.store.AppendEvent(event).IgnoreError();
  }

  // A process that died between the target's and the store's record of the end.
  MaybeOutcome AlreadyCompleted() {
    absl::Status completed = RecordCompletion(context_, "found complete on the target", checkpoint_.unchanged_rows);
    if (!completed.ok()) return StoreFailure(completed);
    OpenOutcome outcome;
    outcome.kind = OpenOutcome::Kind::kCompleted;
    return outcome;
  }

  // Whether the positions in the checkpoint mean what they meant when they were recorded. Those of another key would leave rows out in
  // silence, whatever else was changed, and however sure of the definition whoever said Retry was.
  bool PositionsHold() const {
    // Nothing was begun, so there are none.
    if (checkpoint_.pass == 0) return true;
    if (!HasSameKey(checkpoint_.column_digest, plan_.column_digest)) return false;
    // One with too few values must not come as far as the server, whose refusal (08P01) looks like a lost connection.
    const std::size_t width = PlanOfPass(plan_, checkpoint_.pass).key.size();
    const auto fits = [&](const Key& key) { return key.empty() || key.size() == width; };
    return std::all_of(checkpoint_.lanes.begin(), checkpoint_.lanes.end(),
                       [&](const LaneRange& lane) { return fits(lane.lower) && fits(lane.cursor) && fits(lane.upper); });
  }

  MaybeOutcome CompareTable() {
    const MigrationPlan& plan = plan_;
    if (!PositionsHold()) return Halted(kHaltSchemaChanged, KeyChangedMessage(plan));
    const bool record = checkpoint_.table_oid == 0 || restart_from_ == RestartFrom::kStart ||
                        restart_from_ == RestartFrom::kAdopt || restart_from_ == RestartFrom::kNewSchema;
    if (record) {
      absl::Status recorded = context_.target.RecordTable(checkpoint_.claim, plan.table_oid, plan.column_digest);
      if (!recorded.ok()) return TargetFailure(recorded);
    } else if (checkpoint_.table_oid != plan.table_oid || checkpoint_.column_digest != plan.column_digest) {
      return Halted(kHaltSchemaChanged,
                    absl::StrCat(checkpoint_.table_oid != plan.table_oid ? "The table was replaced by another one of that name"
                                                                         : "A column that the migration uses was changed",
                                 " since work began. If the definition still is right, Retry."));
    }
    // What Retry asked for has been done; CREATING has become CREATED.
    auto consumed = context_.store.Mutate(context_.id, Guarded(context_, "Opened"), [&](const StoredMigration& current, absl::Time)
                                              -> absl::StatusOr<VerbEffect> {
      // An immediate pause may have revoked and answered before we took the fence: then nothing may commit, though the fence is ours. One
      // that comes after this look revokes after our takeover, and fences us.
      MD_RETURN_IF_ERROR(SameWish(current.migration, restart_from_));
      VerbEffect effect;
      effect.after = current.migration;
      effect.after.fence = FenceState::kCreated;
      // Done again is what failed, and what needs a new pass, only after this: until then it is to be asked for again.
      effect.after.restart_from = Rechecks(restart_from_) ? RestartFrom::kRecheck : RestartFrom::kContinue;
      effect.changed = current.migration.fence != effect.after.fence || current.migration.restart_from != effect.after.restart_from;
      effect.event_kind = kEventOwner;
      effect.event_to = absl::StrCat("epoch ", checkpoint_.claim.epoch);
      effect.event_reason = "took the migration over on the target";
      return effect;
    });
    if (!consumed.ok()) return StoreFailure(consumed.status());
    return std::nullopt;
  }

  MaybeOutcome Prepare() {
    // What cleanup took away (the trigger of copy_columns, an index) is prepared again, and cleaned up again in the end. A cleanup that
    // was begun is finished first: only all of it leaves what prepare began with.
    const bool cleaned = std::any_of(checkpoint_.steps_done.begin(), checkpoint_.steps_done.end(),
                                     [](const std::string& step) { return absl::StartsWith(step, kCleanupPrefix); });
    if (cleaned) {
      absl::Status undone = RunCleanupSteps(context_, stored_, plan_, checkpoint_.claim);
      if (!undone.ok()) return TargetFailure(undone);
      absl::Status forgotten = context_.target.ForgetSteps(checkpoint_.claim);
      if (!forgotten.ok()) return TargetFailure(forgotten);
    }
    absl::Status prepared = RunSteps(context_, kPreparePrefix, plan_.prepare, stored_.definition->prepare(),
                                     plan_.search_path, checkpoint_.claim);
    if (!prepared.ok()) return TargetFailure(prepared);
    return std::nullopt;
  }

  static FailureClass FailureOf(const absl::StatusOr<std::int64_t>& done) { return ClassifyFailure(SqlStateOf(done.status())); }

  // Each in a transaction of its own, so that what dies half-way has done whole rows. What fails again stays recorded.
  MaybeOutcome RetryFailedRows() {
    if (!Rechecks(restart_from_) || checkpoint_.failed_rows == 0) return std::nullopt;
    RowRetry retry;
    retry.claim = checkpoint_.claim;
    retry.plan = &plan_;
    retry.lock_timeout = context_.lock_timeout;
    retry.statement_timeout = context_.statement_timeout;
    std::int64_t failed = 0;
    while (true) {
      const Key after = retry.key;
      const auto page = context_.target.ListFailures(stored_.migration.name, after, kFailuresAPage);
      if (!page.ok()) return TargetFailure(page.status());
      for (const RowFailure& failure : *page) {
        retry.key = failure.key;
        if (failure.unchanged) continue;
        if (!context_.controls.may_begin()) return OpenOutcome{};
        auto done = context_.target.RetryRow(retry);
        // A lock that is taken, now and then, is not worth another Retry by a person; one that stays is.
        for (int i = 1; i < kRowTries && FailureOf(done) == FailureClass::kRetrySmaller && context_.controls.may_begin(); ++i) {
          done = context_.target.RetryRow(retry);
        }
        if (done.ok()) {
          checkpoint_.rows_total += *done;
          checkpoint_.pass_affected += *done;
        } else if (FailureOf(done) == FailureClass::kBadRows || FailureOf(done) == FailureClass::kRetrySmaller) {
          ++failed;
        } else {
          return TargetFailure(done.status());
        }
      }
      if (page->size() < static_cast<std::size_t>(kFailuresAPage)) break;
    }
    checkpoint_.failed_rows = failed;
    return std::nullopt;
  }

  MaybeOutcome PlanPass() {
    on_phase_(checkpoint_.pass <= 1 ? Phase::kExecute : Phase::kVerify);
    const bool look_again = LooksAgain(restart_from_);
    // EXECUTE is followed by a pass that looks at every row anyway.
    const bool new_pass = checkpoint_.pass == 0 || (look_again && checkpoint_.pass > 1);
    // Once, before the first row: what it is for does not grow less when it is opened anew. Not known is no reason to wait.
    if (checkpoint_.pass == 0) estimate_ = context_.target.EstimateRows(plan_, kEstimatePatience).value_or(RowEstimate{});
    if (new_pass) {
      auto lanes = context_.target.PlanLanes(PlanOfPass(plan_, checkpoint_.pass + 1), context_.lanes);
      if (!lanes.ok()) return TargetFailure(lanes.status());
      auto begun = context_.target.BeginPass(checkpoint_.claim, checkpoint_.pass + 1, *lanes);
      if (!begun.ok()) return TargetFailure(begun.status());
      checkpoint_ = *std::move(begun);
      on_phase_(checkpoint_.pass <= 1 ? Phase::kExecute : Phase::kVerify);
    }
    if (!Rechecks(restart_from_)) return std::nullopt;
    auto consumed = context_.store.Mutate(context_.id, Guarded(context_, "Recheck"), [&](const StoredMigration& current, absl::Time)
                                              -> absl::StatusOr<VerbEffect> {
      MD_RETURN_IF_ERROR(SameWish(current.migration, RestartFrom::kRecheck));
      VerbEffect effect;
      effect.after = current.migration;
      effect.after.restart_from = RestartFrom::kContinue;
      effect.event_kind = kEventOwner;
      effect.event_reason = look_again ? "all rows are looked at again" : "the rows that had failed were tried again";
      return effect;
    });
    if (!consumed.ok()) return StoreFailure(consumed.status());
    return std::nullopt;
  }

  // Whether the store still wants what it wanted when this owner began. Who paused and retried it meanwhile may have asked for something
  // else, which must not be taken for done.
  absl::Status SameWish(const Migration& current, RestartFrom restart_from) const {
    const bool same = current.state == State::kRunning && current.restart_from == restart_from &&
                      current.intent.since == current_.migration.intent.since;
    return same ? absl::OkStatus() : absl::AbortedError("The migration is not to run any more, or not like this.");
  }

  // Whether what was given up is to be done again.
  static bool Rechecks(RestartFrom from) {
    return from == RestartFrom::kRecheck || from == RestartFrom::kNewSchema || from == RestartFrom::kAdopt;
  }
  // Whether rows that were looked at are to be looked at again. Without `where` there is nothing to tell them by.
  bool LooksAgain(RestartFrom from) const { return plan_.has_where && Rechecks(from); }

  // Opening is often begun since the outcome of a commit is not known: it must not come after HALTED was read.
  MaybeOutcome Halted(const std::string& code, const std::string& message) {
    std::optional<FenceClaim> claim;
    if (!checkpoint_.claim.token.empty()) claim = checkpoint_.claim;
    absl::Status halted = HaltOnTarget(context_, claim, code, message);
    if (!halted.ok()) return Failed(std::move(halted));
    OpenOutcome outcome;
    outcome.kind = OpenOutcome::Kind::kHalted;
    return outcome;
  }

  MaybeOutcome Hold(HoldKind kind, std::string reason, absl::Duration recheck) {
    OpenOutcome outcome;
    outcome.kind = OpenOutcome::Kind::kHeld;
    outcome.hold.kind = kind;
    outcome.hold.reason = std::move(reason);
    outcome.recheck = recheck;
    return outcome;
  }

  MaybeOutcome AskFailure(const std::string& what, const absl::Status& status) {
    if (!IsRefusal(status)) return TargetFailure(status);
    return Halted(kHaltPreflightFailed, absl::StrCat(what, ": ", std::string(status.message())));
  }
  MaybeOutcome TargetFailure(const absl::Status& status) { return Failed(status); }
  MaybeOutcome StoreFailure(const absl::Status& status) {
    // The claim is gone, or the operator was faster: not an error of the migration.
    if (status.code() == absl::StatusCode::kAborted || status.code() == absl::StatusCode::kNotFound ||
        status.code() == absl::StatusCode::kFailedPrecondition) {
      return OpenOutcome{};
    }
    return Failed(status);
  }

  const StepContext& context_;
  const StoredMigration& stored_;
  const std::function<void(Phase)>& on_phase_;
  MigrationPlan plan_;
  StoredMigration current_;
  Checkpoint checkpoint_;
  RowEstimate estimate_;
  bool where_satisfied_ = false;
  RestartFrom restart_from_ = RestartFrom::kContinue;
};

}  // namespace

OpenOutcome OpenMigration(const StepContext& context, const StoredMigration& stored, const std::function<void(Phase)>& on_phase) {
  return Opening(context, stored, on_phase).Run();
}

}  // namespace migrationd
