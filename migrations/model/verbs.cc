#include "migrations/model/verbs.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

// Applies the table's row; the event says from, to and why.
absl::StatusOr<VerbEffect> Move(const Migration& migration, MigrationEvent event, const Caller& caller) {
  MD_ASSIGN_OR_RETURN(const State to, Apply(migration.state, event, migration.facts()));
  VerbEffect effect;
  effect.after = migration;
  effect.after.state = to;
  effect.changed = to != migration.state;
  effect.event_kind = "TRANSITION";
  effect.event_from = StateName(migration.state);
  effect.event_to = StateName(to);
  effect.event_reason = caller.reason;
  return effect;
}

void Want(VerbEffect& effect, State state, const Caller& caller, absl::Time now, std::optional<absl::Time> until = std::nullopt) {
  effect.after.intent = Intent{state, caller.actor, caller.reason, now, until};
}

void Setting(VerbEffect& effect, std::string from, std::string to) {
  effect.event_kind = "SETTING";
  effect.event_from = std::move(from);
  effect.event_to = std::move(to);
}

absl::Status CheckUntil(std::optional<absl::Time> until, absl::Time now) {
  if (!until.has_value() || *until > now) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("until: ", absl::FormatTime(absl::RFC3339_sec, *until, absl::UTCTimeZone()),
                                                 " has passed; it is ", absl::FormatTime(absl::RFC3339_sec, now, absl::UTCTimeZone()),
                                                 " by the control store's clock."));
}

std::string SizeText(std::int32_t batch, std::int32_t sub_batch) { return absl::StrCat("batch_size ", batch, ", sub_batch_size ", sub_batch); }

absl::StatusOr<RestartFrom> WhereFrom(const Migration& migration, const RetryOptions& options) {
  const std::string code = migration.halt.has_value() ? migration.halt->code : "";
  const bool lost = code == kHaltCheckpointLost;
  const bool foreign = code == kHaltForeignControl;
  if (options.from == RestartFrom::kAdopt && !foreign) {
    return absl::FailedPreconditionError("from: ADOPT takes over the checkpoint of another control store, and none was found (FOREIGN_CONTROL).");
  }
  if (options.from == RestartFrom::kStart && !options.has_where && !options.acknowledge_repeat) {
    return absl::FailedPreconditionError(
        "from: FROM_START would do rows again that are done already, since the definition has no `where`; set acknowledge_repeat if that is right.");
  }
  if (options.from == RestartFrom::kContinue && lost) {
    return absl::FailedPreconditionError(
        "from: the checkpoint is lost (CHECKPOINT_LOST), so there is nothing to CONTINUE from; restore the target's schema migration_control, or Retry with FROM_START.");
  }
  if (options.from == RestartFrom::kContinue && foreign) {
    return absl::FailedPreconditionError(
        "from: the checkpoint belongs to another control store (FOREIGN_CONTROL); Retry with ADOPT to take it over, once that one has stopped.");
  }
  if (options.from != RestartFrom::kContinue) return options.from;
  if (code == kHaltRowsLeft || code == kHaltVerifyInflow) return RestartFrom::kRecheck;
  if (code == kHaltSchemaChanged) return RestartFrom::kNewSchema;
  return RestartFrom::kContinue;
}

}  // namespace

absl::StatusOr<VerbEffect> StartMigration(const Migration& migration, const Caller& caller, absl::Time now) {
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Move(migration, kStart, caller));
  if (migration.state != State::kPending || (migration.start_requested && migration.enqueued)) return effect;
  effect.changed = true;
  effect.after.start_requested = true;
  effect.after.enqueued = true;
  Want(effect, State::kRunning, caller, now);
  Setting(effect, "waits for Start", "started");
  return effect;
}

absl::StatusOr<VerbEffect> PauseMigration(const Migration& migration, const Caller& caller, absl::Time now, std::optional<absl::Time> until) {
  MD_RETURN_IF_ERROR(CheckUntil(until, now));
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Move(migration, kPause, caller));
  if (effect.changed) Want(effect, State::kPaused, caller, now, until);
  return effect;
}

absl::StatusOr<VerbEffect> ResumeMigration(const Migration& migration, const Caller& caller, absl::Time now) {
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Move(migration, kResume, caller));
  if (effect.changed) Want(effect, State::kRunning, caller, now);
  return effect;
}

absl::StatusOr<VerbEffect> RetryMigration(const Migration& migration, const Caller& caller, absl::Time now, const RetryOptions& options) {
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Move(migration, kRetry, caller));
  MD_ASSIGN_OR_RETURN(effect.after.restart_from, WhereFrom(migration, options));
  Want(effect, State::kRunning, caller, now);
  effect.after.halt.reset();
  effect.after.progress.attempts = 0;
  effect.after.finished_at.reset();
  effect.after.regressed_rows = 0;
  effect.after.start_requested = true;
  effect.after.enqueued = true;
  effect.after.cleanup_requested = false;
  if (!effect.after.started_at.has_value()) effect.after.started_at = now;
  return effect;
}

absl::StatusOr<VerbEffect> AcceptRows(const Migration& migration, const Caller& caller, absl::Time now) {
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Move(migration, kAccept, caller));
  if (!effect.changed) return effect;
  Want(effect, State::kCompleted, caller, now);
  effect.after.accepted_rows = migration.progress.unchanged_rows;
  effect.after.halt.reset();
  effect.after.finished_at = now;
  return effect;
}

absl::StatusOr<VerbEffect> CancelMigration(const Migration& migration, const Caller& caller, absl::Time now) {
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Move(migration, kCancel, caller));
  if (!effect.changed) return effect;
  Want(effect, State::kCancelled, caller, now);
  effect.after.halt.reset();
  if (effect.after.state == State::kCancelled) effect.after.finished_at = now;
  return effect;
}

absl::StatusOr<VerbEffect> RequestCleanup(const Migration& migration, const Caller& caller, absl::Time) {
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Move(migration, kCleanup, caller));
  effect.changed = !migration.cleaned_up && !migration.cleanup_requested;
  if (effect.changed) effect.after.cleanup_requested = true;
  Setting(effect, "", "cleanup asked for");
  return effect;
}

absl::StatusOr<VerbEffect> DeleteMigration(const Migration& migration, const Caller& caller, absl::Time) {
  return Move(migration, kDelete, caller);
}

Sizes EffectiveSizes(const Migration& migration, absl::Time now) {
  Sizes sizes = migration.sizes;
  const auto& pinned = migration.size_override;
  if (pinned.has_value() && (!pinned->until.has_value() || *pinned->until > now)) {
    sizes.batch_size = pinned->batch_size;
    sizes.sub_batch_size = pinned->sub_batch_size;
  }
  return sizes;
}

absl::StatusOr<VerbEffect> SetBatchSize(const Migration& migration, const Caller& caller, absl::Time now, const SizeRequest& request) {
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Move(migration, kAdjust, caller));
  const Sizes before = EffectiveSizes(migration, now);
  if (request.automatic) {
    if (request.batch_size != 0 || request.sub_batch_size != 0 || request.until.has_value()) {
      return absl::InvalidArgumentError("automatic: ends an override and takes no size and no `until`; leave one of the two out.");
    }
    effect.changed = migration.size_override.has_value();
    effect.after.size_override.reset();
    Setting(effect, SizeText(before.batch_size, before.sub_batch_size), SizeText(migration.sizes.batch_size, migration.sizes.sub_batch_size));
    return effect;
  }
  MD_RETURN_IF_ERROR(CheckUntil(request.until, now));
  if (request.batch_size < 1 || request.batch_size > migration.sizes.max_batch_size) {
    return absl::InvalidArgumentError(absl::StrCat("batch_size: ", request.batch_size, " is outside 1 to ", migration.sizes.max_batch_size,
                                                   " (max_batch_size); nothing was changed."));
  }
  if (request.sub_batch_size < 0 || request.sub_batch_size > request.batch_size) {
    return absl::InvalidArgumentError(absl::StrCat("sub_batch_size: ", request.sub_batch_size, " is outside 1 to ", request.batch_size,
                                                   " (batch_size); nothing was changed."));
  }
  SizeOverride pinned;
  pinned.batch_size = request.batch_size;
  pinned.sub_batch_size = request.sub_batch_size > 0 ? request.sub_batch_size : std::min(before.sub_batch_size, request.batch_size);
  pinned.author = caller.actor;
  pinned.until = request.until;
  const auto& old = migration.size_override;
  effect.changed = !old.has_value() || old->batch_size != pinned.batch_size || old->sub_batch_size != pinned.sub_batch_size ||
                   old->until != pinned.until;
  effect.after.size_override = pinned;
  Setting(effect, SizeText(before.batch_size, before.sub_batch_size), SizeText(pinned.batch_size, pinned.sub_batch_size));
  return effect;
}

absl::StatusOr<VerbEffect> BeginMigration(const Migration& migration, const Caller& caller, absl::Time now) {
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Move(migration, kBegin, caller));
  if (!effect.after.started_at.has_value()) effect.after.started_at = now;
  return effect;
}

absl::StatusOr<VerbEffect> QuiesceMigration(const Migration& migration, const Caller& caller, absl::Time now) {
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Move(migration, kQuiesced, caller));
  if (effect.after.state == State::kCancelled) effect.after.finished_at = now;
  return effect;
}

absl::StatusOr<VerbEffect> HaltMigration(const Migration& migration, const Caller& caller, absl::Time now, const std::string& code,
                                         const std::string& message) {
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Move(migration, kHalt, caller));
  effect.after.halt = Halt{code, message, now};
  effect.event_reason = absl::StrCat(code, ": ", message);
  return effect;
}

absl::StatusOr<VerbEffect> CompleteMigration(const Migration& migration, const Caller& caller, absl::Time now, std::int64_t accepted_rows) {
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Move(migration, kComplete, caller));
  effect.after.finished_at = now;
  effect.after.halt.reset();
  effect.after.accepted_rows = accepted_rows;
  return effect;
}

absl::StatusOr<VerbEffect> ReopenRewound(const Migration& migration, const Caller& caller, absl::Time) {
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Move(migration, kRewound, caller));
  effect.after.finished_at.reset();
  effect.event_kind = "TARGET_REWOUND";
  return effect;
}

absl::StatusOr<VerbEffect> RestartOnNewTarget(const Migration& migration, const Caller& caller, absl::Time) {
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Move(migration, kTargetReplaced, caller));
  effect.changed = effect.changed || migration.fence != FenceState::kNone;
  Migration& after = effect.after;
  after.fence = FenceState::kNone;
  after.restart_from = RestartFrom::kContinue;
  after.halt.reset();
  after.started_at.reset();
  if (after.state != State::kCancelled) after.finished_at.reset();
  after.progress = ProgressCounters{};
  after.cleaned_up = false;
  after.cleanup_requested = false;
  after.accepted_rows = 0;
  after.regressed_rows = 0;
  effect.event_kind = "TARGET_REPLACED";
  return effect;
}

}  // namespace migrationd
