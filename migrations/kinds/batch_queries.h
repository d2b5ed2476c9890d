// The statements over one range of keys: the work, what counts its rows, and what finds the next bound.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "migrations/kinds/plan.h"
#include "migrations/kinds/walk_strategy.h"

namespace migrationd {

// What a kind runs over a range: `statement` with {{batch}}, and the condition of rows that still need it (empty: every
// row).
struct BatchText {
  std::string statement;
  std::string where;
};

// Fills in work, verify_work, count_*, select_*, next_bound*, lane_bounds and has_where; key, alias, table and parameters of `plan` must be
// there already.
absl::Status RenderBatchQueries(const BatchText& text, const migrationcontrol::v1::MigrationDefinition& definition,
                                const std::string& migration, MigrationPlan& plan, const WalkStrategy& strategy = KeysetStrategy());

}  // namespace migrationd
