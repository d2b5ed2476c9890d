#include "store/postgres/records.h"

#include <cmath>
#include <optional>
#include <stdexcept>

#include "absl/strings/str_cat.h"
#include "store/postgres/queries.h"

namespace migrationd {
namespace {

using Json = nlohmann::json;

std::string EncodeTime(absl::Time time) {
  if (time == absl::InfinitePast()) return "-infinity";
  if (time == absl::InfiniteFuture()) return "infinity";
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", time, absl::UTCTimeZone());
}

Json EncodeOptionalTime(const std::optional<absl::Time>& time) {
  return time.has_value() ? Json(EncodeTime(*time)) : Json(nullptr);
}

std::optional<absl::Time> DecodeOptionalTime(const Json& value) {
  if (value.is_null()) return std::nullopt;
  return DecodeTime(value);
}

// JSON has no infinities.
double Finite(double value) { return std::isfinite(value) ? value : 0; }

std::int64_t Microseconds(absl::Duration duration) { return absl::ToInt64Microseconds(duration); }

std::string RestartName(RestartFrom from) {
  switch (from) {
    case RestartFrom::kContinue:
      return "CONTINUE";
    case RestartFrom::kStart:
      return "START";
    case RestartFrom::kAdopt:
      return "ADOPT";
    case RestartFrom::kRecheck:
      return "RECHECK";
    case RestartFrom::kNewSchema:
      return "NEW_SCHEMA";
  }
  throw std::invalid_argument("restart_from is out of range");
}

std::optional<RestartFrom> ParseRestart(std::string_view word) {
  for (const RestartFrom from : {RestartFrom::kContinue, RestartFrom::kStart, RestartFrom::kAdopt,
                                 RestartFrom::kRecheck, RestartFrom::kNewSchema}) {
    if (RestartName(from) == word) return from;
  }
  return std::nullopt;
}

// The value of a word in `row[column]`.
template <typename T>
T Word(const Json& row, const char* column, std::optional<T> (*parse)(std::string_view)) {
  const std::string word = row.at(column).get<std::string>();
  const std::optional<T> value = parse(word);
  if (!value.has_value())
    throw std::invalid_argument(absl::StrCat("column ", column, " holds the unknown word ", word));
  return *value;
}

Hold DecodeHold(const Json& row) {
  return {.kind = Word(row, "hold", &ParseHoldKind),
          .reason = row.at("hold_reason"),
          .since = DecodeOptionalTime(row.at("hold_since")),
          .until = DecodeOptionalTime(row.at("hold_until"))};
}

ProgressCounters DecodeCounters(const Json& row) {
  ProgressCounters counters;
  counters.phase = Word(row, "phase", &ParsePhase);
  counters.pass = row.at("pass");
  counters.rows_done = row.at("rows_done");
  counters.rows_estimated = row.at("rows_estimated");
  counters.estimate_method = row.at("estimate_method");
  counters.batches_done = row.at("batches_done");
  counters.sub_batches_done = row.at("sub_batches_done");
  counters.unchanged_rows = row.at("unchanged_rows");
  counters.failed_ranges = row.at("failed_ranges");
  counters.rows_per_second = row.at("rows_per_second");
  counters.rows_per_second_long = row.at("rows_per_second_long");
  counters.verify_fraction = row.at("verify_fraction");
  counters.verify_regressed = row.at("verify_regressed");
  counters.fraction = row.at("fraction");
  counters.attempts = row.at("attempts");
  if (!row.at("error_at").is_null()) {
    counters.last_error = LastError{
        .sqlstate = row.at("error_sqlstate"), .message = row.at("error_message"), .at = DecodeTime(row.at("error_at"))};
  }
  counters.sub_batch_size = row.at("current_sub_batch_size");
  counters.working = absl::Microseconds(row.at("working_microseconds").get<std::int64_t>());
  counters.time_seconds = row.at("time_seconds").get<std::map<std::string, double>>();
  counters.accounted_until = DecodeOptionalTime(row.at("accounted_until"));
  for (const Json& lane : row.at("lanes")) {
    counters.lanes.push_back({.lane = lane.at("lane"),
                              .cursor = lane.at("cursor").get<Key>(),
                              .upper_bound = lane.at("upper_bound").get<Key>(),
                              .rows = lane.at("rows")});
  }
  return counters;
}

std::optional<absl::Duration> DecodeDuration(const Json& settings, const char* name) {
  if (!settings.contains(name)) return std::nullopt;
  return absl::Microseconds(settings.at(name).get<std::int64_t>());
}

PaceOverride DecodePace(const Json& pace) {
  PaceOverride pinned{.settings = {}, .author = pace.at("author"), .until = DecodeOptionalTime(pace.at("until"))};
  const Json& set = pace.at("settings");
  pinned.settings.interval = DecodeDuration(set, "interval");
  if (set.contains("max_rows_per_second")) pinned.settings.max_rows_per_second = set.at("max_rows_per_second").get<std::int64_t>();
  if (set.contains("lanes")) pinned.settings.lanes = set.at("lanes").get<std::int32_t>();
  if (set.contains("windows")) pinned.settings.windows = set.at("windows").get<std::vector<std::string>>();
  pinned.settings.target_sub_batch_time = DecodeDuration(set, "target_sub_batch_time");
  pinned.settings.lock_timeout = DecodeDuration(set, "lock_timeout");
  pinned.settings.statement_timeout = DecodeDuration(set, "statement_timeout");
  return pinned;
}

void EncodeDuration(const char* name, const std::optional<absl::Duration>& duration, Json& settings) {
  if (duration.has_value()) settings[name] = Microseconds(*duration);
}

Json EncodePace(const PaceOverride& pinned) {
  Json set = Json::object();
  EncodeDuration("interval", pinned.settings.interval, set);
  if (pinned.settings.max_rows_per_second.has_value()) set["max_rows_per_second"] = *pinned.settings.max_rows_per_second;
  if (pinned.settings.lanes.has_value()) set["lanes"] = *pinned.settings.lanes;
  if (pinned.settings.windows.has_value()) set["windows"] = *pinned.settings.windows;
  EncodeDuration("target_sub_batch_time", pinned.settings.target_sub_batch_time, set);
  EncodeDuration("lock_timeout", pinned.settings.lock_timeout, set);
  EncodeDuration("statement_timeout", pinned.settings.statement_timeout, set);
  return {{"settings", std::move(set)}, {"author", pinned.author}, {"until", EncodeOptionalTime(pinned.until)}};
}

// Columns that the revision guards.
void DecodeGuarded(const Json& row, Migration& migration) {
  migration.revision = row.at("revision");
  migration.state = Word(row, "state", &ParseState);
  migration.intent = {.state = Word(row, "intent_state", &ParseState),
                      .actor = row.at("intent_actor"),
                      .reason = row.at("intent_reason"),
                      .since = DecodeTime(row.at("intent_since")),
                      .until = DecodeOptionalTime(row.at("intent_until"))};
  if (!row.at("halt_code").is_null()) {
    migration.halt =
        Halt{.code = row.at("halt_code"), .message = row.at("halt_message"), .since = DecodeTime(row.at("halt_since"))};
  }
  migration.start_requested = row.at("start_requested");
  migration.enqueued = row.at("enqueued");
  migration.parameters = row.at("parameters").get<std::map<std::string, std::string>>();
  migration.sizes = {.batch_size = row.at("batch_size"),
                     .sub_batch_size = row.at("sub_batch_size"),
                     .max_batch_size = row.at("max_batch_size")};
  if (!row.at("override_batch_size").is_null()) {
    migration.size_override = SizeOverride{.batch_size = row.at("override_batch_size"),
                                           .sub_batch_size = row.at("override_sub_batch_size"),
                                           .author = row.at("override_author"),
                                           .until = DecodeOptionalTime(row.at("override_until"))};
  }
  if (!row.at("pace_override").is_null()) migration.pace_override = DecodePace(row.at("pace_override"));
  migration.fence = Word(row, "fence", &ParseFenceState);
  migration.restart_from = Word(row, "restart_from", &ParseRestart);
  migration.pause_after_rows = row.at("pause_after_rows");
  migration.cleanup_requested = row.at("cleanup_requested");
  migration.cleaned_up = row.at("cleaned_up");
  migration.accepted_rows = row.at("accepted_rows");
  migration.regressed_rows = row.at("regressed_rows");
  if (!row.at("verify_requested_at").is_null()) {
    migration.verification = Verification{.requested_at = DecodeTime(row.at("verify_requested_at")),
                                          .actor = row.at("verify_actor"),
                                          .finished_at = DecodeOptionalTime(row.at("verified_at"))};
  }
  migration.started_at = DecodeOptionalTime(row.at("started_at"));
  migration.finished_at = DecodeOptionalTime(row.at("finished_at"));
  migration.definition_digest = row.at("definition_digest");
  migration.catalog_digest = row.at("catalog_digest");
  migration.catalog_file = row.at("catalog_file");
  migration.catalog_missing = row.at("catalog_missing");
  migration.labels = row.at("labels").get<std::map<std::string, std::string>>();
}

}  // namespace

Json EncodeMigration(const Migration& migration) {
  Json row = {
      {"target", migration.target},
      {"name", migration.name},
      {"version", migration.version},
      {"created_at", EncodeTime(migration.created_at)},
      {"state", std::string(StateName(migration.state))},
      {"intent_state", std::string(StateName(migration.intent.state))},
      {"intent_actor", migration.intent.actor},
      {"intent_reason", migration.intent.reason},
      {"intent_since", EncodeTime(migration.intent.since)},
      {"intent_until", EncodeOptionalTime(migration.intent.until)},
      {"start_requested", migration.start_requested},
      {"enqueued", migration.enqueued},
      {"parameters", migration.parameters},
      {"batch_size", migration.sizes.batch_size},
      {"sub_batch_size", migration.sizes.sub_batch_size},
      {"max_batch_size", migration.sizes.max_batch_size},
      {"fence", std::string(FenceStateName(migration.fence))},
      {"restart_from", RestartName(migration.restart_from)},
      {"pause_after_rows", migration.pause_after_rows},
      {"cleanup_requested", migration.cleanup_requested},
      {"cleaned_up", migration.cleaned_up},
      {"accepted_rows", migration.accepted_rows},
      {"regressed_rows", migration.regressed_rows},
      {"started_at", EncodeOptionalTime(migration.started_at)},
      {"finished_at", EncodeOptionalTime(migration.finished_at)},
      {"definition_digest", migration.definition_digest},
      {"catalog_digest", migration.catalog_digest},
      {"catalog_file", migration.catalog_file},
      {"catalog_missing", migration.catalog_missing},
      {"labels", migration.labels},
  };
  if (migration.halt.has_value()) {
    row["halt_code"] = migration.halt->code;
    row["halt_message"] = migration.halt->message;
    row["halt_since"] = EncodeTime(migration.halt->since);
  }
  if (migration.size_override.has_value()) {
    row["override_batch_size"] = migration.size_override->batch_size;
    row["override_sub_batch_size"] = migration.size_override->sub_batch_size;
    row["override_author"] = migration.size_override->author;
    row["override_until"] = EncodeOptionalTime(migration.size_override->until);
  }
  if (migration.pace_override.has_value()) row["pace_override"] = EncodePace(*migration.pace_override);
  if (migration.verification.has_value()) {
    row["verify_requested_at"] = EncodeTime(migration.verification->requested_at);
    row["verify_actor"] = migration.verification->actor;
    row["verified_at"] = EncodeOptionalTime(migration.verification->finished_at);
  }
  return row;
}

Json EncodeHold(const Hold& hold) {
  return {{"hold", std::string(HoldKindName(hold.kind))},
          {"hold_reason", hold.reason},
          {"hold_since", EncodeOptionalTime(hold.since)},
          {"hold_until", EncodeOptionalTime(hold.until)}};
}

Json EncodeProgress(const ProgressCounters& counters, const Hold& hold) {
  Json row = EncodeHold(hold);
  row["phase"] = std::string(PhaseName(counters.phase));
  row["pass"] = counters.pass;
  row["rows_done"] = counters.rows_done;
  row["rows_estimated"] = counters.rows_estimated;
  row["estimate_method"] = counters.estimate_method;
  row["batches_done"] = counters.batches_done;
  row["sub_batches_done"] = counters.sub_batches_done;
  row["unchanged_rows"] = counters.unchanged_rows;
  row["failed_ranges"] = counters.failed_ranges;
  row["rows_per_second"] = Finite(counters.rows_per_second);
  row["rows_per_second_long"] = Finite(counters.rows_per_second_long);
  row["verify_fraction"] = Finite(counters.verify_fraction);
  row["verify_regressed"] = counters.verify_regressed;
  row["fraction"] = Finite(counters.fraction);
  row["attempts"] = counters.attempts;
  if (counters.last_error.has_value()) {
    row["error_sqlstate"] = counters.last_error->sqlstate;
    row["error_message"] = counters.last_error->message;
    row["error_at"] = EncodeTime(counters.last_error->at);
  }
  row["current_sub_batch_size"] = counters.sub_batch_size;
  row["working_microseconds"] = Microseconds(counters.working);
  Json& time = row["time_seconds"] = Json::object();
  for (const auto& [word, seconds] : counters.time_seconds) time[word] = Finite(seconds);
  row["accounted_until"] = EncodeOptionalTime(counters.accounted_until);
  Json& lanes = row["lanes"] = Json::array();
  for (const LaneProgress& lane : counters.lanes) {
    lanes.push_back(
        {{"lane", lane.lane}, {"cursor", lane.cursor}, {"upper_bound", lane.upper_bound}, {"rows", lane.rows}});
  }
  return row;
}

Json EncodeJob(const JobRecord& job) {
  return {{"lane", job.lane},
          {"pass", job.pass},
          {"lower_key", job.lower},
          {"upper_key", job.upper},
          {"rows", job.rows},
          {"sub_batches", job.sub_batches},
          {"batch_size", job.batch_size},
          {"sub_batch_size", job.sub_batch_size},
          {"started_at", EncodeTime(job.started_at)},
          {"finished_at", EncodeTime(job.finished_at)},
          {"working_microseconds", Microseconds(job.working)},
          {"outcome", job.outcome},
          {"sqlstate", job.sqlstate},
          {"message", job.message},
          {"epoch", job.epoch}};
}

Json EncodeEvent(const EventRecord& event, const std::string& written_by) {
  return {{"target", event.target}, {"migration", event.migration},   {"kind", event.kind},
          {"actor", event.actor},   {"request_id", event.request_id}, {"from_word", event.from},
          {"to_word", event.to},    {"reason", event.reason},         {"written_by", written_by}};
}

Json EncodeFreeze(const FreezeRecord& freeze) {
  return {{"target", freeze.target},
          {"actor", freeze.actor},
          {"reason", freeze.reason},
          {"since", EncodeTime(freeze.since)},
          {"until", EncodeOptionalTime(freeze.until)}};
}

Json EncodeTarget(const std::string& name, const TargetIdentity& identity) {
  return {{"name", name},
          {"uuid", identity.uuid},
          {"system_identifier", identity.system_identifier},
          {"database_oid", identity.database_oid}};
}

Json EncodeLeaseKeys(const std::vector<LeaseKey>& keys) {
  Json rows = Json::array();
  for (const LeaseKey& key : keys) rows.push_back({{"id", key.id.value}, {"token", key.token}});
  return rows;
}

absl::Time DecodeTime(const Json& value) {
  const std::string text = value.get<std::string>();
  if (text == "-infinity") return absl::InfinitePast();
  if (text == "infinity") return absl::InfiniteFuture();
  absl::Time time;
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, text, &time, &error)) throw std::invalid_argument("not a time: " + text);
  return time;
}

Lease DecodeLease(const Json& lease) {
  return {.owner = lease.at("owner"),
          .token = lease.at("token"),
          .epoch = lease.at("epoch"),
          .expires_at = DecodeTime(lease.at("expires_at")),
          .live = lease.at("live")};
}

MigrationDocument DecodeMigration(const Json& document) {
  MigrationDocument result;
  Migration& migration = result.stored.migration;
  const Json& row = document.at("migration");
  migration.id = MigrationId{row.at("id").get<std::int64_t>()};
  migration.target = row.at("target");
  migration.name = row.at("name");
  migration.version = row.at("version");
  migration.created_at = DecodeTime(row.at("created_at"));
  DecodeGuarded(row, migration);
  migration.hold = DecodeHold(document.at("progress"));
  migration.progress = DecodeCounters(document.at("progress"));
  if (!document.at("lease").is_null()) result.stored.lease = DecodeLease(document.at("lease"));
  result.as_of = DecodeTime(document.at("as_of"));
  return result;
}

JobRecord DecodeJob(const Json& row) {
  return {.id = row.at("number"),
          .lane = row.at("lane"),
          .pass = row.at("pass"),
          .lower = row.at("lower_key").get<Key>(),
          .upper = row.at("upper_key").get<Key>(),
          .rows = row.at("rows"),
          .sub_batches = row.at("sub_batches"),
          .batch_size = row.at("batch_size"),
          .sub_batch_size = row.at("sub_batch_size"),
          .started_at = DecodeTime(row.at("started_at")),
          .finished_at = DecodeTime(row.at("finished_at")),
          .working = absl::Microseconds(row.at("working_microseconds").get<std::int64_t>()),
          .outcome = row.at("outcome"),
          .sqlstate = row.at("sqlstate"),
          .message = row.at("message"),
          .epoch = row.at("epoch")};
}

EventRecord DecodeEvent(const Json& row) {
  return {.sequence = row.at("sequence"),
          .target = row.at("target"),
          .migration = row.at("migration"),
          .at = DecodeTime(row.at("at")),
          .kind = row.at("kind"),
          .actor = row.at("actor"),
          .request_id = row.at("request_id"),
          .from = row.at("from_word"),
          .to = row.at("to_word"),
          .reason = row.at("reason")};
}

FreezeRecord DecodeFreeze(const Json& row) {
  return {.target = row.at("target"),
          .actor = row.at("actor"),
          .reason = row.at("reason"),
          .since = DecodeTime(row.at("since")),
          .until = DecodeOptionalTime(row.at("until"))};
}

TargetIdentity DecodeTarget(const Json& row) {
  return {
      .uuid = row.at("uuid"), .system_identifier = row.at("system_identifier"), .database_oid = row.at("database_oid")};
}

absl::Time ReadClock(Transaction& transaction) {
  return DecodeTime(Json::parse(transaction.Execute(queries::kReadClock).at(0)[0].as<std::string>()));
}

std::string BoundJson(const Json& value) {
  const std::string text = value.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
  // A backslash that belongs to the value is doubled, so an odd one before u0000 can only be the escape of NUL.
  std::string bound;
  bound.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      bound += text[i];
    } else if (text.compare(i, 6, "\\u0000") == 0) {
      bound += "\xEF\xBF\xBD";
      i += 5;
    } else {
      bound.append(text, i, 2);
      ++i;
    }
  }
  return bound;
}

std::string BoundText(const std::string& text) { return nlohmann::json::parse(BoundJson(text)).get<std::string>(); }

}  // namespace migrationd
