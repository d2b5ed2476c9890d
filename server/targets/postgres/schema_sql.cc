#include "server/targets/postgres/schema_sql.h"

#include "absl/strings/str_cat.h"
#include "target_schema_sql.h"

namespace migrationd {
namespace {

// greatest(): a DBA may run an old program's output after a new one's.
std::string Recorded(const SchemaStep& step) {
  if (step.contracting()) {
    return absl::StrCat("UPDATE migration_control.schema_version SET oldest_program = greatest(oldest_program, ", step.oldest_program, ");\n");
  }
  return absl::StrCat("UPDATE migration_control.schema_version SET version = greatest(version, ", step.number, ");\n");
}

}  // namespace

const SchemaSteps& TargetSchemaSteps() {
  static const SchemaSteps steps = ReadSchemaSteps(target_schema::kSqlFiles).value();
  return steps;
}

std::string TargetSchemaSql(const SchemaSteps& steps, const SchemaVersion& there, Contracting contracting) {
  std::string sql;
  for (const SchemaStep& step : steps.Due(there, contracting)) absl::StrAppend(&sql, step.sql, "\n", Recorded(step));
  return sql;
}

}  // namespace migrationd
