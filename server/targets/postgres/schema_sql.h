// The SQL that makes the schema migration_control, as `migrationctl target-sql` prints it for a DBA. Needs no database.
#pragma once

#include <string>

namespace migrationd {

// Newest version of the schema this program knows, and the oldest one of a target that it can use.
inline constexpr int kTargetSchemaVersion = 1;

// All steps in order; may be run on any database, again and again.
std::string TargetSchemaSql();

}  // namespace migrationd
