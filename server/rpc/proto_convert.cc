#include "server/rpc/proto_convert.h"

#include "absl/strings/str_cat.h"
#include "migrations/kinds/plan.h"
#include "migrations/model/progress.h"
#include "migrations/model/time_account.h"
#include "migrations/model/verbs.h"
#include "migrations/pacing/pace.h"
#include "server/rpc/grpc_status.h"

namespace migrationd {
namespace {

namespace v1 = migrationcontrol::v1;

// Sets a Timestamp field; leaves it out when there is no time.
template <typename Message>
void SetTime(absl::Time time, Message& message, google::protobuf::Timestamp* (Message::*field)()) {
  if (const auto stamp = ToTimestamp(time); stamp.has_value()) *(message.*field)() = *stamp;
}

absl::Time TimeOr(const std::optional<absl::Time>& time) { return time.value_or(absl::InfinitePast()); }

void SetDuration(absl::Duration duration, google::protobuf::Duration* out) {
  const std::int64_t seconds = absl::IDivDuration(duration, absl::Seconds(1), &duration);
  out->set_seconds(seconds);
  out->set_nanos(static_cast<std::int32_t>(absl::ToInt64Nanoseconds(duration)));
}

v1::EtaState ToProto(EtaState state) {
  switch (state) {
    case EtaState::kMeasuring:
      return v1::ETA_STATE_MEASURING;
    case EtaState::kReady:
      return v1::ETA_STATE_READY;
    case EtaState::kStalled:
      return v1::ETA_STATE_STALLED;
    case EtaState::kBlocked:
      return v1::ETA_STATE_BLOCKED;
    case EtaState::kDue:
      return v1::ETA_STATE_DUE;
    case EtaState::kUnknown:
      return v1::ETA_STATE_UNKNOWN;
  }
  return v1::ETA_STATE_UNSPECIFIED;
}

void FillIntent(const Intent& intent, v1::Intent& out) {
  out.set_state(ToProto(intent.state));
  out.set_actor(intent.actor);
  out.set_reason(intent.reason);
  SetTime(intent.since, out, &v1::Intent::mutable_since);
  SetTime(TimeOr(intent.until), out, &v1::Intent::mutable_until);
}

v1::Reading ToProto(const Reading& reading) {
  v1::Reading out;
  out.set_signal(reading.signal);
  if (reading.value.has_value()) out.set_value(*reading.value);
  out.set_limit(reading.limit);
  out.set_unit(reading.unit);
  SetTime(reading.at, out, &v1::Reading::mutable_at);
  out.set_detail(reading.detail);
  return out;
}

// A hold says why a PENDING or RUNNING migration is not working, or why a cleanup or verification that was asked for is not done;
// otherwise the state itself says it.
void FillHold(const Migration& m, v1::Hold& out) {
  const bool applies = m.state == State::kPending || m.state == State::kRunning || (m.cleanup_requested && !m.cleaned_up) || m.verifying();
  out.set_kind(applies ? ToProto(m.hold.kind) : v1::HOLD_KIND_NONE);
  if (!applies || m.hold.kind == HoldKind::kNone) return;
  out.set_reason(m.hold.reason);
  SetTime(TimeOr(m.hold.since), out, &v1::Hold::mutable_since);
  SetTime(TimeOr(m.hold.until), out, &v1::Hold::mutable_until);
  for (const Reading& reading : m.hold.readings) *out.add_readings() = ToProto(reading);
}

void FillSizes(const Migration& m, absl::Time now, v1::Migration& out) {
  const Sizes sizes = EffectiveSizes(m, now);
  out.set_batch_size(sizes.batch_size);
  // The one in use while it works, its ceiling otherwise.
  out.set_sub_batch_size(m.progress.sub_batch_size > 0 ? m.progress.sub_batch_size : sizes.sub_batch_size);
  out.set_max_batch_size(sizes.max_batch_size);
  if (!m.size_override.has_value() || (m.size_override->until.has_value() && *m.size_override->until <= now)) return;
  v1::BatchSizeOverride& size_override = *out.mutable_batch_size_override();
  size_override.set_value(m.size_override->batch_size);
  size_override.set_author(m.size_override->author);
  SetTime(TimeOr(m.size_override->until), size_override, &v1::BatchSizeOverride::mutable_until);
}

v1::Outlook ToProto(Outlook outlook) {
  switch (outlook) {
    case Outlook::kNone: return v1::OUTLOOK_NONE;
    case Outlook::kUnknown: return v1::OUTLOOK_UNSPECIFIED;
    case Outlook::kOnTrack: return v1::OUTLOOK_ON_TRACK;
    case Outlook::kAtRisk: return v1::OUTLOOK_AT_RISK;
    case Outlook::kMissed: return v1::OUTLOOK_MISSED;
  }
  return v1::OUTLOOK_UNSPECIFIED;
}

void FillProgress(const StoredMigration& stored, absl::Time now, v1::Progress& out) {
  const Migration& m = stored.migration;
  const ProgressView view = ViewProgress(m, now);
  out.set_rows_done(m.progress.rows_done);
  out.set_rows_estimated(m.progress.rows_estimated);
  out.set_estimate_method(m.progress.estimate_method);
  out.set_fraction(view.fraction);
  out.set_method(view.method);
  out.set_rows_per_second(m.progress.rows_per_second);
  out.set_rows_per_second_average(view.rows_per_second_average);
  out.set_batches_done(m.progress.batches_done);
  SetTime(TimeOr(view.eta), out, &v1::Progress::mutable_eta);
  out.set_eta_state(ToProto(view.eta_state));
  const std::optional<absl::Time> deadline = DeadlineOf(stored);
  SetTime(TimeOr(deadline), out, &v1::Progress::mutable_deadline);
  out.set_outlook(ToProto(OutlookOf(m, view, deadline, now)));
}

void FillVerification(const Migration& m, v1::Verification& out) {
  SetTime(m.verification->requested_at, out, &v1::Verification::mutable_requested_at);
  out.set_actor(m.verification->actor);
  SetTime(TimeOr(m.verification->finished_at), out, &v1::Verification::mutable_finished_at);
  const bool over = m.verification->finished_at.has_value();
  out.set_fraction(over ? 1 : m.progress.verify_fraction);
  out.set_regressed_rows(over ? m.regressed_rows : m.progress.verify_regressed);
}

void FillSteps(const StoredMigration& stored, v1::Migration& out) {
  const Migration& m = stored.migration;
  // A pass begins only after all of `prepare` was recorded on the target.
  const bool prepared = m.progress.pass > 0 || m.state == State::kCompleted;
  const auto add = [&out](const std::string& name, bool done) {
    v1::Step& step = *out.add_steps();
    step.set_name(name);
    step.set_done(done);
  };
  for (int i = 0; i < stored.definition->prepare_size(); ++i) add(absl::StrCat("prepare[", i, "]"), prepared);
  for (int i = 0; i < stored.definition->cleanup().statements_size(); ++i) {
    add(absl::StrCat("cleanup.statements[", i, "]"), m.cleaned_up);
  }
}

void FillWork(const StoredMigration& stored, const LiveWork& live, v1::Migration& out) {
  const Migration& m = stored.migration;
  for (const LiveWork::Backend& backend : live.backends) {
    v1::Backend& added = *out.add_backends();
    added.set_pid(backend.pid);
    added.set_lane(backend.lane);
  }
  if (stored.lease.has_value()) {
    out.set_epoch(stored.lease->epoch);
    if (stored.lease->live) out.set_owner(stored.lease->owner);
  }
  for (const LaneProgress& lane : m.progress.lanes) {
    v1::Lane& added = *out.add_lanes();
    added.set_lane(lane.lane);
    added.mutable_cursor()->Assign(lane.cursor.begin(), lane.cursor.end());
    added.mutable_upper_bound()->Assign(lane.upper_bound.begin(), lane.upper_bound.end());
    added.set_rows_done(lane.rows);
  }
  if (m.progress.last_error.has_value()) {
    v1::LastError& error = *out.mutable_last_error();
    error.set_sqlstate(m.progress.last_error->sqlstate);
    error.set_message(m.progress.last_error->message);
    SetTime(m.progress.last_error->at, error, &v1::LastError::mutable_at);
  }
}

void FillTime(const Migration& m, absl::Time now, v1::TimeAccount& out) {
  TimeShares account = TimeAccountAt(m, now);
  const auto take = [&account](const char* word) {
    const auto part = account.extract(word);
    return part.empty() ? absl::ZeroDuration() : absl::Seconds(part.mapped());
  };
  SetDuration(take(kTimeWorking), out.mutable_working());
  SetDuration(take(kTimeLockWait), out.mutable_lock_wait());
  SetDuration(take(kTimeInterval), out.mutable_interval());
  SetDuration(take(kTimeSteps), out.mutable_steps());
  out.mutable_holds()->insert(account.begin(), account.end());
}

void FillPace(const StoredMigration& stored, const LiveWork& live, absl::Time now, v1::MigrationPace& out) {
  out.set_allowed(live.allowed);
  if (live.limited_by.has_value()) *out.mutable_limited_by() = ToProto(*live.limited_by);
  const std::optional<PaceOverride>& pinned = stored.migration.pace_override;
  const PaceInForce pace = PaceOf(*stored.definition, pinned, now);
  SetDuration(pace.interval, out.mutable_interval());
  out.set_max_rows_per_second(pace.max_rows_per_second);
  out.set_lanes(pace.lanes);
  out.mutable_windows()->Assign(pace.windows.begin(), pace.windows.end());
  SetDuration(pace.target_sub_batch_time, out.mutable_target_sub_batch_time());
  SetDuration(pace.lock_timeout, out.mutable_lock_timeout());
  SetDuration(pace.statement_timeout, out.mutable_statement_timeout());
  if (!pinned.has_value() || (pinned->until.has_value() && *pinned->until <= now)) return;
  out.mutable_override()->set_author(pinned->author);
  SetTime(TimeOr(pinned->until), *out.mutable_override(), &v1::PaceOverride::mutable_until);
}

}  // namespace

ConvertTimes TimesOf(const BoardSnapshot& snapshot, absl::Time process_now) {
  const absl::Time now = snapshot.DatabaseTime(process_now);
  return {.as_of = snapshot.store_reachable ? now : snapshot.as_of, .now = now};
}

v1::State ToProto(State state) {
  switch (state) {
    case State::kPending:
      return v1::STATE_PENDING;
    case State::kRunning:
      return v1::STATE_RUNNING;
    case State::kPausing:
      return v1::STATE_PAUSING;
    case State::kPaused:
      return v1::STATE_PAUSED;
    case State::kHalted:
      return v1::STATE_HALTED;
    case State::kCancelling:
      return v1::STATE_CANCELLING;
    case State::kCancelled:
      return v1::STATE_CANCELLED;
    case State::kCompleted:
      return v1::STATE_COMPLETED;
  }
  return v1::STATE_UNSPECIFIED;
}

v1::Phase ToProto(Phase phase) {
  switch (phase) {
    case Phase::kPrepare:
      return v1::PHASE_PREPARE;
    case Phase::kExecute:
      return v1::PHASE_EXECUTE;
    case Phase::kVerify:
      return v1::PHASE_VERIFY;
    case Phase::kCleanup:
      return v1::PHASE_CLEANUP;
  }
  return v1::PHASE_UNSPECIFIED;
}

v1::HoldKind ToProto(HoldKind kind) {
  switch (kind) {
    case HoldKind::kNone:
      return v1::HOLD_KIND_NONE;
    case HoldKind::kThrottled:
      return v1::HOLD_KIND_THROTTLED;
    case HoldKind::kBlocked:
      return v1::HOLD_KIND_BLOCKED;
    case HoldKind::kOutOfWindow:
      return v1::HOLD_KIND_OUT_OF_WINDOW;
    case HoldKind::kBackoff:
      return v1::HOLD_KIND_BACKOFF;
    case HoldKind::kWaitingTurn:
      return v1::HOLD_KIND_WAITING_TURN;
    case HoldKind::kNeedsStart:
      return v1::HOLD_KIND_NEEDS_START;
    case HoldKind::kPreflight:
      return v1::HOLD_KIND_PREFLIGHT;
    case HoldKind::kSkipped:
      return v1::HOLD_KIND_SKIPPED;
    case HoldKind::kNoOwner:
      return v1::HOLD_KIND_NO_OWNER;
    case HoldKind::kFrozen:
      return v1::HOLD_KIND_FROZEN;
  }
  return v1::HOLD_KIND_UNSPECIFIED;
}

absl::StatusOr<State> FromProto(v1::State state) {
  for (const State known : kAllStates) {
    if (ToProto(known) == state) return known;
  }
  return FieldError("states",
                    absl::StrCat(static_cast<int>(state), " is no state; expected STATE_PENDING to STATE_COMPLETED."));
}

v1::Migration ToProto(const StoredMigration& stored, const LiveWork& live, const ConvertTimes& times) {
  const Migration& m = stored.migration;
  v1::Migration out;
  out.set_summary(SummaryLine(m, times.now));
  out.set_name(m.name);
  out.set_version(m.version);
  out.set_target(m.target);
  out.set_state(ToProto(m.state));
  out.set_phase(ToProto(m.progress.phase));
  FillIntent(m.intent, *out.mutable_intent());
  FillHold(m, *out.mutable_hold());
  if (m.halt.has_value()) {
    out.mutable_halt()->set_code(m.halt->code);
    out.mutable_halt()->set_message(m.halt->message);
    SetTime(m.halt->since, *out.mutable_halt(), &v1::Halt::mutable_since);
  }
  out.set_revision(m.revision);
  SetTime(times.as_of, out, &v1::Migration::mutable_as_of);
  FillWork(stored, live, out);
  FillSizes(m, times.now, out);
  FillPace(stored, live, times.now, *out.mutable_pace());
  FillTime(m, times.now, *out.mutable_time());
  FillProgress(stored, times.now, *out.mutable_progress());
  FillSteps(stored, out);
  out.set_attempts(m.progress.attempts);
  out.set_max_attempts(stored.definition->retry().max_attempts());
  out.set_failed_ranges(m.progress.failed_ranges);
  out.set_unchanged_rows(m.progress.unchanged_rows);
  out.set_accepted_rows(m.accepted_rows);
  out.set_regressed_rows(m.regressed_rows);
  if (m.verification.has_value()) FillVerification(m, *out.mutable_verification());
  SetTime(m.created_at, out, &v1::Migration::mutable_created_at);
  SetTime(TimeOr(m.started_at), out, &v1::Migration::mutable_started_at);
  SetTime(TimeOr(m.finished_at), out, &v1::Migration::mutable_finished_at);
  // The kinds and checkpoints that promise less are refused by this version.
  out.set_guarantee(v1::GUARANTEE_EXACTLY_ONCE);
  out.set_definition_digest(m.definition_digest);
  out.set_definition_changed(m.definition_changed());
  out.mutable_labels()->insert(m.labels.begin(), m.labels.end());
  out.set_hint(HintLine(m));
  const bool over = m.state == State::kCompleted || m.state == State::kCancelled;
  const bool leaves_objects = over && m.fence != FenceState::kNone && HasCleanup(*stored.definition) && !m.cleaned_up && !m.cleanup_requested;
  if (out.hint().empty() && leaves_objects) {
    out.set_hint(absl::StrCat("When nothing needs its trigger and what `prepare` made any more: migrationctl cleanup ", m.target, "/", m.name));
  }
  return out;
}

v1::Event ToProto(const EventRecord& event) {
  v1::Event out;
  out.set_sequence(event.sequence);
  out.set_target(event.target);
  out.set_migration(event.migration);
  SetTime(event.at, out, &v1::Event::mutable_at);
  out.set_kind(event.kind);
  out.set_actor(event.actor);
  out.set_request_id(event.request_id);
  out.set_from(event.from);
  out.set_to(event.to);
  out.set_reason(event.reason);
  return out;
}

v1::Job ToProto(const JobRecord& job) {
  v1::Job out;
  out.set_id(job.id);
  out.set_lane(job.lane);
  out.set_pass(job.pass);
  out.mutable_lower()->Assign(job.lower.begin(), job.lower.end());
  out.mutable_upper()->Assign(job.upper.begin(), job.upper.end());
  out.set_rows(job.rows);
  out.set_sub_batches(job.sub_batches);
  out.set_batch_size(job.batch_size);
  out.set_sub_batch_size(job.sub_batch_size);
  SetTime(job.started_at, out, &v1::Job::mutable_started_at);
  SetTime(job.finished_at, out, &v1::Job::mutable_finished_at);
  SetDuration(job.working, out.mutable_working());
  out.set_outcome(job.outcome);
  out.set_sqlstate(job.sqlstate);
  out.set_message(job.message);
  out.set_epoch(job.epoch);
  return out;
}

v1::RowFailure ToProto(const RowFailure& failure) {
  v1::RowFailure out;
  out.mutable_key()->Assign(failure.key.begin(), failure.key.end());
  out.set_kind(failure.unchanged ? v1::RowFailure::KIND_UNCHANGED : v1::RowFailure::KIND_FAILED);
  out.set_sqlstate(failure.sqlstate);
  out.set_message(failure.message);
  out.set_pass(failure.pass);
  SetTime(failure.at, out, &v1::RowFailure::mutable_at);
  return out;
}

v1::FreezeInfo ToProto(const FreezeRecord& freeze) {
  v1::FreezeInfo out;
  out.set_target(freeze.target);
  out.set_actor(freeze.actor);
  out.set_reason(freeze.reason);
  SetTime(freeze.since, out, &v1::FreezeInfo::mutable_since);
  SetTime(TimeOr(freeze.until), out, &v1::FreezeInfo::mutable_until);
  return out;
}

v1::TargetInfo ToProto(const std::string& name, const TargetCondition& condition, int running) {
  v1::TargetInfo out;
  out.set_name(name);
  out.set_reachable(condition.reachable);
  out.set_known(condition.known);
  out.set_reason(condition.error);
  out.set_running(running);
  for (const Reading& reading : condition.readings) *out.add_readings() = ToProto(reading);
  if (condition.hold.kind != HoldKind::kNone) {
    out.mutable_hold()->set_kind(ToProto(condition.hold.kind));
    out.mutable_hold()->set_reason(condition.hold.reason);
    for (const Reading& reading : condition.hold.readings) *out.mutable_hold()->add_readings() = ToProto(reading);
  }
  out.set_allowed(condition.allowed);
  return out;
}

std::optional<google::protobuf::Timestamp> ToTimestamp(absl::Time time) {
  if (time == absl::InfinitePast() || time == absl::InfiniteFuture()) return std::nullopt;
  google::protobuf::Timestamp stamp;
  const std::int64_t seconds = absl::ToUnixSeconds(time);
  stamp.set_seconds(seconds);
  stamp.set_nanos(static_cast<std::int32_t>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
  return stamp;
}

absl::StatusOr<absl::Time> FromTimestamp(const google::protobuf::Timestamp& timestamp, const std::string& field) {
  // 0001-01-01T00:00:00Z to 9999-12-31T23:59:59Z, as google.protobuf.Timestamp itself says.
  constexpr std::int64_t kFirst = -62'135'596'800;
  constexpr std::int64_t kLast = 253'402'300'799;
  if (timestamp.seconds() < kFirst || timestamp.seconds() > kLast || timestamp.nanos() < 0 ||
      timestamp.nanos() > 999'999'999) {
    return FieldError(field, "is no valid timestamp; expected a time in the years 1 to 9999.");
  }
  return absl::FromUnixSeconds(timestamp.seconds()) + absl::Nanoseconds(timestamp.nanos());
}

}  // namespace migrationd
