// The schema migration_control on a target: there, new enough, made when missing.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/targets/postgres/connection.h"
#include "store/control_store.h"

namespace migrationd {

// Whether the schema is there and as new as this program wants it. FAILED_PRECONDITION: it needs a newer program; no
// right to look.
absl::StatusOr<bool> SchemaReady(Connection& connection);

// Makes or upgrades it, under a lock until the end of the transaction. FAILED_PRECONDITION (42501): no right to.
absl::Status EnsureSchema(Connection& connection);

// Which database this is; makes the uuid when there is none and `may_create`.
absl::StatusOr<TargetIdentity> ReadIdentity(Connection& connection, bool schema_ready, bool may_create);

// UNAVAILABLE (25006) on a standby or where nothing may be written.
absl::Status CheckWritable(Connection& connection);

}  // namespace migrationd
