#include "store/postgres/connection_pool.h"

#include <exception>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "migrations/model/status_macros.h"
#include "store/postgres/sql_error.h"

namespace migrationd {

absl::StatusOr<ConnectionPool::Lease> ConnectionPool::Acquire() {
  {
    absl::MutexLock lock(&mutex_);
    const auto has_room = +[](ConnectionPool* self) ABSL_NO_THREAD_SAFETY_ANALYSIS { return self->HasRoom(); };
    if (!mutex_.AwaitWithTimeout(absl::Condition(has_room, this), options_.wait)) {
      return absl::UnavailableError(
          absl::StrCat("All ", options_.max_connections,
                       " connections to the control store are busy. Nothing was recorded; try again."));
    }
    ++in_use_;
    if (!idle_.empty()) {
      std::unique_ptr<pqxx::connection> connection = std::move(idle_.back());
      idle_.pop_back();
      return Lease(this, std::move(connection), /*used_before=*/true);
    }
  }
  auto connection = Connect();
  if (!connection.ok()) {
    absl::MutexLock lock(&mutex_);
    --in_use_;
    return connection.status();
  }
  return Lease(this, *std::move(connection), /*used_before=*/false);
}

absl::StatusOr<std::unique_ptr<pqxx::connection>> ConnectionPool::Connect() {
  MD_ASSIGN_OR_RETURN(const std::string url, options_.url());
  MD_ASSIGN_OR_RETURN(const std::string text, CompleteConnectionString(url, options_.connection));
  try {
    return pqxx_compat::Connect(text);
  } catch (const std::exception& error) {
    return StatusFromConnectFailure(error);
  }
}

void ConnectionPool::GiveBack(std::unique_ptr<pqxx::connection> connection) {
  if (!connection->is_open()) connection.reset();  // closed outside of the lock
  absl::MutexLock lock(&mutex_);
  --in_use_;
  if (connection != nullptr) idle_.push_back(std::move(connection));
}

void ConnectionPool::DropIdle() {
  std::vector<std::unique_ptr<pqxx::connection>> dropped;
  absl::MutexLock lock(&mutex_);
  dropped.swap(idle_);
}

}  // namespace migrationd
