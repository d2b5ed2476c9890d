#include "migrations/model/progress.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace migrationd {
namespace {

// Fewer rows or less time than this says nothing about the rest.
constexpr absl::Duration kMeasuringTime = absl::Seconds(5);
// An unfinished migration never shows more.
constexpr double kFractionCap = 0.99;

// 1234567 as 1,234,567.
std::string Grouped(std::int64_t number) {
  std::string digits = absl::StrCat(std::llabs(number));
  for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) digits.insert(static_cast<std::size_t>(at), ",");
  return absl::StrCat(number < 0 ? "-" : "", digits);
}

// To the second, and coarser as it gets longer.
std::string Coarse(absl::Duration duration) {
  if (duration >= absl::Hours(48)) return absl::FormatDuration(absl::Trunc(duration, absl::Hours(1)));
  if (duration >= absl::Hours(1)) return absl::FormatDuration(absl::Trunc(duration, absl::Minutes(1)));
  return absl::FormatDuration(absl::Trunc(duration, absl::Seconds(1)));
}

std::string Clock(absl::Time time) { return absl::FormatTime("%Y-%m-%d %H:%M:%SZ", time, absl::UTCTimeZone()); }

// Holds that do not end by themselves.
bool NeedsSomebody(HoldKind kind) {
  return kind == HoldKind::kNeedsStart || kind == HoldKind::kFrozen || kind == HoldKind::kPreflight || kind == HoldKind::kBlocked;
}

void FillFraction(const Migration& migration, ProgressView& view) {
  const ProgressCounters& counters = migration.progress;
  if (migration.state == State::kCompleted) {
    view.fraction = 1;
    view.method = "ROWS";
    return;
  }
  // Where the cursor is outweighs an estimate of rows, which may be old.
  if (counters.fraction > 0) {
    view.fraction = std::min(kFractionCap, counters.fraction);
    view.method = "KEY_RANGE";
  } else if (counters.rows_estimated > 0) {
    view.fraction = std::min(kFractionCap, static_cast<double>(counters.rows_done) / static_cast<double>(counters.rows_estimated));
    view.method = "ROWS";
  } else {
    view.method = "NONE";
  }
}

void FillEta(const Migration& migration, absl::Time now, ProgressView& view) {
  const ProgressCounters& counters = migration.progress;
  if (migration.state != State::kRunning) return;
  if (NeedsSomebody(migration.hold.kind)) {
    view.eta_state = EtaState::kBlocked;
    return;
  }
  const absl::Duration running = now - migration.started_at.value_or(now);
  if (counters.phase == Phase::kVerify) {
    view.eta_state = EtaState::kDue;
    return;
  }
  if (running < kMeasuringTime || counters.rows_done == 0) {
    view.eta_state = EtaState::kMeasuring;
    return;
  }
  if (view.method == "NONE" || view.fraction <= 0) return;
  if (counters.rows_per_second <= 0) {
    view.eta_state = EtaState::kStalled;
    return;
  }
  if (view.fraction >= kFractionCap) {
    view.eta_state = EtaState::kDue;
    return;
  }
  // What is left, by the share done; at today's pace rather than the average, which holds may have slowed.
  const double rows_left = static_cast<double>(counters.rows_done) * (1 - view.fraction) / view.fraction;
  const double seconds = std::min(rows_left / counters.rows_per_second, 3.0e9);
  view.eta = now + absl::Seconds(seconds);
  view.eta_state = EtaState::kReady;
}

std::string DoneText(const Migration& migration, const ProgressView& view) {
  std::string text = absl::StrCat(Grouped(migration.progress.rows_done), " rows");
  if (view.method != "NONE" && migration.state != State::kCompleted) {
    text = absl::StrFormat("%.1f %% (%s)", view.fraction * 100, text);
  }
  return text;
}

}  // namespace

std::string_view EtaStateName(EtaState state) {
  switch (state) {
    case EtaState::kMeasuring: return "MEASURING";
    case EtaState::kReady: return "READY";
    case EtaState::kStalled: return "STALLED";
    case EtaState::kBlocked: return "BLOCKED";
    case EtaState::kDue: return "DUE";
    case EtaState::kUnknown: return "UNKNOWN";
  }
  return "";
}

ProgressView ViewProgress(const Migration& migration, absl::Time now) {
  ProgressView view;
  FillFraction(migration, view);
  if (migration.started_at.has_value()) {
    const absl::Duration running = migration.finished_at.value_or(now) - *migration.started_at;
    if (running > absl::ZeroDuration()) {
      view.rows_per_second_average = static_cast<double>(migration.progress.rows_done) / absl::ToDoubleSeconds(running);
    }
  }
  FillEta(migration, now, view);
  return view;
}

std::string SummaryLine(const Migration& migration, absl::Time now) {
  const ProgressView view = ViewProgress(migration, now);
  std::string line(StateName(migration.state));
  switch (migration.state) {
    case State::kPending: break;
    case State::kRunning:
      absl::StrAppend(&line, " ", DoneText(migration, view));
      if (migration.progress.phase != Phase::kExecute) absl::StrAppend(&line, ", ", std::string(PhaseName(migration.progress.phase)));
      if (migration.hold.kind == HoldKind::kNone) {
        absl::StrAppend(&line, ", ", Grouped(static_cast<std::int64_t>(migration.progress.rows_per_second)), " rows/s");
        if (view.eta.has_value()) absl::StrAppend(&line, ", done in ", Coarse(*view.eta - now));
      }
      break;
    case State::kPausing:
    case State::kPaused:
    case State::kCancelling:
    case State::kCancelled:
      absl::StrAppend(&line, " at ", DoneText(migration, view));
      if (!migration.intent.actor.empty()) absl::StrAppend(&line, ", by ", migration.intent.actor);
      if (!migration.intent.reason.empty()) absl::StrAppend(&line, ": ", migration.intent.reason);
      if (migration.intent.until.has_value()) absl::StrAppend(&line, ", until ", Clock(*migration.intent.until));
      break;
    case State::kHalted:
      absl::StrAppend(&line, " at ", DoneText(migration, view));
      if (migration.halt.has_value()) absl::StrAppend(&line, ": ", migration.halt->code, ": ", migration.halt->message);
      break;
    case State::kCompleted:
      absl::StrAppend(&line, ": ", DoneText(migration, view));
      if (migration.started_at.has_value() && migration.finished_at.has_value()) {
        absl::StrAppend(&line, " in ", Coarse(*migration.finished_at - *migration.started_at));
      }
      if (migration.accepted_rows > 0) absl::StrAppend(&line, ", ", Grouped(migration.accepted_rows), " left as they were and accepted");
      break;
  }
  const bool waits = migration.state == State::kPending || migration.state == State::kRunning;
  if (waits && migration.hold.kind != HoldKind::kNone) {
    absl::StrAppend(&line, ", held: ", std::string(HoldKindName(migration.hold.kind)));
    if (!migration.hold.reason.empty()) absl::StrAppend(&line, " (", migration.hold.reason, ")");
    if (migration.hold.until.has_value()) absl::StrAppend(&line, " until ", Clock(*migration.hold.until));
  }
  return line;
}

std::string HintLine(const Migration& migration) {
  const std::string name = absl::StrCat(migration.target, "/", migration.name);
  if (migration.state == State::kHalted && migration.halt.has_value()) {
    const std::string& code = migration.halt->code;
    if (code == kHaltRowsLeft) return absl::StrCat("repair the rows and `migrationctl retry ", name, "`, or `migrationctl accept ", name, "`");
    if (code == kHaltCheckpointLost) {
      return absl::StrCat("restore migration_control on the target, or `migrationctl retry ", name, " --from start`");
    }
    if (code == kHaltForeignControl) {
      return absl::StrCat("stop the other migrationd, then `migrationctl retry ", name, " --from adopt`");
    }
    return absl::StrCat("repair the cause, then `migrationctl retry ", name, "`");
  }
  if (migration.state == State::kPaused && !migration.intent.until.has_value()) return absl::StrCat("`migrationctl resume ", name, "` to go on");
  if (migration.hold.kind == HoldKind::kNeedsStart && migration.state == State::kPending) return absl::StrCat("`migrationctl start ", name, "` to begin");
  if (migration.hold.kind == HoldKind::kFrozen && migration.state == State::kRunning) {
    return "`migrationctl unfreeze`, or migration_control.unfreeze() on the target, whichever froze it";
  }
  if (migration.state == State::kCompleted && migration.regressed_rows > 0) return absl::StrCat("`migrationctl retry ", name, "` to do the regressed rows again");
  return "";
}

std::optional<double> IntegerKeyFraction(const std::vector<KeyType>& types, const Key& lower, const Key& cursor, const Key& upper) {
  if (types.size() != 1 || lower.size() != 1 || upper.size() != 1) return std::nullopt;
  if (types[0] != KeyType::kSmallint && types[0] != KeyType::kInteger && types[0] != KeyType::kBigint) return std::nullopt;
  if (cursor.empty()) return 0;
  double from = 0;
  double at = 0;
  double to = 0;
  if (!absl::SimpleAtod(lower[0], &from) || !absl::SimpleAtod(cursor[0], &at) || !absl::SimpleAtod(upper[0], &to)) return std::nullopt;
  if (to <= from) return 1;
  return std::clamp((at - from) / (to - from), 0.0, 1.0);
}

void RateMeter::Add(absl::Time at, std::int64_t rows_total) {
  // Counters that went back (a rewound target) start a new measurement.
  if (!samples_.empty() && rows_total < samples_.back().rows) samples_.clear();
  if (!samples_.empty() && at - samples_.back().at < window_ / 100) {
    samples_.back().rows = rows_total;
    return;
  }
  samples_.push_back({at, rows_total});
  // One sample older than the window is kept: it is where the window begins.
  while (samples_.size() > 2 && samples_[1].at <= at - window_) samples_.erase(samples_.begin());
}

double RateMeter::PerSecond(absl::Time at) const {
  if (samples_.size() < 2) return 0;
  const Sample& first = samples_.front();
  const Sample& last = samples_.back();
  const absl::Duration span = std::max(at, last.at) - first.at;
  if (span <= absl::ZeroDuration()) return 0;
  return static_cast<double>(last.rows - first.rows) / absl::ToDoubleSeconds(span);
}

}  // namespace migrationd
