// Batched update of one table in several ways, interleaved over fresh equal tables in one run: rows a second, and ratios to a durable
// PL/pgSQL loop with a COMMIT per batch of the same size. See README.md beside this file.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "migrations/definition/definition.h"
#include "migrations/model/status_macros.h"
#include "server/clock.h"
#include "server/execution/lane_runner.h"
#include "server/dev/private_postgres.h"
#include "server/targets/postgres/connection.h"
#include "server/targets/postgres/postgres_target.h"

namespace migrationd {
namespace {

constexpr char kControl[] = "11111111-1111-1111-1111-111111111111";

struct Settings {
  std::string url;  // empty: a private PostgreSQL
  std::int64_t rows = 2'000'000;
  std::int64_t batch = 1000;
  int rounds = 3;
  std::string only;  // part of a variant's name; empty: all
};

class Bench {
 public:
  Bench(Settings settings, std::string url) : settings_(std::move(settings)), url_(std::move(url)) {}

  absl::Status Run() {
    MD_ASSIGN_OR_RETURN(sql_, Connection::Open({.url = url_, .connect_timeout = absl::Seconds(5), .query_timeout = absl::Hours(1)}));
    const std::vector<std::pair<std::string, std::function<absl::Status()>>> variants = {
        {"plain UPDATE, durable", [this] { return sql_->Query("UPDATE t SET val = length(body)").status(); }},
        {"PL/pgSQL loop, durable", [this] { return PlPgSqlLoop("on"); }},
        {"PL/pgSQL loop, async", [this] { return PlPgSqlLoop("off"); }},
        {"migrationd, session function, ASYNC", [this] { return Ours(/*session_functions=*/true, /*synchronous=*/false); }},
        {"migrationd, session function, SYNC", [this] { return Ours(true, true); }},
        {"migrationd, pooled form, ASYNC", [this] { return Ours(false, false); }},
        {"string of EXECUTEs, async", [this] { return ExecuteStrings(); }},
    };
    std::map<std::string, std::vector<double>> seconds;
    for (int round = 0; round < settings_.rounds; ++round) {
      for (const auto& [name, variant] : variants) {
        if (name.find(settings_.only) == std::string::npos) continue;
        MD_RETURN_IF_ERROR(FreshTable());
        const absl::Time begun = Clock::Real().Now();
        MD_RETURN_IF_ERROR(variant());
        seconds[name].push_back(absl::ToDoubleSeconds(Clock::Real().Now() - begun));
        MD_ASSIGN_OR_RETURN(const QueryResult left, sql_->Query("SELECT count(*) FROM t WHERE val IS DISTINCT FROM length(body)"));
        if (left.integer(0, 0) != 0) return absl::InternalError(absl::StrCat(name, " left ", left.integer(0, 0), " rows"));
      }
    }
    const std::vector<double>& loop = seconds["PL/pgSQL loop, durable"];
    const double reference = loop.empty() ? 0 : Median(loop);
    absl::PrintF("%d rows, batches of %d, %d rounds, medians\n", settings_.rows, settings_.batch, settings_.rounds);
    for (const auto& [name, variant] : variants) {
      if (seconds[name].empty()) continue;
      const double median = Median(seconds[name]);
      absl::PrintF("%-38s %9.0f rows/s  %5.2f of the durable loop\n", name, static_cast<double>(settings_.rows) / median, reference / median);
    }
    return absl::OkStatus();
  }

 private:
  static double Median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
  }

  absl::Status FreshTable() {
    MD_RETURN_IF_ERROR(sql_->Query("DROP TABLE IF EXISTS t; DROP SCHEMA IF EXISTS migration_control CASCADE").status());
    MD_RETURN_IF_ERROR(sql_->Query(absl::StrCat("CREATE TABLE t (id bigint PRIMARY KEY, body text, val int); "
                                                "INSERT INTO t SELECT i, repeat('x', 20 + i % 20) FROM generate_series(1, ",
                                                settings_.rows, ") AS i"))
                           .status());
    MD_RETURN_IF_ERROR(sql_->Query("VACUUM ANALYZE t").status());
    return sql_->Query("CHECKPOINT").status();
  }

  absl::Status PlPgSqlLoop(const std::string& synchronous_commit) {
    MD_RETURN_IF_ERROR(sql_->Query("SET synchronous_commit = " + synchronous_commit).status());
    const absl::Status done =
        sql_->Query(absl::StrCat("DO $$ DECLARE lo bigint := 0; hi bigint; top bigint := (SELECT max(id) FROM t); BEGIN LOOP "
                                 "SELECT id INTO hi FROM t WHERE id > lo ORDER BY id OFFSET ",
                                 settings_.batch - 1,
                                 " LIMIT 1; hi := coalesce(hi, top); UPDATE t SET val = length(body) WHERE id > lo AND id <= hi; "
                                 "COMMIT; EXIT WHEN hi >= top; lo := hi; END LOOP; END $$"))
            .status();
    MD_RETURN_IF_ERROR(sql_->Query("RESET synchronous_commit").status());
    return done;
  }

  absl::StatusOr<std::unique_ptr<PostgresTarget>> Target(bool session_functions) {
    PostgresTargetOptions options;
    options.name = "main";
    options.url = [url = url_]() -> absl::StatusOr<std::string> { return url; };
    options.allow_session_functions = session_functions;
    auto target = std::make_unique<PostgresTarget>(std::move(options));
    MD_RETURN_IF_ERROR(target->Open(/*may_create_identity=*/true).status());
    return target;
  }

  absl::StatusOr<MigrationPlan> Plan(PostgresTarget& target) {
    const DefinitionResult parsed = ParseDefinition("sql_batch: {table: t, alias: b, statement: 'UPDATE t AS b SET val = length(body) WHERE {{batch}}'}");
    if (!parsed.ok()) return absl::InternalError(parsed.problems.front().message);
    MD_ASSIGN_OR_RETURN(const TableFacts facts, target.Inspect({"public", "t"}));
    PlanContext context;
    context.name = "m";
    return MakePlan(parsed.definition, facts, context);
  }

  absl::Status Ours(bool session_functions, bool synchronous) {
    MD_ASSIGN_OR_RETURN(const auto target, Target(session_functions));
    MD_ASSIGN_OR_RETURN(const MigrationPlan plan, Plan(*target));
    TakeOverRequest request;
    request.migration = "m";
    request.control_id = kControl;
    request.definition_digest = "d";
    request.may_create = true;
    MD_ASSIGN_OR_RETURN(Checkpoint checkpoint, target->TakeOver(request));
    MD_ASSIGN_OR_RETURN(const auto ranges, target->PlanLanes(plan, 1));
    MD_ASSIGN_OR_RETURN(checkpoint, target->BeginPass(checkpoint.claim, 1, ranges));
    LaneOptions options;
    options.claim = checkpoint.claim;
    options.range = checkpoint.lanes[0];
    options.plan = &plan;
    options.synchronous_commit = synchronous;
    RunControls controls(Clock::Real());
    controls.TrustUntil(absl::InfiniteFuture());
    controls.SetSizes({.batch_size = static_cast<std::int32_t>(50 * settings_.batch), .sub_batch_size = static_cast<std::int32_t>(settings_.batch)}, true);
    LaneRunner::Options lane;
    lane.lane = options;
    lane.first_sub_batch_size = static_cast<std::int32_t>(settings_.batch);
    lane.adaptive = false;
    LaneRunner runner(lane, *target, controls, Clock::Real());
    while (!runner.done()) {
      const BatchOutcome outcome = runner.RunBatch();
      if (outcome.kind == BatchOutcome::Kind::kFailed) return outcome.error;
    }
    return target->Barrier(checkpoint.claim, /*completed=*/true);
  }

  // The rival form: prepared statements, executed in one simple-query string; the rows affected are known only to the client, so the
  // lane's count would lag by one sub-batch.
  absl::Status ExecuteStrings() {
    MD_ASSIGN_OR_RETURN(const auto target, Target(true));
    MD_ASSIGN_OR_RETURN(const MigrationPlan plan, Plan(*target));
    TakeOverRequest request;
    request.migration = "m";
    request.control_id = kControl;
    request.definition_digest = "d";
    request.may_create = true;
    MD_ASSIGN_OR_RETURN(Checkpoint checkpoint, target->TakeOver(request));
    MD_ASSIGN_OR_RETURN(const auto ranges, target->PlanLanes(plan, 1));
    MD_ASSIGN_OR_RETURN(checkpoint, target->BeginPass(checkpoint.claim, 1, ranges));
    MD_ASSIGN_OR_RETURN(const auto lane, Connection::Open({.url = url_, .connect_timeout = absl::Seconds(5), .query_timeout = absl::Minutes(1)}));
    MD_RETURN_IF_ERROR(lane->Query("SET synchronous_commit = off").status());
    MD_RETURN_IF_ERROR(lane->Query("PREPARE work (bigint, bigint) AS UPDATE t SET val = length(body) WHERE id > $1 AND id <= $2").status());
    MD_RETURN_IF_ERROR(lane->Query("PREPARE bound (bigint, bigint) AS SELECT id FROM t WHERE id > $1 ORDER BY id OFFSET $2 - 1 LIMIT 1").status());
    MD_RETURN_IF_ERROR(lane->Query("PREPARE advance (text, int, bigint, uuid, text[], text[], bigint) AS SELECT "
                                   "migration_control.advance($1, $2, $3, $4, $5, $6, $7)")
                           .status());
    std::int64_t low = 0;
    std::int64_t high = std::min(settings_.batch, settings_.rows);
    while (true) {
      MD_ASSIGN_OR_RETURN(const QueryResult bound,
                          lane->Query(absl::StrCat("EXECUTE work(", low, ", ", high, "); EXECUTE advance('m', 0, ", checkpoint.claim.epoch, ", '",
                                                   checkpoint.claim.token, "', ", low == 0 ? "NULL" : absl::StrCat("'{\"", low, "\"}'"), ", '{\"", high, "\"}', 0); EXECUTE bound(",
                                                   high, ", ", settings_.batch, ")")));
      if (high >= settings_.rows) break;
      low = high;
      high = bound.rows() == 0 ? settings_.rows : bound.integer(0, 0);
    }
    return target->Barrier(checkpoint.claim, /*completed=*/true);
  }

  const Settings settings_;
  const std::string url_;
  std::unique_ptr<Connection> sql_;
};

absl::Status Main(const Settings& settings) {
  if (!settings.url.empty()) return Bench(settings, settings.url).Run();
  char pattern[] = "/tmp/migrationd-bench-XXXXXX";
  if (mkdtemp(pattern) == nullptr) return absl::InternalError("mkdtemp failed");
  std::filesystem::permissions(pattern, std::filesystem::perms(0755));
  absl::Status status;
  {
    MD_ASSIGN_OR_RETURN(const auto postgres,
                        PrivatePostgres::Start({.directory = std::string(pattern) + "/pg",
                                                .settings = {"shared_buffers=1GB", "max_wal_size=8GB", "checkpoint_timeout=1h", "autovacuum=off"}}));
    status = Bench(settings, postgres->Url()).Run();
  }
  std::filesystem::remove_all(pattern);
  return status;
}

}  // namespace
}  // namespace migrationd

int main(int argc, char** argv) {
  migrationd::Settings settings;
  CLI::App app{"Batched update, several ways, interleaved"};
  app.add_option("--url", settings.url, "database to use; tables t and schema migration_control there are dropped (default: a private one)");
  app.add_option("--rows", settings.rows, "rows of the table")->check(CLI::Range(1, 100'000'000));
  app.add_option("--batch", settings.batch, "rows of a sub-batch")->check(CLI::Range(1, 1'000'000));
  app.add_option("--only", settings.only, "only variants whose name holds this");
  app.add_option("--rounds", settings.rounds, "how often each variant runs")->check(CLI::Range(1, 100));
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = migrationd::Main(settings);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}
