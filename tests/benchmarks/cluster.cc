#include "tests/benchmarks/cluster.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "migrations/model/status_macros.h"

namespace migrationd {

absl::StatusOr<std::unique_ptr<BenchmarkCluster>> BenchmarkCluster::Start(std::int64_t shared_buffers_mb) {
  std::unique_ptr<BenchmarkCluster> cluster(new BenchmarkCluster);
  // The server may run as another user than this program.
  std::filesystem::permissions(cluster->folder_.path(), std::filesystem::perms(0755));
  PrivatePostgresOptions options;
  options.directory = cluster->folder_.path() + "/pg";
  options.settings = {absl::StrCat("shared_buffers=", shared_buffers_mb, "MB"), "max_wal_size=8GB", "checkpoint_timeout=1h", "autovacuum=off"};
  MD_ASSIGN_OR_RETURN(cluster->postgres_, PrivatePostgres::Start(options));
  return cluster;
}

absl::StatusOr<std::unique_ptr<Connection>> OpenConnection(const std::string& url) {
  return Connection::Open({.url = url, .connect_timeout = absl::Seconds(5), .query_timeout = absl::Hours(1)});
}

absl::Status MakeFresh(Connection& sql, const std::string& table, const std::string& create) {
  MD_RETURN_IF_ERROR(sql.Query(absl::StrCat("DROP TABLE IF EXISTS ", table, "; DROP SCHEMA IF EXISTS migration_control CASCADE")).status());
  MD_RETURN_IF_ERROR(sql.Query(create).status());
  MD_RETURN_IF_ERROR(sql.Query("VACUUM ANALYZE " + table).status());
  return sql.Query("CHECKPOINT").status();
}

}  // namespace migrationd
