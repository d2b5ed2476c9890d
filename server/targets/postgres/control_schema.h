// The schema migration_control on a target: there, new enough, made when missing.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "migrations/model/schema_steps.h"
#include "server/targets/postgres/connection.h"
#include "store/control_store.h"

namespace migrationd {

// How far the schema is; version 0 when it is not there. FAILED_PRECONDITION: it needs a newer program; no right to look.
absl::StatusOr<SchemaVersion> ReadSchemaVersion(Connection& connection, const SchemaSteps& steps);

// Makes or upgrades it, under a lock until the end of the transaction. FAILED_PRECONDITION (42501): no right to.
absl::Status EnsureSchema(Connection& connection, const SchemaSteps& steps, Contracting contracting);

// Which database this is; makes the uuid when there is none and `may_create`.
absl::StatusOr<TargetIdentity> ReadIdentity(Connection& connection, bool schema_there, bool may_create);

// UNAVAILABLE (25006) on a standby or where nothing may be written.
absl::Status CheckWritable(Connection& connection);

}  // namespace migrationd
