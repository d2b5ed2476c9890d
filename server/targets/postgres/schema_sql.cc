#include "server/targets/postgres/schema_sql.h"

#include "target_schema_sql.h"

namespace migrationd {

std::string TargetSchemaSql() {
  std::string sql;
  for (const auto& file : target_schema::kSqlFiles) {
    sql += file.text;
    sql += "\n";
  }
  return sql;
}

}  // namespace migrationd
