#include "server/targets/postgres/health_session.h"

#include <functional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "migrations/model/failure.h"
#include "migrations/model/status_macros.h"
#include "server/clock.h"
#include "server/targets/postgres/session_settings.h"

namespace migrationd {
namespace {

constexpr char kNeedsMonitor[] = "the role needs pg_monitor (GRANT pg_monitor TO ...)";

// Details of other roles' sessions are NULL without pg_read_all_stats, which pg_monitor includes: a missing grant would read as perfect
// health, so it is asked for each time.
constexpr char kBasics[] = R"sql(
SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8,
       pg_catalog.pg_is_in_recovery(),
       CASE WHEN NOT pg_catalog.pg_is_in_recovery()
            THEN pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), '0/0')::pg_catalog.int8 END,
       pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE'),
       pg_catalog.current_setting('archive_mode') <> 'off',
       pg_catalog.has_function_privilege('pg_catalog.pg_ls_archive_statusdir()', 'EXECUTE'),
       (SELECT count(*) FROM pg_catalog.pg_stat_replication))sql";

// What receives the log without replaying it (pg_receivewal, an archive) is measured by what it has written. A base backup has no
// position.
constexpr char kReplicas[] = R"sql(
SELECT r.application_name,
       pg_catalog.pg_wal_lsn_diff(coalesce(r.replay_lsn, r.flush_lsn, r.write_lsn), '0/0')::pg_catalog.int8,
       (extract(epoch FROM r.replay_lag) * 1000000)::pg_catalog.int8
  FROM pg_catalog.pg_stat_replication AS r
 WHERE r.state IN ('streaming', 'catchup') AND coalesce(r.replay_lsn, r.flush_lsn, r.write_lsn) IS NOT NULL
 LIMIT 1000)sql";

constexpr char kSlots[] = R"sql(
SELECT s.slot_name,
       coalesce(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.restart_lsn), 0)::pg_catalog.int8,
       coalesce(s.wal_status, '')
  FROM pg_catalog.pg_replication_slots AS s
 LIMIT 1000)sql";

constexpr char kArchive[] = "SELECT count(*) FROM pg_catalog.pg_ls_archive_statusdir() AS f WHERE f.name LIKE '%.ready'";

constexpr char kXidAge[] = R"sql(
SELECT d.datname,
       pg_catalog.age(d.datfrozenxid)::pg_catalog.float8 / pg_catalog.current_setting('autovacuum_freeze_max_age')::pg_catalog.float8
  FROM pg_catalog.pg_database AS d
 ORDER BY 2 DESC
 LIMIT 1)sql";

constexpr char kCheckpoint[] = R"sql(
SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), c.redo_lsn)::pg_catalog.float8
       / pg_catalog.pg_size_bytes(pg_catalog.current_setting('max_wal_size'))
  FROM pg_catalog.pg_control_checkpoint() AS c)sql";

constexpr char kActivity[] = R"sql(
SELECT count(*)
  FROM pg_catalog.pg_stat_activity AS a
 WHERE a.backend_type = 'client backend' AND a.state = 'active' AND a.pid <> pg_catalog.pg_backend_pid()
   AND a.application_name !~ '^migrationd[ /]')sql";

// The partition with the largest debt. By the rule of autovacuum, whether it is on or not; but twenty thousand dead rows are nothing, however
// small the table. Of a table whose size nobody knows (never analysed, statistics reset) the debt is not known either.
constexpr char kVacuumDebt[] = R"sql(
WITH part AS MATERIALIZED (
  SELECT c.relname, pg_catalog.pg_stat_get_dead_tuples(c.oid)::pg_catalog.float8 AS dead,
         greatest(c.reltuples, pg_catalog.pg_stat_get_live_tuples(c.oid), 0)::pg_catalog.float8 AS rows,
         (SELECT o.option_value::pg_catalog.float8 FROM pg_catalog.pg_options_to_table(c.reloptions) AS o
           WHERE o.option_name = 'autovacuum_vacuum_threshold') AS threshold,
         (SELECT o.option_value::pg_catalog.float8 FROM pg_catalog.pg_options_to_table(c.reloptions) AS o
           WHERE o.option_name = 'autovacuum_vacuum_scale_factor') AS scale
    FROM pg_catalog.pg_class AS c
   WHERE c.relkind = 'r'
     AND c.oid IN (SELECT t.relid FROM pg_catalog.pg_partition_tree(pg_catalog.to_regclass($1)) AS t
                   UNION ALL SELECT pg_catalog.to_regclass($1))
), debt AS (
  SELECT p.relname, CASE WHEN p.rows > 0 OR p.dead = 0 THEN p.dead END AS dead,
         greatest(20000, coalesce(p.threshold, pg_catalog.current_setting('autovacuum_vacuum_threshold')::pg_catalog.float8)
                        + coalesce(p.scale, pg_catalog.current_setting('autovacuum_vacuum_scale_factor')::pg_catalog.float8) * p.rows) AS trigger
    FROM part AS p
)
SELECT d.relname, d.dead, d.trigger FROM debt AS d ORDER BY d.dead / d.trigger DESC NULLS LAST LIMIT 1)sql";

// The privilege to lock its row; NULL: the schema is not there yet.
constexpr char kMayMeasureCommit[] = R"sql(
SELECT pg_catalog.has_any_column_privilege(c.oid, 'UPDATE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
  FROM pg_catalog.pg_class AS c
 WHERE c.oid = pg_catalog.to_regclass('migration_control.identity'))sql";

// A row lock is written to the log and changes nothing that anybody sees; nobody else locks this row.
constexpr char kTinyWrite[] = "SELECT FROM migration_control.identity FOR KEY SHARE";

// Who waits is asked first, and who for only of them: pg_blocking_pids stops the lock manager for a moment. Identified and cancelled in one
// statement, so that a backend is not somebody else's by then.
constexpr char kYield[] = R"sql(
WITH waiting AS MATERIALIZED (
  SELECT l.pid, min(l.waitstart) AS since
    FROM pg_catalog.pg_locks AS l
   WHERE NOT l.granted AND l.waitstart < pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $2::pg_catalog.float8)
   GROUP BY l.pid
   LIMIT 100
), blocking AS MATERIALIZED (
  SELECT DISTINCT ON (ours.pid) ours.pid, claim.migration, w.pid AS waiter,
         coalesce(waiter.application_name, '') AS name,
         (extract(epoch FROM pg_catalog.clock_timestamp() - w.since) * 1000)::pg_catalog.int8 AS milliseconds
    FROM waiting AS w
   CROSS JOIN LATERAL unnest(pg_catalog.pg_blocking_pids(w.pid)) AS b (pid)
    JOIN pg_catalog.pg_stat_activity AS ours ON ours.pid = b.pid
    JOIN unnest($1::text[], $3::text[]) AS claim (prefix, migration) ON pg_catalog.starts_with(ours.application_name, claim.prefix)
    LEFT JOIN pg_catalog.pg_stat_activity AS waiter ON waiter.pid = w.pid
   WHERE ours.datname = pg_catalog.current_database() AND ours.state = 'active'
     AND coalesce(waiter.application_name, '') !~ '^migrationd[ /]'
   ORDER BY ours.pid, w.since
   LIMIT 10
)
SELECT b.pid, b.migration, b.waiter, b.name, b.milliseconds, pg_catalog.pg_cancel_backend(b.pid) FROM blocking AS b)sql";

double Number(const QueryResult& result, int row, int column) {
  double value = 0;
  return absl::SimpleAtod(result.text(row, column), &value) ? value : 0;
}

class PostgresHealthSession final : public HealthSession {
 public:
  PostgresHealthSession(std::unique_ptr<Connection> connection, const std::string& search_path) : connection_(std::move(connection)) {
    settings_.search_path = search_path;
    settings_.application_name = "migrationd health";
    settings_.lock_timeout = absl::Milliseconds(100);
    settings_.statement_timeout = kHealthAnswerTime / 2;
  }

  absl::StatusOr<TargetVitals> Read(const VitalsRequest& request) override {
    TargetVitals vitals;
    MD_RETURN_IF_ERROR(Begin());
    MD_ASSIGN_OR_RETURN(const QueryResult basics, connection_->Query(kBasics, {}));
    if (basics.boolean(0, 1)) return DatabaseError("25006", "the target is a standby");
    vitals.at = absl::FromUnixMicros(basics.integer(0, 0));
    vitals.log_position = basics.integer(0, 2);
    const bool sees_all = basics.boolean(0, 3);
    MD_RETURN_IF_ERROR(ReadReplication(sees_all, basics.integer(0, 6) > 0, vitals));
    if (basics.boolean(0, 4)) MD_RETURN_IF_ERROR(ReadArchive(basics.boolean(0, 5), vitals));
    MD_RETURN_IF_ERROR(ReadServer(sees_all, vitals));
    for (const std::string& table : request.tables) MD_RETURN_IF_ERROR(ReadTable(table, vitals));
    MD_RETURN_IF_ERROR(connection_->Query("ROLLBACK").status());
    if (request.measure_commit) MD_RETURN_IF_ERROR(MeasureCommit(vitals));
    return vitals;
  }

  absl::StatusOr<std::vector<Yielded>> YieldToWaiters(const std::vector<FenceClaim>& claims, absl::Duration patience) override {
    std::vector<Yielded> yielded;
    if (claims.empty()) return yielded;
    Key prefixes;
    Key names;
    for (const FenceClaim& claim : claims) {
      prefixes.push_back(ApplicationNamePrefix(claim));
      names.push_back(claim.migration);
    }
    MD_RETURN_IF_ERROR(Begin());
    const auto cancelled =
        connection_->Query(kYield, {KeyArray(prefixes), absl::StrCat(absl::ToDoubleSeconds(patience)), KeyArray(names)});
    if (!connection_->broken()) MD_RETURN_IF_ERROR(connection_->Query("ROLLBACK").status());
    MD_RETURN_IF_ERROR(cancelled.status());
    for (int i = 0; i < cancelled->rows(); ++i) {
      if (!cancelled->boolean(i, 5)) continue;
      yielded.push_back({.migration = cancelled->text(i, 1), .backend_pid = static_cast<int>(cancelled->integer(i, 0)),
                         .waiter_pid = static_cast<int>(cancelled->integer(i, 2)), .waiter = cancelled->text(i, 3),
                         .waited = absl::Milliseconds(cancelled->integer(i, 4))});
    }
    return yielded;
  }

 private:
  absl::Status Begin() {
    return connection_
        ->Query(absl::StrCat("BEGIN ISOLATION LEVEL READ COMMITTED; ", SettingsSql(settings_, /*local=*/true, connection_->server_version())))
        .status();
  }

  // Asks, and hands the answer to `take`. What the server refuses makes these signals unreadable and nothing else; only a connection that
  // is gone is an error.
  absl::Status Ask(const std::vector<Signal>& signals, const std::string& sql, const Parameters& parameters, TargetVitals& vitals,
                   const std::function<void(const QueryResult&)>& take) {
    const auto answer = connection_->Query(sql, parameters);
    if (answer.ok()) {
      take(*answer);
      return absl::OkStatus();
    }
    if (connection_->broken()) return answer.status();
    for (const Signal signal : signals) vitals.unreadable[signal] = std::string(answer.status().message());
    MD_RETURN_IF_ERROR(connection_->Query("ROLLBACK").status());
    return Begin();
  }

  absl::Status ReadReplication(bool sees_all, bool has_replicas, TargetVitals& vitals) {
    const std::vector<Signal> of_replicas = {Signal::kReplicaLag, Signal::kReplicaLagBytes, Signal::kReplicasMissing};
    if (sees_all) {
      MD_RETURN_IF_ERROR(Ask(of_replicas, kReplicas, {}, vitals, [&](const QueryResult& rows) {
        for (int i = 0; i < rows.rows(); ++i) {
          ReplicaVitals replica{.name = rows.text(i, 0), .replayed = rows.integer(i, 1)};
          if (!rows.null(i, 2)) replica.reported_lag = absl::Microseconds(rows.integer(i, 2));
          vitals.replicas.push_back(std::move(replica));
        }
      }));
    } else if (has_replicas) {
      for (const Signal signal : of_replicas) vitals.unreadable[signal] = kNeedsMonitor;
    }
    return Ask({Signal::kSlotRetention, Signal::kSlotsUnreserved}, kSlots, {}, vitals, [&](const QueryResult& rows) {
      for (int i = 0; i < rows.rows(); ++i) vitals.slots.push_back({rows.text(i, 0), rows.integer(i, 1), rows.text(i, 2)});
    });
  }

  absl::Status ReadArchive(bool allowed, TargetVitals& vitals) {
    if (!allowed) {
      vitals.unreadable[Signal::kArchiveBacklog] = kNeedsMonitor;
      return absl::OkStatus();
    }
    return Ask({Signal::kArchiveBacklog}, kArchive, {}, vitals,
               [&](const QueryResult& rows) { vitals.archive_backlog = static_cast<double>(rows.integer(0, 0)); });
  }

  absl::Status ReadServer(bool sees_all, TargetVitals& vitals) {
    MD_RETURN_IF_ERROR(Ask({Signal::kXidAge}, kXidAge, {}, vitals, [&](const QueryResult& rows) {
      vitals.oldest_database = rows.text(0, 0);
      vitals.xid_age = Number(rows, 0, 1);
    }));
    MD_RETURN_IF_ERROR(Ask({Signal::kCheckpointDistance}, kCheckpoint, {}, vitals,
                           [&](const QueryResult& rows) { vitals.checkpoint_distance = Number(rows, 0, 0); }));
    if (!sees_all) {
      vitals.unreadable[Signal::kActiveBackends] = kNeedsMonitor;
      return absl::OkStatus();
    }
    return Ask({Signal::kActiveBackends}, kActivity, {}, vitals,
               [&](const QueryResult& rows) { vitals.active_backends = static_cast<double>(rows.integer(0, 0)); });
  }

  absl::Status ReadTable(const std::string& table, TargetVitals& vitals) {
    return Ask({Signal::kVacuumDebt}, kVacuumDebt, {table}, vitals, [&](const QueryResult& rows) {
      if (rows.rows() == 0) return;  // no such table, or one without partitions
      TableVitals found{.table = table, .trigger = Number(rows, 0, 2), .detail = absl::StrCat("table ", rows.text(0, 0))};
      if (rows.null(0, 1)) {
        absl::StrAppend(&found.detail, ": its size is not known, ANALYZE it");
      } else {
        found.dead_rows = Number(rows, 0, 1);
      }
      vitals.tables.push_back(std::move(found));
    });
  }

  // A transaction of its own, of which only the commit counts.
  absl::Status MeasureCommit(TargetVitals& vitals) {
    MD_RETURN_IF_ERROR(Begin());
    // A commit that waits for a synchronous standby that is gone waits for ever, whatever the timeouts, and each look would leave a backend
    // behind. Replicas have signals of their own.
    MD_RETURN_IF_ERROR(connection_->Query("SET LOCAL synchronous_commit = local").status());
    bool known = false;
    bool allowed = false;
    MD_RETURN_IF_ERROR(Ask({Signal::kCommitLatency}, kMayMeasureCommit, {}, vitals, [&](const QueryResult& rows) {
      known = rows.rows() == 1;
      allowed = known && rows.boolean(0, 0);
    }));
    if (known && !allowed) vitals.unreadable[Signal::kCommitLatency] = "the role needs UPDATE (singleton) on migration_control.identity, to lock its row";
    bool written = false;
    if (allowed) {
      MD_RETURN_IF_ERROR(
          Ask({Signal::kCommitLatency}, kTinyWrite, {}, vitals, [&](const QueryResult& rows) { written = rows.rows() == 1; }));
    }
    const absl::Time begun = Clock::Real().Now();
    MD_RETURN_IF_ERROR(connection_->Query("COMMIT").status());
    if (written) vitals.commit_latency = Clock::Real().Now() - begun;
    return absl::OkStatus();
  }

  const std::unique_ptr<Connection> connection_;
  SessionSettings settings_;
};

}  // namespace

std::unique_ptr<HealthSession> MakeHealthSession(std::unique_ptr<Connection> connection, const std::string& search_path) {
  return std::make_unique<PostgresHealthSession>(std::move(connection), search_path);
}

}  // namespace migrationd
