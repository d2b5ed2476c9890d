// Which SQL may stand in which field of a definition. Pure text rules: what needs a database is checked by preparing it
// there.
//
// Each returns the text without surrounding white space and without trailing semicolons, or INVALID_ARGUMENT saying
// what is wrong and what would be right.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace migrationd {

// Parameters named by a text as {{param.NAME}}; collected into `used` of the rules below.
using ParameterNames = std::set<std::string>;

// sql_batch.statement: one UPDATE, DELETE, INSERT or MERGE (also at the end of WITH), with {{batch}} at least once.
absl::StatusOr<std::string> CheckChangeStatement(std::string_view sql, const ParameterNames& declared,
                                                 ParameterNames& used);

// sql_batch.where: a condition on one row.
absl::StatusOr<std::string> CheckCondition(std::string_view sql, const ParameterNames& declared, ParameterNames& used);

// copy_columns.columns[].expression: as a condition, but without placeholders, since a trigger computes it too.
absl::StatusOr<std::string> CheckExpression(std::string_view sql);

// skip_if and preflight checks: one SELECT, VALUES, TABLE or WITH.
absl::StatusOr<std::string> CheckQuery(std::string_view sql);

// prepare and cleanup: one statement that can run inside a transaction of ours.
absl::StatusOr<std::string> CheckStepStatement(std::string_view sql);

}  // namespace migrationd
