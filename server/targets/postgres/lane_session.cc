#include "server/targets/postgres/lane_session.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/ascii.h"
#include "migrations/kinds/identifiers.h"
#include "migrations/model/failure.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

constexpr std::size_t kApplicationNameMax = 63;
// Beyond the statement's own timeout: for the way there and back, and a slow commit.
constexpr absl::Duration kAnswerGrace = absl::Seconds(10);

std::string Milliseconds(absl::Duration duration) { return absl::StrCat(absl::ToInt64Milliseconds(duration)); }

absl::Status Fenced() { return DatabaseError(kSqlStateFenced, "fenced: another owner works on the migration, or its cursor is not where it was"); }

std::optional<std::string> ArrayOrNull(const Key& key) {
  if (key.empty()) return std::nullopt;
  return KeyArray(key);
}

// A statement as it may stand inside a function: on lines of its own, so that a comment at its end hides nothing, and without the
// semicolon that one may have written at its end.
std::string Embedded(const std::string& statement) {
  std::string text = statement;
  while (!text.empty() && (absl::ascii_isspace(static_cast<unsigned char>(text.back())) || text.back() == ';')) text.pop_back();
  return absl::StrCat("\n", text, "\n");
}

// The statements for one lane: `first` while it has no cursor.
struct Variant {
  const std::string& work;
  const std::string& count;
  const std::string& unchanged;
  const std::string& bound;
};

Variant VariantOf(const MigrationPlan& plan, bool first, bool verify) {
  if (verify) {
    return {first ? plan.verify_work_first : plan.verify_work, first ? plan.count_verify_first : plan.count_verify,
            first ? plan.select_unchanged_first : plan.select_unchanged, first ? plan.next_bound_first : plan.next_bound};
  }
  return {first ? plan.work_first : plan.work, first ? plan.count_matching_first : plan.count_matching,
          first ? plan.select_unchanged_first : plan.select_unchanged, first ? plan.next_bound_first : plan.next_bound};
}

std::string RegclassText(const MigrationPlan& plan) {
  return QuoteLiteral(absl::StrCat(QuoteIdentifier(plan.schema), ".", QuoteIdentifier(plan.table)));
}

// What the work's placeholders stand for: lower key, upper key, parameters.
Parameters WorkParameters(const MigrationPlan& plan, const Key& lower, const Key& upper) {
  Parameters parameters;
  parameters.insert(parameters.end(), lower.begin(), lower.end());
  parameters.insert(parameters.end(), upper.begin(), upper.end());
  parameters.insert(parameters.end(), plan.parameter_values.begin(), plan.parameter_values.end());
  return parameters;
}

std::vector<std::string> WorkTypes(const MigrationPlan& plan) {
  std::vector<std::string> types = plan.key_casts;
  types.insert(types.end(), plan.key_casts.begin(), plan.key_casts.end());
  types.insert(types.end(), plan.parameter_types.begin(), plan.parameter_types.end());
  return types;
}

// ($1::bigint, $2::bigint, ...)
std::string Placeholders(const std::vector<std::string>& types) {
  std::string text;
  for (std::size_t i = 0; i < types.size(); ++i) absl::StrAppend(&text, i == 0 ? "" : ", ", "$", i + 1, "::", types[i]);
  return text;
}

// Writes the session functions. Variables are called md_...; a column of that name would win (use_column), so nothing of the
// user's statement can be captured by them.
class FunctionWriter {
 public:
  FunctionWriter(const LaneOptions& options, bool first)
      : plan_(*options.plan), options_(options), first_(first), variant_(VariantOf(plan_, first, options.pass > 1)), types_(WorkTypes(plan_)) {
    tag_ = "$md$";
    for (int i = 0; Contains(variant_.work) || Contains(variant_.count) || Contains(variant_.unchanged) || Contains(variant_.bound); ++i) {
      tag_ = absl::StrCat("$md", i, "$");
    }
  }

  std::string suffix() const { return first_ ? "_first" : ""; }

  // The key of the n-th row after the lower bound, as text[]; NULL when fewer are left.
  std::string Bound() const {
    std::vector<std::string> types = plan_.key_casts;
    types.insert(types.end(), plan_.key_casts.begin(), plan_.key_casts.end());
    std::string columns;
    for (std::size_t i = 0; i < plan_.key.size(); ++i) absl::StrAppend(&columns, i == 0 ? "" : ", ", "md_k", i);
    return absl::StrCat("CREATE OR REPLACE FUNCTION pg_temp.md_bound", suffix(), "(", absl::StrJoin(types, ", "),
                        ", bigint) RETURNS text[] LANGUAGE plpgsql AS ", tag_, "\n#variable_conflict use_column\nDECLARE md_bound text[];\nBEGIN\n",
                        "  SELECT ARRAY[", columns, "]::text[] INTO md_bound FROM (", Embedded(variant_.bound), ") AS md_keys(", columns,
                        ");\n  RETURN md_bound;\nEND ", tag_);
  }

  // Everything of one sub-batch.
  std::string SubBatch() const {
    std::vector<std::string> types = types_;
    const std::size_t extra = types.size();
    types.insert(types.end(), {"text[]", "text[]", "text[]", "bigint", "boolean"});
    types.insert(types.end(), plan_.key_casts.begin(), plan_.key_casts.end());
    const auto argument = [extra](int n) { return absl::StrCat("$", extra + static_cast<std::size_t>(n)); };
    const std::string old_cursor = argument(1), new_cursor = argument(2), upper_text = argument(3), next_size = argument(4), check = argument(5);
    std::string body = absl::StrCat(
        tag_, "\n#variable_conflict use_column\nBEGIN\n", TableCheck(), "  md_matched := -1;\n  md_unchanged := 0;\n");
    options_.pass > 1 ? AppendVerify(body) : AppendExecute(body, check);
    absl::StrAppend(&body,
                    // Again: the work may have waited for the lock of whoever replaced the table, and then resolved the name anew. From
                    // here on our own lock keeps the name where it is.
                    TableCheck(),
                    // Deferred constraints and triggers would otherwise run at commit, outside the statement's timeout.
                    "  SET CONSTRAINTS ALL IMMEDIATE;\n",
                    // The check-and-set: the last write.
                    "  UPDATE migration_control.lane AS l SET cursor = ", new_cursor, ", rows = l.rows + md_affected, sub_batches = l.sub_batches + 1\n",
                    "   WHERE l.migration = ", QuoteLiteral(options_.claim.migration), " AND l.lane = ", options_.range.lane,
                    " AND l.epoch = ", options_.claim.epoch, " AND l.token = ", QuoteLiteral(options_.claim.token),
                    " AND l.cursor IS NOT DISTINCT FROM ", old_cursor, " AND NOT l.frozen;\n",
                    "  IF NOT FOUND THEN\n    PERFORM migration_control.refuse(", QuoteLiteral(options_.claim.migration), ", ", options_.range.lane,
                    ");\n  END IF;\n", "  IF ", next_size, " > 0 THEN\n    md_next := coalesce(pg_temp.md_bound(", NextBoundArguments(extra), "), ", upper_text,
                    ");\n  END IF;\n", "  md_at := clock_timestamp();\nEND ", tag_);
    return absl::StrCat("CREATE OR REPLACE FUNCTION pg_temp.md_sub_batch", suffix(), "(", absl::StrJoin(types, ", "),
                        ", OUT md_affected bigint, OUT md_matched bigint, OUT md_unchanged bigint, OUT md_next text[], OUT md_at timestamptz) "
                        "LANGUAGE plpgsql AS ",
                        body);
  }

  // How it is called: a prepared statement.
  std::string Call() const {
    std::vector<std::string> types = types_;
    types.insert(types.end(), {"text[]", "text[]", "text[]", "bigint", "boolean"});
    types.insert(types.end(), plan_.key_casts.begin(), plan_.key_casts.end());
    return absl::StrCat("SELECT md_affected, md_matched, md_unchanged, md_next, md_at FROM pg_temp.md_sub_batch", suffix(), "(", Placeholders(types), ")");
  }

  std::string BoundCall() const {
    std::vector<std::string> types = plan_.key_casts;
    types.insert(types.end(), plan_.key_casts.begin(), plan_.key_casts.end());
    types.push_back("bigint");
    return absl::StrCat("SELECT pg_temp.md_bound", suffix(), "(", Placeholders(types), ")");
  }

 private:
  bool Contains(const std::string& text) const { return text.find(tag_) != std::string::npos; }

  std::string TableCheck() const {
    return absl::StrCat("  IF to_regclass(", RegclassText(plan_), ") IS DISTINCT FROM ", plan_.table_oid,
                        "::oid::regclass THEN\n    RAISE EXCEPTION USING ERRCODE = '", std::string(kSqlStateSchemaChanged),
                        "', MESSAGE = 'the table was replaced by another one of that name';\n  END IF;\n");
  }

  // new cursor, lane's upper bound, size: the arguments of md_bound inside md_sub_batch.
  std::string NextBoundArguments(std::size_t extra) const {
    const std::size_t k = plan_.key.size();
    std::string arguments;
    for (std::size_t i = 0; i < k; ++i) absl::StrAppend(&arguments, "$", k + i + 1, ", ");
    for (std::size_t i = 0; i < k; ++i) absl::StrAppend(&arguments, "$", extra + 6 + i, ", ");
    absl::StrAppend(&arguments, "$", extra + 4);
    return arguments;
  }

  void AppendExecute(std::string& body, const std::string& check) const {
    if (plan_.has_where) absl::StrAppend(&body, "  IF ", check, " THEN\n    md_matched := (", Embedded(variant_.count), ");\n  END IF;\n");
    absl::StrAppend(&body, Embedded(variant_.work), ";\n  GET DIAGNOSTICS md_affected = ROW_COUNT;\n");
    if (!plan_.has_where) return;
    absl::StrAppend(&body, "  IF ", check, " AND md_matched > 0 THEN\n    IF (", Embedded(variant_.count),
                    ") >= md_matched THEN\n      RAISE EXCEPTION USING ERRCODE = '", std::string(kSqlStateWhereNotSatisfied),
                    "', MESSAGE = 'all ' || md_matched || ' rows of the first sub-batch still match `where` after the statement: it does not make "
                    "it false';\n    END IF;\n  END IF;\n");
  }

  // Nothing is written where nothing matches, so that looking over a finished table costs reads only.
  void AppendVerify(std::string& body) const {
    absl::StrAppend(&body, "  md_matched := (", Embedded(variant_.count), ");\n  md_affected := 0;\n  IF md_matched > 0 THEN\n", Embedded(variant_.work),
                    ";\n    GET DIAGNOSTICS md_affected = ROW_COUNT;\n",
                    "    INSERT INTO migration_control.failed_range AS r (migration, key, kind, pass) SELECT ",
                    QuoteLiteral(options_.claim.migration), ", md_left.md_key, 'UNCHANGED', ", options_.pass, " FROM (", Embedded(variant_.unchanged),
                    ") AS md_left(md_key) ON CONFLICT DO NOTHING;\n    GET DIAGNOSTICS md_unchanged = ROW_COUNT;\n  END IF;\n");
  }

  const MigrationPlan& plan_;
  const LaneOptions& options_;
  const bool first_;
  const Variant variant_;
  const std::vector<std::string> types_;
  std::string tag_;
};

// What both forms share.
class SessionBase : public LaneSession {
 public:
  SessionBase(std::unique_ptr<Connection> connection, const LaneOptions& options)
      : connection_(std::move(connection)), plan_(*options.plan), options_(options) {
    options_.plan = &plan_;
  }
  void Cancel() override { connection_->Cancel(); }
  int backend_pid() const override { return connection_->backend_pid(); }

 protected:
  // The lower bound of the work: the cursor, or the lane's inclusive beginning.
  const Key& Lower(const Key& cursor) const { return cursor.empty() ? options_.range.lower : cursor; }

  absl::StatusOr<Key> ReadKey(const QueryResult& result, int row, int column, const Key& otherwise) const {
    if (result.rows() == 0 || result.null(row, column)) return otherwise;
    return ParseKeyArray(result.text(row, column));
  }

  static absl::Time ReadTime(const QueryResult& result, int row, int column) {
    absl::Time at;
    std::string error;
    if (!absl::ParseTime("%E4Y-%m-%d %H:%M:%E*S%Ez", result.text(row, column) + ":00", &at, &error)) return absl::UnixEpoch();
    return at;
  }

  // A message that may have committed before its answer was lost.
  absl::Status AfterSending(const absl::Status& status) const {
    const bool lost = SqlStateOf(status).empty() && connection_->last_query_sent();
    if (!lost) return status;
    return CommitUnknownError(absl::StrCat("whether the sub-batch was committed is not known: ", std::string(status.message())));
  }

  const std::unique_ptr<Connection> connection_;
  const MigrationPlan plan_;
  LaneOptions options_;
};

class DirectSession : public SessionBase {
 public:
  using SessionBase::SessionBase;

  // The functions that every sub-batch needs; the ones for a lane's first one only when it is still to come.
  absl::Status Prepare() {
    MD_RETURN_IF_ERROR(Make(/*first=*/false));
    if (options_.range.cursor.empty()) MD_RETURN_IF_ERROR(Make(/*first=*/true));
    return absl::OkStatus();
  }

  absl::StatusOr<Key> FindBound(const LaneRange& range, std::int64_t size) override {
    Parameters parameters;
    const Key& lower = Lower(range.cursor);
    parameters.insert(parameters.end(), lower.begin(), lower.end());
    parameters.insert(parameters.end(), range.upper.begin(), range.upper.end());
    parameters.push_back(absl::StrCat(size));
    MD_ASSIGN_OR_RETURN(const QueryResult result, connection_->Execute(range.cursor.empty() ? "md_bound_first" : "md_bound", parameters));
    return ReadKey(result, 0, 0, range.upper);
  }

  absl::StatusOr<SubBatchResult> RunSubBatch(const SubBatchRequest& request) override {
    const bool first = request.old_cursor.empty();
    Parameters parameters = WorkParameters(plan_, Lower(request.old_cursor), request.new_cursor);
    parameters.push_back(ArrayOrNull(request.old_cursor));
    parameters.push_back(KeyArray(request.new_cursor));
    parameters.push_back(KeyArray(request.lane_upper));
    parameters.push_back(absl::StrCat(request.next_size));
    parameters.push_back(request.check_where ? "true" : "false");
    parameters.insert(parameters.end(), request.lane_upper.begin(), request.lane_upper.end());
    auto answer = connection_->Execute(first ? "md_sub_batch_first" : "md_sub_batch", parameters);
    if (!answer.ok()) return AfterSending(answer.status());
    if (answer->rows() != 1) return absl::InternalError("the sub-batch gave no row");
    SubBatchResult result;
    result.affected = answer->integer(0, 0);
    result.matched = answer->integer(0, 1);
    result.unchanged = answer->integer(0, 2);
    if (request.next_size > 0) {
      MD_ASSIGN_OR_RETURN(result.next_bound, ReadKey(*answer, 0, 3, request.lane_upper));
    }
    result.at = ReadTime(*answer, 0, 4);
    return result;
  }

 private:
  absl::Status Make(bool first) {
    const FunctionWriter writer(options_, first);
    MD_RETURN_IF_ERROR(connection_->Query(writer.Bound()).status());
    // md_sub_batch_first looks the next bound up from a cursor: by md_bound, which therefore is made before it.
    MD_RETURN_IF_ERROR(connection_->Query(writer.SubBatch()).status());
    MD_RETURN_IF_ERROR(connection_->Prepare(absl::StrCat("md_bound", writer.suffix()), writer.BoundCall()));
    return connection_->Prepare(absl::StrCat("md_sub_batch", writer.suffix()), writer.Call());
  }
};

class PooledSession : public SessionBase {
 public:
  PooledSession(std::unique_ptr<Connection> connection, const LaneOptions& options, SessionSettings settings)
      : SessionBase(std::move(connection), options), settings_(std::move(settings)) {}

  absl::StatusOr<Key> FindBound(const LaneRange& range, std::int64_t size) override {
    MD_RETURN_IF_ERROR(Begin());
    auto bound = LookUpBound(range.cursor, Lower(range.cursor), range.upper, size);
    MD_RETURN_IF_ERROR(End(bound.status(), "ROLLBACK"));
    return bound;
  }

  absl::StatusOr<SubBatchResult> RunSubBatch(const SubBatchRequest& request) override {
    MD_RETURN_IF_ERROR(Begin());
    SubBatchResult result;
    absl::Status status = Work(request, result);
    if (!status.ok()) return End(status, "ROLLBACK");
    // A message of its own: only from here on can it have been committed.
    const auto committed = connection_->Query("COMMIT");
    if (!committed.ok()) return AfterSending(committed.status());
    if (committed->command_tag() != "COMMIT") return Fenced();
    return result;
  }

 private:
  absl::Status Begin() {
    const absl::Status begun =
        connection_->Query(absl::StrCat("BEGIN ISOLATION LEVEL READ COMMITTED; ", SettingsSql(settings_, /*local=*/true))).status();
    return begun.ok() ? begun : End(begun, "ROLLBACK");
  }

  // Ends the transaction; the first error wins.
  absl::Status End(const absl::Status& status, const std::string& command) {
    if (connection_->broken()) return status;
    const absl::Status ended = connection_->Query(command).status();
    return status.ok() ? ended : status;
  }

  absl::StatusOr<Key> LookUpBound(const Key& cursor, const Key& lower, const Key& upper, std::int64_t size) {
    const Variant variant = VariantOf(plan_, cursor.empty(), options_.pass > 1);
    Parameters parameters(lower.begin(), lower.end());
    parameters.insert(parameters.end(), upper.begin(), upper.end());
    parameters.push_back(absl::StrCat(size));
    MD_ASSIGN_OR_RETURN(const QueryResult result, connection_->Query(variant.bound, parameters));
    if (result.rows() == 0) return upper;
    Key key;
    for (std::size_t i = 0; i < plan_.key.size(); ++i) key.push_back(result.text(0, static_cast<int>(i)));
    return key;
  }

  absl::StatusOr<std::int64_t> Count(const std::string& sql, const Parameters& parameters) {
    MD_ASSIGN_OR_RETURN(const QueryResult result, connection_->Query(sql, parameters));
    return result.integer(0, 0);
  }

  absl::Status CheckTable() {
    MD_ASSIGN_OR_RETURN(const QueryResult result, connection_->Query(absl::StrCat("SELECT to_regclass(", RegclassText(plan_), ")::oid IS NOT DISTINCT FROM ",
                                                                                  plan_.table_oid, "::oid")));
    if (result.boolean(0, 0)) return absl::OkStatus();
    return DatabaseError(kSqlStateSchemaChanged, "the table was replaced by another one of that name");
  }

  absl::Status Work(const SubBatchRequest& request, SubBatchResult& result) {
    MD_RETURN_IF_ERROR(CheckTable());
    const bool verify = options_.pass > 1;
    const Variant variant = VariantOf(plan_, request.old_cursor.empty(), verify);
    const Parameters parameters = WorkParameters(plan_, Lower(request.old_cursor), request.new_cursor);
    const bool counted = verify || (request.check_where && plan_.has_where);
    if (counted) {
      MD_ASSIGN_OR_RETURN(result.matched, Count(variant.count, parameters));
    }
    if (!verify || result.matched > 0) {
      MD_ASSIGN_OR_RETURN(const QueryResult worked, connection_->Query(variant.work, parameters));
      result.affected = worked.affected();
    }
    if (!verify && counted && result.matched > 0) {
      MD_ASSIGN_OR_RETURN(const std::int64_t after, Count(variant.count, parameters));
      if (after >= result.matched) {
        return DatabaseError(kSqlStateWhereNotSatisfied,
                             absl::StrCat("all ", result.matched, " rows of the first sub-batch still match `where` after the statement: it does not make it false"));
      }
    }
    if (verify && result.matched > 0) MD_RETURN_IF_ERROR(RecordUnchanged(variant.unchanged, parameters, result));
    // Again: the work may have waited for the lock of whoever replaced the table, and then resolved the name anew.
    MD_RETURN_IF_ERROR(CheckTable());
    MD_RETURN_IF_ERROR(connection_->Query("SET CONSTRAINTS ALL IMMEDIATE").status());
    MD_RETURN_IF_ERROR(connection_
                           ->Query("SELECT migration_control.advance($1, $2, $3, $4, $5, $6, $7)",
                                   {options_.claim.migration, absl::StrCat(options_.range.lane), absl::StrCat(options_.claim.epoch), options_.claim.token,
                                    ArrayOrNull(request.old_cursor), KeyArray(request.new_cursor), absl::StrCat(result.affected)})
                           .status());
    if (request.next_size > 0) {
      MD_ASSIGN_OR_RETURN(result.next_bound, LookUpBound(request.new_cursor, request.new_cursor, request.lane_upper, request.next_size));
    }
    MD_ASSIGN_OR_RETURN(const QueryResult clock, connection_->Query("SELECT clock_timestamp()"));
    result.at = ReadTime(clock, 0, 0);
    return absl::OkStatus();
  }

  absl::Status RecordUnchanged(const std::string& select, const Parameters& parameters, SubBatchResult& result) {
    MD_ASSIGN_OR_RETURN(const QueryResult recorded,
                        connection_->Query(absl::StrCat("INSERT INTO migration_control.failed_range AS r (migration, key, kind, pass) SELECT ",
                                                        QuoteLiteral(options_.claim.migration), ", md_left.md_key, 'UNCHANGED', ", options_.pass, " FROM (",
                                                        Embedded(select), ") AS md_left(md_key) ON CONFLICT DO NOTHING"),
                                           parameters));
    result.unchanged = recorded.affected();
    return absl::OkStatus();
  }

  const SessionSettings settings_;
};

}  // namespace

std::string SettingsSql(const SessionSettings& settings, bool local) {
  const std::vector<std::pair<std::string, std::string>> values = {
      {"TimeZone", "UTC"},
      {"DateStyle", "ISO, MDY"},
      {"IntervalStyle", "postgres"},
      {"extra_float_digits", "1"},
      {"standard_conforming_strings", "on"},
      {"search_path", settings.search_path},
      {"application_name", settings.application_name},
      {"default_transaction_isolation", "read committed"},
      {"synchronous_commit", settings.synchronous_commit ? "on" : "off"},
      {"lock_timeout", Milliseconds(settings.lock_timeout)},
      {"statement_timeout", Milliseconds(settings.statement_timeout)},
      {"idle_in_transaction_session_timeout", Milliseconds(settings.statement_timeout + absl::Seconds(5))},
      // A backend whose client is gone ends its statement instead of finishing it.
      {"client_connection_check_interval", "1000"},
  };
  std::string sql = "SELECT ";
  for (std::size_t i = 0; i < values.size(); ++i) {
    absl::StrAppend(&sql, i == 0 ? "" : ", ", "pg_catalog.set_config(", QuoteLiteral(values[i].first), ", ", QuoteLiteral(values[i].second), ", ",
                    local ? "true" : "false", ")");
  }
  return sql;
}

std::string ApplicationNamePrefix(const std::string& token, std::int64_t epoch) { return absl::StrCat("migrationd/", token.substr(0, 8), "/", epoch, "/"); }

std::string ApplicationName(const FenceClaim& claim) {
  return absl::StrCat(ApplicationNamePrefix(claim.token, claim.epoch), claim.migration).substr(0, kApplicationNameMax);
}

absl::StatusOr<std::unique_ptr<LaneSession>> OpenLaneSession(std::unique_ptr<Connection> connection, const LaneOptions& options, bool direct_allowed) {
  SessionSettings settings;
  settings.search_path = options.plan->search_path;
  settings.application_name = ApplicationName(options.claim);
  settings.synchronous_commit = options.synchronous_commit;
  settings.lock_timeout = options.lock_timeout;
  settings.statement_timeout = options.statement_timeout;
  connection->SetQueryTimeout(options.statement_timeout + kAnswerGrace);
  if (connection->pooled() || !direct_allowed) {
    return std::unique_ptr<LaneSession>(std::make_unique<PooledSession>(std::move(connection), options, std::move(settings)));
  }
  MD_RETURN_IF_ERROR(connection->Query(SettingsSql(settings, /*local=*/false)).status());
  auto session = std::make_unique<DirectSession>(std::move(connection), options);
  MD_RETURN_IF_ERROR(session->Prepare());
  return std::unique_ptr<LaneSession>(std::move(session));
}

}  // namespace migrationd
