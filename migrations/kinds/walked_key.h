// The key that batches walk along: which columns, of which types, between which bounds.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "migrations/kinds/plan.h"

namespace migrationd {

// Fills key, key_types, key_casts, key_collations and row_key* of `plan`: not-null columns of types that can be walked. `field` is the definition's field of
// them.
absl::Status ResolveColumns(const TableFacts& table, const std::vector<std::string>& wanted, const std::string& field,
                            MigrationPlan& plan);

// The same for columns with a unique index; an empty `wanted` means the primary key.
absl::Status ResolveKey(const TableFacts& table, const std::vector<std::string>& wanted, const std::string& field,
                        MigrationPlan& plan);

// Fills min_key and max_key after ResolveKey. INVALID_ARGUMENT: not values of the key's types, or the lower above the
// upper one.
absl::Status ResolveBounds(const std::vector<std::string>& min_key, const std::vector<std::string>& max_key,
                           const std::string& kind, MigrationPlan& plan);

// On alias and key: exclusive or inclusive lower bound, inclusive upper. A comparison of rows is one index condition, nested ORs are not.
std::string KeyRange(const MigrationPlan& plan, bool first);

}  // namespace migrationd
