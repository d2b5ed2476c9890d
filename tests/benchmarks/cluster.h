// Where benchmarks run: a private PostgreSQL in a folder that goes with it, and plain connections.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/dev/private_postgres.h"
#include "server/targets/postgres/connection.h"
#include "tests/support/process.h"

namespace migrationd {

// fsync on, max_wal_size 8 GB, no autovacuum: nothing but the variants writes.
class BenchmarkCluster {
 public:
  static absl::StatusOr<std::unique_ptr<BenchmarkCluster>> Start(std::int64_t shared_buffers_mb);
  PrivatePostgres& postgres() { return *postgres_; }

 private:
  BenchmarkCluster() = default;
  TempFolder folder_;
  std::unique_ptr<PrivatePostgres> postgres_;
};

// Queries may take an hour.
absl::StatusOr<std::unique_ptr<Connection>> OpenConnection(const std::string& url);

// Drops `table` and the schema migration_control, runs `create`, then VACUUM ANALYZE and CHECKPOINT: every variant begins alike.
absl::Status MakeFresh(Connection& sql, const std::string& table, const std::string& create);

}  // namespace migrationd
