#include "server/targets/postgres/postgres_target.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "migrations/model/failure.h"
#include "migrations/model/status_macros.h"
#include "server/clock.h"
#include "server/targets/postgres/control_schema.h"
#include "server/targets/postgres/failed_rows.h"
#include "server/targets/postgres/fence.h"
#include "server/targets/postgres/health_session.h"
#include "server/targets/postgres/key_histogram.h"
#include "server/targets/postgres/lane_planner.h"
#include "server/targets/postgres/lane_session.h"
#include "server/targets/postgres/rehearsal.h"
#include "server/targets/postgres/row_estimate.h"
#include "server/targets/postgres/schema_sql.h"
#include "server/targets/postgres/sub_batch_sql.h"

namespace migrationd {
namespace {

constexpr absl::Duration kBlockerQueryTimeout = absl::Seconds(2);

// For what touches migration_control only.
SessionSettings FenceSettings() {
  SessionSettings settings;
  settings.search_path = "pg_catalog, pg_temp";
  settings.application_name = "migrationd control";
  // A sub-batch that is committing is waited for, not fought.
  settings.lock_timeout = absl::Seconds(10);
  settings.statement_timeout = absl::Seconds(15);
  return settings;
}

// A question of the operator's that the database refuses is the asker's mistake, unless the database is at fault.
absl::Status AsInvalidArgument(const absl::Status& status) {
  const FailureClass failure = ClassifyFailure(SqlStateOf(status));
  if (status.ok() || (failure != FailureClass::kHalt && failure != FailureClass::kBadRows)) return status;
  absl::Status invalid = absl::InvalidArgumentError(status.message());
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) { invalid.SetPayload(url, payload); });
  return invalid;
}

// Busy backends of the claim that ended ($1, the beginning of their name), and of all claims of the migration ($2) with an epoch below
// that of the new one ($3): whoever asks a second time, since the first wait was too long, must wait for the same ones. A name that
// was cut to fit is known by its claim only. CASE: the parts of AND have no order.
constexpr char kFencedBackends[] = R"sql(
  FROM pg_catalog.pg_stat_activity AS a,
       LATERAL (SELECT pg_catalog.string_to_array(a.application_name, '/') AS part) AS n
 WHERE a.datname = pg_catalog.current_database()
   AND a.pid <> pg_catalog.pg_backend_pid() AND a.state IS DISTINCT FROM 'idle'
   AND (pg_catalog.starts_with(a.application_name, $1)
        OR CASE WHEN n.part[1] = 'migrationd' AND n.part[4] = $2 AND n.part[3] ~ '^[0-9]{1,18}$'
                THEN n.part[3]::pg_catalog.int8 < $3::pg_catalog.int8 ELSE false END))sql";

Parameters FencedBackendsOf(const FenceClaim& ended, std::int64_t new_epoch) {
  return {ApplicationNamePrefix(ended), ended.migration, absl::StrCat(new_epoch)};
}

// Cancelled, or terminated where a cancel has no effect. One statement, so that a process id is not that of somebody else's by the time
// it is used.
absl::StatusOr<int> StopBackends(Connection& connection, const FenceClaim& ended, std::int64_t new_epoch, bool terminate) {
  Parameters values = FencedBackendsOf(ended, new_epoch);
  values.push_back(terminate ? "true" : "false");
  MD_ASSIGN_OR_RETURN(const QueryResult stopped,
                      connection.Query(absl::StrCat("SELECT CASE WHEN $4::boolean OR a.state <> 'active' "
                                                    "THEN pg_catalog.pg_terminate_backend(a.pid) "
                                                    "ELSE pg_catalog.pg_cancel_backend(a.pid) END",
                                                    kFencedBackends),
                                       values));
  return stopped.rows();
}

absl::StatusOr<int> BusyBackends(Connection& connection, const FenceClaim& ended, std::int64_t new_epoch) {
  MD_ASSIGN_OR_RETURN(const QueryResult busy, connection.Query(absl::StrCat("SELECT count(*)", kFencedBackends),
                                                               FencedBackendsOf(ended, new_epoch)));
  return static_cast<int>(busy.integer(0, 0));
}

// Until no backend of an earlier claim does anything, or the deadline (of the process clock).
absl::Status WaitUntilGone(Connection& connection, const FenceClaim& ended, std::int64_t new_epoch, absl::Time deadline) {
  if (ended.token.empty()) return absl::OkStatus();
  // A cancel is lost on a backend that is between two statements, so it is repeated; what ignores it for long is
  // terminated.
  constexpr int kRoundsBetweenCancels = 20;
  constexpr int kRoundsBeforeTerminating = 60;
  for (int round = 0;; ++round) {
    if (round % kRoundsBetweenCancels == 0) {
      MD_RETURN_IF_ERROR(StopBackends(connection, ended, new_epoch, round >= kRoundsBeforeTerminating).status());
    }
    MD_ASSIGN_OR_RETURN(const int busy, BusyBackends(connection, ended, new_epoch));
    if (busy == 0) return absl::OkStatus();
    if (Clock::Real().Now() >= deadline) {
      return DatabaseError("", absl::StrCat(busy,
                                            " backends of the fenced owner are still busy; nothing they do can "
                                            "commit, but they are not gone yet"));
    }
    MD_RETURN_IF_ERROR(connection.Query("SELECT pg_catalog.pg_sleep(0.01)").status());
  }
}

absl::StatusOr<absl::Time> TargetNow(Connection& connection) {
  MD_ASSIGN_OR_RETURN(
      const QueryResult now,
      connection.Query("SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8"));
  return absl::FromUnixMicros(now.integer(0, 0));
}

// Runs a step's statement and records it. The claim is locked last, so that a takeover does not wait for a long
// statement; whoever was fenced meanwhile is rolled back.
absl::Status RunStepIn(Connection& connection, const FenceClaim& claim, const std::string& step,
                       const std::string& sql) {
  MD_ASSIGN_OR_RETURN(const QueryResult recorded,
                      connection.Query("SELECT FROM migration_control.step AS s WHERE s.migration = $1 AND s.name = $2",
                                       {claim.migration, step}));
  if (recorded.rows() > 0) return LockClaim(connection, claim, /*refuse_frozen=*/false);
  // Not begun for nothing: it may take long, and hold locks.
  MD_RETURN_IF_ERROR(CheckClaim(connection, claim));
  constexpr char kTransactionId[] = "SELECT pg_catalog.pg_current_xact_id()";
  MD_ASSIGN_OR_RETURN(const QueryResult before, connection.Query(kTransactionId, {}));
  MD_RETURN_IF_ERROR(connection.Query(sql, Parameters{}).status());
  if (!connection.in_transaction()) return absl::InternalError("the statement ended the step's transaction");
  MD_ASSIGN_OR_RETURN(const QueryResult after, connection.Query(kTransactionId, {}));
  if (before.text(0, 0) != after.text(0, 0)) return absl::InternalError("the statement ended the step's transaction");
  // Otherwise they would be checked at commit, outside the statement's timeout.
  MD_RETURN_IF_ERROR(connection.Query("SET CONSTRAINTS ALL IMMEDIATE").status());
  MD_RETURN_IF_ERROR(LockClaim(connection, claim, /*refuse_frozen=*/true));
  return connection
      .Query("INSERT INTO migration_control.step (migration, name) VALUES ($1, $2)", {claim.migration, step})
      .status();
}

}  // namespace

PostgresTarget::PostgresTarget(PostgresTargetOptions options, std::stop_token stop)
    : options_(std::move(options)),
      schema_steps_(options_.schema_steps == nullptr ? TargetSchemaSteps() : *options_.schema_steps),
      stop_(std::move(stop)) {}

std::shared_ptr<Target> PostgresTarget::WithStop(std::stop_token stop) {
  return std::make_shared<PostgresTarget>(options_, std::move(stop));
}

absl::StatusOr<std::unique_ptr<Connection>> PostgresTarget::Connect() {
  ConnectOptions connect;
  MD_ASSIGN_OR_RETURN(connect.url, options_.url());
  connect.connect_timeout = options_.connect_timeout;
  connect.stop = stop_;
  return Connection::Open(connect);
}

SessionSettings PostgresTarget::LookSettings(const std::string& search_path) const {
  SessionSettings settings;
  settings.search_path = search_path;
  settings.application_name = "migrationd control";
  settings.lock_timeout = absl::Seconds(2);
  settings.statement_timeout = options_.statement_timeout;
  return settings;
}

absl::Status PostgresTarget::Transact(const SessionSettings& settings, const Body& body) {
  MD_ASSIGN_OR_RETURN(const std::unique_ptr<Connection> connection, Connect());
  connection->SetQueryTimeout(AnswerDeadline(settings.statement_timeout));
  MD_RETURN_IF_ERROR(connection
                         ->Query(absl::StrCat("BEGIN ISOLATION LEVEL READ COMMITTED; ",
                                              SettingsSql(settings, /*local=*/true, connection->server_version())))
                         .status());
  const absl::Status status = body(*connection);
  if (!status.ok()) {
    // The connection is closed after this anyway; a pooler's must be given back clean.
    if (!connection->broken()) connection->Query("ROLLBACK").status().IgnoreError();
    return status;
  }
  const auto committed = connection->Query("COMMIT");
  if (!committed.ok()) {
    if (!SqlStateOf(committed.status()).empty()) return committed.status();
    return CommitUnknownError(
        absl::StrCat("whether it was committed is not known: ", std::string(committed.status().message())));
  }
  // COMMIT of a failed transaction succeeds, and says ROLLBACK.
  if (committed->command_tag() != "COMMIT")
    return absl::InternalError("the transaction was rolled back, not committed");
  return absl::OkStatus();
}

absl::Status PostgresTarget::Look(const SessionSettings& settings, const Body& body) {
  // Never committed: an error that nobody sees outside.
  const absl::Status looked = absl::CancelledError("looked");
  absl::Status status = Transact(settings, [&](Connection& connection) {
    absl::Status done = body(connection);
    return done.ok() ? looked : done;
  });
  return status == looked ? absl::OkStatus() : status;
}

absl::StatusOr<TargetIdentity> PostgresTarget::Open(bool may_create_identity) {
  TargetIdentity identity;
  MD_RETURN_IF_ERROR(Transact(FenceSettings(), [&](Connection& connection) -> absl::Status {
    MD_RETURN_IF_ERROR(CheckWritable(connection));
    if (may_create_identity) MD_RETURN_IF_ERROR(EnsureSchema(connection, schema_steps_, Contracting::kLeave));
    MD_ASSIGN_OR_RETURN(const SchemaVersion schema, ReadSchemaVersion(connection, schema_steps_));
    MD_ASSIGN_OR_RETURN(identity, ReadIdentity(connection, schema.version > 0, may_create_identity));
    return absl::OkStatus();
  }));
  return identity;
}

absl::StatusOr<bool> PostgresTarget::ContractSchema() {
  bool there = false;
  MD_RETURN_IF_ERROR(Transact(FenceSettings(), [&](Connection& connection) -> absl::Status {
    MD_RETURN_IF_ERROR(CheckWritable(connection));
    MD_ASSIGN_OR_RETURN(const SchemaVersion schema, ReadSchemaVersion(connection, schema_steps_));
    there = schema.version > 0;
    return there ? EnsureSchema(connection, schema_steps_, Contracting::kApply) : absl::OkStatus();
  }));
  return there;
}

absl::StatusOr<TargetHealth> PostgresTarget::Health() {
  MD_ASSIGN_OR_RETURN(const std::unique_ptr<Connection> connection, Connect());
  MD_ASSIGN_OR_RETURN(const QueryResult result, connection->Query("SELECT pg_catalog.pg_is_in_recovery()"));
  TargetHealth health;
  health.in_recovery = result.boolean(0, 0);
  health.server_version = connection->server_version();
  health.pooled = connection->pooled();
  return health;
}

absl::StatusOr<TableFacts> PostgresTarget::Inspect(const TableName& table) {
  TableFacts facts;
  const std::string path = absl::StrJoin(options_.search_path, ", ", [](std::string* out, const std::string& schema) {
    out->append(QuoteIdentifier(schema));
  });
  MD_RETURN_IF_ERROR(Look(LookSettings(path), [&](Connection& connection) -> absl::Status {
    MD_ASSIGN_OR_RETURN(facts, ReadTableFacts(connection, table));
    return absl::OkStatus();
  }));
  return facts;
}

absl::Status PostgresTarget::CheckStatement(const std::string& sql, const std::vector<std::string>& parameter_types,
                                            const std::string& search_path) {
  return AsInvalidArgument(Look(LookSettings(search_path), [&](Connection& connection) -> absl::Status {
    std::vector<Oid> types;
    for (const std::string& type : parameter_types) {
      MD_ASSIGN_OR_RETURN(const QueryResult oid, connection.Query("SELECT $1::regtype::oid", {type}));
      types.push_back(static_cast<Oid>(oid.integer(0, 0)));
    }
    return connection.Parse(sql, types);
  }));
}

absl::StatusOr<bool> PostgresTarget::AskBoolean(const std::string& sql, const std::string& search_path) {
  bool answer = false;
  MD_RETURN_IF_ERROR(AsInvalidArgument(Look(LookSettings(search_path), [&](Connection& connection) -> absl::Status {
    MD_RETURN_IF_ERROR(connection.Query("SET TRANSACTION READ ONLY").status());
    // A cursor is for queries only, and two rows of it are enough to refuse a million.
    MD_RETURN_IF_ERROR(
        connection.Query(absl::StrCat("DECLARE md_answer NO SCROLL CURSOR FOR ", sql), Parameters{}).status());
    const auto fetched = connection.Query("FETCH FORWARD 2 FROM md_answer", {});
    if (SqlStateOf(fetched.status()) == "25006") return DatabaseError("42501", "the query must not write");
    if (!fetched.ok()) return fetched.status();
    const QueryResult& result = *fetched;
    if (result.rows() != 1 || result.columns() != 1 || result.type(0) != kBooleanOid || result.null(0, 0)) {
      return DatabaseError("42804", "the query must give one row with one boolean that is not NULL");
    }
    answer = result.boolean(0, 0);
    return absl::OkStatus();
  })));
  return answer;
}

absl::StatusOr<Checkpoint> PostgresTarget::TakeOver(const TakeOverRequest& request) {
  TakenOver taken;
  MD_RETURN_IF_ERROR(Transact(FenceSettings(), [&](Connection& connection) -> absl::Status {
    MD_RETURN_IF_ERROR(CheckWritable(connection));
    MD_ASSIGN_OR_RETURN(taken, TakeOverIn(connection, request));
    return absl::OkStatus();
  }));
  return std::move(taken.checkpoint);
}

absl::StatusOr<Checkpoint> PostgresTarget::Reset(const FenceClaim& claim, Forgetting what) {
  Checkpoint checkpoint;
  MD_RETURN_IF_ERROR(Transact(FenceSettings(), [&](Connection& connection) -> absl::Status {
    MD_ASSIGN_OR_RETURN(checkpoint, ResetIn(connection, claim, what));
    return absl::OkStatus();
  }));
  return checkpoint;
}

absl::Status PostgresTarget::RecordTable(const FenceClaim& claim, std::int64_t table_oid,
                                         const std::string& column_digest) {
  return Transact(FenceSettings(), [&](Connection& connection) -> absl::Status {
    MD_RETURN_IF_ERROR(LockClaim(connection, claim, /*refuse_frozen=*/false));
    return connection
        .Query("UPDATE migration_control.owner SET table_oid = $2, column_digest = $3 WHERE migration = $1",
               {claim.migration, absl::StrCat(table_oid), column_digest})
        .status();
  });
}

absl::StatusOr<std::vector<LaneRange>> PostgresTarget::PlanLanes(const MigrationPlan& plan, int lanes) {
  std::vector<LaneRange> ranges;
  SessionSettings settings = LookSettings(plan.search_path);
  settings.statement_timeout = absl::Seconds(30);
  MD_RETURN_IF_ERROR(Look(settings, [&](Connection& connection) -> absl::Status {
    MD_ASSIGN_OR_RETURN(ranges, PlanLanesIn(connection, plan, lanes));
    // In another order than the plan's they would overlap, or leave rows out.
    return CheckTable(connection, plan);
  }));
  return ranges;
}

absl::StatusOr<std::vector<std::optional<double>>> PostgresTarget::KeyFractions(const MigrationPlan& plan,
                                                                                const std::vector<LaneRange>& ranges) {
  std::vector<std::optional<double>> fractions;
  MD_RETURN_IF_ERROR(Look(LookSettings(plan.search_path), [&](Connection& connection) -> absl::Status {
    MD_ASSIGN_OR_RETURN(fractions, KeyFractionsIn(connection, plan, ranges));
    return absl::OkStatus();
  }));
  return fractions;
}

absl::StatusOr<RowEstimate> PostgresTarget::EstimateRows(const MigrationPlan& plan, absl::Duration patience) {
  RowEstimate estimate;
  MD_RETURN_IF_ERROR(Look(LookSettings(plan.search_path), [&](Connection& connection) -> absl::Status {
    MD_RETURN_IF_ERROR(connection.Query("SET TRANSACTION READ ONLY").status());
    MD_ASSIGN_OR_RETURN(const std::vector<LaneRange> lanes, PlanLanesIn(connection, plan, 1));
    MD_ASSIGN_OR_RETURN(estimate, EstimateRowsIn(connection, plan, lanes.empty() ? LaneRange{} : lanes.front(), patience));
    return absl::OkStatus();
  }));
  return estimate;
}

absl::StatusOr<RangeCount> PostgresTarget::CountLeft(const RangeCountRequest& request) {
  const MigrationPlan& plan = *request.plan;
  if (!plan.has_where) return absl::FailedPreconditionError("Without `where` there is nothing to tell rows by.");
  SessionSettings settings = LookSettings(plan.search_path);
  settings.application_name = "migrationd verify";
  settings.lock_timeout = request.lock_timeout;
  settings.statement_timeout = request.statement_timeout;
  const bool first = request.range.cursor.empty();
  const Key& lower = first ? request.range.lower : request.range.cursor;
  RangeCount counted;
  const absl::Time begun = Clock::Real().Now();
  MD_RETURN_IF_ERROR(Look(settings, [&](Connection& connection) -> absl::Status {
    MD_RETURN_IF_ERROR(connection.Query("SET TRANSACTION READ ONLY").status());
    Parameters parameters(lower.begin(), lower.end());
    parameters.insert(parameters.end(), request.range.upper.begin(), request.range.upper.end());
    parameters.push_back(absl::StrCat(request.size));
    MD_ASSIGN_OR_RETURN(const QueryResult bound, connection.Query(first ? plan.next_bound_first : plan.next_bound, parameters));
    for (std::size_t i = 0; bound.rows() == 1 && i < plan.key.size(); ++i) counted.upper.push_back(bound.text(0, static_cast<int>(i)));
    if (bound.rows() == 0) counted.upper = request.range.upper;
    MD_ASSIGN_OR_RETURN(const QueryResult left, connection.Query(first ? plan.count_verify_first : plan.count_verify,
                                                                 WorkParameters(plan, lower, counted.upper)));
    counted.matching = left.integer(0, 0);
    return absl::OkStatus();
  }));
  counted.took = Clock::Real().Now() - begun;
  return counted;
}

absl::StatusOr<Rehearsal> PostgresTarget::Rehearse(const RehearsalRequest& request) {
  MD_ASSIGN_OR_RETURN(const std::unique_ptr<Connection> connection, Connect());
  return RehearseOn(*connection, request);
}

absl::StatusOr<Checkpoint> PostgresTarget::BeginPass(const FenceClaim& claim, std::int32_t pass,
                                                     const std::vector<LaneRange>& lanes) {
  Checkpoint checkpoint;
  MD_RETURN_IF_ERROR(Transact(FenceSettings(), [&](Connection& connection) -> absl::Status {
    MD_ASSIGN_OR_RETURN(checkpoint, BeginPassIn(connection, claim, pass, lanes));
    return absl::OkStatus();
  }));
  return checkpoint;
}

absl::StatusOr<Checkpoint> PostgresTarget::SplitLanes(const FenceClaim& claim, const MigrationPlan& plan, int wanted) {
  Checkpoint checkpoint;
  // It looks at the table while it holds the fence, for which an operator's Pause may wait.
  SessionSettings settings = FenceSettings();
  settings.lock_timeout = absl::Seconds(2);
  settings.statement_timeout = absl::Seconds(2);
  MD_RETURN_IF_ERROR(Transact(settings, [&](Connection& connection) -> absl::Status {
    MD_ASSIGN_OR_RETURN(checkpoint, SplitIn(connection, claim, plan, wanted));
    return absl::OkStatus();
  }));
  return checkpoint;
}

absl::StatusOr<std::unique_ptr<LaneSession>> PostgresTarget::OpenLane(const LaneOptions& options) {
  MD_ASSIGN_OR_RETURN(std::unique_ptr<Connection> connection, Connect());
  auto session = OpenLaneSession(std::move(connection), options, options_.allow_session_functions);
  // No right to make temporary functions: the form that needs none.
  if (session.ok() || SqlStateOf(session.status()) != "42501") return session;
  MD_ASSIGN_OR_RETURN(connection, Connect());
  return OpenLaneSession(std::move(connection), options, /*direct_allowed=*/false);
}

absl::Status PostgresTarget::RunStep(const FenceClaim& claim, const std::string& step, const std::string& sql,
                                     const std::string& search_path, absl::Duration lock_timeout) {
  SessionSettings settings;
  settings.search_path = search_path;
  settings.application_name = ApplicationName(claim);
  settings.lock_timeout = lock_timeout;
  settings.statement_timeout = options_.step_timeout;
  return Transact(settings, [&](Connection& connection) { return RunStepIn(connection, claim, step, sql); });
}

absl::Status PostgresTarget::ForgetSteps(const FenceClaim& claim) {
  return Transact(FenceSettings(), [&](Connection& connection) -> absl::Status {
    MD_RETURN_IF_ERROR(LockClaim(connection, claim, /*refuse_frozen=*/false));
    return connection.Query("DELETE FROM migration_control.step WHERE migration = $1", {claim.migration}).status();
  });
}

absl::StatusOr<std::int64_t> PostgresTarget::RetryRow(const RowRetry& retry) {
  SessionSettings settings;
  settings.search_path = retry.plan->search_path;
  settings.application_name = ApplicationName(retry.claim);
  settings.lock_timeout = retry.lock_timeout;
  settings.statement_timeout = retry.statement_timeout;
  std::int64_t affected = 0;
  const absl::Status done = Transact(settings, [&](Connection& connection) -> absl::Status {
    MD_ASSIGN_OR_RETURN(const QueryResult owner,
                        connection.Query("SELECT o.pass FROM migration_control.owner AS o WHERE o.migration = $1", {retry.claim.migration}));
    const std::int32_t pass = owner.rows() == 1 ? static_cast<std::int32_t>(owner.integer(0, 0)) : 0;
    MD_ASSIGN_OR_RETURN(affected, RetryRowIn(connection, retry, pass));
    return absl::OkStatus();
  });
  if (done.ok()) return affected;
  if (const FailureClass failure = ClassifyFailure(SqlStateOf(done)); failure == FailureClass::kBadRows || failure == FailureClass::kRetrySmaller) {
    MD_RETURN_IF_ERROR(Transact(FenceSettings(), [&](Connection& connection) { return RecordAgainIn(connection, retry.claim, retry.key, done); }));
  }
  return done;
}

absl::StatusOr<std::vector<RowFailure>> PostgresTarget::ListFailures(const std::string& migration, const Key& after, int limit) {
  std::vector<RowFailure> failures;
  MD_RETURN_IF_ERROR(Look(LookSettings("pg_catalog"), [&](Connection& connection) -> absl::Status {
    MD_ASSIGN_OR_RETURN(const SchemaVersion schema, ReadSchemaVersion(connection, schema_steps_));
    if (schema.version == 0) return absl::OkStatus();
    MD_ASSIGN_OR_RETURN(failures, ListFailuresIn(connection, migration, after, limit));
    return absl::OkStatus();
  }));
  return failures;
}


absl::StatusOr<std::string> PostgresTarget::FindBlocker(int backend_pid, absl::Duration patience) {
  constexpr char kBlockers[] = R"sql(
SELECT CASE WHEN b.pid = 0 THEN 'a prepared transaction (pg_prepared_xacts)'
            ELSE 'pid ' || b.pid || coalesce(' (' || nullif(concat_ws(', ', nullif(a.application_name, ''), coalesce(a.state, a.backend_type)), '')
                 || coalesce(' for ' || extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.state_change))::bigint || 's', '')
                 || ')', '') END
  FROM pg_catalog.pg_stat_activity AS ours,
       unnest(pg_catalog.pg_blocking_pids(ours.pid)) AS b (pid)
  LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = b.pid
 -- Behind a pooler that backend may work for somebody else by now.
 WHERE ours.pid = $1::integer AND ours.application_name LIKE 'migrationd/%'
 ORDER BY a.xact_start NULLS LAST
 LIMIT 1)sql";
  const absl::Time deadline = Clock::Real().Now() + patience;
  std::string blocker;
  // In a transaction: behind a pooler no setting may stay with the server's connection.
  MD_RETURN_IF_ERROR(Look(LookSettings("pg_catalog"), [&](Connection& connection) -> absl::Status {
    connection.SetQueryTimeout(kBlockerQueryTimeout);
    do {
      // Who is active is read once a transaction otherwise.
      MD_RETURN_IF_ERROR(connection.Query("SELECT pg_catalog.pg_stat_clear_snapshot()").status());
      MD_ASSIGN_OR_RETURN(const QueryResult found, connection.Query(kBlockers, {absl::StrCat(backend_pid)}));
      if (found.rows() == 1) {
        blocker = found.text(0, 0);
        return absl::OkStatus();
      }
      MD_RETURN_IF_ERROR(connection.Query("SELECT pg_catalog.pg_sleep(0.1)").status());
    } while (Clock::Real().Now() < deadline);
    return absl::OkStatus();
  }));
  return blocker;
}

absl::Status PostgresTarget::Barrier(const FenceClaim& claim, bool completed) {
  return Transact(FenceSettings(), [&](Connection& connection) -> absl::Status {
    MD_RETURN_IF_ERROR(LockClaim(connection, claim, /*refuse_frozen=*/completed));
    // Writes, so that the commit is one that waits for the log.
    return connection
        .Query(
            "UPDATE migration_control.owner AS o SET barrier = o.barrier + 1, completed_at = "
            "CASE WHEN $2::boolean THEN coalesce(o.completed_at, clock_timestamp()) ELSE o.completed_at END "
            "WHERE o.migration = $1",
            {claim.migration, completed ? "true" : "false"})
        .status();
  });
}

absl::StatusOr<QuiesceResult> PostgresTarget::Revoke(const TakeOverRequest& request, absl::Duration wait) {
  const absl::Time deadline = Clock::Real().Now() + wait;
  SessionSettings settings = FenceSettings();
  // Not longer than it takes to see that somebody sits on the rows; then that one is stopped.
  settings.lock_timeout = absl::Milliseconds(500);
  TakenOver taken;
  MD_ASSIGN_OR_RETURN(const std::unique_ptr<Connection> connection, Connect());
  while (true) {
    const absl::Status status = Transact(settings, [&](Connection& fence) -> absl::Status {
      MD_RETURN_IF_ERROR(CheckWritable(fence));
      MD_ASSIGN_OR_RETURN(taken, TakeOverIn(fence, request));
      return absl::OkStatus();
    });
    if (status.ok()) break;
    if (SqlStateOf(status) != "55P03" || Clock::Real().Now() >= deadline) return status;
    MD_ASSIGN_OR_RETURN(const FenceClaim holder, ReadClaim(*connection, request.migration));
    if (!holder.token.empty()) MD_RETURN_IF_ERROR(StopBackends(*connection, holder, holder.epoch, /*terminate=*/true).status());
  }
  MD_RETURN_IF_ERROR(WaitUntilGone(*connection, taken.previous, taken.checkpoint.claim.epoch, deadline));
  QuiesceResult result;
  result.checkpoint = std::move(taken.checkpoint);
  MD_ASSIGN_OR_RETURN(result.quiesced_at, TargetNow(*connection));
  return result;
}

absl::Status PostgresTarget::Forget(const std::string& migration, const std::string& control_id) {
  return Transact(FenceSettings(), [&](Connection& connection) -> absl::Status {
    MD_ASSIGN_OR_RETURN(const SchemaVersion schema, ReadSchemaVersion(connection, schema_steps_));
    if (schema.version == 0) return absl::OkStatus();
    MD_RETURN_IF_ERROR(EnsureSchema(connection, schema_steps_, Contracting::kLeave));
    return ForgetIn(connection, migration, control_id);
  });
}

absl::StatusOr<std::unique_ptr<HealthSession>> PostgresTarget::OpenHealth() {
  ConnectOptions connect;
  MD_ASSIGN_OR_RETURN(connect.url, options_.url());
  connect.connect_timeout = std::min(options_.connect_timeout, kHealthAnswerTime);
  connect.query_timeout = kHealthAnswerTime;
  connect.stop = stop_;
  MD_ASSIGN_OR_RETURN(std::unique_ptr<Connection> connection, Connection::Open(connect));
  const std::string path = absl::StrJoin(options_.search_path, ", ", [](std::string* out, const std::string& schema) {
    out->append(QuoteIdentifier(schema));
  });
  return MakeHealthSession(std::move(connection), path);
}

absl::StatusOr<std::optional<std::string>> PostgresTarget::FrozenReason() {
  std::optional<std::string> reason;
  MD_RETURN_IF_ERROR(Look(FenceSettings(), [&](Connection& connection) -> absl::Status {
    MD_ASSIGN_OR_RETURN(const SchemaVersion schema, ReadSchemaVersion(connection, schema_steps_));
    if (schema.version == 0) return absl::OkStatus();
    MD_ASSIGN_OR_RETURN(const QueryResult flag,
                        connection.Query("SELECT f.reason FROM migration_control.freeze_flag AS f", {}));
    if (flag.rows() == 1) reason = flag.text(0, 0);
    return absl::OkStatus();
  }));
  return reason;
}

}  // namespace migrationd
