// A PostgreSQL cluster of one's own in a folder, on a unix socket only: for `--dev`, and for tests.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace migrationd {

struct PrivatePostgresOptions {
  // The folder; made when missing, together with its parents. The data is in DIR/data, the log in DIR/postgres.log.
  std::string directory;
  // Further settings, `name=value`, as for postgres -c.
  std::vector<std::string> settings;
};

// Started by Start, stopped by Stop or the destructor. When this process runs as root, the server runs as the user `postgres`
// (or `nobody`), since PostgreSQL refuses root. For one thread at a time.
class PrivatePostgres {
 public:
  // initdb on first use, then starts the server and waits until it accepts connections (at most 60 s). A server that an earlier
  // process left running in the same folder is stopped first. FAILED_PRECONDITION: no PostgreSQL installed, or the folder
  // belongs to something else, with what to do. INTERNAL with the end of the log when the server does not start.
  static absl::StatusOr<std::unique_ptr<PrivatePostgres>> Start(const PrivatePostgresOptions& options);
  ~PrivatePostgres();

  // URL of a database of the cluster, for libpq: postgresql:///NAME?host=... The superuser is `postgres`, trusted.
  std::string Url(const std::string& database = "postgres") const;

  // Creates a database unless it exists.
  absl::Status CreateDatabase(const std::string& name);

  // Stops the server: "fast" (default), "immediate" (as a crash) or "smart". Idempotent.
  absl::Status Stop(const std::string& mode = "fast");
  // Starts it again after Stop, on the same data.
  absl::Status Restart();

  const std::string& socket_directory() const { return socket_directory_; }
  static absl::StatusOr<std::string> FindBinaries();

 private:
  PrivatePostgres(PrivatePostgresOptions options, std::string binaries);
  absl::Status Initialize();
  absl::Status LockDirectory();
  absl::Status Launch();

  const PrivatePostgresOptions options_;
  const std::string binaries_;
  std::string socket_directory_;
  bool running_ = false;
  int lock_ = -1;  // of the directory
};

}  // namespace migrationd
