// The SQL that makes the schema migration_control, as `migrationctl target-sql` prints it for a DBA. Needs no database.
#pragma once

#include <string>

#include "migrations/model/schema_steps.h"

namespace migrationd {

// The steps of this program.
const SchemaSteps& TargetSchemaSteps();

// What is to be run, in one transaction, on a target whose schema is `there` ({} for a database without it), with what records it.
// All of it may be run again and again. Empty when nothing is due.
std::string TargetSchemaSql(const SchemaSteps& steps = TargetSchemaSteps(), const SchemaVersion& there = {},
                            Contracting contracting = Contracting::kLeave);

}  // namespace migrationd
