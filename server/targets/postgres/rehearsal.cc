#include "server/targets/postgres/rehearsal.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "migrations/kinds/identifiers.h"
#include "migrations/model/failure.h"
#include "migrations/model/status_macros.h"
#include "server/clock.h"
#include "server/targets/postgres/bounded_query.h"
#include "server/targets/postgres/explain.h"
#include "server/targets/postgres/lane_planner.h"
#include "server/targets/postgres/row_estimate.h"
#include "server/targets/postgres/session_settings.h"
#include "server/targets/postgres/sub_batch_sql.h"
#include "server/targets/postgres/sub_batch_work.h"

namespace migrationd {
namespace {

// Of one question that is answered from catalogs and indexes.
constexpr absl::Duration kQuestion = absl::Seconds(5);
// The search for rows that match `where`: as long as this, or until a range of so many rows has none.
constexpr absl::Duration kSearch = absl::Seconds(3);
constexpr std::int64_t kSearchRangeMax = 1'000'000;

constexpr char kRights[] = R"sql(
SELECT current_user::text, pg_catalog.pg_is_in_recovery(),
       pg_catalog.pg_has_role(c.relowner, 'USAGE'),
       pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'),
       pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY'),
       pg_catalog.to_regnamespace('migration_control') IS NOT NULL,
       pg_catalog.has_table_privilege(c.oid, 'SELECT') OR pg_catalog.has_any_column_privilege(c.oid, 'SELECT'),
       pg_catalog.has_table_privilege(c.oid, 'INSERT') OR pg_catalog.has_any_column_privilege(c.oid, 'INSERT'),
       pg_catalog.has_table_privilege(c.oid, 'UPDATE') OR pg_catalog.has_any_column_privilege(c.oid, 'UPDATE'),
       pg_catalog.has_table_privilege(c.oid, 'DELETE'), pg_catalog.has_table_privilege(c.oid, 'TRIGGER'),
       -- Whether a policy would apply; that we ask to be refused then does not matter.
       pg_catalog.row_security_active(c.oid)
  FROM pg_catalog.pg_class AS c WHERE c.oid = $1::oid)sql";
constexpr const char* kTableRights[] = {"SELECT", "INSERT", "UPDATE", "DELETE", "TRIGGER"};

// What each table of the schema is used with. A table that is not there belongs to a step that the service has yet to make.
constexpr char kControlRights[] = R"sql(
SELECT r.privilege || ' on ' || r.relation
  FROM (VALUES ('identity', 'SELECT'), ('identity', 'INSERT'), ('freeze_flag', 'SELECT'), ('freeze_flag', 'UPDATE'),
               ('owner', 'SELECT'), ('owner', 'INSERT'), ('owner', 'UPDATE'),
               ('lane', 'SELECT'), ('lane', 'INSERT'), ('lane', 'UPDATE'), ('lane', 'DELETE'),
               ('failed_range', 'SELECT'), ('failed_range', 'INSERT'), ('failed_range', 'DELETE'),
               ('step', 'SELECT'), ('step', 'INSERT'), ('step', 'DELETE')) AS r (relation, privilege)
  JOIN pg_catalog.pg_namespace AS n ON n.nspname = 'migration_control'
  JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = r.relation
 WHERE NOT pg_catalog.has_table_privilege(c.oid, r.privilege)
UNION ALL
SELECT 'USAGE' WHERE NOT pg_catalog.has_schema_privilege('migration_control', 'USAGE')
 ORDER BY 1)sql";

// A range of keys: from `lower`, inclusive when it is the first one, to `upper`.
struct KeyRange {
  Key lower;
  Key upper;
  bool first = true;
};

class Rehearsing {
 public:
  Rehearsing(Connection& connection, const RehearsalRequest& request)
      : connection_(connection),
        request_(request),
        plan_(*request.plan),
        deadline_(Clock::Real().Now() + request.patience),
        sub_batch_(std::max<std::int64_t>(1, std::min(request.sub_batch_size, request.batch_size))) {}

  absl::StatusOr<Rehearsal> Run() {
    MD_RETURN_IF_ERROR(Begin(Settings(absl::Seconds(2), kQuestion), "READ ONLY"));
    const absl::Status looked = Look();
    End();
    if (!looked.ok()) return looked;
    const bool sample = request_.with_sample && sample_range_.has_value() && !result_.in_recovery && !result_.frozen.has_value();
    if (sample) MD_RETURN_IF_ERROR(Sample());
    return std::move(result_);
  }

 private:
  SessionSettings Settings(absl::Duration lock_timeout, absl::Duration statement_timeout) const {
    SessionSettings settings;
    settings.search_path = plan_.search_path;
    settings.application_name = absl::StrCat("migrationd rehearsal ", request_.migration).substr(0, 63);
    settings.lock_timeout = lock_timeout;
    settings.statement_timeout = statement_timeout;
    return settings;
  }

  absl::Status Begin(const SessionSettings& settings, const char* access) {
    connection_.SetQueryTimeout(AnswerDeadline(settings.statement_timeout));
    return connection_
        .Query(absl::StrCat("BEGIN ISOLATION LEVEL READ COMMITTED ", access, "; ",
                            SettingsSql(settings, /*local=*/true, connection_.server_version())))
        .status();
  }

  void End() {
    if (!connection_.broken()) connection_.Query("ROLLBACK").status().IgnoreError();
  }

  absl::Duration Left() const { return deadline_ - Clock::Real().Now(); }
  // The same, at most `most`.
  absl::Duration Patience(absl::Duration most) const { return std::min(most, Left()); }

  // An error that says nothing of the migration: the target cannot be asked any more.
  bool Gone(const absl::Status& status) const { return connection_.broken() && !status.ok(); }

  // ---- looking, read only

  absl::Status Look() {
    MD_RETURN_IF_ERROR(AskWithin(connection_, Patience(kQuestion), [&] { return ReadRights(); }));
    LaneRange whole;
    const absl::Status ranged = AskWithin(connection_, Patience(kQuestion), [&]() -> absl::Status {
      MD_ASSIGN_OR_RETURN(const std::vector<LaneRange> lanes, PlanLanesIn(connection_, plan_, 1));
      if (!lanes.empty()) whole = lanes.front();
      return absl::OkStatus();
    });
    if (Gone(ranged)) return ranged;
    if (!ranged.ok()) {
      // Without the right to read the table nothing more can be told; the caller finds that among the rights.
      result_.sample_error = ranged;
      return absl::OkStatus();
    }
    result_.empty = whole.upper.empty();
    const auto estimate = EstimateRowsIn(connection_, plan_, whole, Patience(request_.count_patience));
    if (Gone(estimate.status())) return estimate.status();
    if (estimate.ok()) {
      result_.to_do = *estimate;
    } else {
      result_.sample_error = estimate.status();
    }
    if (result_.empty) return absl::OkStatus();
    KeyRange sub_batch;
    const absl::Status found = FindSubBatch({whole.lower, whole.upper, true}, sub_batch);
    if (Gone(found)) return found;
    if (!found.ok()) result_.sample_error = found;
    return Explain(sub_batch, whole.upper);
  }

  absl::Status ReadRights() {
    MD_ASSIGN_OR_RETURN(const QueryResult rights, connection_.Query(kRights, {absl::StrCat(plan_.table_oid)}));
    if (rights.rows() != 1) return absl::FailedPreconditionError("the table is gone");
    result_.role = rights.text(0, 0);
    result_.in_recovery = rights.boolean(0, 1);
    result_.owns_table = rights.boolean(0, 2);
    result_.may_create_schema = rights.boolean(0, 3);
    result_.may_make_temporary = rights.boolean(0, 4);
    result_.control_schema = rights.boolean(0, 5);
    for (int i = 0; i < 5; ++i) {
      if (!rights.boolean(0, 6 + i)) result_.lacking.insert(kTableRights[i]);
    }
    result_.row_security = rights.boolean(0, 11);
    if (!result_.control_schema) return absl::OkStatus();
    MD_ASSIGN_OR_RETURN(const QueryResult lacking, connection_.Query(kControlRights, Parameters{}));
    for (int row = 0; row < lacking.rows(); ++row) result_.control_lacking.push_back(lacking.text(row, 0));
    if (!result_.control_lacking.empty()) return absl::OkStatus();
    MD_ASSIGN_OR_RETURN(const QueryResult flag, connection_.Query("SELECT f.reason FROM migration_control.freeze_flag AS f", Parameters{}));
    if (flag.rows() == 1) result_.frozen = flag.text(0, 0);
    return absl::OkStatus();
  }

  Parameters BoundParameters(const Key& lower, const Key& upper) const {
    Parameters parameters(lower.begin(), lower.end());
    parameters.insert(parameters.end(), upper.begin(), upper.end());
    return parameters;
  }

  Parameters NextBoundParameters(const KeyRange& range, std::int64_t rows) const {
    Parameters parameters = BoundParameters(range.lower, range.upper);
    parameters.push_back(absl::StrCat(rows));
    return parameters;
  }

  // The first `rows` rows of the range; all of it when there are fewer.
  absl::StatusOr<KeyRange> FirstOf(const KeyRange& range, std::int64_t rows) {
    MD_ASSIGN_OR_RETURN(const QueryResult bound, connection_.Query(range.first ? plan_.next_bound_first : plan_.next_bound,
                                                                   NextBoundParameters(range, rows)));
    KeyRange part = range;
    if (bound.rows() == 0) return part;
    part.upper.clear();
    for (std::size_t i = 0; i < plan_.key.size(); ++i) part.upper.push_back(bound.text(0, static_cast<int>(i)));
    return part;
  }

  absl::StatusOr<std::int64_t> CountMatching(const KeyRange& range) {
    MD_ASSIGN_OR_RETURN(const QueryResult counted, connection_.Query(range.first ? plan_.count_matching_first : plan_.count_matching,
                                                                     WorkParameters(plan_, range.lower, range.upper)));
    return counted.integer(0, 0);
  }

  // The first sub-batch in which something is to be done; the very first one where that cannot be found quickly. Sets sample_range_.
  absl::Status FindSubBatch(const KeyRange& whole, KeyRange& found) {
    const absl::Time end = std::min(deadline_, Clock::Real().Now() + kSearch);
    const absl::Status first = AskWithin(connection_, Patience(kQuestion), [&]() -> absl::Status {
      MD_ASSIGN_OR_RETURN(found, FirstOf(whole, sub_batch_));
      return absl::OkStatus();
    });
    if (!first.ok()) return first;
    sample_range_ = found;
    if (!plan_.has_where) return absl::OkStatus();
    absl::Status searched = Search(whole, end, found);
    // Taking too long to find one is no mistake of the definition.
    const bool cut_off = ClassifyFailure(SqlStateOf(searched)) == FailureClass::kRetrySmaller || absl::IsDeadlineExceeded(searched);
    if (searched.ok()) sample_range_ = found;
    return cut_off && !connection_.broken() ? absl::OkStatus() : searched;
  }

  // Ranges that double, until one has a match; then halves of that one.
  absl::Status Search(const KeyRange& whole, absl::Time end, KeyRange& found) {
    KeyRange rest = whole;
    KeyRange range = found;
    std::int64_t size = sub_batch_;
    while (true) {
      std::int64_t matching = 0;
      MD_RETURN_IF_ERROR(AskWithin(connection_, end - Clock::Real().Now(), [&]() -> absl::Status {
        MD_ASSIGN_OR_RETURN(range, FirstOf(rest, size));
        MD_ASSIGN_OR_RETURN(matching, CountMatching(range));
        return absl::OkStatus();
      }));
      if (matching > 0) break;
      result_.skipped += size;
      // Nothing matches: the first sub-batch is as good as any.
      if (range.upper == whole.upper) return absl::OkStatus();
      rest.lower = range.upper;
      rest.first = false;
      size = std::min(2 * size, kSearchRangeMax);
    }
    while (size > sub_batch_) {
      const std::int64_t half = std::max(sub_batch_, size / 2);
      KeyRange head;
      std::int64_t matching = 0;
      MD_RETURN_IF_ERROR(AskWithin(connection_, end - Clock::Real().Now(), [&]() -> absl::Status {
        MD_ASSIGN_OR_RETURN(head, FirstOf(range, half));
        MD_ASSIGN_OR_RETURN(matching, CountMatching(head));
        return absl::OkStatus();
      }));
      if (matching > 0) {
        range = head;
        size = half;
      } else {
        result_.skipped += half;
        range.lower = head.upper;
        range.first = false;
        size -= half;
      }
    }
    found = range;
    return absl::OkStatus();
  }

  // The statements over one batch that begins where the sample does.
  absl::Status Explain(const KeyRange& sub_batch, const Key& upper) {
    if (!sample_range_.has_value()) return absl::OkStatus();
    const KeyRange rest{sub_batch.lower, upper, sub_batch.first};
    KeyRange batch = sub_batch;
    const absl::Status cut = AskWithin(connection_, Patience(kQuestion), [&]() -> absl::Status {
      MD_ASSIGN_OR_RETURN(batch, FirstOf(rest, request_.batch_size));
      return absl::OkStatus();
    });
    if (Gone(cut)) return cut;
    const Parameters range = WorkParameters(plan_, batch.lower, batch.upper);
    const std::string& bound_sql = rest.first ? plan_.next_bound_first : plan_.next_bound;
    const Parameters bound = NextBoundParameters(rest, request_.batch_size);
    // What a class will run is not known before it runs.
    if (plan_.native == nullptr) MD_RETURN_IF_ERROR(ExplainOne("work", batch.first ? plan_.work_first : plan_.work, range));
    MD_RETURN_IF_ERROR(ExplainOne("next bound", bound_sql, bound));
    if (plan_.has_where) {
      // Without the schema there is nothing recorded that could be left out.
      const std::string& verify = batch.first ? (result_.control_schema ? plan_.count_verify_first : plan_.count_matching_first)
                                              : (result_.control_schema ? plan_.count_verify : plan_.count_matching);
      MD_RETURN_IF_ERROR(ExplainOne("verify", verify, range));
    }
    const absl::Status indexed = AskWithin(
        connection_, Patience(kQuestion),
        [&]() -> absl::Status {
          MD_ASSIGN_OR_RETURN(result_.bound_index, OrderingIndexIn(connection_, bound_sql, bound));
          return absl::OkStatus();
        },
        /*undo=*/true);
    return Gone(indexed) ? indexed : absl::OkStatus();
  }

  absl::Status ExplainOne(const std::string& name, const std::string& sql, const Parameters& parameters) {
    ExplainedSql explained;
    explained.name = name;
    explained.sql = sql;
    explained.error = AskWithin(connection_, Patience(kQuestion), [&] { return ExplainIn(connection_, parameters, explained); });
    if (Gone(explained.error)) return explained.error;
    if (!explained.error.ok()) explained.plan.clear();
    result_.statements.push_back(std::move(explained));
    return absl::OkStatus();
  }

  // ---- the sample, in a transaction of its own that is always rolled back

  absl::Status Sample() {
    const absl::Duration patience = request_.statement_timeout > absl::ZeroDuration() ? Patience(request_.statement_timeout) : Left();
    if (patience <= absl::ZeroDuration()) {
      result_.sample_error = absl::DeadlineExceededError("there was no time left for a sub-batch");
      return absl::OkStatus();
    }
    MD_RETURN_IF_ERROR(Begin(Settings(request_.lock_timeout, patience), "READ WRITE"));
    SampleOutcome outcome;
    const absl::Status worked = Work(*sample_range_, outcome);
    End();
    // A statement that ends the connection (or the server) is a fault of the statement, as far as can be seen.
    if (worked.ok()) {
      result_.sample = outcome;
    } else {
      result_.sample_error = worked;
    }
    return Gone(worked) && SqlStateOf(worked).empty() ? worked : absl::OkStatus();
  }

  struct Moment {
    absl::Time at;
    std::int64_t wal = 0;
  };
  absl::StatusOr<Moment> Now() {
    MD_ASSIGN_OR_RETURN(const QueryResult now,
                        connection_.Query("SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8, "
                                          "pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::pg_catalog.int8",
                                          Parameters{}));
    return Moment{absl::FromUnixMicros(now.integer(0, 0)), now.integer(0, 1)};
  }

  absl::Status Work(const KeyRange& range, SampleOutcome& outcome) {
    const Parameters parameters = WorkParameters(plan_, range.lower, range.upper);
    MD_ASSIGN_OR_RETURN(Moment begun, Now());
    MD_ASSIGN_OR_RETURN(const QueryResult rows,
                        connection_.Query(absl::StrCat("SELECT count(*) FROM ", QualifiedTable(plan_), " AS ", QuoteIdentifier(plan_.alias),
                                                       " WHERE ", range.first ? plan_.range_first : plan_.range),
                                          BoundParameters(range.lower, range.upper)));
    outcome.rows = rows.integer(0, 0);
    if (plan_.has_where) {
      // Now that pages and catalogs are read: what a new connection costs is not what each sub-batch costs.
      MD_ASSIGN_OR_RETURN(begun, Now());
      MD_ASSIGN_OR_RETURN(outcome.matched, CountMatching(range));
    }
    MD_ASSIGN_OR_RETURN(const Moment before, Now());
    MD_ASSIGN_OR_RETURN(outcome.affected, RunWorkIn(connection_, plan_, {range.lower, range.upper, range.first, /*verify=*/false},
                                                    request_.statement_timeout));
    MD_RETURN_IF_ERROR(connection_.Query("SET CONSTRAINTS ALL IMMEDIATE").status());
    MD_ASSIGN_OR_RETURN(const Moment after, Now());
    outcome.look = before.at - begun.at;
    outcome.took = after.at - before.at;
    outcome.wal_bytes = after.wal - before.wal;
    if (plan_.has_where) {
      MD_ASSIGN_OR_RETURN(outcome.still_matched, CountMatching(range));
      MD_ASSIGN_OR_RETURN(const Moment end, Now());
      outcome.look = std::min(outcome.look, end.at - after.at);
    }
    return absl::OkStatus();
  }

  Connection& connection_;
  const RehearsalRequest& request_;
  const MigrationPlan& plan_;
  const absl::Time deadline_;
  const std::int64_t sub_batch_;
  std::optional<KeyRange> sample_range_;
  Rehearsal result_;
};

}  // namespace

absl::StatusOr<Rehearsal> RehearseOn(Connection& connection, const RehearsalRequest& request) {
  RehearsalRequest possible = request;
  // Without the schema, what leaves recorded rows out cannot be asked.
  if (request.plan_without_schema != nullptr) {
    MD_ASSIGN_OR_RETURN(const QueryResult there, connection.Query("SELECT pg_catalog.to_regclass('migration_control.failed_range') IS NOT NULL",
                                                                  Parameters{}));
    if (!there.boolean(0, 0)) possible.plan = request.plan_without_schema;
  }
  return Rehearsing(connection, possible).Run();
}

}  // namespace migrationd
