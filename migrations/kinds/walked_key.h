// The key that batches walk along: which columns, of which types, between which bounds.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "migrations/kinds/plan.h"

namespace migrationd {

// Fills key, key_types and key_casts of `plan`; an empty `wanted` means the primary key. `field` is the definition's
// field of it.
absl::Status ResolveKey(const TableFacts& table, const std::vector<std::string>& wanted, const std::string& field,
                        MigrationPlan& plan);

// Fills min_key and max_key after ResolveKey. INVALID_ARGUMENT: not values of the key's types, or the lower above the
// upper one.
absl::Status ResolveBounds(const std::vector<std::string>& min_key, const std::vector<std::string>& max_key,
                           const std::string& kind, MigrationPlan& plan);

}  // namespace migrationd
