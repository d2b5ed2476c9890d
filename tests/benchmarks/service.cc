#include "tests/benchmarks/service.h"

#include <algorithm>
#include <csignal>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "migrationcontrol/client.h"
#include "migrations/model/status_macros.h"
#include "tests/benchmarks/resident.h"
#include "tests/benchmarks/update.h"
#include "tests/support/server_fixture.h"

namespace migrationd {
namespace {

namespace v1 = migrationcontrol::v1;

constexpr char kControlDatabase[] = "control";
constexpr char kMigration[] = "benchmark";
// A backend reports what it committed when it next is idle, at most once a second. So long after the start, its start is reported.
constexpr absl::Duration kStatisticsLag = absl::Seconds(2);

absl::Time Time(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

struct Activity {
  std::int64_t control_commits = 0;
  std::int64_t control_rows = 0;
  std::int64_t target_commits = 0;
};

absl::StatusOr<Activity> ReadActivity(Connection& sql) {
  MD_ASSIGN_OR_RETURN(
      const QueryResult read,
      sql.Query("SELECT c.xact_commit, c.tup_inserted + c.tup_updated + c.tup_deleted, t.xact_commit FROM pg_stat_database AS c, "
                "pg_stat_database AS t WHERE c.datname = $1 AND t.datname = current_database()",
                {kControlDatabase}));
  if (read.rows() != 1) return absl::InternalError("pg_stat_database does not know the control database.");
  return Activity{read.integer(0, 0), read.integer(0, 1), read.integer(0, 2)};
}

absl::Status FreshControl(PrivatePostgres& postgres, Connection& sql) {
  MD_RETURN_IF_ERROR(sql.Query(absl::StrCat("DROP DATABASE IF EXISTS ", kControlDatabase)).status());
  return postgres.CreateDatabase(kControlDatabase);
}

v1::EnqueueRequest Request(const ServiceRunOptions& options) {
  v1::EnqueueRequest request;
  request.mutable_file()->set_file_name(absl::StrCat("20260101000000_", kMigration, ".yaml"));
  request.mutable_file()->set_content(
      absl::StrFormat("%space: {batch_size: %d, max_batch_size: %d, sub_batch_size: %d, interval: 0s, lanes: %d, adaptive: {enabled: false}}\n",
                      kUpdateYaml, 50 * options.sub_batch_size, 50 * options.sub_batch_size, options.sub_batch_size, options.lanes));
  return request;
}

absl::StatusOr<std::int64_t> SubBatches(Connection& sql) {
  MD_ASSIGN_OR_RETURN(const QueryResult read, sql.Query("SELECT sum(sub_batches) FROM migration_control.lane"));
  return read.integer(0, 0);
}

}  // namespace

absl::StatusOr<ServiceRun> RunService(PrivatePostgres& postgres, Connection& sql, const ServiceRunOptions& options) {
  MD_RETURN_IF_ERROR(FreshControl(postgres, sql));
  ServerFixtureOptions server_options;
  server_options.program = MIGRATIOND_PROGRAM;
  server_options.control_url = postgres.Url(kControlDatabase);
  server_options.targets = {{"main", postgres.Url()}};
  server_options.lease_ttl = absl::Seconds(15);  // the program's default
  server_options.more_flags = {"--allow-inline-definitions"};
  ServerFixture server(std::move(server_options));
  MD_RETURN_IF_ERROR(server.Start());
  absl::SleepFor(kStatisticsLag);

  migrationcontrol::ClientOptions client_options;
  client_options.address = server.address();
  migrationcontrol::Client client(client_options);
  MD_ASSIGN_OR_RETURN(const Activity before, ReadActivity(sql));
  const absl::Time begun = absl::Now();
  MD_RETURN_IF_ERROR(client.Enqueue(Request(options)).status());
  const absl::Status completed = client.WaitUntilCompleted(kMigration, absl::Hours(1));
  if (!completed.ok()) return absl::Status(completed.code(), absl::StrCat(std::string(completed.message()), "\n", server.Log()));
  ServiceRun run;
  run.wall = absl::Now() - begun;
  MD_ASSIGN_OR_RETURN(const v1::StatusResponse status, client.Status(kMigration));
  run.resident_kb = ResidentKb(absl::StrCat(server.process().pid()));
  // A backend that ends reports everything.
  const absl::Time stopped = absl::Now();
  MD_RETURN_IF_ERROR(server.Stop(SIGTERM).status());
  run.stopping = absl::Now() - stopped;
  MD_ASSIGN_OR_RETURN(const Activity after, ReadActivity(sql));
  MD_ASSIGN_OR_RETURN(const std::int64_t sub_batches, SubBatches(sql));

  const v1::Migration& migration = status.migration();
  run.took = Time(migration.finished_at()) - Time(migration.started_at());
  run.working = absl::Seconds(migration.time().working().seconds()) + absl::Nanoseconds(migration.time().working().nanos());
  for (const auto& [kind, seconds] : migration.time().holds()) run.held += absl::Seconds(seconds);
  run.control_commits = after.control_commits - before.control_commits;
  run.control_rows = after.control_rows - before.control_rows;
  run.target_commits_per_sub_batch =
      static_cast<double>(after.target_commits - before.target_commits) / static_cast<double>(std::max<std::int64_t>(sub_batches, 1));
  return run;
}

}  // namespace migrationd
