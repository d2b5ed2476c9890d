#include "tests/benchmarks/rivals.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "migrations/model/status_macros.h"
#include "server/clock.h"
#include "tests/benchmarks/cluster.h"
#include "tests/benchmarks/engine.h"
#include "tests/benchmarks/update.h"

namespace migrationd {

absl::Status PlainUpdate(Connection& sql) { return sql.Query("UPDATE t SET val = length(body)").status(); }

absl::Status PlainUpdateInTwoHalves(const std::string& url, std::int64_t rows) {
  const auto half = [&url](const std::string& condition) -> absl::Status {
    MD_ASSIGN_OR_RETURN(const auto sql, OpenConnection(url));
    return sql->Query("UPDATE t SET val = length(body) WHERE " + condition).status();
  };
  absl::Status upper;
  std::jthread other([&] { upper = half(absl::StrCat("id > ", rows / 2)); });
  const absl::Status lower = half(absl::StrCat("id <= ", rows / 2));
  other.join();
  return lower.ok() ? upper : lower;
}

absl::Status PlPgSqlLoop(Connection& sql, std::int64_t batch, const std::string& synchronous_commit) {
  MD_RETURN_IF_ERROR(sql.Query("SET synchronous_commit = " + synchronous_commit).status());
  MD_RETURN_IF_ERROR(sql.Query(absl::StrCat("DO $$ DECLARE lo bigint := 0; hi bigint; top bigint := (SELECT max(id) FROM t); BEGIN LOOP "
                                            "SELECT id INTO hi FROM t WHERE id > lo ORDER BY id OFFSET ",
                                            batch - 1,
                                            " LIMIT 1; hi := coalesce(hi, top); UPDATE t SET val = length(body) WHERE id > lo AND id <= hi; "
                                            "COMMIT; EXIT WHEN hi >= top; lo := hi; END LOOP; END $$"))
                         .status());
  return sql.Query("RESET synchronous_commit").status();
}

namespace {

constexpr std::int64_t kGitLabBatch = 1000;
constexpr std::int64_t kGitLabSubBatch = 100;

// The columns and indexes of batched_background_migration_jobs that such a job uses.
constexpr char kGitLabJobs[] =
    "DROP TABLE IF EXISTS gitlab_jobs; "
    "CREATE TABLE gitlab_jobs (id bigserial PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT "
    "now(), started_at timestamptz, finished_at timestamptz, migration_id bigint NOT NULL, min_value bigint NOT NULL, max_value bigint NOT "
    "NULL, batch_size int NOT NULL, sub_batch_size int NOT NULL, status smallint NOT NULL DEFAULT 0, attempts smallint NOT NULL DEFAULT 0, "
    "metrics jsonb NOT NULL DEFAULT '{}', pause_ms int NOT NULL DEFAULT 100); "
    "CREATE INDEX ON gitlab_jobs (migration_id, id); CREATE INDEX ON gitlab_jobs (migration_id, status); "
    "CREATE INDEX ON gitlab_jobs (migration_id, max_value); CREATE INDEX ON gitlab_jobs (migration_id, finished_at)";

class GitLabRun {
 public:
  GitLabRun(Connection& work, Connection& book) : work_(work), book_(book) {}

  absl::Status Run() {
    MD_RETURN_IF_ERROR(Prepare());
    std::string after = "0";
    while (true) {
      MD_ASSIGN_OR_RETURN(const QueryResult batch, work_.Execute("batch", {after}));
      if (batch.null(0, 0)) return absl::OkStatus();
      MD_RETURN_IF_ERROR(RunJob(batch.text(0, 0), batch.text(0, 1)));
      after = batch.text(0, 1);
    }
  }

 private:
  absl::Status Prepare() {
    MD_RETURN_IF_ERROR(work_.Prepare("batch", absl::StrCat("SELECT min(id), max(id) FROM (SELECT id FROM t WHERE id > $1::bigint ORDER BY id LIMIT ",
                                                           kGitLabBatch, ") AS b")));
    MD_RETURN_IF_ERROR(work_.Prepare("bound", absl::StrCat("SELECT id FROM t WHERE id >= $1::bigint AND id <= $2::bigint ORDER BY id OFFSET ",
                                                           kGitLabSubBatch, " LIMIT 1")));
    MD_RETURN_IF_ERROR(work_.Prepare("work", "UPDATE t SET val = length(body) WHERE id >= $1::bigint AND id < $2::bigint"));
    MD_RETURN_IF_ERROR(work_.Prepare("last", "UPDATE t SET val = length(body) WHERE id >= $1::bigint AND id <= $2::bigint"));
    MD_RETURN_IF_ERROR(book_.Query(kGitLabJobs).status());
    MD_RETURN_IF_ERROR(book_.Prepare("insert", absl::StrCat("INSERT INTO gitlab_jobs (migration_id, min_value, max_value, batch_size, sub_batch_size) "
                                                            "VALUES (1, $1, $2, ",
                                                            kGitLabBatch, ", ", kGitLabSubBatch, ") RETURNING id")));
    MD_RETURN_IF_ERROR(book_.Prepare("running", "UPDATE gitlab_jobs SET status = 1, attempts = attempts + 1, started_at = now(), finished_at = NULL, "
                                                "metrics = '{}', updated_at = now() WHERE id = $1"));
    return book_.Prepare("succeeded", "UPDATE gitlab_jobs SET status = 3, finished_at = now(), metrics = $2::jsonb, updated_at = now() WHERE id = $1");
  }

  absl::Status RunJob(const std::string& lower, const std::string& upper) {
    MD_ASSIGN_OR_RETURN(const QueryResult inserted, book_.Execute("insert", {lower, upper}));
    const std::string job = inserted.text(0, 0);
    MD_RETURN_IF_ERROR(book_.Execute("running", {job}).status());
    std::string timings;
    std::string affected;
    std::string from = lower;
    while (true) {
      MD_ASSIGN_OR_RETURN(const QueryResult bound, work_.Execute("bound", {from, upper}));
      const bool last = bound.rows() == 0;
      const absl::Time begun = Clock::Real().Now();
      MD_ASSIGN_OR_RETURN(const QueryResult done, last ? work_.Execute("last", {from, upper}) : work_.Execute("work", {from, bound.text(0, 0)}));
      const char* comma = timings.empty() ? "" : ", ";
      absl::StrAppend(&timings, comma, absl::ToDoubleSeconds(Clock::Real().Now() - begun));
      absl::StrAppend(&affected, comma, done.affected());
      if (last) break;
      from = bound.text(0, 0);
    }
    const std::string metrics =
        absl::StrFormat("{\"timings\": {\"update_all\": [%s]}, \"affected_rows\": {\"update_all\": [%s]}}", timings, affected);
    return book_.Execute("succeeded", {job, metrics}).status();
  }

  Connection& work_;
  Connection& book_;
};

}  // namespace

absl::Status GitLabWay(const std::string& url) {
  MD_ASSIGN_OR_RETURN(const auto work, OpenConnection(url));
  MD_ASSIGN_OR_RETURN(const auto book, OpenConnection(url));
  return GitLabRun(*work, *book).Run();
}

absl::Status ExecuteStrings(const std::string& url, std::int64_t rows, std::int64_t batch) {
  EngineOptions options;
  options.url = url;
  options.definition = kUpdateYaml;
  MD_ASSIGN_OR_RETURN(const auto engine, Engine::Open(options));
  MD_RETURN_IF_ERROR(engine->BeginPass());
  const FenceClaim& claim = engine->claim();
  MD_ASSIGN_OR_RETURN(const auto lane, OpenConnection(url));
  MD_RETURN_IF_ERROR(lane->Query("SET synchronous_commit = off").status());
  MD_RETURN_IF_ERROR(lane->Query("PREPARE work (bigint, bigint) AS UPDATE t SET val = length(body) WHERE id > $1 AND id <= $2").status());
  MD_RETURN_IF_ERROR(lane->Query("PREPARE bound (bigint, bigint) AS SELECT id FROM t WHERE id > $1 ORDER BY id OFFSET $2 - 1 LIMIT 1").status());
  MD_RETURN_IF_ERROR(lane->Query("PREPARE advance (text, int, bigint, uuid, text[], text[], bigint) AS SELECT "
                                 "migration_control.advance($1, $2, $3, $4, $5, $6, $7)")
                         .status());
  std::int64_t low = 0;
  std::int64_t high = std::min(batch, rows);
  while (true) {
    MD_ASSIGN_OR_RETURN(const QueryResult bound,
                        lane->Query(absl::StrCat("EXECUTE work(", low, ", ", high, "); EXECUTE advance('m', 0, ", claim.epoch, ", '", claim.token, "', ",
                                                 low == 0 ? "NULL" : absl::StrCat("'{\"", low, "\"}'"), ", '{\"", high, "\"}', 0); EXECUTE bound(", high,
                                                 ", ", batch, ")")));
    if (high >= rows) break;
    low = high;
    high = bound.rows() == 0 ? rows : bound.integer(0, 0);
  }
  return engine->Finish();
}

}  // namespace migrationd
