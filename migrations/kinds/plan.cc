#include "migrations/kinds/plan.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "migrations/definition/definition.h"
#include "migrations/kinds/columns.h"
#include "migrations/kinds/kinds.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

using migrationcontrol::v1::MigrationDefinition;

// PostgreSQL looks into pg_catalog first where the path does not name it, so that nobody's function stands before the system's. Naming it
// first would do the same, but what `prepare` creates without a schema would be created there. pg_temp last, so that nobody's temporary
// table stands before another.
std::string SearchPath(const TableFacts& table, const std::vector<std::string>& target) {
  std::vector<std::string> schemas = {table.schema};
  schemas.insert(schemas.end(), target.begin(), target.end());
  schemas.push_back("pg_temp");
  std::vector<std::string> path;
  for (const std::string& schema : schemas) {
    const std::string quoted = QuoteIdentifier(schema);
    const bool too_early = schema == "pg_temp" && &schema != &schemas.back();
    if (!too_early && std::find(path.begin(), path.end(), quoted) == path.end()) path.push_back(quoted);
  }
  return absl::StrJoin(path, ", ");
}

absl::Status BindPlanParameters(const MigrationDefinition& definition, const PlanContext& context,
                                MigrationPlan& plan) {
  MD_ASSIGN_OR_RETURN(const auto bound, BindParameters(definition, context.parameters));
  for (const auto& parameter : definition.parameters()) {
    plan.parameter_types.push_back(parameter.type());
    plan.parameter_values.push_back(bound.at(parameter.name()));
  }
  return absl::OkStatus();
}

}  // namespace

const MigrationPlan& PlanOfPass(const MigrationPlan& plan, std::int32_t pass) {
  return pass <= 1 && plan.first_pass != nullptr ? *plan.first_pass : plan;
}

bool HasSameKey(const std::string& column_digest, const std::string& other) {
  const std::size_t end = column_digest.find(kKeyDigestEnd);
  return end != std::string::npos && column_digest.substr(0, end + 1) == other.substr(0, end + 1);
}

std::string TableOf(const MigrationDefinition& definition) {
  if (definition.has_sql_batch()) return definition.sql_batch().table();
  if (definition.has_copy_columns()) return definition.copy_columns().table();
  if (definition.has_delete_rows()) return definition.delete_rows().table();
  // By name, not from the class: who decides whose turn it is need not have the class.
  if (definition.has_native()) {
    const auto table = definition.native().parameters().find("table");
    return table == definition.native().parameters().end() ? "" : table->second;
  }
  return "";
}

bool HasCleanup(const MigrationDefinition& definition) {
  return definition.has_copy_columns() || definition.cleanup().statements_size() > 0;
}

bool CleansUpByItself(const MigrationDefinition& definition) {
  return definition.cleanup().when() == migrationcontrol::v1::CLEANUP_WHEN_AUTO;
}

absl::StatusOr<MigrationPlan> MakePlan(const MigrationDefinition& normalized, const TableFacts& table,
                                       const PlanContext& context) {
  MigrationPlan plan;
  plan.schema = table.schema;
  plan.table = table.name;
  plan.table_oid = table.oid;
  plan.search_path = SearchPath(table, context.target_search_path);
  MD_RETURN_IF_ERROR(BindPlanParameters(normalized, context, plan));
  if (normalized.has_sql_batch()) {
    MD_RETURN_IF_ERROR(PlanSqlBatch(normalized, table, context, plan));
  } else if (normalized.has_copy_columns()) {
    MD_RETURN_IF_ERROR(PlanCopyColumns(normalized, table, context, plan));
  } else if (normalized.has_delete_rows()) {
    MD_RETURN_IF_ERROR(PlanDeleteRows(normalized, table, context, plan));
  } else if (normalized.has_native()) {
    MD_RETURN_IF_ERROR(PlanNative(normalized, table, context, plan));
  } else {
    return absl::UnimplementedError(
        "this kind of migration is not served by this version yet; use sql_batch, copy_columns, delete_rows or native");
  }
  return plan;
}

}  // namespace migrationd
