#include "server/targets/postgres/postgres_target.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "migrations/model/failure.h"
#include "migrations/model/status_macros.h"
#include "server/clock.h"
#include "server/targets/postgres/connection.h"
#include "server/targets/postgres/lane_session.h"
#include "server/targets/postgres/schema_sql.h"

namespace migrationd {
namespace {

constexpr char kPinnedPath[] = "pg_catalog, pg_temp";
constexpr char kControlName[] = "migrationd control";
// Of taking the fence: a sub-batch that is committing is waited for, not fought.
constexpr absl::Duration kFenceLockTimeout = absl::Seconds(10);
constexpr absl::Duration kFenceStatementTimeout = absl::Seconds(15);
// One lock for whoever creates or upgrades the schema; any number that is ours.
constexpr char kSchemaLock[] = "SELECT pg_catalog.pg_advisory_xact_lock(7310864215901847213)";

// Lanes are cut at quantiles of so many keys.
constexpr int kSampleRows = 10000;
constexpr double kSmallTableRows = 50000;

absl::Status CheckPrimary(Connection& connection) {
  MD_ASSIGN_OR_RETURN(const QueryResult result, connection.Query("SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only')"));
  if (result.boolean(0, 0)) return DatabaseError("25006", "the target is a standby (in recovery); name its primary");
  if (result.text(0, 1) == "on") return DatabaseError("25006", "the target accepts no writes (default_transaction_read_only)");
  return absl::OkStatus();
}

// Version of the schema that is there; 0: none.
absl::StatusOr<int> SchemaVersion(Connection& connection, int& oldest_program) {
  MD_ASSIGN_OR_RETURN(const QueryResult there, connection.Query("SELECT pg_catalog.to_regclass('migration_control.schema_version') IS NOT NULL"));
  if (!there.boolean(0, 0)) return 0;
  MD_ASSIGN_OR_RETURN(const QueryResult version, connection.Query("SELECT version, oldest_program FROM migration_control.schema_version"));
  if (version.rows() == 0) return 0;
  oldest_program = static_cast<int>(version.integer(0, 1));
  return static_cast<int>(version.integer(0, 0));
}

// True when the schema is as new as this program wants it.
absl::StatusOr<bool> SchemaReady(Connection& connection) {
  int oldest = 1;
  MD_ASSIGN_OR_RETURN(const int version, SchemaVersion(connection, oldest));
  if (oldest > kTargetSchemaVersion) {
    return absl::FailedPreconditionError(absl::StrCat("The target's schema migration_control has version ", version, " and needs a program that knows version ",
                                                      oldest, "; this one knows ", kTargetSchemaVersion, ". Upgrade migrationd."));
  }
  return version >= kTargetSchemaVersion;
}

struct OwnerRow {
  std::int64_t epoch = 0;
  bool deleted = false;
};

std::optional<absl::Time> ReadOptionalTime(const QueryResult& result, int row, int column) {
  if (result.null(row, column)) return std::nullopt;
  return absl::FromUnixMicros(result.integer(row, column));
}

absl::StatusOr<Key> ReadOptionalKey(const QueryResult& result, int row, int column) {
  if (result.null(row, column)) return Key{};
  return ParseKeyArray(result.text(row, column));
}

std::optional<std::string> ArrayOrNull(const Key& key) {
  if (key.empty()) return std::nullopt;
  return KeyArray(key);
}

// What stands behind a change of all lanes at once; `l` is the lane row afterwards.
constexpr char kReadLanes[] =
    "SELECT l.lane, l.lower_bound, l.cursor, l.upper_bound, l.rows, l.sub_batches FROM migration_control.lane AS l WHERE l.migration = $1 ORDER BY l.lane";

constexpr char kReadOwner[] = R"sql(
SELECT o.epoch, o.token, o.pass, o.rows_before, o.sub_batches_before, (extract(epoch FROM o.completed_at) * 1000000)::bigint, o.frozen,
       o.table_oid, o.column_digest,
       (SELECT count(*) FROM migration_control.failed_range AS r WHERE r.migration = o.migration AND r.kind = 'UNCHANGED'),
       (SELECT array_agg(s.name) FROM migration_control.step AS s WHERE s.migration = o.migration)
  FROM migration_control.owner AS o WHERE o.migration = $1)sql";

// The checkpoint as this transaction, which holds the owner row, sees it.
absl::StatusOr<Checkpoint> ReadCheckpoint(Connection& connection, const std::string& migration) {
  MD_ASSIGN_OR_RETURN(const QueryResult owner, connection.Query(kReadOwner, {migration}));
  if (owner.rows() == 0) return absl::NotFoundError("The owner row is gone.");
  Checkpoint checkpoint;
  checkpoint.claim = {migration, owner.integer(0, 0), owner.text(0, 1)};
  checkpoint.pass = static_cast<std::int32_t>(owner.integer(0, 2));
  checkpoint.rows_total = owner.integer(0, 3);
  checkpoint.sub_batches_total = owner.integer(0, 4);
  checkpoint.completed_at = ReadOptionalTime(owner, 0, 5);
  checkpoint.frozen = owner.boolean(0, 6);
  checkpoint.table_oid = owner.integer(0, 7);
  checkpoint.column_digest = owner.text(0, 8);
  checkpoint.unchanged_rows = owner.integer(0, 9);
  MD_ASSIGN_OR_RETURN(checkpoint.steps_done, ReadOptionalKey(owner, 0, 10));
  MD_ASSIGN_OR_RETURN(const QueryResult lanes, connection.Query(kReadLanes, {migration}));
  for (int i = 0; i < lanes.rows(); ++i) {
    LaneRange lane;
    lane.lane = static_cast<std::int32_t>(lanes.integer(i, 0));
    MD_ASSIGN_OR_RETURN(lane.lower, ReadOptionalKey(lanes, i, 1));
    MD_ASSIGN_OR_RETURN(lane.cursor, ReadOptionalKey(lanes, i, 2));
    MD_ASSIGN_OR_RETURN(lane.upper, ReadOptionalKey(lanes, i, 3));
    lane.rows = lanes.integer(i, 4);
    lane.sub_batches = lanes.integer(i, 5);
    checkpoint.pass_affected += lane.rows;
    checkpoint.sub_batches_total += lane.sub_batches;
    checkpoint.lanes.push_back(std::move(lane));
  }
  checkpoint.rows_total += checkpoint.pass_affected;
  return checkpoint;
}

// Locks the owner row for a claim; ABORTED (MD001) when the claim is not the owner any more, MD003 when frozen.
absl::Status LockClaim(Connection& connection, const FenceClaim& claim) {
  MD_ASSIGN_OR_RETURN(const QueryResult locked,
                      connection.Query("SELECT o.frozen FROM migration_control.owner AS o WHERE o.migration = $1 AND o.epoch = $2 AND o.token = $3 FOR UPDATE",
                                       {claim.migration, absl::StrCat(claim.epoch), claim.token}));
  if (locked.rows() == 0) return DatabaseError(kSqlStateFenced, absl::StrCat("fenced: another owner works on ", claim.migration));
  return absl::OkStatus();
}

absl::Status RefuseWhenFrozen(Connection& connection, const FenceClaim& claim) {
  MD_ASSIGN_OR_RETURN(const QueryResult frozen,
                      connection.Query("SELECT o.frozen, (SELECT f.reason FROM migration_control.freeze_flag AS f) FROM migration_control.owner AS o WHERE o.migration = $1",
                                       {claim.migration}));
  if (frozen.rows() == 1 && !frozen.boolean(0, 0)) return absl::OkStatus();
  return DatabaseError(kSqlStateFrozen, absl::StrCat("frozen: ", frozen.rows() == 1 ? frozen.text(0, 1) : ""));
}

// Inserts the first owner row. The flag is read under a lock that freeze() waits for, so that a new row cannot slip past it.
absl::Status InsertOwner(Connection& connection, const TakeOverRequest& request) {
  MD_RETURN_IF_ERROR(connection.Query("SELECT f.reason FROM migration_control.freeze_flag AS f FOR SHARE").status());
  return connection
      .Query(
          "INSERT INTO migration_control.owner (migration, control_id, definition_digest, epoch, token, frozen) "
          "VALUES ($1, $2, $3, 1, gen_random_uuid(), EXISTS (SELECT FROM migration_control.freeze_flag)) ON CONFLICT (migration) DO NOTHING",
          {request.migration, request.control_id, request.definition_digest})
      .status();
}

// The first statement of a takeover, on the row itself: it waits for whoever holds the row, then counts up from what that one left.
constexpr char kRaiseEpoch[] = R"sql(
UPDATE migration_control.owner AS o
   SET epoch = greatest(o.epoch, $2::bigint) + 1, token = gen_random_uuid(), definition_digest = $3, control_id = $4,
       taken_at = clock_timestamp()
 WHERE o.migration = $1
RETURNING o.epoch, o.token)sql";

// The second one, with a snapshot of its own: waits for each lane that is committing, and fences it.
constexpr char kFenceLanes[] = R"sql(
UPDATE migration_control.lane AS l SET epoch = $2, token = $3
 WHERE l.migration = $1)sql";

absl::Status CheckOwner(Connection& connection, const TakeOverRequest& request) {
  MD_ASSIGN_OR_RETURN(const QueryResult owner,
                      connection.Query("SELECT o.control_id = $2::uuid, o.deleted_at IS NOT NULL FROM migration_control.owner AS o WHERE o.migration = $1 FOR UPDATE",
                                       {request.migration, request.control_id}));
  if (owner.rows() == 0) {
    return absl::NotFoundError(
        absl::StrCat("The checkpoint of ", request.migration, " is missing in this database, where it was created before: migration_control.owner has no row of it."));
  }
  if (owner.boolean(0, 1)) {
    return absl::FailedPreconditionError(absl::StrCat(request.migration, " was deleted; its name stays taken in this database."));
  }
  if (!owner.boolean(0, 0) && !request.adopt) {
    return absl::PermissionDeniedError(absl::StrCat("The checkpoint of ", request.migration, " in this database belongs to another control store."));
  }
  return absl::OkStatus();
}

absl::StatusOr<Checkpoint> TakeOverIn(Connection& connection, const TakeOverRequest& request) {
  if (request.may_create) MD_RETURN_IF_ERROR(InsertOwner(connection, request));
  MD_RETURN_IF_ERROR(CheckOwner(connection, request));
  MD_ASSIGN_OR_RETURN(const QueryResult raised,
                      connection.Query(kRaiseEpoch, {request.migration, absl::StrCat(request.store_epoch), request.definition_digest, request.control_id}));
  if (raised.rows() != 1) return absl::InternalError("the owner row could not be taken");
  MD_RETURN_IF_ERROR(connection.Query(kFenceLanes, {request.migration, raised.text(0, 0), raised.text(0, 1)}).status());
  if (request.restart) {
    MD_RETURN_IF_ERROR(connection.Query("DELETE FROM migration_control.lane WHERE migration = $1", {request.migration}).status());
    MD_RETURN_IF_ERROR(connection.Query("DELETE FROM migration_control.failed_range WHERE migration = $1", {request.migration}).status());
    MD_RETURN_IF_ERROR(connection
                           .Query("UPDATE migration_control.owner SET pass = 0, rows_before = 0, sub_batches_before = 0, completed_at = NULL WHERE migration = $1",
                                  {request.migration})
                           .status());
  }
  if (request.recheck) {
    MD_RETURN_IF_ERROR(
        connection.Query("DELETE FROM migration_control.failed_range WHERE migration = $1 AND kind = 'UNCHANGED'", {request.migration}).status());
  }
  return ReadCheckpoint(connection, request.migration);
}

// Backends of an earlier claim that still do something.
constexpr char kBusyBackends[] = R"sql(
SELECT a.pid FROM pg_catalog.pg_stat_activity AS a
 WHERE a.datname = pg_catalog.current_database() AND pg_catalog.starts_with(a.application_name, $1)
   AND a.pid <> pg_catalog.pg_backend_pid() AND a.state IS DISTINCT FROM 'idle')sql";

std::vector<std::string> QuotedKey(const MigrationPlan& plan) {
  std::vector<std::string> quoted;
  for (const std::string& column : plan.key) quoted.push_back(absl::StrCat("t.", QuoteIdentifier(column)));
  return quoted;
}

// "(t.a, t.b) >= ($1::bigint, $2::text)", or without parentheses for one column.
std::string Compare(const MigrationPlan& plan, const std::string& comparison, std::size_t first_placeholder) {
  std::vector<std::string> values;
  for (std::size_t i = 0; i < plan.key.size(); ++i) values.push_back(absl::StrCat("$", first_placeholder + i, "::", plan.key_casts[i]));
  const std::vector<std::string> columns = QuotedKey(plan);
  if (columns.size() == 1) return absl::StrCat(columns[0], " ", comparison, " ", values[0]);
  return absl::StrCat("(", absl::StrJoin(columns, ", "), ") ", comparison, " (", absl::StrJoin(values, ", "), ")");
}

// Finds where lanes begin and end.
class LanePlanner {
 public:
  LanePlanner(Connection& connection, const MigrationPlan& plan) : connection_(connection), plan_(plan) {
    std::vector<std::string> conditions;
    for (const auto& [key, comparison] : {std::pair(&plan.min_key, ">="), std::pair(&plan.max_key, "<=")}) {
      if (key->empty()) continue;
      conditions.push_back(Compare(plan, comparison, parameters_.size() + 1));
      parameters_.insert(parameters_.end(), key->begin(), key->end());
    }
    if (!conditions.empty()) where_ = absl::StrCat(" WHERE ", absl::StrJoin(conditions, " AND "));
  }

  absl::StatusOr<std::vector<LaneRange>> Plan(int lanes) {
    MD_ASSIGN_OR_RETURN(const Key lower, End("ASC"));
    if (lower.empty()) return std::vector<LaneRange>{LaneRange{}};
    MD_ASSIGN_OR_RETURN(const Key upper, End("DESC"));
    std::vector<Key> cuts;
    if (lanes > 1) {
      MD_ASSIGN_OR_RETURN(cuts, Cuts(lanes));
    }
    std::vector<LaneRange> ranges;
    Key from = lower;
    cuts.push_back(upper);
    for (Key& cut : cuts) {
      // A sample may repeat a key or end at the table's; such a lane would be empty.
      if (!ranges.empty() && (cut == from || from == upper)) continue;
      LaneRange range;
      range.lane = static_cast<std::int32_t>(ranges.size());
      range.lower = from;
      // All but the first begin behind the end of the one before.
      if (!ranges.empty()) range.cursor = from;
      range.upper = cut;
      from = cut;
      ranges.push_back(std::move(range));
    }
    return ranges;
  }

 private:
  std::string Table() const { return absl::StrCat(QuoteIdentifier(plan_.schema), ".", QuoteIdentifier(plan_.table)); }
  std::string Columns() const {
    return absl::StrJoin(QuotedKey(plan_), ", ", [](std::string* out, const std::string& column) { absl::StrAppend(out, column, "::text"); });
  }
  std::string Order(const std::string& direction) const {
    return absl::StrJoin(QuotedKey(plan_), ", ", [&](std::string* out, const std::string& column) { absl::StrAppend(out, column, " ", direction); });
  }

  absl::StatusOr<Key> End(const std::string& direction) {
    MD_ASSIGN_OR_RETURN(const QueryResult result, connection_.Query(absl::StrCat("SELECT ", Columns(), " FROM ", Table(), " AS t", where_, " ORDER BY ",
                                                                                 Order(direction), " LIMIT 1"),
                                                                    parameters_));
    Key key;
    for (std::size_t i = 0; result.rows() == 1 && i < plan_.key.size(); ++i) key.push_back(result.text(0, static_cast<int>(i)));
    return key;
  }

  // Inner ends of the lanes: quantiles of all keys of a small table, of a sample of a large one.
  absl::StatusOr<std::vector<Key>> Cuts(int lanes) {
    MD_ASSIGN_OR_RETURN(const QueryResult size, connection_.Query(absl::StrCat("SELECT greatest(pg_catalog.pg_relation_size(", plan_.table_oid,
                                                                               "::oid::regclass) / 8192, 1), greatest((SELECT c.reltuples FROM pg_catalog.pg_class AS c WHERE c.oid = ",
                                                                               plan_.table_oid, "), 0)::bigint")));
    const double pages = static_cast<double>(size.integer(0, 0));
    const double rows = static_cast<double>(size.integer(0, 1));
    // Without statistics: at most some hundred rows fit a page.
    const double rows_assumed = rows > 0 ? rows : pages * 50;
    std::string sample;
    if (rows_assumed > kSmallTableRows) sample = absl::StrCat(" TABLESAMPLE SYSTEM (", std::min(100.0, 100.0 * kSampleRows / rows_assumed), ")");
    const std::string order = Order("ASC");
    const std::string sql =
        absl::StrCat("SELECT ", absl::StrJoin(Names("k"), ", "), " FROM (SELECT ", Columns(), ", row_number() OVER (ORDER BY ", order,
                     ") AS md_n, count(*) OVER () AS md_count FROM ", Table(), " AS t", sample, where_, ") AS s(", absl::StrJoin(Names("k"), ", "),
                     ", md_n, md_count) WHERE md_n IN (SELECT greatest(1, md_count * i / ", lanes, ") FROM generate_series(1, ", lanes - 1, ") AS i) ORDER BY md_n");
    MD_ASSIGN_OR_RETURN(const QueryResult result, connection_.Query(sql, parameters_));
    std::vector<Key> cuts;
    for (int row = 0; row < result.rows(); ++row) {
      Key key;
      for (std::size_t i = 0; i < plan_.key.size(); ++i) key.push_back(result.text(row, static_cast<int>(i)));
      cuts.push_back(std::move(key));
    }
    return cuts;
  }
  std::vector<std::string> Names(const std::string& prefix) const {
    std::vector<std::string> names;
    for (std::size_t i = 0; i < plan_.key.size(); ++i) names.push_back(absl::StrCat("md_", prefix, i));
    return names;
  }

  Connection& connection_;
  const MigrationPlan& plan_;
  Parameters parameters_;
  std::string where_;
};

}  // namespace

PostgresTarget::PostgresTarget(PostgresTargetOptions options) : options_(std::move(options)) {}

absl::StatusOr<std::unique_ptr<Connection>> PostgresTarget::Connect() {
  ConnectOptions connect;
  MD_ASSIGN_OR_RETURN(connect.url, options_.url());
  connect.connect_timeout = options_.connect_timeout;
  return Connection::Open(connect);
}

absl::Status PostgresTarget::Transact(const std::string& application_name, const std::string& search_path, absl::Duration lock_timeout,
                                      absl::Duration statement_timeout, const std::function<absl::Status(Connection&)>& body) {
  MD_ASSIGN_OR_RETURN(const std::unique_ptr<Connection> connection, Connect());
  connection->SetQueryTimeout(statement_timeout + absl::Seconds(10));
  SessionSettings settings;
  settings.search_path = search_path;
  settings.application_name = application_name;
  settings.lock_timeout = lock_timeout;
  settings.statement_timeout = statement_timeout;
  MD_RETURN_IF_ERROR(
      connection->Query(absl::StrCat("BEGIN ISOLATION LEVEL READ COMMITTED; ", SettingsSql(settings, /*local=*/true))).status());
  const absl::Status status = body(*connection);
  if (!status.ok()) {
    // The connection is closed after this anyway; a pooled one must be given back clean.
    if (!connection->broken()) connection->Query("ROLLBACK").status().IgnoreError();
    return status;
  }
  const auto committed = connection->Query("COMMIT");
  if (!committed.ok()) {
    if (!SqlStateOf(committed.status()).empty() || !connection->last_query_sent()) return committed.status();
    return CommitUnknownError(absl::StrCat("whether it was committed is not known: ", std::string(committed.status().message())));
  }
  // COMMIT of a failed transaction succeeds, and says ROLLBACK.
  if (committed->command_tag() != "COMMIT") return absl::InternalError("the transaction was rolled back instead of committed");
  return absl::OkStatus();
}

absl::Status PostgresTarget::Transact(const std::function<absl::Status(Connection&)>& body) {
  return Transact(kControlName, kPinnedPath, kFenceLockTimeout, kFenceStatementTimeout, body);
}

absl::StatusOr<TargetIdentity> PostgresTarget::Open(bool may_create_identity) {
  TargetIdentity identity;
  const absl::Status status = Transact([&](Connection& connection) -> absl::Status {
    MD_RETURN_IF_ERROR(CheckPrimary(connection));
    MD_ASSIGN_OR_RETURN(bool ready, SchemaReady(connection));
    if (!ready && may_create_identity) {
      // One creator at a time; IF NOT EXISTS alone loses races.
      MD_RETURN_IF_ERROR(connection.Query(kSchemaLock).status());
      MD_ASSIGN_OR_RETURN(ready, SchemaReady(connection));
      if (!ready) {
        absl::Status made = connection.Query(TargetSchemaSql()).status();
        if (SqlStateOf(made) == "42501") {
          return DatabaseError("42501", absl::StrCat("no right to create the schema migration_control (", std::string(made.message()),
                                                     "); let a DBA run the output of `migrationctl target-sql`"));
        }
        MD_RETURN_IF_ERROR(made);
        ready = true;
      }
    }
    MD_ASSIGN_OR_RETURN(const QueryResult here, connection.Query("SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system())::text, "
                                                                 "(SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())::bigint"));
    identity.system_identifier = here.text(0, 0);
    identity.database_oid = here.integer(0, 1);
    if (!ready) return absl::OkStatus();
    if (may_create_identity) {
      MD_RETURN_IF_ERROR(connection
                             .Query("INSERT INTO migration_control.identity (id, system_identifier, database_oid) VALUES (gen_random_uuid(), $1, $2) "
                                    "ON CONFLICT (singleton) DO NOTHING",
                                    {identity.system_identifier, absl::StrCat(identity.database_oid)})
                             .status());
    }
    MD_ASSIGN_OR_RETURN(const QueryResult known, connection.Query("SELECT i.id FROM migration_control.identity AS i"));
    if (known.rows() == 1) identity.uuid = known.text(0, 0);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return identity;
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
  std::optional<TableFacts> facts;
  const std::string path = absl::StrJoin(options_.search_path, ", ",
                                         [](std::string* out, const std::string& schema) { out->append(QuoteIdentifier(schema)); });
  const absl::Status status =
      Transact(kControlName, path, absl::Seconds(2), options_.statement_timeout, [&](Connection& connection) -> absl::Status {
        MD_ASSIGN_OR_RETURN(facts, ReadTableFacts(connection, table));
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  return *std::move(facts);
}

absl::Status PostgresTarget::CheckStatement(const std::string& sql, const std::vector<std::string>& parameter_types, const std::string& search_path) {
  return Transact(kControlName, search_path, absl::Seconds(2), options_.statement_timeout, [&](Connection& connection) -> absl::Status {
    std::vector<Oid> types;
    for (const std::string& type : parameter_types) {
      MD_ASSIGN_OR_RETURN(const QueryResult oid, connection.Query("SELECT $1::regtype::oid::bigint", {type}));
      types.push_back(static_cast<Oid>(oid.integer(0, 0)));
    }
    return connection.Parse(sql, types);
  });
}

absl::StatusOr<bool> PostgresTarget::AskBoolean(const std::string& sql, const std::string& search_path) {
  bool answer = false;
  const absl::Status status =
      Transact(kControlName, search_path, absl::Seconds(2), options_.statement_timeout, [&](Connection& connection) -> absl::Status {
        MD_RETURN_IF_ERROR(connection.Query("SET TRANSACTION READ ONLY").status());
        MD_ASSIGN_OR_RETURN(const QueryResult result, connection.Query(sql, {}));
        if (result.rows() != 1 || result.null(0, 0) || (result.text(0, 0) != "t" && result.text(0, 0) != "f")) {
          return DatabaseError("42804", absl::StrCat("the query must give one row with one boolean; it gave ", result.rows(), " rows"));
        }
        answer = result.boolean(0, 0);
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  return answer;
}

absl::StatusOr<Checkpoint> PostgresTarget::TakeOver(const TakeOverRequest& request) {
  std::optional<Checkpoint> checkpoint;
  const absl::Status status = Transact([&](Connection& connection) -> absl::Status {
    MD_RETURN_IF_ERROR(CheckPrimary(connection));
    MD_ASSIGN_OR_RETURN(checkpoint, TakeOverIn(connection, request));
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return *std::move(checkpoint);
}

absl::Status PostgresTarget::RecordTable(const FenceClaim& claim, std::int64_t table_oid, const std::string& column_digest) {
  return Transact([&](Connection& connection) -> absl::Status {
    MD_RETURN_IF_ERROR(LockClaim(connection, claim));
    return connection
        .Query("UPDATE migration_control.owner SET table_oid = $2, column_digest = $3 WHERE migration = $1",
               {claim.migration, absl::StrCat(table_oid), column_digest})
        .status();
  });
}

absl::StatusOr<std::vector<LaneRange>> PostgresTarget::PlanLanes(const MigrationPlan& plan, int lanes) {
  std::optional<std::vector<LaneRange>> ranges;
  const absl::Status status =
      Transact(kControlName, plan.search_path, absl::Seconds(2), absl::Seconds(30), [&](Connection& connection) -> absl::Status {
        MD_ASSIGN_OR_RETURN(ranges, LanePlanner(connection, plan).Plan(lanes));
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  return *std::move(ranges);
}

absl::StatusOr<Checkpoint> PostgresTarget::BeginPass(const FenceClaim& claim, std::int32_t pass, const std::vector<LaneRange>& lanes) {
  std::optional<Checkpoint> checkpoint;
  const absl::Status status = Transact([&](Connection& connection) -> absl::Status {
    MD_RETURN_IF_ERROR(LockClaim(connection, claim));
    MD_RETURN_IF_ERROR(RefuseWhenFrozen(connection, claim));
    // What the pass before did is kept in the owner row; a pass is begun once, even when the answer is lost.
    MD_ASSIGN_OR_RETURN(const QueryResult moved,
                        connection.Query("UPDATE migration_control.owner AS o SET pass = $2, "
                                         "rows_before = o.rows_before + coalesce((SELECT sum(l.rows) FROM migration_control.lane AS l WHERE l.migration = $1), 0), "
                                         "sub_batches_before = o.sub_batches_before + coalesce((SELECT sum(l.sub_batches) FROM migration_control.lane AS l WHERE l.migration = $1), 0) "
                                         "WHERE o.migration = $1 AND o.pass = $2 - 1",
                                         {claim.migration, absl::StrCat(pass)}));
    if (moved.affected() != 1) return DatabaseError(kSqlStateFenced, "the pass is another than expected");
    MD_RETURN_IF_ERROR(connection.Query("DELETE FROM migration_control.lane WHERE migration = $1", {claim.migration}).status());
    for (const LaneRange& lane : lanes) {
      MD_RETURN_IF_ERROR(connection
                             .Query("INSERT INTO migration_control.lane (migration, lane, epoch, token, frozen, lower_bound, cursor, upper_bound) "
                                    "SELECT $1, $2, $3, $4, o.frozen, $5, $6, $7 FROM migration_control.owner AS o WHERE o.migration = $1",
                                    {claim.migration, absl::StrCat(lane.lane), absl::StrCat(claim.epoch), claim.token, ArrayOrNull(lane.lower),
                                     ArrayOrNull(lane.cursor), ArrayOrNull(lane.upper)})
                             .status());
    }
    MD_ASSIGN_OR_RETURN(checkpoint, ReadCheckpoint(connection, claim.migration));
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return *std::move(checkpoint);
}

absl::StatusOr<std::unique_ptr<LaneSession>> PostgresTarget::OpenLane(const LaneOptions& options) {
  MD_ASSIGN_OR_RETURN(std::unique_ptr<Connection> connection, Connect());
  auto session = OpenLaneSession(std::move(connection), options, options_.allow_session_functions);
  // No right to make temporary functions: the form that needs none.
  if (session.ok() || SqlStateOf(session.status()) != "42501") return session;
  MD_ASSIGN_OR_RETURN(connection, Connect());
  return OpenLaneSession(std::move(connection), options, /*direct_allowed=*/false);
}

absl::Status PostgresTarget::RunStep(const FenceClaim& claim, const std::string& step, const std::string& sql, const std::string& search_path,
                                     absl::Duration lock_timeout) {
  return Transact(ApplicationName(claim), search_path, lock_timeout, options_.step_timeout, [&](Connection& connection) -> absl::Status {
    MD_RETURN_IF_ERROR(LockClaim(connection, claim));
    MD_RETURN_IF_ERROR(RefuseWhenFrozen(connection, claim));
    MD_ASSIGN_OR_RETURN(const QueryResult recorded,
                        connection.Query("INSERT INTO migration_control.step (migration, name) VALUES ($1, $2) ON CONFLICT DO NOTHING", {claim.migration, step}));
    if (recorded.affected() == 0) return absl::OkStatus();
    return connection.Query(sql, {}).status();
  });
}

absl::Status PostgresTarget::Barrier(const FenceClaim& claim, bool completed) {
  return Transact([&](Connection& connection) -> absl::Status {
    MD_RETURN_IF_ERROR(LockClaim(connection, claim));
    if (completed) MD_RETURN_IF_ERROR(RefuseWhenFrozen(connection, claim));
    // Writes, so that the commit is one that waits for the log.
    return connection
        .Query("UPDATE migration_control.owner AS o SET barrier = o.barrier + 1, completed_at = CASE WHEN $2::boolean THEN coalesce(o.completed_at, "
               "clock_timestamp()) ELSE o.completed_at END WHERE o.migration = $1",
               {claim.migration, completed ? "true" : "false"})
        .status();
  });
}

absl::StatusOr<QuiesceResult> PostgresTarget::Revoke(const TakeOverRequest& request, absl::Duration wait) {
  // Whose backends are to go: read before the epoch is raised.
  std::string old_prefix;
  const absl::Status read = Transact([&](Connection& connection) -> absl::Status {
    MD_ASSIGN_OR_RETURN(const QueryResult owner,
                        connection.Query("SELECT o.epoch, o.token FROM migration_control.owner AS o WHERE o.migration = $1", {request.migration}));
    if (owner.rows() == 1) old_prefix = ApplicationNamePrefix(owner.text(0, 1), owner.integer(0, 0));
    return absl::OkStatus();
  });
  MD_RETURN_IF_ERROR(read);
  QuiesceResult result;
  MD_ASSIGN_OR_RETURN(result.checkpoint, TakeOver(request));
  MD_ASSIGN_OR_RETURN(const std::unique_ptr<Connection> connection, Connect());
  const absl::Time deadline = Clock::Real().Now() + wait;
  for (int round = 0; !old_prefix.empty(); ++round) {
    MD_ASSIGN_OR_RETURN(const QueryResult busy, connection->Query(kBusyBackends, {old_prefix}));
    if (busy.rows() == 0) break;
    if (Clock::Real().Now() >= deadline) {
      return DatabaseError("", absl::StrCat(busy.rows(), " backends of the fenced owner are still busy; nothing they do can commit, but they are not gone yet"));
    }
    // The same statement is cancelled once; one that ignores it for long is terminated.
    for (int i = 0; i < busy.rows() && round % 20 == 0; ++i) {
      const char* how = round >= 40 ? "SELECT pg_catalog.pg_terminate_backend($1)" : "SELECT pg_catalog.pg_cancel_backend($1)";
      MD_RETURN_IF_ERROR(connection->Query(how, {busy.text(i, 0)}).status());
    }
    MD_RETURN_IF_ERROR(connection->Query("SELECT pg_catalog.pg_sleep(0.01)").status());
  }
  MD_ASSIGN_OR_RETURN(const QueryResult clock, connection->Query("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"));
  result.quiesced_at = absl::FromUnixMicros(clock.integer(0, 0));
  return result;
}

absl::Status PostgresTarget::Forget(const std::string& migration, const std::string& control_id) {
  return Transact([&](Connection& connection) -> absl::Status {
    MD_ASSIGN_OR_RETURN(const bool ready, SchemaReady(connection));
    if (!ready) return absl::OkStatus();
    return connection
        .Query("UPDATE migration_control.owner AS o SET deleted_at = clock_timestamp(), epoch = o.epoch + 1, token = gen_random_uuid() "
               "WHERE o.migration = $1 AND o.control_id = $2::uuid AND o.deleted_at IS NULL",
               {migration, control_id})
        .status();
  });
}

absl::StatusOr<std::optional<std::string>> PostgresTarget::FrozenReason() {
  std::optional<std::string> reason;
  const absl::Status status = Transact([&](Connection& connection) -> absl::Status {
    MD_ASSIGN_OR_RETURN(const bool ready, SchemaReady(connection));
    if (!ready) return absl::OkStatus();
    MD_ASSIGN_OR_RETURN(const QueryResult flag, connection.Query("SELECT f.reason FROM migration_control.freeze_flag AS f"));
    if (flag.rows() == 1) reason = flag.text(0, 0);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return reason;
}

}  // namespace migrationd
