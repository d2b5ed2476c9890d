#include "client/cli/migration_text.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/progress_bar.h"
#include "client/cli/quantity.h"
#include "client/cli/text.h"
#include "migrations/model/reading.h"

namespace migrationctl {
namespace {

std::string WithoutPrefix(const std::string& name, const std::string& prefix, int value) {
  if (value == 0) return "-";
  if (name.rfind(prefix, 0) != 0) return absl::StrCat(value);
  return name.substr(prefix.size());
}

absl::Time AsOf(const v1::Migration& migration, absl::Time now) {
  return migration.has_as_of() ? FromProto(migration.as_of()) : now;
}

bool IsComplete(const v1::Migration& migration) { return migration.state() == v1::STATE_COMPLETED; }

bool KnowsFraction(const v1::Migration& migration) {
  return IsComplete(migration) || migration.progress().fraction() > 0 ||
         (!migration.progress().method().empty() && migration.progress().method() != "NONE");
}

std::string RateText(const v1::Migration& migration) {
  if (migration.state() != v1::STATE_RUNNING) return "";
  return absl::StrCat(FormatShort(migration.progress().rows_per_second()), "/s");
}

// Since when what the table shows is so: the hold, the halt, the end, the work or the wish.
std::string SinceText(const v1::Migration& migration, absl::Time now) {
  const google::protobuf::Timestamp* since = nullptr;
  if (migration.state() == v1::STATE_HALTED && migration.halt().has_since()) {
    since = &migration.halt().since();
  } else if (migration.has_finished_at()) {
    since = &migration.finished_at();
  } else if (!HoldWord(migration.hold().kind()).empty() && migration.hold().has_since()) {
    since = &migration.hold().since();
  } else if (migration.state() == v1::STATE_RUNNING && migration.has_started_at()) {
    since = &migration.started_at();
  } else if (migration.intent().has_since()) {
    since = &migration.intent().since();
  } else if (migration.has_created_at()) {
    since = &migration.created_at();
  }
  return since == nullptr ? "" : HumanDuration(AsOf(migration, now) - FromProto(*since));
}

std::string LabelsText(const v1::Migration& migration) {
  // In the order of the keys: that of a protobuf map changes.
  std::vector<std::string> labels;
  for (const auto& [key, value] : migration.labels()) labels.push_back(absl::StrCat(key, "=", value));
  std::sort(labels.begin(), labels.end());
  return absl::StrJoin(labels, ",");
}

// TIME (in 3m).
std::string TimeIn(const google::protobuf::Timestamp& at, absl::Time now) {
  const absl::Duration left = FromProto(at) - now;
  return absl::StrCat(HumanTime(FromProto(at)), left > absl::ZeroDuration() ? absl::StrCat(" (in ", HumanDuration(left), ")") : " (past)");
}

// Lines `Name   value`; fields without a value are left out.
class Fields {
 public:
  Fields(absl::Time now, const Terminal& terminal) : now_(now), terminal_(terminal) {}

  void Line(const std::string& name, const std::string& value, Style style = Style::kPlain) {
    if (value.empty()) return;
    absl::StrAppend(&text_, PadToWidth(name, kNameWidth), Styled(Printable(value), style, terminal_), "\n");
  }
  // `, since TIME (3m ago)` for the end of a value.
  std::string Ago(const google::protobuf::Timestamp& at) const {
    return absl::StrCat(HumanTime(FromProto(at)), " (", HumanDuration(now_ - FromProto(at)), " ago)");
  }
  std::string In(const google::protobuf::Timestamp& at) const { return TimeIn(at, now_); }
  const std::string& text() const { return text_; }

 private:
  static constexpr std::size_t kNameWidth = 13;
  const absl::Time now_;
  const Terminal& terminal_;
  std::string text_;
};

// What the target's health leaves of the pace.
void DescribeAllowance(const v1::Migration& migration, Fields& fields) {
  const v1::MigrationPace& pace = migration.pace();
  if (pace.allowed() <= 0 || pace.allowed() >= 1) return;
  fields.Line("Slowed", absl::StrCat("to ", FormatPercent(pace.allowed(), /*complete=*/false), " of its pace",
                                     pace.has_limited_by() ? absl::StrCat(" by ", ReadingText(pace.limited_by())) : ""),
              Style::kWarning);
}

std::string Quoted(const std::string& reason) { return reason.empty() ? "" : absl::StrCat(": ", reason); }

void DescribeIntent(const v1::Migration& migration, Fields& fields) {
  std::string state = StateWord(migration.state());
  if (migration.state() == v1::STATE_RUNNING) absl::StrAppend(&state, ", ", PhaseWord(migration.phase()));
  if (migration.has_started_at()) absl::StrAppend(&state, ", started ", fields.Ago(migration.started_at()));
  if (migration.has_finished_at()) absl::StrAppend(&state, ", finished ", fields.Ago(migration.finished_at()));
  fields.Line("State", state, StateStyle(migration.state()));
  if (migration.has_intent()) {
    const v1::Intent& intent = migration.intent();
    fields.Line(
        "Intent",
        absl::StrCat(StateWord(intent.state()), intent.actor().empty() ? "" : absl::StrCat(" by ", intent.actor()),
                     Quoted(intent.reason()), intent.has_since() ? ", since " + fields.Ago(intent.since()) : "",
                     intent.has_until() ? ", until " + fields.In(intent.until()) : ""));
  }
  const std::string hold = HoldWord(migration.hold().kind());
  if (!hold.empty()) {
    const v1::Hold& held = migration.hold();
    fields.Line("Hold",
                absl::StrCat(hold, Quoted(held.reason()), held.has_since() ? ", since " + fields.Ago(held.since()) : "",
                             held.has_until() ? ", until " + fields.In(held.until()) : ""),
                Style::kWarning);
    for (const v1::Reading& reading : held.readings()) {
      fields.Line("", ReadingText(reading));
    }
  }
  if (migration.has_halt()) {
    fields.Line("Halt",
                absl::StrCat(migration.halt().code(), Quoted(migration.halt().message()),
                             migration.halt().has_since() ? ", since " + fields.Ago(migration.halt().since()) : ""),
                Style::kBad);
  }
}

void DescribeProgress(const v1::Migration& migration, absl::Time now, Fields& fields) {
  const v1::Progress& progress = migration.progress();
  std::string done;
  if (KnowsFraction(migration)) {
    done = absl::StrCat(ProgressBar(progress.fraction(), IsComplete(migration), 32), " ", DoneText(migration), ", ");
  }
  absl::StrAppend(
      &done, FormatCount(progress.rows_done()),
      progress.rows_estimated() > 0 ? absl::StrCat(" of about ", FormatCount(progress.rows_estimated())) : "",
      " rows, ", FormatCount(progress.batches_done()), progress.batches_done() == 1 ? " batch" : " batches");
  fields.Line("Progress", done);
  fields.Line("Rate", absl::StrCat(FormatShort(progress.rows_per_second()), " rows/s now, ",
                                   FormatShort(progress.rows_per_second_average()), " rows/s on average"));
  const std::string eta = EtaText(migration, now);
  fields.Line("ETA",
              progress.has_eta() && progress.eta_state() == v1::ETA_STATE_READY ? fields.In(progress.eta()) : eta);
  if (progress.has_deadline()) {
    fields.Line("Deadline",
                absl::StrCat(fields.In(progress.deadline()), ", ",
                             WithoutPrefix(v1::Outlook_Name(progress.outlook()), "OUTLOOK_", progress.outlook())));
  }
  for (const v1::Lane& lane : migration.lanes()) {
    const auto key = [](const auto& columns) {
      return columns.empty() ? "the beginning" : absl::StrJoin(columns, ", ");
    };
    fields.Line(lane.lane() == migration.lanes(0).lane() ? "Lanes" : "",
                absl::StrCat(lane.lane(), ": at ", key(lane.cursor()), " of ",
                             lane.upper_bound().empty() ? "none" : absl::StrJoin(lane.upper_bound(), ", "), ", ",
                             FormatCount(lane.rows_done()), " rows"));
  }
}

void DescribeSettings(const v1::Migration& migration, absl::Time as_of, Fields& fields) {
  std::string sizes =
      absl::StrCat("batch ", FormatCount(migration.batch_size()), ", sub-batch ",
                   FormatCount(migration.sub_batch_size()), ", at most ", FormatCount(migration.max_batch_size()));
  if (migration.has_batch_size_override()) {
    const v1::BatchSizeOverride& override_ = migration.batch_size_override();
    absl::StrAppend(&sizes, "; set to ", FormatCount(override_.value()), " by ", override_.author(),
                    override_.has_until() ? " until " + fields.In(override_.until()) : "");
  }
  fields.Line("Sizes", sizes);
  if (migration.has_pace()) fields.Line("Pace", PaceText(migration.pace(), as_of));
}

void DescribeTrouble(const v1::Migration& migration, Fields& fields) {
  if (migration.attempts() > 0)
    fields.Line("Attempts", absl::StrCat(migration.attempts(), " of ", migration.max_attempts(), " used"));
  if (migration.has_last_error()) {
    const v1::LastError& error = migration.last_error();
    fields.Line("Last error",
                absl::StrCat(error.sqlstate(), error.sqlstate().empty() ? "" : " ", error.message(),
                             error.has_at() ? ", at " + fields.Ago(error.at()) : ""),
                Style::kBad);
  }
  std::vector<std::string> rows;
  if (migration.failed_ranges() > 0)
    rows.push_back(absl::StrCat(FormatCount(migration.failed_ranges()), " failed ranges"));
  if (migration.unchanged_rows() > 0)
    rows.push_back(absl::StrCat(FormatCount(migration.unchanged_rows()), " rows left as they are"));
  if (migration.accepted_rows() > 0)
    rows.push_back(absl::StrCat(FormatCount(migration.accepted_rows()), " of them accepted"));
  if (migration.regressed_rows() > 0)
    rows.push_back(absl::StrCat(FormatCount(migration.regressed_rows()), " rows regressed"));
  fields.Line("Left over", absl::StrJoin(rows, ", "), Style::kWarning);
}

void DescribeWork(const v1::Migration& migration, Fields& fields) {
  std::vector<std::string> steps;
  for (const v1::Step& step : migration.steps())
    steps.push_back(absl::StrCat(step.name(), step.done() ? " done" : " to do"));
  fields.Line("Steps", absl::StrJoin(steps, ", "));
  if (migration.has_time()) {
    const v1::TimeAccount& time = migration.time();
    std::vector<std::string> holds;
    for (const auto& [kind, seconds] : time.holds())
      holds.push_back(absl::StrCat(kind, " ", HumanDuration(absl::Seconds(seconds))));
    std::sort(holds.begin(), holds.end());
    fields.Line("Time", absl::StrCat("working ", HumanDuration(FromProto(time.working())), ", waiting for locks ",
                                     HumanDuration(FromProto(time.lock_wait())), ", resting ", HumanDuration(FromProto(time.interval())),
                                     ", opening and ending passes ", HumanDuration(FromProto(time.steps())),
                                     holds.empty() ? "" : ", held: ", absl::StrJoin(holds, ", ")));
  }
  if (!migration.owner().empty()) {
    std::vector<std::string> backends;
    for (const v1::Backend& backend : migration.backends()) {
      backends.push_back(absl::StrCat("backend ", backend.pid(), " in lane ", backend.lane()));
    }
    fields.Line("Owner", absl::StrCat(migration.owner(), ", epoch ", migration.epoch(), backends.empty() ? "" : ", ",
                                      absl::StrJoin(backends, ", ")));
  }
  if (migration.guarantee() == v1::GUARANTEE_AT_LEAST_ONCE) fields.Line("Guarantee", "at least once", Style::kWarning);
  fields.Line("Definition",
              absl::StrCat("version ", migration.version(), ", digest ", migration.definition_digest().substr(0, 12),
                           ", revision ", migration.revision(),
                           migration.definition_changed() ? "; THE FILE HAS CHANGED SINCE WORK BEGAN" : ""));
  fields.Line("Labels", LabelsText(migration));
}

void DescribeVerification(const v1::Migration& migration, Fields& fields) {
  if (!migration.has_verification()) return;
  const v1::Verification& verification = migration.verification();
  const bool one = verification.regressed_rows() == 1;
  const std::string rows = absl::StrCat(FormatCount(verification.regressed_rows()), one ? " row matches" : " rows match", " `where` again");
  fields.Line("Verified",
              verification.has_finished_at()
                  ? absl::StrCat(fields.Ago(verification.finished_at()), ": ", rows)
                  : absl::StrCat(FormatPercent(verification.fraction(), false), " since ", fields.Ago(verification.requested_at()), ": ",
                                 rows, " so far"),
              verification.regressed_rows() > 0 ? Style::kWarning : Style::kPlain);
}

}  // namespace

std::string PaceText(const v1::MigrationPace& pace, absl::Time as_of) {
  const auto limit = [](const char* what, const google::protobuf::Duration& value) {
    return FromProto(value) > absl::ZeroDuration() ? absl::StrCat(", ", what, " ", HumanDuration(FromProto(value))) : "";
  };
  std::string set;
  if (pace.has_override()) {
    const v1::PaceOverride& by_hand = pace.override();
    set = absl::StrCat("; set by ", by_hand.author(), by_hand.has_until() ? " until " + TimeIn(by_hand.until(), as_of) : " until it is taken back");
  }
  return absl::StrCat(pace.lanes(), pace.lanes() == 1 ? " lane" : " lanes", ", rest of ", HumanDuration(FromProto(pace.interval())),
                      " after a batch",
                      pace.max_rows_per_second() > 0 ? absl::StrCat(", at most ", FormatCount(pace.max_rows_per_second()), " rows/s") : "",
                      limit("sub-batches of about", pace.target_sub_batch_time()), limit("statements of at most", pace.statement_timeout()),
                      limit("waits for a lock of at most", pace.lock_timeout()),
                      pace.windows().empty() ? "" : absl::StrCat(", in ", absl::StrJoin(pace.windows(), "; ")), set);
}

std::string ReadingText(const v1::Reading& reading) {
  if (!reading.has_value()) return absl::StrCat(reading.signal(), " unknown", reading.detail().empty() ? "" : absl::StrCat(" (", reading.detail(), ")"));
  return absl::StrCat(reading.signal(), " ", migrationd::FormatQuantity(reading.value(), reading.unit()),
                      reading.limit() > 0 ? absl::StrCat(", limit ", migrationd::FormatQuantity(reading.limit(), reading.unit())) : "",
                      reading.detail().empty() ? "" : absl::StrCat(" (", reading.detail(), ")"));
}

std::string FullName(const v1::Migration& migration) { return absl::StrCat(migration.target(), "/", migration.name()); }

std::string StateWord(v1::State state) { return WithoutPrefix(v1::State_Name(state), "STATE_", state); }

std::string PhaseWord(v1::Phase phase) { return WithoutPrefix(v1::Phase_Name(phase), "PHASE_", phase); }

std::string HoldWord(v1::HoldKind kind) {
  if (kind == v1::HOLD_KIND_UNSPECIFIED || kind == v1::HOLD_KIND_NONE) return "";
  return WithoutPrefix(v1::HoldKind_Name(kind), "HOLD_KIND_", kind);
}

Style StateStyle(v1::State state) {
  switch (state) {
    case v1::STATE_COMPLETED:
      return Style::kGood;
    case v1::STATE_HALTED:
      return Style::kBad;
    case v1::STATE_PAUSING:
    case v1::STATE_PAUSED:
    case v1::STATE_CANCELLING:
    case v1::STATE_CANCELLED:
      return Style::kWarning;
    default:
      return Style::kPlain;
  }
}

std::string DoneText(const v1::Migration& migration) {
  if (KnowsFraction(migration)) return FormatPercent(migration.progress().fraction(), IsComplete(migration));
  if (migration.progress().rows_done() > 0)
    return absl::StrCat(FormatShort(static_cast<double>(migration.progress().rows_done())), " rows");
  return "";
}

std::string EtaText(const v1::Migration& migration, absl::Time now) {
  switch (migration.progress().eta_state()) {
    case v1::ETA_STATE_READY:
      return migration.progress().has_eta()
                 ? HumanDuration(FromProto(migration.progress().eta()) - AsOf(migration, now))
                 : "";
    case v1::ETA_STATE_MEASURING:
      return "measuring";
    case v1::ETA_STATE_STALLED:
      return "stalled";
    case v1::ETA_STATE_BLOCKED:
      return "blocked";
    case v1::ETA_STATE_DUE:
      return "due";
    default:
      return "";
  }
}

std::string WhyText(const v1::Migration& migration) {
  if (migration.state() == v1::STATE_HALTED)
    return absl::StrCat(migration.halt().code(), Quoted(migration.halt().message()));
  const std::string hold = HoldWord(migration.hold().kind());
  if (!hold.empty()) return migration.hold().reason();
  if (migration.state() == v1::STATE_RUNNING || migration.state() == v1::STATE_COMPLETED) return "";
  return migration.intent().reason();
}

std::vector<std::string> ListHeader(bool wide) {
  if (!wide) return {"NAME", "TARGET", "STATE", "HOLD", "DONE", "RATE", "ETA", "SINCE", "REASON"};
  return {"NAME", "TARGET", "VERSION", "STATE",    "PHASE",    "HOLD",  "DONE",   "ROWS",  "RATE",
          "ETA",  "SINCE",  "BATCH",   "SUBBATCH", "ATTEMPTS", "OWNER", "LABELS", "REASON"};
}

std::vector<Cell> ListRow(const v1::Migration& migration, absl::Time now, bool wide) {
  const Cell state(StateWord(migration.state()), StateStyle(migration.state()));
  const std::string hold = HoldWord(migration.hold().kind());
  if (!wide) {
    return {migration.name(),
            migration.target(),
            state,
            hold,
            DoneText(migration),
            RateText(migration),
            EtaText(migration, now),
            SinceText(migration, now),
            WhyText(migration)};
  }
  return {migration.name(),
          migration.target(),
          migration.version(),
          state,
          PhaseWord(migration.phase()),
          hold,
          DoneText(migration),
          FormatCount(migration.progress().rows_done()),
          RateText(migration),
          EtaText(migration, now),
          SinceText(migration, now),
          absl::StrCat(migration.batch_size()),
          absl::StrCat(migration.sub_batch_size()),
          absl::StrCat(migration.attempts(), "/", migration.max_attempts()),
          migration.owner(),
          LabelsText(migration),
          WhyText(migration)};
}

std::string ChangeLine(const v1::Migration& migration) {
  std::vector<std::string> parts = {FullName(migration), StateWord(migration.state())};
  for (const std::string& part :
       {HoldWord(migration.hold().kind()), DoneText(migration), RateText(migration), WhyText(migration)}) {
    if (!part.empty()) parts.push_back(part);
  }
  return Printable(absl::StrJoin(parts, " "));
}

std::string BarLine(const v1::Migration& migration, absl::Time now, std::size_t name_width, std::size_t columns) {
  constexpr std::size_t kStateWidth = 10;  // CANCELLING
  const std::string eta = EtaText(migration, now);
  const std::string hold = HoldWord(migration.hold().kind());
  std::vector<std::string> parts = {
      PadToWidth(Printable(FullName(migration)), name_width), PadToWidth(StateWord(migration.state()), kStateWidth),
      ProgressBar(KnowsFraction(migration) ? migration.progress().fraction() : 0, IsComplete(migration), 24),
      absl::StrFormat("%6s", DoneText(migration))};
  for (const std::string& part :
       {RateText(migration), eta.empty() || eta == "stalled" || eta == "blocked" ? eta : "ETA " + eta, hold,
        Printable(WhyText(migration))}) {
    if (!part.empty()) parts.push_back(part);
  }
  return CutToWidth(absl::StrJoin(parts, "  "), columns);
}

std::string Describe(const v1::StatusResponse& status, absl::Time now, const Terminal& terminal) {
  const v1::Migration& migration = status.migration();
  const absl::Time as_of = AsOf(migration, now);
  Fields fields(as_of, terminal);
  DescribeIntent(migration, fields);
  DescribeAllowance(migration, fields);
  DescribeProgress(migration, now, fields);
  DescribeSettings(migration, as_of, fields);
  DescribeTrouble(migration, fields);
  DescribeVerification(migration, fields);
  DescribeWork(migration, fields);
  fields.Line("As of", HumanTime(as_of));
  // An answer from memory may be old while the control store is away.
  if (now - as_of > absl::Minutes(1)) {
    fields.Line("", absl::StrCat("that is ", HumanDuration(now - as_of), " ago by this machine's clock"),
                Style::kWarning);
  }
  std::string text = absl::StrCat(Styled(Printable(FullName(migration)), Style::kBold, terminal),
                                  migration.summary().empty() ? "" : absl::StrCat(": ", Printable(migration.summary())),
                                  "\n\n", fields.text());
  if (!status.recent_events().empty()) text += "\nRecent events\n";
  for (const v1::Event& event : status.recent_events()) absl::StrAppend(&text, "  ", EventText(event), "\n");
  if (!migration.hint().empty()) absl::StrAppend(&text, "\nNext: ", Printable(migration.hint()), "\n");
  return text;
}

std::string EventText(const v1::Event& event) {
  std::string text = absl::StrCat(event.has_at() ? HumanTime(FromProto(event.at())) : "-", "  ", event.kind());
  if (!event.from().empty() || !event.to().empty()) absl::StrAppend(&text, " ", event.from(), " -> ", event.to());
  if (!event.actor().empty()) absl::StrAppend(&text, " by ", event.actor());
  return Printable(absl::StrCat(text, Quoted(event.reason())));
}

}  // namespace migrationctl
