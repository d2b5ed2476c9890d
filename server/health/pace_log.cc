#include "server/health/pace_log.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

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
  const double allowed = verdict == nullptr ? 1 : verdict->allowed;
  const bool turned = stopped != known.stopped;
  const bool stepped = !stopped && allowed != known.allowed;
  if (stopped) known.stop_reason = stop->reason;
  if (!turned && !(stepped && now - known.written_at >= kPaceLogInterval)) return std::nullopt;
  EventRecord event = EventOf(migration, now);
  event.from = Word(known.stopped, known.allowed);
  event.to = Word(stopped, allowed);
  if (stopped) {
    event.reason = stop->reason;
  } else if (turned) {
    event.reason = absl::StrCat("over: ", known.stop_reason);
  } else {
    event.reason = verdict == nullptr ? "nothing is measured any more" : ReasonOf(*verdict, known.allowed);
  }
  known.stopped = stopped;
  known.allowed = allowed;
  known.written_at = now;
  return event;
}

std::optional<EventRecord> PaceLog::NoteYield(const Migration& migration, const Yielded& yielded, absl::Time now) {
  Known& known = known_[migration.id.value];
  if (now - known.yielded_at < kPaceLogInterval) return std::nullopt;
  known.yielded_at = now;
  EventRecord event = EventOf(migration, now);
  event.from = Word(known.stopped, known.allowed);
  event.to = event.from;
  const std::string who = yielded.waiter.empty() ? "" : absl::StrCat(" (", yielded.waiter, ")");
  event.reason = absl::StrCat("pid ", yielded.waiter_pid, who, " had waited ", absl::FormatDuration(yielded.waited), " for our sub-batch (pid ", yielded.backend_pid,
                              "), which was cancelled and is done again in smaller ones");
  return event;
}

}  // namespace migrationd
