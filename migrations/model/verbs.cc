#include "migrations/model/verbs.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "migrations/model/event_kind.h"
#include "migrations/model/status_macros.h"
#include "migrations/model/time_account.h"

namespace migrationd {
namespace {

std::string Word(State state) { return std::string(StateName(state)); }

std::string TimeText(absl::Time time) { return absl::FormatTime("%Y-%m-%d %H:%M:%SZ", time, absl::UTCTimeZone()); }

// Holds tell why a PENDING or RUNNING migration is not working; in other states there is nothing to tell.
bool MayHold(State state) { return state == State::kPending || state == State::kRunning; }

// What the table says of `event`, and what goes with every change of state: only HALTED has a halt, and a hold belongs
// to the state in which it was found.
absl::StatusOr<VerbEffect> Transit(const Migration& migration, MigrationEvent event, const Caller& caller) {
  MD_ASSIGN_OR_RETURN(const State to, Apply(migration.state, event, migration.facts()));
  VerbEffect effect{.after = migration,
                    .changed = to != migration.state,
                    .event_kind = kEventTransition,
                    .event_from = Word(migration.state),
                    .event_to = Word(to),
                    .event_reason = caller.reason};
  effect.after.state = to;
  if (to != State::kHalted) effect.after.halt.reset();
  if (effect.changed && !(MayHold(migration.state) && MayHold(to))) effect.after.hold = Hold{};
  return effect;
}

Intent IntentOf(State state, const Caller& caller, absl::Time now, std::optional<absl::Time> until = std::nullopt) {
  return {.state = state, .actor = caller.actor, .reason = caller.reason, .since = now, .until = until};
}

absl::Status CheckUntil(std::optional<absl::Time> until, absl::Time now) {
  if (!until.has_value() || *until > now) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("until: ", TimeText(*until), " is not after now, ", TimeText(now), "; give a later time or none"));
}

// Work that was over goes on: whatever was said of its end no longer holds.
void Reopen(Migration& migration, absl::Time now) {
  if (!migration.started_at.has_value()) migration.started_at = now;
  migration.finished_at.reset();
  migration.accepted_rows = 0;
  migration.regressed_rows = 0;
  migration.verification.reset();
  migration.cleanup_requested = false;
  migration.cleaned_up = false;
}

// The state that ends here keeps its time.
void SettleIdleTime(const Migration& before, absl::Time now, Migration& after) {
  ChargeTime(after.progress, before.started_at.value_or(absl::InfinitePast()), now, {}, IdleTimeWord(before));
}

// A canary that has done its part must not pause the migration again.
void DropCanaryThatFired(Migration& migration) {
  if (migration.progress.rows_done >= migration.pause_after_rows) migration.pause_after_rows = 0;
}

// `from`: what it comes to.
absl::Status CheckRestart(const Migration& migration, RestartFrom from, const RetryOptions& options) {
  const std::string halt = migration.halt.has_value() ? migration.halt->code : "";
  if (from == RestartFrom::kStart && !options.has_where && !options.acknowledge_repeat) {
    if (!options.from.has_value()) {
      return absl::FailedPreconditionError(
          "An earlier Retry FROM_START has not begun, and would do rows again that are done already. Set acknowledge_repeat if that is "
          "harmless, or retry with from CONTINUE, which takes it back.");
    }
    return absl::FailedPreconditionError(
        "Retry FROM_START would do rows again that are done already, since the definition has no `where` that leaves "
        "them out. "
        "Set acknowledge_repeat if that is harmless, or retry with CONTINUE.");
  }
  if (from == RestartFrom::kContinue && halt == kHaltCheckpointLost) {
    return absl::FailedPreconditionError(
        "Retry CONTINUE is not possible after CHECKPOINT_LOST: the cursor that it would continue from is gone. Restore "
        "schema migration_control on the target and Cancel before a Retry, or retry with FROM_START.");
  }
  if (from == RestartFrom::kContinue && halt == kHaltForeignControl) {
    return absl::FailedPreconditionError(
        "Retry CONTINUE is not possible after FOREIGN_CONTROL: the checkpoint on the target belongs to another control "
        "store. "
        "Make sure that no service works for that store any more, then retry with ADOPT.");
  }
  if (options.from == RestartFrom::kAdopt && halt != kHaltForeignControl) {
    return absl::FailedPreconditionError(
        "Retry ADOPT is only possible after FOREIGN_CONTROL: no checkpoint of another control store was found. Retry "
        "with "
        "CONTINUE.");
  }
  return absl::OkStatus();
}

template <typename T>
void Overlay(const std::optional<T>& from, std::optional<T>& to) {
  if (from.has_value()) to = from;
}

void Overlay(const PaceSettings& from, PaceSettings& to) {
  Overlay(from.interval, to.interval);
  Overlay(from.max_rows_per_second, to.max_rows_per_second);
  Overlay(from.lanes, to.lanes);
  Overlay(from.windows, to.windows);
  Overlay(from.target_sub_batch_time, to.target_sub_batch_time);
  Overlay(from.lock_timeout, to.lock_timeout);
  Overlay(from.statement_timeout, to.statement_timeout);
}

template <typename T>
bool Replaces(const std::optional<T>& anew, const std::optional<T>& standing) {
  return anew.has_value() || !standing.has_value();
}

bool ReplacesAll(const PaceSettings& anew, const PaceSettings& standing) {
  return Replaces(anew.interval, standing.interval) && Replaces(anew.max_rows_per_second, standing.max_rows_per_second) &&
         Replaces(anew.lanes, standing.lanes) && Replaces(anew.windows, standing.windows) &&
         Replaces(anew.target_sub_batch_time, standing.target_sub_batch_time) && Replaces(anew.lock_timeout, standing.lock_timeout) &&
         Replaces(anew.statement_timeout, standing.statement_timeout);
}

std::string SettingsText(const PaceSettings& set) {
  std::vector<std::string> parts;
  const auto duration = [&](const char* name, const std::optional<absl::Duration>& value) {
    if (value.has_value()) parts.push_back(absl::StrCat(name, " ", absl::FormatDuration(*value)));
  };
  duration("interval", set.interval);
  if (set.max_rows_per_second.has_value()) parts.push_back(absl::StrCat("max_rows_per_second ", *set.max_rows_per_second));
  if (set.lanes.has_value()) parts.push_back(absl::StrCat("lanes ", *set.lanes));
  if (set.windows.has_value()) parts.push_back(set.windows->empty() ? "windows ALWAYS" : absl::StrCat("windows ", absl::StrJoin(*set.windows, "; ")));
  duration("target_sub_batch_time", set.target_sub_batch_time);
  duration("lock_timeout", set.lock_timeout);
  duration("statement_timeout", set.statement_timeout);
  return absl::StrJoin(parts, ", ");
}

std::string PaceText(const std::optional<PaceOverride>& pinned) {
  if (!pinned.has_value()) return "the definition's pace";
  const std::string set = SettingsText(pinned->settings);
  return pinned->until.has_value() ? absl::StrCat(set, ", until ", TimeText(*pinned->until)) : set;
}

// As it may be given back in a request: to the second, which is what people are shown.
std::string EndText(absl::Time time) { return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone()); }

// When `standing` ends together with what `request` adds to it.
absl::StatusOr<std::optional<absl::Time>> CommonEnd(const PaceOverride& standing, const PaceRequest& request) {
  if (ReplacesAll(request.settings, standing.settings)) return request.until;
  if (!request.until.has_value()) return standing.until;
  if (standing.until.has_value() && EndText(*standing.until) == EndText(*request.until)) return standing.until;
  const std::string stands = standing.until.has_value() ? absl::StrCat("until ", EndText(*standing.until)) : "until it is taken back";
  const std::string same = standing.until.has_value() ? std::string("Give that time, or no `until`") : "Give no `until`";
  return absl::FailedPreconditionError(absl::StrCat("What is set by hand ends together, and this would also end at ", EndText(*request.until), ": ",
                                                    SettingsText(standing.settings), ", which stands ", stands, ". ", same,
                                                    "; or set that again too; or go back to the definition's pace first (automatic: migrationctl set-pace NAME --auto)."));
}

absl::Status CheckWithin(const char* name, const std::optional<absl::Duration>& value, absl::Duration least, absl::Duration most) {
  if (!value.has_value() || (*value >= least && *value <= most)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, ": ", absl::FormatDuration(*value), " is outside ", absl::FormatDuration(least), " to ",
                                                 absl::FormatDuration(most)));
}

// The limits of definitions (migrations/definition/check.cc).
absl::Status CheckPace(const PaceSettings& set) {
  MD_RETURN_IF_ERROR(CheckWithin("interval", set.interval, absl::ZeroDuration(), absl::Hours(1)));
  MD_RETURN_IF_ERROR(CheckWithin("target_sub_batch_time", set.target_sub_batch_time, absl::Milliseconds(5), absl::Seconds(10)));
  MD_RETURN_IF_ERROR(CheckWithin("lock_timeout", set.lock_timeout, absl::Milliseconds(1), absl::Minutes(1)));
  MD_RETURN_IF_ERROR(CheckWithin("statement_timeout", set.statement_timeout, absl::Milliseconds(10), absl::Hours(1)));
  if (set.lanes.has_value() && (*set.lanes < 1 || *set.lanes > 16)) {
    return absl::InvalidArgumentError(absl::StrCat("lanes: ", *set.lanes, " is outside 1 to 16"));
  }
  if (set.max_rows_per_second.has_value() && (*set.max_rows_per_second < 0 || *set.max_rows_per_second > 1'000'000'000)) {
    return absl::InvalidArgumentError(absl::StrCat("max_rows_per_second: ", *set.max_rows_per_second, " is outside 0 (no limit) to 1000000000"));
  }
  if (set.windows.has_value() && set.windows->size() > 50) {
    return absl::InvalidArgumentError(absl::StrCat("windows: ", set.windows->size(), " are too many; at most 50"));
  }
  return absl::OkStatus();
}

std::string SizesText(const Migration& migration, absl::Time now) {
  const Sizes sizes = EffectiveSizes(migration, now);
  std::string text = absl::StrCat("batch_size ", sizes.batch_size, ", sub_batch_size ", sizes.sub_batch_size);
  if (!migration.size_override.has_value()) return absl::StrCat(text, ", automatic");
  const std::optional<absl::Time> until = migration.size_override->until;
  return until.has_value() ? absl::StrCat(text, ", until ", TimeText(*until)) : text;
}

absl::Status CheckSizes(const Sizes& sizes, const SizeRequest& request) {
  if (request.batch_size < 1 || request.batch_size > sizes.max_batch_size) {
    return absl::InvalidArgumentError(absl::StrCat("batch_size: ", request.batch_size, " is outside 1 to ",
                                                   sizes.max_batch_size, " (max_batch_size of this migration)"));
  }
  if (request.sub_batch_size < 0 || request.sub_batch_size > request.batch_size) {
    return absl::InvalidArgumentError(absl::StrCat("sub_batch_size: ", request.sub_batch_size, " is outside 1 to ",
                                                   request.batch_size, " (the batch_size); 0 leaves it as it is"));
  }
  return absl::OkStatus();
}

bool SameSizes(const std::optional<SizeOverride>& a, const std::optional<SizeOverride>& b) {
  if (!a.has_value() || !b.has_value()) return a.has_value() == b.has_value();
  return a->batch_size == b->batch_size && a->sub_batch_size == b->sub_batch_size && a->until == b->until;
}

}  // namespace

absl::StatusOr<VerbEffect> StartMigration(const Migration& migration, const Caller& caller, absl::Time now) {
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Transit(migration, kStart, caller));
  effect.changed = migration.state == State::kPending && !(migration.start_requested && migration.enqueued);
  if (!effect.changed) return effect;
  effect.after.start_requested = true;
  effect.after.enqueued = true;
  effect.after.intent = IntentOf(State::kRunning, caller, now);
  if (effect.after.hold.kind == HoldKind::kNeedsStart) effect.after.hold = Hold{};
  effect.event_kind = kEventSetting;
  effect.event_from = "start not requested";
  effect.event_to = "start requested";
  return effect;
}

absl::StatusOr<VerbEffect> PauseMigration(const Migration& migration, const Caller& caller, absl::Time now,
                                          std::optional<absl::Time> until) {
  MD_RETURN_IF_ERROR(CheckUntil(until, now));
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Transit(migration, kPause, caller));
  if (effect.changed) effect.after.intent = IntentOf(State::kPaused, caller, now, until);
  return effect;
}

absl::StatusOr<VerbEffect> ResumeMigration(const Migration& migration, const Caller& caller, absl::Time now) {
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Transit(migration, kResume, caller));
  if (!effect.changed) return effect;
  SettleIdleTime(migration, now, effect.after);
  effect.after.intent = IntentOf(effect.after.state, caller, now);
  DropCanaryThatFired(effect.after);
  return effect;
}

namespace {

// What Retry means to the next owner: going on from the cursor may need one thing more.
RestartFrom RestartPoint(const Migration& migration, const RetryOptions& options) {
  if (options.from.value_or(RestartFrom::kContinue) != RestartFrom::kContinue) return *options.from;
  // What an earlier Retry asked for was not begun yet, and is more than all that follows.
  if (migration.restart_from == RestartFrom::kAdopt) return RestartFrom::kAdopt;
  if (migration.restart_from == RestartFrom::kStart && !options.from.has_value()) return RestartFrom::kStart;
  const std::string code = migration.halt.has_value() ? migration.halt->code : "";
  if (code == kHaltSchemaChanged || migration.restart_from == RestartFrom::kNewSchema) return RestartFrom::kNewSchema;
  // Rows behind the cursor may need work again: repaired ones, or those written after cleanup had taken the trigger away.
  const bool over = migration.state == State::kCancelled || migration.state == State::kCompleted;
  if (over || code == kHaltRowsLeft || code == kHaltVerifyInflow) return RestartFrom::kRecheck;
  // The counter may be older than the code.
  if (code == kHaltFailedRanges || code == kHaltErrorBudget || migration.progress.failed_ranges > 0) return RestartFrom::kRecheck;
  return migration.restart_from == RestartFrom::kRecheck ? RestartFrom::kRecheck : RestartFrom::kContinue;
}

}  // namespace

absl::StatusOr<VerbEffect> RetryMigration(const Migration& migration, const Caller& caller, absl::Time now,
                                          const RetryOptions& options) {
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Transit(migration, kRetry, caller));
  const RestartFrom from = RestartPoint(migration, options);
  MD_RETURN_IF_ERROR(CheckRestart(migration, from, options));
  Migration& after = effect.after;
  SettleIdleTime(migration, now, after);
  Reopen(after, now);
  after.intent = IntentOf(State::kRunning, caller, now);
  after.start_requested = true;
  after.enqueued = true;
  after.restart_from = from;
  // A FROM_START that is taken back: the cursor is still there, or it is lost; it must not be made anew.
  if (migration.restart_from == RestartFrom::kStart && from != RestartFrom::kStart) after.fence = FenceState::kCreated;
  after.progress.attempts = 0;
  DropCanaryThatFired(after);
  if (from == RestartFrom::kStart) {
    // The checkpoint may be what was lost: let the next owner make it anew. One that is still there is taken over as
    // ever.
    after.fence = FenceState::kCreating;
    after.progress = ProgressCounters();
    after.progress.last_error = migration.progress.last_error;
  }
  return effect;
}

absl::StatusOr<VerbEffect> AcceptRows(const Migration& migration, const Caller& caller, absl::Time now, std::int64_t accepted_rows,
                                      bool clean_up) {
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Transit(migration, kAccept, caller));
  if (!effect.changed) return effect;
  SettleIdleTime(migration, now, effect.after);
  effect.after.accepted_rows = accepted_rows;
  effect.after.cleanup_requested = clean_up;
  effect.after.finished_at = now;
  effect.after.intent = IntentOf(State::kCompleted, caller, now);
  return effect;
}

absl::StatusOr<VerbEffect> CancelMigration(const Migration& migration, const Caller& caller, absl::Time now) {
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Transit(migration, kCancel, caller));
  if (effect.changed) effect.after.intent = IntentOf(State::kCancelled, caller, now);
  return effect;
}

absl::StatusOr<VerbEffect> RequestCleanup(const Migration& migration, const Caller& caller, absl::Time /*now*/) {
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Transit(migration, kCleanup, caller));
  effect.changed = !migration.cleanup_requested && !migration.cleaned_up;
  if (!effect.changed) return effect;
  effect.after.cleanup_requested = true;
  effect.event_kind = kEventSetting;
  effect.event_from = "cleanup not requested";
  effect.event_to = "cleanup requested";
  return effect;
}

absl::StatusOr<VerbEffect> RequestVerification(const Migration& migration, const Caller& caller, absl::Time now, bool has_where) {
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Transit(migration, kVerify, caller));
  if (!has_where) {
    return absl::FailedPreconditionError(
        "The definition has no `where`, so a row that was done cannot be told from one that was not: there is nothing to verify by.");
  }
  if (migration.verifying()) return effect;
  effect.changed = true;
  effect.after.verification = Verification{.requested_at = now, .actor = caller.actor};
  effect.after.progress.verify_fraction = 0;
  effect.after.progress.verify_regressed = 0;
  effect.event_kind = kEventSetting;
  effect.event_from = "";
  effect.event_to = "verification requested";
  return effect;
}

absl::StatusOr<VerbEffect> EndVerification(const Migration& migration, const Caller& caller, absl::Time now,
                                           std::optional<std::int64_t> regressed) {
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Transit(migration, kVerify, caller));
  if (!migration.verifying()) return absl::AbortedError("The verification is not asked for any more.");
  effect.changed = true;
  effect.event_kind = kEventVerified;
  effect.event_from = absl::StrCat(migration.regressed_rows, " rows regressed");
  if (!regressed.has_value()) {
    // As if it had not been asked for: what is shown as verified was.
    effect.after.verification.reset();
    effect.event_to = "no result";
    return effect;
  }
  effect.after.verification->finished_at = now;
  effect.after.regressed_rows = *regressed;
  effect.after.progress.verify_fraction = 1;
  effect.after.progress.verify_regressed = *regressed;
  effect.event_to = absl::StrCat(*regressed, " rows regressed");
  return effect;
}

absl::StatusOr<VerbEffect> StopVerification(const Migration& migration, const Caller& caller, absl::Time now) {
  if (migration.verifying()) return EndVerification(migration, caller, now, std::nullopt);
  return Transit(migration, kVerify, caller);
}

absl::StatusOr<VerbEffect> DeleteMigration(const Migration& migration, const Caller& caller, absl::Time /*now*/, bool leaves_objects) {
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Transit(migration, kDelete, caller));
  if (leaves_objects && !migration.cleaned_up && migration.fence != FenceState::kNone) {
    return absl::FailedPreconditionError(
        "Its cleanup has not run: what it made on the target (a trigger, objects of `prepare`) would stay there, and nothing would know of it "
        "any more. Call Cleanup first, or set acknowledge_leftovers.");
  }
  effect.changed = true;
  effect.event_to = "DELETED";
  return effect;
}

absl::StatusOr<VerbEffect> SetBatchSize(const Migration& migration, const Caller& caller, absl::Time now,
                                        const SizeRequest& request) {
  if (request.automatic && (request.batch_size != 0 || request.sub_batch_size != 0 || request.until.has_value())) {
    return absl::InvalidArgumentError(
        "automatic ends the override at once: give no batch_size, sub_batch_size or until with it");
  }
  if (!request.automatic) MD_RETURN_IF_ERROR(CheckSizes(migration.sizes, request));
  MD_RETURN_IF_ERROR(CheckUntil(request.until, now));
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Transit(migration, kAdjust, caller));
  std::optional<SizeOverride>& pinned = effect.after.size_override;
  pinned.reset();
  if (!request.automatic) {
    // One that was set before stays set; that of the definition stays a ceiling, which the servo moves below.
    const std::optional<SizeOverride>& before = migration.size_override;
    const bool in_force = before.has_value() && (!before->until.has_value() || now < *before->until);
    const std::int32_t set_before = in_force ? before->sub_batch_size : 0;
    pinned = SizeOverride{.batch_size = request.batch_size,
                          .sub_batch_size = std::min(request.sub_batch_size > 0 ? request.sub_batch_size : set_before, request.batch_size),
                          .author = caller.actor,
                          .until = request.until};
  }
  effect.changed = !SameSizes(migration.size_override, pinned);
  if (!effect.changed) pinned = migration.size_override;  // keeps its author
  effect.event_kind = kEventSetting;
  effect.event_from = SizesText(migration, now);
  effect.event_to = SizesText(effect.after, now);
  return effect;
}

absl::StatusOr<VerbEffect> SetPace(const Migration& migration, const Caller& caller, absl::Time now, const PaceRequest& request) {
  const bool sets_something = request.settings != PaceSettings{};
  if (request.automatic && (sets_something || request.until.has_value())) {
    return absl::InvalidArgumentError("automatic goes back to the definition's pace at once: give no setting and no until with it");
  }
  if (!request.automatic && !sets_something) {
    return absl::InvalidArgumentError(
        "nothing to set: give interval, max_rows_per_second, lanes, windows, target_sub_batch_time, lock_timeout or statement_timeout, or "
        "automatic to go back to the definition's pace");
  }
  MD_RETURN_IF_ERROR(CheckPace(request.settings));
  MD_RETURN_IF_ERROR(CheckUntil(request.until, now));
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Transit(migration, kAdjust, caller));
  std::optional<PaceOverride>& pinned = effect.after.pace_override;
  const bool over = pinned.has_value() && pinned->until.has_value() && *pinned->until <= now;
  if (request.automatic) {
    pinned.reset();
  } else {
    PaceOverride wanted;
    if (pinned.has_value() && !over) wanted = *pinned;
    MD_ASSIGN_OR_RETURN(wanted.until, CommonEnd(wanted, request));
    Overlay(request.settings, wanted.settings);
    wanted.author = caller.actor;
    const bool same = pinned.has_value() && pinned->settings == wanted.settings && pinned->until == wanted.until;
    if (!same) pinned = std::move(wanted);  // otherwise it keeps its author
  }
  effect.event_kind = kEventSetting;
  effect.event_from = PaceText(migration.pace_override);
  effect.event_to = PaceText(pinned);
  effect.changed = effect.event_from != effect.event_to;
  return effect;
}

Sizes EffectiveSizes(const Migration& migration, absl::Time now) {
  Sizes sizes = migration.sizes;
  const std::optional<SizeOverride>& pinned = migration.size_override;
  if (pinned.has_value() && (!pinned->until.has_value() || now < *pinned->until)) {
    sizes.batch_size = pinned->batch_size;
    sizes.sub_batch_size = std::min(pinned->sub_batch_size > 0 ? pinned->sub_batch_size : sizes.sub_batch_size, pinned->batch_size);
  }
  return sizes;
}

absl::StatusOr<VerbEffect> BeginMigration(const Migration& migration, const Caller& caller, absl::Time now) {
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Transit(migration, kBegin, caller));
  if (!effect.after.started_at.has_value()) effect.after.started_at = now;
  effect.after.hold = Hold{};
  return effect;
}

absl::StatusOr<VerbEffect> QuiesceMigration(const Migration& migration, const Caller& caller, absl::Time /*now*/) {
  return Transit(migration, kQuiesced, caller);
}

absl::StatusOr<VerbEffect> HaltMigration(const Migration& migration, const Caller& caller, absl::Time now,
                                         const std::string& code, const std::string& message) {
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Transit(migration, kHalt, caller));
  effect.after.halt = Halt{.code = code, .message = message, .since = now};
  effect.after.intent.until.reset();  // a pause that was asked for has nothing left to end
  effect.event_reason = absl::StrCat(code, ": ", message);
  return effect;
}

absl::StatusOr<VerbEffect> CompleteMigration(const Migration& migration, const Caller& caller, absl::Time now,
                                             std::int64_t accepted_rows, bool clean_up) {
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Transit(migration, kComplete, caller));
  effect.after.finished_at = now;
  effect.after.cleanup_requested = clean_up;
  effect.after.accepted_rows = accepted_rows;
  effect.after.intent.until.reset();
  return effect;
}

absl::StatusOr<VerbEffect> ReopenRewound(const Migration& migration, const Caller& caller, absl::Time now) {
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Transit(migration, kRewound, caller));
  SettleIdleTime(migration, now, effect.after);
  Reopen(effect.after, now);
  effect.after.intent = IntentOf(State::kRunning, caller, now);
  effect.event_kind = kEventTargetRewound;
  return effect;
}

absl::StatusOr<VerbEffect> RestartOnNewTarget(const Migration& migration, const Caller& caller, absl::Time /*now*/) {
  MD_ASSIGN_OR_RETURN(VerbEffect effect, Transit(migration, kTargetReplaced, caller));
  Migration& after = effect.after;
  effect.changed = effect.changed || migration.started_at.has_value() || migration.fence != FenceState::kNone ||
                   migration.restart_from != RestartFrom::kContinue || migration.cleanup_requested ||
                   migration.cleaned_up;
  after.started_at.reset();
  after.finished_at.reset();
  after.progress = ProgressCounters{};
  after.hold = Hold{};
  after.fence = FenceState::kNone;
  after.restart_from = RestartFrom::kContinue;
  after.accepted_rows = 0;
  after.regressed_rows = 0;
  after.verification.reset();
  after.cleanup_requested = false;
  after.cleaned_up = false;
  effect.event_kind = kEventTargetReplaced;
  return effect;
}

}  // namespace migrationd
