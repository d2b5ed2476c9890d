// The kinds that are served. Each fills in the plan for its part of the definition; name, table and parameters are
// there already.
#pragma once

#include "absl/status/status.h"
#include "migrations/kinds/plan.h"

namespace migrationd {

absl::Status PlanSqlBatch(const migrationcontrol::v1::MigrationDefinition& definition, const TableFacts& table,
                          const PlanContext& context, MigrationPlan& plan);
absl::Status PlanCopyColumns(const migrationcontrol::v1::MigrationDefinition& definition, const TableFacts& table,
                             const PlanContext& context, MigrationPlan& plan);
absl::Status PlanDeleteRows(const migrationcontrol::v1::MigrationDefinition& definition, const TableFacts& table,
                            const PlanContext& context, MigrationPlan& plan);
absl::Status PlanNative(const migrationcontrol::v1::MigrationDefinition& definition, const TableFacts& table,
                        const PlanContext& context, MigrationPlan& plan);

}  // namespace migrationd
