#include "server/targets/postgres/control_schema.h"

#include "absl/strings/str_cat.h"
#include "migrations/model/failure.h"
#include "migrations/model/status_macros.h"
#include "server/targets/postgres/schema_sql.h"

namespace migrationd {
namespace {

// One lock for whoever makes or upgrades the schema; any number that is ours. IF NOT EXISTS alone loses races.
constexpr char kSchemaLock[] = "SELECT pg_catalog.pg_advisory_xact_lock(7310864215901847213)";

absl::Status WithoutRights(const absl::Status& status, const std::string& what) {
  if (SqlStateOf(status) != "42501") return status;
  return DatabaseError(
      "42501", absl::StrCat("no right to ", what, " the schema migration_control (", std::string(status.message()),
                            "); let a DBA run the output of `migrationctl target-sql`, and the GRANTs "
                            "that its last lines name"));
}

}  // namespace

absl::StatusOr<SchemaVersion> ReadSchemaVersion(Connection& connection, const SchemaSteps& steps) {
  const auto there =
      connection.Query("SELECT pg_catalog.to_regclass('migration_control.schema_version') IS NOT NULL", {});
  if (!there.ok()) return WithoutRights(there.status(), "use");
  if (!there->boolean(0, 0)) return SchemaVersion{};
  const auto found =
      connection.Query("SELECT v.version, v.oldest_program FROM migration_control.schema_version AS v", {});
  if (!found.ok()) return WithoutRights(found.status(), "use");
  if (found->rows() == 0) return SchemaVersion{};
  const SchemaVersion version{.version = static_cast<int>(found->integer(0, 0)),
                              .oldest_program = static_cast<int>(found->integer(0, 1))};
  MD_RETURN_IF_ERROR(steps.CheckProgram(version, "The target's schema migration_control"));
  return version;
}

absl::Status EnsureSchema(Connection& connection, const SchemaSteps& steps, Contracting contracting) {
  MD_ASSIGN_OR_RETURN(SchemaVersion there, ReadSchemaVersion(connection, steps));
  if (steps.Due(there, contracting).empty()) return absl::OkStatus();
  MD_RETURN_IF_ERROR(connection.Query(kSchemaLock).status());
  MD_ASSIGN_OR_RETURN(there, ReadSchemaVersion(connection, steps));
  if (steps.Due(there, contracting).empty()) return absl::OkStatus();
  return WithoutRights(connection.Query(TargetSchemaSql(steps, there, contracting)).status(), "make or upgrade");
}

absl::StatusOr<TargetIdentity> ReadIdentity(Connection& connection, bool schema_there, bool may_create) {
  TargetIdentity identity;
  MD_ASSIGN_OR_RETURN(const QueryResult here,
                      connection.Query("SELECT (SELECT c.system_identifier FROM pg_catalog.pg_control_system() AS c), "
                                       "(SELECT d.oid FROM pg_catalog.pg_database AS d "
                                       "WHERE d.datname = pg_catalog.current_database())",
                                       {}));
  identity.system_identifier = here.text(0, 0);
  identity.database_oid = here.integer(0, 1);
  if (!schema_there) return identity;
  constexpr char kRead[] = "SELECT i.id FROM migration_control.identity AS i";
  auto known = connection.Query(kRead, {});
  if (known.ok() && known->rows() == 0 && may_create) {
    MD_RETURN_IF_ERROR(connection
                           .Query("INSERT INTO migration_control.identity (id, system_identifier, database_oid) "
                                  "VALUES (gen_random_uuid(), $1, $2) ON CONFLICT (singleton) DO NOTHING",
                                  {identity.system_identifier, absl::StrCat(identity.database_oid)})
                           .status());
    known = connection.Query(kRead, {});
  }
  if (!known.ok()) return WithoutRights(known.status(), "use");
  if (known->rows() == 1) identity.uuid = known->text(0, 0);
  return identity;
}

absl::Status CheckWritable(Connection& connection) {
  MD_ASSIGN_OR_RETURN(const QueryResult result, connection.Query("SELECT pg_catalog.pg_is_in_recovery(), "
                                                                 "pg_catalog.current_setting('transaction_read_only')",
                                                                 {}));
  if (result.boolean(0, 0)) return DatabaseError("25006", "the target is a standby (in recovery); name its primary");
  if (result.text(0, 1) == "on") {
    return DatabaseError("25006", "the target accepts no writes (default_transaction_read_only)");
  }
  return absl::OkStatus();
}

}  // namespace migrationd
