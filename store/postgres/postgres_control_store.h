// The control store in PostgreSQL, schema `migrationd`. Works through PgBouncer in transaction mode.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "migrations/model/schema_steps.h"
#include "store/control_store.h"

namespace migrationd {

struct PostgresControlStoreOptions {
  // The connection URL; asked at every new connection, so that a file with a rotated secret is read again. Called from
  // any thread; its error is the error of the call that needed the connection.
  std::function<absl::StatusOr<std::string>()> url;
  int max_connections = 4;
  absl::Duration statement_timeout = absl::Seconds(5);
  // Whole seconds, at least two.
  absl::Duration connect_timeout = absl::Seconds(5);
  // Two words, "migrationd control"; what this program knows of the schema is put after it.
  std::string application_name = "migrationd control";
  // Of this program; tests put the next program's here. Outlives the store.
  const SchemaSteps* schema_steps = nullptr;
};

// Thread-safe. See ControlStore for what each method does. Upgrade may wait up to a minute for other processes that
// upgrade.
class PostgresControlStore final : public ControlStore {
 public:
  // Connects to nothing yet, so it succeeds while the database is away. INVALID_ARGUMENT for options out of range.
  static absl::StatusOr<std::unique_ptr<PostgresControlStore>> Create(PostgresControlStoreOptions options);
  ~PostgresControlStore() override;

  absl::Status Upgrade() override;
  // Upgrade, and the steps that take away what programs before this one no longer use. FAILED_PRECONDITION: a server that
  // still does is connected.
  absl::Status UpgradeAndContract();
  absl::Status CheckSchema() override;
  absl::StatusOr<std::string> ControlId() override;

  absl::StatusOr<StoreSnapshot> Load() override;
  absl::StatusOr<StoredMigration> Get(MigrationId id) override;
  absl::StatusOr<RegisterResult> Register(const Registration& registration) override;
  absl::Status SetCatalogMissing(const std::vector<MigrationId>& missing,
                                 const std::vector<MigrationId>& present) override;
  absl::StatusOr<StoredMigration> Mutate(MigrationId id, const MutationContext& context,
                                         const MutationFn& decide) override;
  absl::StatusOr<StoredMigration> Delete(MigrationId id, const MutationContext& context) override;

  absl::StatusOr<std::optional<Lease>> Claim(MigrationId id, const std::string& owner, absl::Duration ttl) override;
  absl::Status RaiseEpoch(const LeaseKey& key, std::int64_t epoch) override;
  absl::StatusOr<std::vector<LeaseKey>> Renew(const std::vector<LeaseKey>& keys, absl::Duration ttl) override;
  absl::Status Release(const std::vector<LeaseKey>& keys) override;
  absl::Status RecordProgress(const std::vector<ProgressUpdate>& updates) override;
  absl::Status RecordHolds(const std::vector<HoldUpdate>& updates) override;

  absl::Status AppendEvent(const EventRecord& event) override;
  absl::StatusOr<JobPage> ListJobs(MigrationId id, std::int64_t before, int limit) override;
  absl::StatusOr<EventPage> ListEvents(std::optional<MigrationId> id, const std::vector<std::string>& kinds,
                                       std::int64_t before, int limit) override;
  absl::StatusOr<FreezeRecord> Freeze(const FreezeRecord& freeze, const MutationContext& context) override;
  absl::StatusOr<FreezeRecord> Unfreeze(const std::string& target, const MutationContext& context) override;
  absl::Status RecordTarget(const std::string& target, const TargetIdentity& identity) override;

 private:
  struct Connections;
  explicit PostgresControlStore(PostgresControlStoreOptions options);

  const std::unique_ptr<Connections> connections_;
};

}  // namespace migrationd
