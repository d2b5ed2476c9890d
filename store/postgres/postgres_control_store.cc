#include "store/postgres/postgres_control_store.h"

#include <utility>

#include "migrations/model/status_macros.h"
#include "store/postgres/connections.h"
#include "store/postgres/queries.h"
#include "store/postgres/schema.h"

namespace migrationd {

absl::StatusOr<std::unique_ptr<PostgresControlStore>> PostgresControlStore::Create(
    PostgresControlStoreOptions options) {
  if (options.url == nullptr) return absl::InvalidArgumentError("The control store needs a URL.");
  if (options.max_connections < 1)
    return absl::InvalidArgumentError("The control store needs at least one connection.");
  if (options.statement_timeout < absl::Milliseconds(1)) {
    return absl::InvalidArgumentError("The control store's statement timeout must be 1 ms at least.");
  }
  return std::unique_ptr<PostgresControlStore>(new PostgresControlStore(std::move(options)));
}

PostgresControlStore::PostgresControlStore(PostgresControlStoreOptions options)
    : connections_(std::make_unique<Connections>(std::move(options))) {}
PostgresControlStore::~PostgresControlStore() = default;

absl::Status PostgresControlStore::Upgrade() {
  return UpgradeSchema(connections_->transactions, connections_->schema_steps, Contracting::kLeave);
}

absl::Status PostgresControlStore::UpgradeAndContract() {
  return UpgradeSchema(connections_->transactions, connections_->schema_steps, Contracting::kApply);
}

absl::Status PostgresControlStore::CheckSchema() {
  return CheckSchemaVersion(connections_->transactions, connections_->schema_steps);
}

absl::StatusOr<std::string> PostgresControlStore::ControlId() {
  std::string id;
  MD_RETURN_IF_ERROR(
      connections_->transactions.Run(Access::kSnapshot, "reading its identity", [&](Transaction& transaction) {
        id = transaction.Execute(queries::kReadControlId).at(0)[0].as<std::string>();
        return absl::OkStatus();
      }));
  return id;
}

}  // namespace migrationd
