#include "server/control/controller.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "migrations/kinds/native_plan.h"
#include "migrations/kinds/plan.h"
#include "migrations/model/event_kind.h"
#include "migrations/model/failure.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

constexpr std::size_t kDeletedAnswersKept = 1000;
// What an immediate Pause needs after its fence to record it and to answer; a caller with less patience has the fence wait no longer.
constexpr absl::Duration kAnswering = absl::Milliseconds(500);

MutationContext Named(const MutationContext& context, const char* call) {
  MutationContext named = context;
  named.call = call;
  return named;
}

// For a step of ours within an operator's call, which was checked when it began.
MutationContext Continued(const MutationContext& context, const char* call) {
  MutationContext continued;
  continued.caller = context.caller;
  continued.call = call;
  return continued;
}

bool IsPaused(State state) { return state == State::kPausing || state == State::kPaused; }

// Before the first write on the target: from now on a missing owner row may be inserted.
void ExpectOwnerRow(VerbEffect& effect) {
  if (effect.after.fence != FenceState::kNone) return;
  effect.after.fence = FenceState::kCreating;
  if (effect.changed) return;
  effect.changed = true;
  effect.event_kind = kEventOwner;
  effect.event_reason = "about to be fenced on the target";
}

absl::Status WantedOtherwise(const Migration& current) {
  const bool goes_on = current.state == State::kPending || current.state == State::kRunning || current.state == State::kPausing;
  return absl::AbortedError(absl::StrCat("Meanwhile ", current.intent.actor, " asked for something else for \"", current.name,
                                         "\", which is ", std::string(StateName(current.state)),
                                         goes_on ? "; call Pause again to stop it." : "."));
}

// The target was fenced for what was wanted then: what the store says about it follows. What was begun later is not fenced.
absl::StatusOr<VerbEffect> AfterFence(const Migration& current, const Intent& then, const Caller& caller,
                                      absl::Time now, const std::string& how) {
  VerbEffect effect;
  effect.after = current;
  effect.changed = false;
  const bool same_wish = current.intent.since == then.since;
  switch (current.state) {
    case State::kPausing:
    case State::kCancelling: {
      if (!same_wish) return WantedOtherwise(current);
      MD_ASSIGN_OR_RETURN(effect, QuiesceMigration(current, caller, now));
      effect.event_reason = absl::StrCat(caller.reason, caller.reason.empty() ? "" : "; ", how);
      break;
    }
    case State::kPending:
    case State::kRunning:
      return WantedOtherwise(current);
    case State::kPaused:
    case State::kHalted:
    case State::kCancelled:
    case State::kCompleted:
      break;  // nothing executes
  }
  if (effect.after.fence == FenceState::kCreating && same_wish) {
    effect.after.fence = FenceState::kCreated;
    if (!effect.changed) {
      effect.changed = true;
      effect.event_kind = kEventOwner;
      effect.event_reason = how;
    }
  }
  return effect;
}

}  // namespace

Controller::Controller(ControllerOptions options, ControlStore& store, Board& board, const TargetMap& targets,
                       SchedulerSignal& scheduler, Clock& clock)
    : options_(std::move(options)),
      store_(store),
      board_(board),
      targets_(targets),
      scheduler_(scheduler),
      clock_(clock) {}

absl::StatusOr<StoredMigration> Controller::Act(const std::string& migration, const MutationContext& context,
                                                const MutationFn& decide) {
  MD_ASSIGN_OR_RETURN(const BoardEntry entry, Resolve(*board_.Get(), migration));
  return ActOn(entry.stored.migration.id, context, decide);
}

absl::StatusOr<StoredMigration> Controller::ActOn(MigrationId id, const MutationContext& context,
                                                  const MutationFn& decide) {
  auto stored = store_.Mutate(id, context, decide);
  if (stored.status().code() == absl::StatusCode::kNotFound) board_.Remove(id);  // deleted by another process
  if (!stored.ok()) return stored.status();
  if (context.validate_only) return stored;
  StoredMigration shown = board_.Upsert(*stored);
  scheduler_.Wake();
  return shown;
}

absl::StatusOr<StoredMigration> Controller::Start(const std::string& migration, const MutationContext& context) {
  return Act(migration, Named(context, "Start"), [&](const StoredMigration& current, absl::Time now) {
    return StartMigration(current.migration, context.caller, now);
  });
}

absl::StatusOr<StoredMigration> Controller::Resume(const std::string& migration, const MutationContext& context) {
  return Act(migration, Named(context, "Resume"), [&](const StoredMigration& current, absl::Time now) {
    return ResumeMigration(current.migration, context.caller, now);
  });
}

bool Controller::HasWhere(const migrationcontrol::v1::MigrationDefinition& definition) const {
  if (definition.has_copy_columns() || definition.has_delete_rows()) return true;
  if (!definition.has_native()) return !definition.sql_batch().where().empty();
  // Without the class nobody knows: then the operator has to say so.
  if (options_.natives == nullptr) return false;
  return NativeTellsRows(*options_.natives, definition);
}

absl::StatusOr<StoredMigration> Controller::Retry(const std::string& migration, std::optional<RestartFrom> from,
                                                  bool acknowledge_repeat, const MutationContext& context) {
  return Act(migration, Named(context, "Retry"), [&](const StoredMigration& current, absl::Time now) {
    const RetryOptions options{
        .from = from, .has_where = HasWhere(*current.definition), .acknowledge_repeat = acknowledge_repeat};
    return RetryMigration(current.migration, context.caller, now, options);
  });
}

absl::StatusOr<StoredMigration> Controller::Accept(const std::string& migration, const MutationContext& context) {
  std::optional<absl::Time> halted_since;
  std::optional<std::int64_t> accepted;
  const MutationFn accept = [&](const StoredMigration& current, absl::Time now) -> absl::StatusOr<VerbEffect> {
    const std::optional<Halt>& halt = current.migration.halt;
    // Those rows were to be accepted that were left then.
    if (halted_since.has_value() && halt.has_value() && halt->since != *halted_since) {
      return absl::AbortedError(absl::StrCat("\"", current.migration.name, "\" was retried meanwhile, and rows are left again: ",
                                             halt->message));
    }
    return AcceptRows(current.migration, context.caller, now, accepted.value_or(current.migration.progress.unchanged_rows),
                      CleansUpByItself(*current.definition));
  };
  MutationContext checking = Named(context, "Accept");
  checking.validate_only = true;
  MD_ASSIGN_OR_RETURN(const StoredMigration stored, Act(migration, checking, accept));
  if (stored.migration.halt.has_value()) halted_since = stored.migration.halt->since;
  // First the data's own database, so that is_completed() there never lags behind what we report.
  if (!context.validate_only && stored.migration.state == State::kHalted) {
    // The target's count: the store's may be a second old.
    MD_ASSIGN_OR_RETURN(accepted, CompleteOnTarget(stored, [&]() { return Act(migration, checking, accept).status(); }));
  }
  return Act(migration, Named(context, "Accept"), accept);
}

absl::StatusOr<std::int64_t> Controller::CompleteOnTarget(const StoredMigration& stored,
                                                          const std::function<absl::Status()>& still_wanted) {
  const Migration& m = stored.migration;
  MD_ASSIGN_OR_RETURN(const auto target, FindTarget(m.target));
  MD_ASSIGN_OR_RETURN(const std::string control_id, store_.ControlId());
  TakeOverRequest request;
  request.migration = m.name;
  request.control_id = control_id;
  request.definition_digest = m.definition_digest;
  MD_ASSIGN_OR_RETURN(const Checkpoint checkpoint, target->TakeOver(request));
  // Looked at between the two: an owner that comes by a Retry after this look fences our claim, or undoes what it did, since it looks at
  // all rows again (RestartFrom::kRecheck).
  MD_RETURN_IF_ERROR(still_wanted());
  MD_RETURN_IF_ERROR(target->Barrier(checkpoint.claim, /*completed=*/true));
  return checkpoint.unchanged_rows;
}

absl::StatusOr<StoredMigration> Controller::Cancel(const std::string& migration, const MutationContext& context) {
  auto stored = Act(migration, Named(context, "Cancel"), [&](const StoredMigration& current, absl::Time now) {
    return CancelMigration(current.migration, context.caller, now);
  });
  if (stored.ok() && !context.validate_only) scheduler_.Interrupt(stored->migration.id);
  return stored;
}

absl::StatusOr<StoredMigration> Controller::Cleanup(const std::string& migration, const MutationContext& context) {
  return Act(migration, Named(context, "Cleanup"), [&](const StoredMigration& current, absl::Time now) {
    return RequestCleanup(current.migration, context.caller, now);
  });
}

absl::StatusOr<StoredMigration> Controller::Verify(const std::string& migration, const MutationContext& context) {
  return Act(migration, Named(context, "Verify"), [&](const StoredMigration& current, absl::Time now) {
    return RequestVerification(current.migration, context.caller, now, HasWhere(*current.definition));
  });
}

absl::StatusOr<StoredMigration> Controller::StopVerification(const std::string& migration, const MutationContext& context) {
  return Act(migration, Named(context, "Verify"), [&](const StoredMigration& current, absl::Time now) {
    return migrationd::StopVerification(current.migration, context.caller, now);
  });
}

absl::StatusOr<StoredMigration> Controller::SetBatchSize(const std::string& migration, const SizeRequest& request,
                                                         const MutationContext& context) {
  return Act(migration, Named(context, "SetBatchSize"), [&](const StoredMigration& current, absl::Time now) {
    return migrationd::SetBatchSize(current.migration, context.caller, now, request);
  });
}

absl::StatusOr<StoredMigration> Controller::SetPace(const std::string& migration, const PaceRequest& request, const MutationContext& context) {
  return Act(migration, Named(context, "SetPace"), [&](const StoredMigration& current, absl::Time now) {
    return migrationd::SetPace(current.migration, context.caller, now, request);
  });
}

// ---- Pause
// --------------------------------------------------------------------------------------------------------------------

absl::StatusOr<Controller::PauseOutcome> Controller::Pause(const std::string& migration,
                                                           std::optional<absl::Time> until, bool immediate,
                                                           const MutationContext& context, absl::Duration patience) {
  auto intended =
      Act(migration, Named(context, "Pause"),
          [&](const StoredMigration& current, absl::Time now) -> absl::StatusOr<VerbEffect> {
            MD_ASSIGN_OR_RETURN(VerbEffect effect, PauseMigration(current.migration, context.caller, now, until));
            if (immediate) ExpectOwnerRow(effect);
            return effect;
          });
  if (intended.status().code() == absl::StatusCode::kUnavailable) {
    const bool unknown = IsCommitUnknown(intended.status());
    // If it was recorded, the owner should see it at once.
    if (unknown) scheduler_.Wake();
    return absl::UnavailableError(absl::StrCat(
        std::string(intended.status().message()),
        unknown ? " Whether it was recorded is not known: call again with the same request_id."
                : " Nothing was recorded.",
        " To hold all work without the control store: SELECT migration_control.freeze('why') on the target."));
  }
  if (!intended.ok()) return intended.status();
  if (context.validate_only) return PauseOutcome{*std::move(intended), std::nullopt};
  scheduler_.Interrupt(intended->migration.id);
  // A repeated request_id may find that somebody resumed it since: that is not to be undone.
  if (!immediate || !IsPaused(intended->migration.state)) return PauseOutcome{*std::move(intended), std::nullopt};
  return QuiesceNow(*intended, context, patience);
}

absl::StatusOr<Controller::PauseOutcome> Controller::QuiesceNow(const StoredMigration& stored,
                                                                const MutationContext& context, absl::Duration patience) {
  const absl::Time begun = clock_.Now();
  const auto fenced = Fence(stored, patience);
  if (!fenced.ok()) return FenceFailure(stored, context, fenced.status());
  const std::string how = absl::StrCat("fenced on the target, epoch ", fenced->checkpoint.claim.epoch, ", within ",
                                       absl::ToInt64Milliseconds(clock_.Now() - begun), " ms");
  auto paused =
      ActOn(stored.migration.id, Continued(context, "Quiesce"), [&](const StoredMigration& current, absl::Time now) {
        return AfterFence(current.migration, stored.migration.intent, context.caller, now, how);
      });
  if (paused.status().code() == absl::StatusCode::kUnavailable) {
    return absl::UnavailableError(absl::StrCat(
        "The migration is fenced: nothing commits any more. But this could not be recorded, so it still shows ",
        std::string(StateName(stored.migration.state)), "; call again. ", std::string(paused.status().message())));
  }
  if (!paused.ok()) return paused.status();
  return PauseOutcome{*std::move(paused), fenced->quiesced_at};
}

absl::StatusOr<QuiesceResult> Controller::Fence(const StoredMigration& stored, absl::Duration patience) {
  const Migration& m = stored.migration;
  MD_ASSIGN_OR_RETURN(const auto target, FindTarget(m.target));
  TakeOverRequest request;
  request.migration = m.name;
  MD_ASSIGN_OR_RETURN(request.control_id, store_.ControlId());
  request.definition_digest = m.definition_digest;
  request.store_epoch = stored.lease.has_value() ? stored.lease->epoch : 0;
  request.may_create = m.fence != FenceState::kCreated || m.restart_from == RestartFrom::kStart;
  request.adopt = m.restart_from == RestartFrom::kAdopt;
  if (m.fence != FenceState::kCreated) {
    // Nothing of ours may be there yet.
    MD_RETURN_IF_ERROR(target->Open(/*may_create_identity=*/true).status());
  }
  return target->Revoke(request, std::min(options_.quiesce_timeout, std::max(patience - kAnswering, kAnswering)));
}

absl::Status Controller::FenceFailure(const StoredMigration& stored, const MutationContext& context,
                                      const absl::Status& error) {
  const Migration& m = stored.migration;
  const std::string message(error.message());
  const bool lost = error.code() == absl::StatusCode::kNotFound;
  if (lost || error.code() == absl::StatusCode::kPermissionDenied) {
    // Without our row no sub-batch of ours can commit; a person must look.
    const char* code = lost ? kHaltCheckpointLost : kHaltForeignControl;
    const auto halted = ActOn(m.id, Continued(context, "Halt"),
                              [&](const StoredMigration& current, absl::Time now) -> absl::StatusOr<VerbEffect> {
                                if (current.migration.intent.since != m.intent.since) return WantedOtherwise(current.migration);
                                return HaltMigration(current.migration, context.caller, now, code, message);
                              });
    return absl::FailedPreconditionError(absl::StrCat(
        code, ": ", message,
        halted.ok() ? " The migration is HALTED; nothing of it can commit." : " Nothing of the migration can commit."));
  }
  const std::string explained =
      absl::StrCat("The pause is recorded and the state is ", std::string(StateName(m.state)), ", but target \"",
                   m.target, "\" could not be fenced, so what was in flight may still commit: ", message,
                   " Call again, or hold all work there with SELECT migration_control.freeze('why').");
  return absl::Status(
      error.code() == absl::StatusCode::kUnavailable || error.code() == absl::StatusCode::kDeadlineExceeded
          ? absl::StatusCode::kUnavailable
          : error.code(),
      explained);
}

// ---- Delete
// -------------------------------------------------------------------------------------------------------------------

absl::StatusOr<StoredMigration> Controller::Delete(const std::string& migration, const MutationContext& context,
                                                   bool acknowledge_leftovers) {
  const MutationContext named = Named(context, "Delete");
  const std::string answer_key = absl::StrCat(context.request_id, "/", migration);
  auto entry = Resolve(*board_.Get(), migration);
  if (entry.status().code() == absl::StatusCode::kNotFound && !context.request_id.empty()) {
    absl::MutexLock lock(&deleted_mutex_);
    const auto known =
        std::find_if(deleted_.begin(), deleted_.end(), [&](const auto& answer) { return answer.first == answer_key; });
    if (known != deleted_.end()) return known->second;
  }
  if (!entry.ok()) return entry.status();
  const MigrationId id = entry->stored.migration.id;

  // Checked in full before the target is touched.
  MutationContext check = named;
  check.request_id.clear();
  check.validate_only = true;
  MD_ASSIGN_OR_RETURN(const StoredMigration current,
                      ActOn(id, check, [&](const StoredMigration& stored, absl::Time now) {
                        return DeleteMigration(stored.migration, context.caller, now,
                                               HasCleanup(*stored.definition) && !acknowledge_leftovers);
                      }));
  if (context.validate_only) return current;
  MD_ASSIGN_OR_RETURN(const std::string control_id, store_.ControlId());
  MD_ASSIGN_OR_RETURN(const auto target, FindTarget(current.migration.target));
  MD_RETURN_IF_ERROR(target->Open(/*may_create_identity=*/current.migration.fence != FenceState::kCreated).status());
  MD_RETURN_IF_ERROR(target->Forget(current.migration.name, control_id));
  MD_ASSIGN_OR_RETURN(const StoredMigration deleted, store_.Delete(id, named));
  board_.Remove(id);
  scheduler_.Wake();
  if (!context.request_id.empty()) {
    absl::MutexLock lock(&deleted_mutex_);
    deleted_.emplace_back(answer_key, deleted);
    if (deleted_.size() > kDeletedAnswersKept) deleted_.pop_front();
  }
  return deleted;
}

// ---- Freeze
// -------------------------------------------------------------------------------------------------------------------

absl::StatusOr<FreezeRecord> Controller::Freeze(const FreezeRecord& freeze, const MutationContext& context, const VisibleTargets& visible) {
  if (!freeze.target.empty() && targets_.count(freeze.target) == 0) {
    return absl::InvalidArgumentError(absl::StrCat("target: there is no target \"", freeze.target,
                                                   "\"; expected one of ", KnownTargets(visible), ", or nothing for all."));
  }
  FreezeRecord asked = freeze;
  asked.actor = context.caller.actor;
  if (asked.reason.empty()) asked.reason = context.caller.reason;
  MD_ASSIGN_OR_RETURN(const FreezeRecord frozen, store_.Freeze(asked, Named(context, "Freeze")));
  if (context.validate_only) return frozen;
  board_.Edit([&](BoardSnapshot& snapshot) {
    std::erase_if(snapshot.freezes, [&](const FreezeRecord& known) { return known.target == frozen.target; });
    snapshot.freezes.push_back(frozen);
  });
  scheduler_.Wake();
  return frozen;
}

absl::StatusOr<FreezeRecord> Controller::Unfreeze(const std::string& target, const MutationContext& context) {
  MD_ASSIGN_OR_RETURN(const FreezeRecord ended, store_.Unfreeze(target, Named(context, "Unfreeze")));
  if (context.validate_only) return ended;
  board_.Edit([&](BoardSnapshot& snapshot) {
    std::erase_if(snapshot.freezes, [&](const FreezeRecord& known) { return known.target == target; });
  });
  scheduler_.Wake();
  return ended;
}

// ---- history and targets
// ------------------------------------------------------------------------------------------------------

absl::StatusOr<std::vector<RowFailure>> Controller::ListFailures(const std::string& migration, const Key& after, int limit) {
  MD_ASSIGN_OR_RETURN(const BoardEntry entry, Resolve(*board_.Get(), migration));
  const Migration& m = entry.stored.migration;
  // Nothing of it is on the target yet.
  if (m.fence == FenceState::kNone) return std::vector<RowFailure>();
  MD_ASSIGN_OR_RETURN(const auto target, FindTarget(m.target));
  return target->ListFailures(m.name, after, limit);
}

absl::StatusOr<JobPage> Controller::ListJobs(const std::string& migration, std::int64_t before, int limit) {
  MD_ASSIGN_OR_RETURN(const BoardEntry entry, Resolve(*board_.Get(), migration));
  return store_.ListJobs(entry.stored.migration.id, before, limit);
}

absl::StatusOr<EventPage> Controller::ListEvents(const std::string& migration, const std::vector<std::string>& kinds,
                                                 std::int64_t before, int limit) {
  if (migration.empty()) return store_.ListEvents(std::nullopt, kinds, before, limit);
  MD_ASSIGN_OR_RETURN(const BoardEntry entry, Resolve(*board_.Get(), migration));
  return store_.ListEvents(entry.stored.migration.id, kinds, before, limit);
}

absl::StatusOr<std::shared_ptr<Target>> Controller::FindTarget(const std::string& name) const {
  const auto found = targets_.find(name);
  if (found != targets_.end()) return found->second;
  return absl::UnavailableError(absl::StrCat("Target \"", name, "\" is not configured in this process; add --target ", name, "=URL."));
}

std::string Controller::KnownTargets(const VisibleTargets& visible) const {
  std::vector<std::string> names;
  for (const auto& [name, target] : targets_) {
    if (!visible.has_value() || visible->count(name) != 0) names.push_back(name);
  }
  return names.empty() ? "none" : absl::StrJoin(names, ", ");
}

}  // namespace migrationd
