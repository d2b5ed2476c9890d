#include "migrations/model/progress.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace migrationd {
namespace {

// 1 is kept for COMPLETED: whoever sees it may rely on every row being done.
constexpr double kAlmostDone = 0.999;
// What remains for a look over the table, when no row is known to need work. It may take as long as the work did, but to fall from nearly
// done to nearly nothing would frighten; how far the look is, the summary says.
constexpr double kOnlyToLook = 0.99;
// Fewer sub-batches say nothing of the rate: the first ones warm the caches.
constexpr std::int64_t kSubBatchesToMeasure = 5;

// Holds that only a person or another session ends.
bool NeedsSomebody(HoldKind hold) {
  return hold == HoldKind::kBlocked || hold == HoldKind::kNeedsStart || hold == HoldKind::kPreflight ||
         hold == HoldKind::kSkipped || hold == HoldKind::kFrozen;
}

bool Counted(const ProgressCounters& progress) {
  return progress.estimate_method == kEstimatedByCount || progress.estimate_method == kEstimatedBySample;
}

// Where the rows lie at the beginning of the table, all that were counted are done long before its end.
bool OnlyLooking(const ProgressCounters& progress) {
  if (progress.phase == Phase::kVerify) return true;
  const bool counted_are_done = Counted(progress) && progress.rows_estimated > 0 &&
                                static_cast<double>(progress.rows_done) >= kAlmostDone * static_cast<double>(progress.rows_estimated);
  return counted_are_done && progress.fraction > 0;
}

// How far: by rows when those to be done were counted, from the first one on. Otherwise by position, if that is known, since what the
// statistics tell is of the whole table.
void MeasureFraction(const ProgressCounters& progress, ProgressView& view) {
  view.method = "NONE";
  view.only_looking = OnlyLooking(progress);
  const bool rows_lie_further_on = progress.rows_done == 0 && progress.fraction > 0;
  if (Counted(progress) && progress.rows_done < progress.rows_estimated && !rows_lie_further_on && !view.only_looking) {
    view.method = "ROWS";
    view.fraction = static_cast<double>(progress.rows_done) / static_cast<double>(progress.rows_estimated);
  } else if (progress.fraction > 0) {
    view.method = "KEY_RANGE";
    view.fraction = progress.fraction;
  } else if (progress.rows_estimated > 0) {
    view.method = "ROWS";
    view.fraction = static_cast<double>(progress.rows_done) / static_cast<double>(progress.rows_estimated);
  }
  if (view.only_looking) view.fraction = kOnlyToLook + (kAlmostDone - kOnlyToLook) * std::clamp(progress.fraction, 0.0, 1.0);
  view.fraction = std::clamp(view.fraction, 0.0, kAlmostDone);
}

double AverageRate(const Migration& migration, absl::Time now) {
  if (!migration.started_at.has_value()) return 0;
  absl::Time end = migration.finished_at.value_or(now);
  if (migration.state == State::kCancelled) end = std::min(end, migration.intent.since);
  const double seconds = absl::ToDoubleSeconds(end - *migration.started_at);
  return seconds > 0 ? static_cast<double>(migration.progress.rows_done) / seconds : 0;
}

// Part of the time since the beginning that was within the windows.
double ShareInWindows(const Migration& migration, absl::Time now) {
  const auto outside = migration.progress.time_seconds.find(std::string(HoldKindName(HoldKind::kOutOfWindow)));
  if (outside == migration.progress.time_seconds.end() || !migration.started_at.has_value()) return 1;
  const double seconds = absl::ToDoubleSeconds(now - *migration.started_at);
  return seconds > 0 ? std::clamp(1 - outside->second / seconds, 0.01, 1.0) : 1;
}

// Rows a second that may be counted on, rests and holds included: what was done in the last minutes, less the time outside windows; while
// it is held for longer than that by what ends by itself, what was done since the beginning.
double RateToCountOn(const Migration& migration, absl::Time now) {
  const ProgressCounters& progress = migration.progress;
  const double lately = progress.rows_per_second_long > 0 ? progress.rows_per_second_long : progress.rows_per_second;
  if (lately > 0) return lately * ShareInWindows(migration, now);
  return migration.hold.kind == HoldKind::kNone ? 0 : AverageRate(migration, now);
}

// Time until the end of the key range; nullopt when nothing tells.
std::optional<absl::Duration> RestOfRangeTakes(const Migration& migration, absl::Time now) {
  const ProgressCounters& progress = migration.progress;
  if (progress.fraction <= 0) return std::nullopt;
  if (const double pace = progress.fraction_per_second.value_or(0); pace > 0) {
    return absl::Seconds((1 - progress.fraction) / (pace * ShareInWindows(migration, now)));
  }
  // At the pace since the beginning; when VERIFY began is not known.
  if (progress.phase == Phase::kVerify || !migration.started_at.has_value()) return std::nullopt;
  return (now - *migration.started_at) * ((1 - progress.fraction) / progress.fraction);
}

// Time that the rest takes; nullopt when nothing tells. The fraction is neither 0 nor done.
std::optional<absl::Duration> RestTakes(const Migration& migration, const ProgressView& view, absl::Time now) {
  const ProgressCounters& progress = migration.progress;
  const bool range_moves = view.method == "KEY_RANGE" && progress.fraction_per_second.value_or(0) > 0;
  // Where no row needs any work, what passes is the key range.
  if (view.only_looking || progress.rows_done == 0 || range_moves) return RestOfRangeTakes(migration, now);
  const double rate = RateToCountOn(migration, now);
  if (rate <= 0) return std::nullopt;
  return absl::Seconds(static_cast<double>(progress.rows_done) * (1 - view.fraction) / view.fraction / rate);
}

// Neither rows nor the position get on, and no hold says why.
bool Stalled(const Migration& migration, const ProgressView& view, absl::Time now) {
  const ProgressCounters& progress = migration.progress;
  if (progress.fraction_per_second.value_or(0) > 0 || RateToCountOn(migration, now) > 0) return false;
  if (progress.rows_done > 0 && !view.only_looking) return true;
  return progress.fraction_per_second.has_value() && migration.hold.kind == HoldKind::kNone;
}

void EstimateEnd(const Migration& migration, absl::Time now, ProgressView& view) {
  const ProgressCounters& progress = migration.progress;
  const bool may_work = migration.state == State::kPending || migration.state == State::kRunning;
  if (migration.state == State::kPaused || migration.state == State::kHalted ||
      (may_work && NeedsSomebody(migration.hold.kind))) {
    view.eta_state = EtaState::kBlocked;
    return;
  }
  if (migration.state != State::kRunning) return;
  if ((view.only_looking ? progress.fraction : view.fraction) >= kAlmostDone) {
    view.eta_state = EtaState::kDue;
    return;
  }
  if (progress.sub_batches_done < kSubBatchesToMeasure) {
    view.eta_state = EtaState::kMeasuring;
    return;
  }
  if (Stalled(migration, view, now)) {
    view.eta_state = EtaState::kStalled;
    return;
  }
  if (view.fraction <= 0) return;
  const std::optional<absl::Duration> rest = RestTakes(migration, view, now);
  if (!rest.has_value()) return;
  view.eta = now + *rest;
  view.eta_state = EtaState::kReady;
}

// 1234567 as 1,234,567.
std::string Grouped(std::int64_t number) {
  std::string digits = absl::StrCat(number);
  const std::size_t first = number < 0 ? 1 : 0;
  for (std::size_t at = digits.size(); at > first + 3;) {
    at -= 3;
    digits.insert(at, ",");
  }
  return digits;
}

std::string Rows(std::int64_t rows) { return absl::StrCat(Grouped(rows), rows == 1 ? " row" : " rows"); }

// The two largest units: 27s, 12m5s, 3h12m, 2d4h.
std::string Rough(absl::Duration duration) {
  const std::int64_t seconds = std::max<std::int64_t>(0, absl::ToInt64Seconds(duration + absl::Milliseconds(500)));
  if (seconds < 60) return absl::StrCat(seconds, "s");
  if (seconds < 3600) return absl::StrCat(seconds / 60, "m", seconds % 60, "s");
  if (seconds < 86400) return absl::StrCat(seconds / 3600, "h", seconds / 60 % 60, "m");
  return absl::StrCat(seconds / 86400, "d", seconds / 3600 % 24, "h");
}

std::string TimeText(absl::Time time) { return absl::FormatTime("%Y-%m-%d %H:%M:%SZ", time, absl::UTCTimeZone()); }

// 42.1 %: rounded down, and never 100.
std::string Percent(double fraction) { return absl::StrFormat("%.1f %%", std::floor(std::min(fraction, kAlmostDone) * 1000) / 10); }

// ", verifying 42.1 %": what goes on while no row is known to need work.
std::string LookText(const Migration& migration, const ProgressView& view) {
  const bool goes_on = migration.state == State::kRunning || migration.state == State::kPausing || migration.state == State::kPaused;
  if (!view.only_looking || !goes_on) return "";
  const ProgressCounters& progress = migration.progress;
  if (progress.phase != Phase::kVerify) return absl::StrCat(", looking at the rest (", Percent(progress.fraction), ")");
  return progress.fraction > 0 ? absl::StrCat(", verifying ", Percent(progress.fraction)) : ", verifying";
}

// " 42.1 % (421,337 of ~1,000,000 rows)"; empty before the first row.
std::string HowFar(const Migration& migration, const ProgressView& view) {
  const ProgressCounters& progress = migration.progress;
  std::string text;
  if (!migration.started_at.has_value()) return text;
  if (view.method != "NONE") text = absl::StrCat(" ", Percent(view.fraction));
  const std::string look = LookText(migration, view);
  if (progress.rows_estimated > 0) {
    return absl::StrCat(text, " (", Grouped(progress.rows_done), " of ~", Rows(progress.rows_estimated), ")", look);
  }
  return absl::StrCat(text, " (", Rows(progress.rows_done), ")", look);
}

std::string HoldText(const Hold& hold, absl::Time now) {
  std::string text = absl::StrCat(", ", std::string(HoldKindName(hold.kind)));
  if (hold.since.has_value()) absl::StrAppend(&text, " for ", Rough(now - *hold.since));
  if (hold.until.has_value()) absl::StrAppend(&text, " until ", TimeText(*hold.until));
  return hold.reason.empty() ? text : absl::StrCat(text, ": ", hold.reason);
}

// By whom, when and why it was asked for.
std::string IntentText(const Intent& intent) {
  std::string text;
  if (!intent.actor.empty()) absl::StrAppend(&text, ", by ", intent.actor);
  if (intent.since != absl::InfinitePast()) absl::StrAppend(&text, ", since ", TimeText(intent.since));
  if (intent.until.has_value()) absl::StrAppend(&text, ", until ", TimeText(*intent.until));
  return intent.reason.empty() ? text : absl::StrCat(text, ": ", intent.reason);
}

std::string PaceText(const Migration& migration, const ProgressView& view, absl::Time now) {
  std::string text;
  if (migration.progress.rows_per_second > 0) {
    absl::StrAppend(&text, ", ", Grouped(std::llround(migration.progress.rows_per_second)), " rows/s");
  }
  switch (view.eta_state) {
    case EtaState::kReady:
      return absl::StrCat(text, ", done in ", Rough(*view.eta - now));
    case EtaState::kMeasuring:
      return absl::StrCat(text, ", measuring");
    case EtaState::kStalled:
      return absl::StrCat(text, ", no row done lately");
    case EtaState::kDue:
      return absl::StrCat(text, ", about to finish");
    case EtaState::kBlocked:
    case EtaState::kUnknown:
      return text;
  }
  return text;
}

std::string CompletedText(const Migration& migration) {
  std::string text = absl::StrCat(", ", Rows(migration.progress.rows_done));
  if (migration.started_at.has_value() && migration.finished_at.has_value()) {
    absl::StrAppend(&text, " in ", Rough(*migration.finished_at - *migration.started_at));
  }
  if (migration.accepted_rows > 0) absl::StrAppend(&text, ", ", Rows(migration.accepted_rows), " left as they are");
  if (migration.regressed_rows > 0) absl::StrAppend(&text, ", ", Rows(migration.regressed_rows), " regressed");
  if (migration.verifying()) {
    absl::StrAppend(&text, ", being verified (", Percent(migration.progress.verify_fraction), ")");
  }
  return text;
}

std::string HaltText(const std::optional<Halt>& halt) {
  return halt.has_value() ? absl::StrCat(", ", halt->code, ": ", halt->message) : "";
}

// What is to be repaired before a Retry, and the Retry.
std::string HintForHalt(const std::string& code, const std::string& retry, const std::string& name) {
  if (code == kHaltRowsLeft) {
    return absl::StrCat("Look at the rows that still match `where`. If they are right: migrationctl accept ", name,
                        ". If not, repair the cause, then: ", retry);
  }
  if (code == kHaltFailedRanges || code == kHaltErrorBudget) {
    return absl::StrCat("See which rows fail, and why: migrationctl failures ", name, ". Repair them, then: ", retry,
                        ". If the statement is wrong, ship a right one under another name; end this one: migrationctl cancel ", name);
  }
  if (code == kHaltCheckpointLost) {
    return absl::StrCat("The checkpoint on the target is gone. Restore schema migration_control, or begin again: ",
                        retry, " --from start");
  }
  if (code == kHaltForeignControl) {
    return absl::StrCat("Another control store owns the checkpoint. Make sure that nothing works for it, then: ", retry,
                        " --from adopt");
  }
  if (code == kHaltWhereNotSatisfied) {
    return absl::StrCat(
        "The statement left `where` true for every row of the first sub-batch. If it is wrong, correct it; if just these rows rightly stay as "
        "they are, let `where` leave them out. Ship that under a new name; end this one: migrationctl cancel ", name);
  }
  if (code == kHaltVerifyInflow) {
    return absl::StrCat("Rows that match `where` keep coming: stop what writes them, then: ", retry);
  }
  if (code == kHaltPreflightFailed) {
    return absl::StrCat("If the target is at fault, repair that, then: ", retry,
                        ". If the definition is wrong, ship a right one under another name; end this one: migrationctl cancel ", name);
  }
  if (code == kHaltSchemaChanged) {
    return absl::StrCat("Check that the migration still fits the changed table, then: ", retry);
  }
  return absl::StrCat("Repair the cause, then: ", retry);
}

// The one number that a key is, when it is one: the integer of a key of one integer, the place of a key of file and tid.
std::optional<std::int64_t> PositionOf(const std::vector<KeyType>& types, const Key& key) {
  if (key.size() != types.size() || key.empty()) return std::nullopt;
  if (types.back() == KeyType::kTid) {
    const std::optional<Place> place = ParsePlace(key.back());
    if (!place.has_value()) return std::nullopt;
    return (place->block << 16) + place->offset;
  }
  const bool integer = types[0] == KeyType::kSmallint || types[0] == KeyType::kInteger || types[0] == KeyType::kBigint;
  std::int64_t number = 0;
  if (types.size() != 1 || !integer || !absl::SimpleAtoi(key[0], &number)) return std::nullopt;
  return number;
}

}  // namespace

std::string_view EtaStateName(EtaState state) {
  switch (state) {
    case EtaState::kMeasuring:
      return "MEASURING";
    case EtaState::kReady:
      return "READY";
    case EtaState::kStalled:
      return "STALLED";
    case EtaState::kBlocked:
      return "BLOCKED";
    case EtaState::kDue:
      return "DUE";
    case EtaState::kUnknown:
      return "UNKNOWN";
  }
  return "";
}

Outlook OutlookOf(const Migration& migration, const ProgressView& view, std::optional<absl::Time> deadline, absl::Time now) {
  if (!deadline.has_value()) return Outlook::kNone;
  if (migration.finished_at.value_or(now) > *deadline) return Outlook::kMissed;
  if (migration.state == State::kCompleted) return Outlook::kOnTrack;
  if (!view.eta.has_value()) return Outlook::kUnknown;
  return *view.eta <= *deadline ? Outlook::kOnTrack : Outlook::kAtRisk;
}

ProgressView ViewProgress(const Migration& migration, absl::Time now) {
  ProgressView view;
  MeasureFraction(migration.progress, view);
  if (migration.state == State::kCompleted) view.fraction = 1;
  view.rows_per_second_average = AverageRate(migration, now);
  EstimateEnd(migration, now, view);
  return view;
}

std::string SummaryLine(const Migration& migration, absl::Time now) {
  const ProgressView view = ViewProgress(migration, now);
  std::string line(StateName(migration.state));
  switch (migration.state) {
    case State::kPending:
    case State::kRunning:
      absl::StrAppend(&line, HowFar(migration, view));
      absl::StrAppend(&line, migration.hold.kind == HoldKind::kNone ? PaceText(migration, view, now)
                                                                    : HoldText(migration.hold, now));
      break;
    case State::kPausing:
    case State::kPaused:
    case State::kCancelling:
    case State::kCancelled:
      absl::StrAppend(&line, HowFar(migration, view), IntentText(migration.intent));
      break;
    case State::kHalted:
      absl::StrAppend(&line, HowFar(migration, view), HaltText(migration.halt));
      break;
    case State::kCompleted:
      absl::StrAppend(&line, CompletedText(migration));
      break;
  }
  // Reasons and messages come from people and databases.
  return absl::StrReplaceAll(line, {{"\r\n", " "}, {"\n", " "}, {"\r", " "}});
}

std::string HintLine(const Migration& migration) {
  const std::string name = absl::StrCat(migration.target, "/", migration.name);
  const std::string retry = absl::StrCat("migrationctl retry ", name);
  switch (migration.state) {
    case State::kPending:
    case State::kRunning:
      if (migration.hold.kind == HoldKind::kNeedsStart) return absl::StrCat("migrationctl start ", name);
      if (migration.hold.kind == HoldKind::kFrozen) {
        // What the target itself says begins like this (MD003).
        return absl::StartsWith(migration.hold.reason, "frozen: ")
                   ? "Frozen by a DBA on the target, who ends it there: SELECT migration_control.unfreeze()"
                   : "Frozen: migrationctl unfreeze (with --target, if only that one is)";
      }
      return "";
    case State::kPaused:
      return migration.intent.until.has_value() ? "" : absl::StrCat("migrationctl resume ", name);
    case State::kHalted:
      return migration.halt.has_value() ? HintForHalt(migration.halt->code, retry, name) : retry;
    case State::kCompleted:
      return migration.regressed_rows > 0 ? retry : "";
    case State::kPausing:
    case State::kCancelling:
    case State::kCancelled:
      return "";
  }
  return "";
}

std::optional<double> IntegerKeyFraction(const std::vector<KeyType>& types, const Key& lower, const Key& cursor,
                                         const Key& upper) {
  const std::optional<std::int64_t> first = PositionOf(types, lower);
  const std::optional<std::int64_t> last = PositionOf(types, upper);
  if (!first.has_value() || !last.has_value()) return std::nullopt;
  if (cursor.empty()) return 0.0;
  const std::optional<std::int64_t> at = PositionOf(types, cursor);
  if (!at.has_value()) return std::nullopt;
  if (*at >= *last) return 1.0;
  if (*at < *first) return 0.0;
  // In floating point, since the whole range of bigint does not fit into one. The first key itself is to be done, too.
  const double span = static_cast<double>(*last) - static_cast<double>(*first) + 1;
  const double done = static_cast<double>(*at) - static_cast<double>(*first) + 1;
  return std::clamp(done / span, 0.0, 1.0);
}

void RateMeter::Add(absl::Time at, std::int64_t rows_total) {
  // A smaller total (the target was rewound) or an earlier time begins a new series.
  if (!samples_.empty() && (rows_total < samples_.back().rows || at < samples_.back().at)) samples_.clear();
  const auto old =
      std::find_if(samples_.begin(), samples_.end(), [&](const Sample& s) { return s.at >= at - window_; });
  samples_.erase(samples_.begin(), old);
  // Some hundred samples are as good as all: a newer one replaces one that stands close behind its predecessor.
  const std::size_t count = samples_.size();
  if (count >= 2 && samples_[count - 1].at - samples_[count - 2].at < window_ / 100) samples_.pop_back();
  samples_.push_back({at, rows_total});
}

double RateMeter::PerSecond(absl::Time at) const {
  const auto first =
      std::find_if(samples_.begin(), samples_.end(), [&](const Sample& s) { return s.at >= at - window_; });
  if (samples_.end() - first < 2) return 0;
  const double seconds = absl::ToDoubleSeconds(std::max(at, samples_.back().at) - first->at);
  return seconds > 0 ? static_cast<double>(samples_.back().rows - first->rows) / seconds : 0;
}

absl::Duration RateMeter::Covers(absl::Time at) const {
  return samples_.empty() ? absl::ZeroDuration() : std::min(window_, at - samples_.front().at);
}

}  // namespace migrationd
