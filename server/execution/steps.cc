#include "server/execution/steps.h"

#include "absl/strings/str_cat.h"
#include "migrations/model/event_kind.h"
#include "migrations/model/failure.h"
#include "migrations/model/status_macros.h"
#include "server/execution/step_parts.h"

namespace migrationd {
namespace {

constexpr absl::Duration kRevokeWait = absl::Seconds(5);

}  // namespace

absl::StatusOr<PassEnd> EndPass(const StepContext& context, const StoredMigration& stored, const FenceClaim& claim, const MigrationPlan& plan,
                                const PassContext& pass) {
  // What was changed under the last sub-batches nobody would notice any more.
  MD_RETURN_IF_ERROR(CheckSchema(context, stored, plan));
  const PassDecision decision = DecideAfterPass(pass);
  PassEnd end;
  switch (decision.action) {
    case PassAction::kNextPass: {
      MD_ASSIGN_OR_RETURN(const auto ranges, context.target.PlanLanes(PlanOfPass(plan, pass.pass + 1), context.lanes));
      MD_ASSIGN_OR_RETURN(end.checkpoint, context.target.BeginPass(claim, pass.pass + 1, ranges));
      end.kind = PassEnd::Kind::kNextPass;
      return end;
    }
    case PassAction::kHalt:
      MD_RETURN_IF_ERROR(context.target.Barrier(claim, /*completed=*/false));
      MD_RETURN_IF_ERROR(RecordHalt(context, decision.halt_code, decision.message));
      end.kind = PassEnd::Kind::kHalted;
      return end;
    case PassAction::kComplete: break;
  }
  // First the data's own database, then the report: a crash in between is found by the next owner.
  MD_RETURN_IF_ERROR(context.target.Barrier(claim, /*completed=*/true));
  const absl::Status completed = RecordCompletion(context, "", decision.accepted_rows);
  MD_RETURN_IF_ERROR(UnlessRefused(completed));
  end.kind = completed.ok() ? PassEnd::Kind::kCompleted : PassEnd::Kind::kRefused;
  return end;
}

absl::Status StopOnTarget(const StepContext& context, const std::optional<FenceClaim>& claim) {
  if (claim.has_value()) {
    const absl::Status durable = context.target.Barrier(*claim, /*completed=*/false);
    // A claim that was fenced meanwhile (immediate pause) is taken anew, which is just as good.
    if (durable.ok() || durable.code() == absl::StatusCode::kUnavailable) return durable;
  }
  // As it is now: opening may have gone further than what the run was last told.
  const auto stored = context.store.Get(context.id);
  if (!stored.ok()) return UnlessRefused(stored.status());
  const Migration& migration = stored->migration;
  // Nothing was ever written there.
  if (migration.fence == FenceState::kNone) return absl::OkStatus();
  TakeOverRequest request;
  request.migration = migration.name;
  request.control_id = context.control_id;
  request.definition_digest = migration.definition_digest;
  request.store_epoch = context.lease.epoch;
  request.adopt = migration.restart_from == RestartFrom::kAdopt;
  const auto quiesced = context.target.Revoke(request, kRevokeWait);
  // Perhaps there never was a row. Whoever makes one now asks the store before it does more.
  const bool nothing_there = quiesced.status().code() == absl::StatusCode::kNotFound && migration.fence == FenceState::kCreating;
  if (nothing_there) return absl::OkStatus();
  MD_RETURN_IF_ERROR(quiesced.status());
  return UnlessRefused(context.store.RaiseEpoch({context.id, context.lease.token}, quiesced->checkpoint.claim.epoch));
}

absl::Status QuiesceOnTarget(const StepContext& context, const std::optional<FenceClaim>& claim) {
  const absl::Status stopped = StopOnTarget(context, claim);
  if (!stopped.ok() && !IsCheckpointLost(stopped)) return stopped;
  const std::string lost = stopped.ok() ? "" : std::string(stopped.message());
  const auto recorded = context.store.Mutate(
      context.id, Guarded(context, "Quiesce"), [&](const StoredMigration& current, absl::Time now) -> absl::StatusOr<VerbEffect> {
        const Caller caller{context.actor, lost};
        // Nothing of ours can commit without our row. Cancelled is cancelled; but what is paused is to go on, and cannot.
        if (lost.empty() || current.migration.state != State::kPausing) {
          return WithCounters(context, now, QuiesceMigration(current.migration, caller, now));
        }
        const bool foreign = stopped.code() == absl::StatusCode::kPermissionDenied;
        return WithCounters(context, now,
                            HaltMigration(current.migration, caller, now, foreign ? kHaltForeignControl : kHaltCheckpointLost, lost));
      });
  return UnlessRefused(recorded.status());
}

absl::Status RecordHalt(const StepContext& context, const std::string& code, const std::string& message) {
  return UnlessRefused(context.store
                           .Mutate(context.id, Guarded(context, "Halt"),
                                   [&](const StoredMigration& current, absl::Time now) {
                                     return WithCounters(
                                         context, now, HaltMigration(current.migration, {context.actor, ""}, now, code, message));
                                   })
                           .status());
}

absl::Status HaltOnTarget(const StepContext& context, const std::optional<FenceClaim>& claim, const std::string& code,
                          const std::string& message) {
  const absl::Status stopped = StopOnTarget(context, claim);
  // With a claim nothing is under way, and what was committed is only not known to be durable: no reason to keep the operator from
  // reading why. Without our row nothing of ours can commit.
  if (!stopped.ok() && !claim.has_value() && !IsCheckpointLost(stopped)) return stopped;
  return RecordHalt(context, code, message);
}

absl::Status CheckSchema(const StepContext& context, const StoredMigration& stored, const MigrationPlan& plan) {
  const auto now = PlanOnTarget(context, stored);
  if (!now.ok()) {
    if (!IsRefusal(now.status())) return now.status();
    return DatabaseError(kSqlStateSchemaChanged, std::string(now.status().message()));
  }
  if (now->table_oid != plan.table_oid) {
    return DatabaseError(kSqlStateSchemaChanged, "The table was replaced by another one of that name while the migration ran.");
  }
  if (!HasSameKey(now->column_digest, plan.column_digest)) return DatabaseError(kSqlStateSchemaChanged, KeyChangedMessage(plan));
  if (now->column_digest != plan.column_digest) {
    return DatabaseError(kSqlStateSchemaChanged, "A column that the migration uses was changed while it ran.");
  }
  return absl::OkStatus();
}

absl::Status CleanUp(const StepContext& context, const StoredMigration& stored) {
  const Migration& m = stored.migration;
  // CREATING: there may be something, as after a Retry FROM_START that never began.
  if (m.fence != FenceState::kNone) {
    if (m.fence == FenceState::kCreating) MD_RETURN_IF_ERROR(context.target.Open(/*may_create_identity=*/true).status());
    TakeOverRequest request;
    request.may_create = m.fence == FenceState::kCreating;
    request.migration = m.name;
    request.control_id = context.control_id;
    request.definition_digest = m.definition_digest;
    request.store_epoch = context.lease.epoch;
    MD_ASSIGN_OR_RETURN(const Checkpoint checkpoint, context.target.TakeOver(request));
    MD_RETURN_IF_ERROR(context.store.RaiseEpoch({context.id, context.lease.token}, checkpoint.claim.epoch));
    MD_ASSIGN_OR_RETURN(const MigrationPlan plan, PlanOnTarget(context, stored));
    MD_RETURN_IF_ERROR(RunCleanupSteps(context, stored, plan, checkpoint.claim));
    MD_RETURN_IF_ERROR(context.target.Barrier(checkpoint.claim, /*completed=*/false));
  }
  return context.store
      .Mutate(context.id, Guarded(context, "CleanedUp"),
              [&](const StoredMigration& current, absl::Time now) -> absl::StatusOr<VerbEffect> {
                // One that was retried meanwhile prepares again; what was cleaned up is not its end.
                if (!current.migration.cleanup_requested) return absl::AbortedError("The cleanup is not asked for any more.");
                MD_ASSIGN_OR_RETURN(VerbEffect effect, RequestCleanup(current.migration, {context.actor, ""}, now));
                effect.changed = true;
                effect.after.cleanup_requested = false;
                effect.after.cleaned_up = true;
                effect.event_kind = kEventSetting;
                effect.event_from = "cleanup requested";
                effect.event_to = "cleaned up";
                return effect;
              })
      .status();
}

}  // namespace migrationd
