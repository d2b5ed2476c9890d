// The control store for tests: in memory, with a database clock that the test moves.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "store/control_store.h"

namespace migrationd {

// Thread-safe. Passes the same suite as PostgresControlStore, so it promises what that promises.
class InMemoryControlStore final : public ControlStore {
 public:
  explicit InMemoryControlStore(absl::Time now = absl::FromUnixSeconds(1'800'000'000)) : now_(now) {}

  // Moves the database clock. Leases expire by it.
  void Advance(absl::Duration duration);
  absl::Time now() const;

  // While unavailable, every method is UNAVAILABLE and nothing changes.
  void set_available(bool available);
  // While it does not take progress, RecordProgress is UNAVAILABLE.
  void set_takes_progress(bool takes);

  absl::Status Upgrade() override;
  absl::Status CheckSchema() override;
  absl::StatusOr<std::string> ControlId() override;

  absl::StatusOr<StoreSnapshot> Load() override;
  absl::StatusOr<StoredMigration> Get(MigrationId id) override;
  absl::StatusOr<RegisterResult> Register(const Registration& registration) override;
  absl::Status SetCatalogMissing(const std::vector<MigrationId>& missing, const std::vector<MigrationId>& present) override;
  absl::StatusOr<StoredMigration> Mutate(MigrationId id, const MutationContext& context, const MutationFn& decide) override;
  absl::StatusOr<StoredMigration> Delete(MigrationId id, const MutationContext& context) override;

  absl::StatusOr<std::optional<Lease>> Claim(MigrationId id, const std::string& owner, absl::Duration ttl) override;
  absl::Status RaiseEpoch(const LeaseKey& key, std::int64_t epoch) override;
  absl::StatusOr<std::vector<LeaseKey>> Renew(const std::vector<LeaseKey>& keys, absl::Duration ttl) override;
  absl::Status Release(const std::vector<LeaseKey>& keys) override;
  absl::Status RecordProgress(const std::vector<ProgressUpdate>& updates) override;
  absl::Status RecordHolds(const std::vector<HoldUpdate>& updates) override;

  absl::Status AppendEvent(const EventRecord& event) override;
  absl::StatusOr<JobPage> ListJobs(MigrationId id, std::int64_t before, int limit) override;
  absl::StatusOr<EventPage> ListEvents(std::optional<MigrationId> id, const std::vector<std::string>& kinds, std::int64_t before,
                                       int limit) override;
  absl::StatusOr<FreezeRecord> Freeze(const FreezeRecord& freeze, const MutationContext& context) override;
  absl::StatusOr<FreezeRecord> Unfreeze(const std::string& target, const MutationContext& context) override;
  absl::Status RecordTarget(const std::string& target, const TargetIdentity& identity) override;

 private:
  struct Row {
    StoredMigration stored;  // its lease is the claim, live or expired; `live` is judged when it is read
    std::int64_t epoch = 0;  // outlives the claim
    std::vector<JobRecord> jobs;
    std::int64_t last_job = 0;
    bool deleted = false;
  };
  struct Request {
    std::string call;
    std::string subject;
    std::optional<FreezeRecord> answer;
    absl::Time at;
  };

  absl::Status CheckAvailable() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Null: there is none, or it was deleted.
  Row* Find(MigrationId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  StoredMigration Read(const Row& row) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Holds(const Row& row, const std::string& token) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsClaimed(const Row& row) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Null: new, or no request id. ALREADY_EXISTS.
  absl::StatusOr<const Request*> FindRequest(const MutationContext& context, const std::string& subject)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void KeepRequest(const MutationContext& context, const std::string& subject, std::optional<FreezeRecord> answer)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Append(EventRecord event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Write(Row& row, const VerbEffect& effect, const EventRecord& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status UpdateFromCatalog(Row& row, const Registration& registration) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The checks that Mutate and Delete begin with.
  absl::StatusOr<Row*> FindForMutation(MigrationId id, const MutationContext& context) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  const FreezeRecord* FreezeInForce(const std::string& target) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  absl::Time now_ ABSL_GUARDED_BY(mutex_);
  bool available_ ABSL_GUARDED_BY(mutex_) = true;
  bool takes_progress_ ABSL_GUARDED_BY(mutex_) = true;
  std::map<MigrationId, Row> rows_ ABSL_GUARDED_BY(mutex_);
  std::vector<EventRecord> events_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Request> requests_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, FreezeRecord> freezes_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, TargetIdentity> targets_ ABSL_GUARDED_BY(mutex_);
  std::int64_t tokens_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace migrationd
