// A few connections to the control store, made when needed.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "store/postgres/connection_string.h"
#include "store/postgres/pqxx_compat.h"

namespace migrationd {

struct PoolOptions {
  // Asked at every new connection, so that a rotated secret is picked up. Called from any thread.
  std::function<absl::StatusOr<std::string>()> url;
  int max_connections = 4;
  // How long a caller waits for one of them.
  absl::Duration wait = absl::Seconds(5);
  ConnectionSettings connection;
};

// Thread-safe. Destroy after all leases.
class ConnectionPool {
 public:
  explicit ConnectionPool(PoolOptions options) : options_(std::move(options)) {}

  // A connection for one thread; given back at its end, or closed when it broke.
  class Lease {
   public:
    Lease(ConnectionPool* pool, std::unique_ptr<pqxx::connection> connection, bool used_before)
        : pool_(pool), connection_(std::move(connection)), used_before_(used_before) {}
    Lease(Lease&& other) noexcept = default;
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (connection_ != nullptr) pool_->GiveBack(std::move(connection_));
    }
    pqxx::connection& connection() { return *connection_; }
    // It lay idle before, so the server may have closed it meanwhile.
    bool used_before() const { return used_before_; }

   private:
    ConnectionPool* pool_;
    std::unique_ptr<pqxx::connection> connection_;
    bool used_before_;
  };

  // UNAVAILABLE when none can be made, or all are busy for too long.
  absl::StatusOr<Lease> Acquire();

  // Closes what lies idle: one connection was found broken, so the others are suspect.
  void DropIdle();

 private:
  void GiveBack(std::unique_ptr<pqxx::connection> connection);
  absl::StatusOr<std::unique_ptr<pqxx::connection>> Connect();
  bool HasRoom() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return in_use_ < options_.max_connections; }

  const PoolOptions options_;
  absl::Mutex mutex_;
  int in_use_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::unique_ptr<pqxx::connection>> idle_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace migrationd
