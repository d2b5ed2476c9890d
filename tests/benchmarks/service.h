// The same migration by the whole service: the migrationd program on a control database of its own, asked through the client library.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/dev/private_postgres.h"
#include "server/targets/postgres/connection.h"

namespace migrationd {

struct ServiceRunOptions {
  int lanes = 1;
  std::int64_t sub_batch_size = 1000;  // 50 of them are a batch; not adaptive, no interval
};

struct ServiceRun {
  absl::Duration took;  // from started_at to finished_at, as Status says
  absl::Duration wall;  // from Enqueue to the answer that it is COMPLETED
  absl::Duration working;
  absl::Duration held;
  absl::Duration stopping;  // of migrationd, after that
  // What follows was counted from Enqueue to the end of migrationd: its opening of the migration and its stopping are in it.
  std::int64_t control_commits = 0;
  std::int64_t control_rows = 0;  // inserted, updated or deleted
  double target_commits_per_sub_batch = 0;
  std::int64_t resident_kb = 0;  // of migrationd, once it is done
};

// Updates table t of the cluster's database `postgres`, to which `sql` is connected.
absl::StatusOr<ServiceRun> RunService(PrivatePostgres& postgres, Connection& sql, const ServiceRunOptions& options);

}  // namespace migrationd
