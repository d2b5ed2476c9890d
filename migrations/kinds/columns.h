// The columns of a table: looking them up, and which of them a migration depends on.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "migrations/kinds/plan.h"

namespace migrationd {

// `schema.table`, for messages.
std::string TableText(const TableFacts& table);

// FAILED_PRECONDITION naming `field`, the table and what its columns are called.
absl::StatusOr<const ColumnFacts*> FindColumn(const TableFacts& table, const std::string& name,
                                              const std::string& field);

// character varying(20)[] -> character varying[]
std::string TypeWithoutLength(const std::string& type);

// What to cast a value to that is stored in a column of `type`. An explicit cast to a text or bit type with a length cuts in silence, while
// storing what is too long fails and is reported: so the length is left to the column. (`character` without a length would mean
// character(1).)
std::string StoringCast(const std::string& type);

// Adds the columns of the table whose names stand in `sql` as words (folded) or quoted identifiers. More than are meant
// when a function or another table's column has the same name. `sql` was checked already.
absl::Status AddNamedColumns(const TableFacts& table, const std::string& sql, std::set<std::string>& columns);

// MigrationPlan::column_digest: over what matters of these columns, independent of their order in the table, and over the plan's key.
std::string ColumnDigest(const TableFacts& table, const MigrationPlan& plan, const std::set<std::string>& columns);
// Stands between its two parts.
inline constexpr char kKeyDigestEnd = '/';

}  // namespace migrationd
