// Kind delete_rows: the rows that match a condition are deleted, in ranges of the key.
#include <set>

#include "absl/strings/str_cat.h"
#include "migrations/kinds/batch_queries.h"
#include "migrations/kinds/columns.h"
#include "migrations/kinds/identifiers.h"
#include "migrations/kinds/kinds.h"
#include "migrations/kinds/walked_key.h"
#include "migrations/model/status_macros.h"

namespace migrationd {

absl::Status PlanDeleteRows(const migrationcontrol::v1::MigrationDefinition& definition, const TableFacts& table,
                            const PlanContext& context, MigrationPlan& plan) {
  const migrationcontrol::v1::DeleteRows& rows = definition.delete_rows();
  plan.alias = table.name;
  MD_RETURN_IF_ERROR(ResolveKey(table, {rows.key().begin(), rows.key().end()}, "delete_rows.key", plan));
  const std::string statement =
      absl::StrCat("DELETE FROM ", QualifiedTable(plan), " AS ", QuoteIdentifier(plan.alias), " WHERE {{batch}}");
  MD_RETURN_IF_ERROR(RenderBatchQueries({statement, rows.where()}, definition, context.name, plan));
  std::set<std::string> columns(plan.key.begin(), plan.key.end());
  MD_RETURN_IF_ERROR(AddNamedColumns(table, rows.where(), columns));
  plan.column_digest = ColumnDigest(table, plan, columns);
  return absl::OkStatus();
}

}  // namespace migrationd
