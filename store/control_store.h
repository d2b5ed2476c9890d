// The seam to what the service remembers: definitions, desired state, leases, history. Never the cursor: that lives with the data.
//
// Implementations: PostgresControlStore (store/postgres) and InMemoryControlStore (tests/support); both pass
// tests/store/control_store_conformance.h.
//
// Thread-safety: every method may be called from any thread at any time. Calls block for about the store's statement timeout
// (default 5 s) plus connecting (5 s); Upgrade for up to a minute, while others upgrade. Never call from a gRPC handler thread.
//
// Errors, for every method besides those named at each: UNAVAILABLE when the store cannot be reached, is starting, read-only or out
// of resources, nothing having been recorded except where "unknown outcome" is said; INTERNAL for a bug, with the SQLSTATE.
// Messages never contain a connection string. When a connection is lost at COMMIT, the store finds out by itself whether it took
// place, and does nothing twice; only when it cannot be reached again within the call, IsCommitUnknown(status)
// (migrations/model/failure.h) is true of the UNAVAILABLE: ask again with the same request id.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "migrationcontrol/v1/definition.pb.h"
#include "migrations/model/migration.h"
#include "migrations/model/verbs.h"

namespace migrationd {

// A migration with its definition and, when claimed, its lease.
struct StoredMigration {
  Migration migration;
  // The definition in force, normalized (every default filled in). Never null; shared, since it rarely changes.
  std::shared_ptr<const migrationcontrol::v1::MigrationDefinition> definition;
  std::optional<Lease> lease;
};

struct FreezeRecord {
  std::string target;  // empty: all targets
  std::string actor;
  std::string reason;
  absl::Time since = absl::InfinitePast();
  std::optional<absl::Time> until;
};

// The database behind a target's name, as last seen.
struct TargetIdentity {
  std::string uuid;  // migration_control.identity on the target
  std::string system_identifier;
  std::int64_t database_oid = 0;
  friend bool operator==(const TargetIdentity& a, const TargetIdentity& b) {
    return a.uuid == b.uuid && a.system_identifier == b.system_identifier && a.database_oid == b.database_oid;
  }
};

// All that decisions look at, read in one snapshot.
struct StoreSnapshot {
  absl::Time as_of = absl::InfinitePast();  // database time
  std::vector<StoredMigration> migrations;  // by (target, version, name)
  std::vector<FreezeRecord> freezes;        // not expired ones
  std::map<std::string, TargetIdentity> targets;
};

struct EventRecord {
  std::int64_t sequence = 0;
  std::string target;
  std::string migration;  // name; empty for the service's own
  absl::Time at = absl::InfinitePast();
  std::string kind;
  std::string actor;
  std::string request_id;
  std::string from;
  std::string to;
  std::string reason;
};

// One batch. Written in bulk.
struct JobRecord {
  std::int64_t id = 0;
  std::int32_t lane = 0;
  std::int32_t pass = 0;
  Key lower;
  Key upper;
  std::int64_t rows = 0;
  std::int32_t sub_batches = 0;
  std::int32_t batch_size = 0;
  std::int32_t sub_batch_size = 0;
  absl::Time started_at = absl::InfinitePast();
  absl::Time finished_at = absl::InfinitePast();
  absl::Duration working;
  std::string outcome;  // DONE or INTERRUPTED
  std::string sqlstate;
  std::string message;
  std::int64_t epoch = 0;
};

// A definition that becomes a migration: from the catalogue (catalog_file set) or by RPC.
struct Registration {
  std::string target;
  std::string name;
  std::string version;
  migrationcontrol::v1::MigrationDefinition definition;  // normalized
  std::string digest;
  std::string catalog_file;
  bool start_requested = false;
  bool enqueued = false;
  std::map<std::string, std::string> parameters;
  std::int64_t pause_after_rows = 0;
  std::map<std::string, std::string> labels;
  Sizes sizes;
  Caller caller;
};

struct RegisterResult {
  StoredMigration migration;
  bool created = false;
};

// One mutation by RPC. With a request_id, the second call with the same id answers with the migration as it is and does nothing.
struct MutationContext {
  Caller caller;
  std::string request_id;  // empty: none
  std::string call;        // what is asked, such as "Pause"; the same id with another call is ALREADY_EXISTS
  std::int64_t expected_revision = 0;  // 0: any
  bool validate_only = false;          // decide, but write nothing; the answer is the migration as it is
  // Set by the owner: the mutation happens only while this claim holds (token of the lease row), ABORTED otherwise.
  std::string lease_token;
};

// Decides what a mutation does. Must be pure: it may be called again when another writer was faster.
using MutationFn = std::function<absl::StatusOr<VerbEffect>(const StoredMigration& current, absl::Time now)>;

struct ProgressUpdate {
  MigrationId id;
  std::string lease_token;  // written only while the claim holds; otherwise skipped in silence
  ProgressCounters counters;
  Hold hold;
  std::vector<JobRecord> jobs;
};

struct HoldUpdate {
  MigrationId id;
  Hold hold;
};

struct LeaseKey {
  MigrationId id;
  std::string token;
};

struct JobPage {
  std::vector<JobRecord> jobs;  // newest first
  std::int64_t next_before = 0;  // 0: no more
};
struct EventPage {
  std::vector<EventRecord> events;  // newest first
  std::int64_t next_before = 0;
};

class ControlStore {
 public:
  virtual ~ControlStore() = default;

  // Creates or upgrades the schema under a lock, so that any number of processes may start at once or die half-way. Idempotent.
  // FAILED_PRECONDITION when the schema needs a newer program (`oldest_program`), naming both versions.
  virtual absl::Status Upgrade() = 0;

  // Checks, without changing anything, that the schema is there and this program may use it. FAILED_PRECONDITION otherwise.
  virtual absl::Status CheckSchema() = 0;

  // Identity of this control store, a uuid made at creation. Targets remember it.
  virtual absl::StatusOr<std::string> ControlId() = 0;

  // All migrations that are not deleted, with leases, freezes and targets, in one snapshot.
  virtual absl::StatusOr<StoreSnapshot> Load() = 0;

  // NOT_FOUND when there is none or it was deleted.
  virtual absl::StatusOr<StoredMigration> Get(MigrationId id) = 0;

  // Creates the migration (event DEFINITION in the same transaction) or returns the existing (target, name) as it is.
  // From the catalogue, for an existing one: remembers file and digest; a PENDING one that never began, and was not enqueued with
  // parameters, takes the new definition (event DEFINITION). FAILED_PRECONDITION when the name was deleted (it stays taken).
  // Idempotent.
  virtual absl::StatusOr<RegisterResult> Register(const Registration& registration) = 0;

  // Marks catalogue migrations whose files are gone (and unmarks those that are back). Idempotent.
  virtual absl::Status SetCatalogMissing(const std::vector<MigrationId>& missing, const std::vector<MigrationId>& present) = 0;

  // Reads, asks `decide`, and writes the result guarded by revision, together with its event and the request id, in one transaction.
  // Tries again when another writer was faster, at most ten times (then ABORTED). Returns the migration afterwards. What `decide`
  // changed of hold and progress is written too. INTERNAL: state and what belongs to it disagree (HALTED without a halt, a halt in
  // another state, COMPLETED without finished_at), or the event has no kind.
  // NOT_FOUND. ABORTED: expected_revision differs (message names both), or the lease_token does not hold any more.
  // ALREADY_EXISTS: request_id was used for another call. Otherwise what `decide` returns.
  virtual absl::StatusOr<StoredMigration> Mutate(MigrationId id, const MutationContext& context, const MutationFn& decide) = 0;

  // Removes the migration and its history except events; the name stays taken. NOT_FOUND. ABORTED on a revision mismatch.
  // FAILED_PRECONDITION unless COMPLETED or CANCELLED. Idempotent with a request_id.
  virtual absl::StatusOr<StoredMigration> Delete(MigrationId id, const MutationContext& context) = 0;

  // Claims the migration when nobody holds a live lease on it: fresh token, epoch one higher. nullopt: somebody does, or another
  // claim is under way (SKIP LOCKED). NOT_FOUND. Unknown outcome on UNAVAILABLE: the lease then runs out by itself.
  virtual absl::StatusOr<std::optional<Lease>> Claim(MigrationId id, const std::string& owner, absl::Duration ttl) = 0;

  // Raises the stored epoch to at least `epoch` (a target was ahead of the store). ABORTED when the claim does not hold any more.
  virtual absl::Status RaiseEpoch(const LeaseKey& key, std::int64_t epoch) = 0;

  // Extends the claims that still hold and returns them; an expired lease is never extended.
  virtual absl::StatusOr<std::vector<LeaseKey>> Renew(const std::vector<LeaseKey>& keys, absl::Duration ttl) = 0;

  // Gives claims up. Idempotent: one that does not hold any more is left alone.
  virtual absl::Status Release(const std::vector<LeaseKey>& keys) = 0;

  // Counters, holds and job rows in one transaction, whatever their number.
  virtual absl::Status RecordProgress(const std::vector<ProgressUpdate>& updates) = 0;

  // Holds of migrations that nobody owns; one that was claimed meanwhile is left to its owner. No event, no revision.
  virtual absl::Status RecordHolds(const std::vector<HoldUpdate>& updates) = 0;

  // Appends one event that is not part of a mutation.
  virtual absl::Status AppendEvent(const EventRecord& event) = 0;

  // Pages, newest first, at most `limit` and at most 1000; `before` is 0 or the last page's next_before. INVALID_ARGUMENT: a
  // limit below 1. An unknown id has no rows. The newest 10,000 jobs of each migration are kept; events for ever.
  virtual absl::StatusOr<JobPage> ListJobs(MigrationId id, std::int64_t before, int limit) = 0;
  // `id` nullopt: all. `kinds` empty: all.
  virtual absl::StatusOr<EventPage> ListEvents(std::optional<MigrationId> id, const std::vector<std::string>& kinds,
                                               std::int64_t before, int limit) = 0;

  // Sets or replaces a freeze, with its event. INVALID_ARGUMENT when `until` has passed. Idempotent.
  virtual absl::StatusOr<FreezeRecord> Freeze(const FreezeRecord& freeze, const MutationContext& context) = 0;
  // NOT_FOUND when there is none (a repeated request_id answers OK).
  virtual absl::StatusOr<FreezeRecord> Unfreeze(const std::string& target, const MutationContext& context) = 0;

  // Remembers what stands behind a target's name.
  virtual absl::Status RecordTarget(const std::string& target, const TargetIdentity& identity) = 0;
};

}  // namespace migrationd
