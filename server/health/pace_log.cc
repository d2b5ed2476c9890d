#include "server/health/pace_log.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "migrations/model/event_kind.h"

namespace migrationd {
namespace {

constexpr char kStopped[] = "STOPPED";

std::string Word(bool stopped, double allowed) { return stopped ? kStopped : absl::StrFormat("%.2f", allowed); }

std::string ReasonOf(const HealthVerdict& verdict, double before) {
  if (!verdict.limited_by.has_value()) return "gauges are low again";
  const Reading& reading = *verdict.limited_by;
  const std::string value = reading.value.has_value() ? FormatQuantity(*reading.value, reading.unit) : "unknown";
  const std::string whose = reading.detail.empty() ? "" : absl::StrCat(" (", reading.detail, ")");
  return absl::StrCat(reading.signal, " ", value, ", limit ", FormatQuantity(reading.limit, reading.unit), whose,
                      verdict.allowed > before ? ": room again" : "");
}

EventRecord EventOf(const Migration& migration, absl::Time now) {
  EventRecord event;
  event.target = migration.target;
  event.migration = migration.name;
  event.at = now;
  event.kind = kEventPace;
  return event;
}

}  // namespace

std::optional<EventRecord> PaceLog::Note(const Migration& migration, const HealthVerdict* verdict, const HealthStop* stop, absl::Time now) {
  Known& known = known_[migration.id.value];
  const bool stopped = stop != nullptr;
  if (stopped != std::exchange(known.stopped, stopped)) ++known.left_out;
  known.allowed = verdict == nullptr ? 1 : verdict->allowed;
  if (stopped) known.stop_reason = stop->reason;
  const bool turned = stopped != known.stopped_written;
  if (turned) {
    if (!TakeToken(known.stops_and_goes, now)) return std::nullopt;
    known.left_out = std::max(0, known.left_out - 1);  // this is one of them
  } else {
    const bool stepped = !stopped && known.allowed != known.allowed_written;
    if (!stepped || now - known.written_at < kPaceLogInterval) return std::nullopt;
  }
  EventRecord event = EventOf(migration, now);
  event.from = Word(known.stopped_written, known.allowed_written);
  event.to = Word(stopped, known.allowed);
  if (stopped) {
    event.reason = stop->reason;
  } else if (turned) {
    event.reason = absl::StrCat("over: ", known.stop_reason);
  } else {
    event.reason = verdict == nullptr ? "nothing is measured any more" : ReasonOf(*verdict, known.allowed_written);
  }
  event.reason += LeftOut(known);
  known.stopped_written = stopped;
  known.allowed_written = known.allowed;
  known.written_at = now;
  return event;
}

bool PaceLog::TakeToken(Bucket& bucket, absl::Time now) {
  // Database time, which may be put back.
  if (bucket.filled_at != absl::InfinitePast() && now > bucket.filled_at) {
    bucket.tokens = std::min<double>(kStopsAndGoes, bucket.tokens + absl::FDivDuration(now - bucket.filled_at, kStopOrGoEvery));
  }
  bucket.filled_at = now;
  if (bucket.tokens < 1) return false;
  bucket.tokens -= 1;
  return true;
}

std::string PaceLog::LeftOut(Known& known) {
  const int count = std::exchange(known.left_out, 0);
  if (count == 0) return "";
  return absl::StrCat("; ", count, count == 1 ? " more stop or go was not written" : " more stops and goes were not written");
}

std::optional<EventRecord> PaceLog::NoteYield(const Migration& migration, const Yielded& yielded, absl::Time now) {
  Known& known = known_[migration.id.value];
  if (now - known.yielded_at < kPaceLogInterval) return std::nullopt;
  known.yielded_at = now;
  EventRecord event = EventOf(migration, now);
  event.from = Word(known.stopped, known.allowed);
  event.to = event.from;  // nothing changed by it
  const std::string who = yielded.waiter.empty() ? "" : absl::StrCat(" (", yielded.waiter, ")");
  event.reason = absl::StrCat("pid ", yielded.waiter_pid, who, " had waited ", absl::FormatDuration(yielded.waited), " for our sub-batch (pid ", yielded.backend_pid,
                              "), which was cancelled and is done again in smaller ones", LeftOut(known));
  return event;
}

}  // namespace migrationd
