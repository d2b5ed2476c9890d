// The trigger of copy_columns: keeps destinations right for rows that the application writes meanwhile.
#pragma once

#include <string>
#include <vector>

#include "migrations/kinds/plan.h"

namespace migrationd {

// One column to keep right.
struct CopiedColumn {
  std::string to;
  // The source, and the type that it is cast to; unused with an expression.
  std::string from;
  std::string cast;
  // The user's expression over bare column names; empty: a cast.
  std::string expression;
  // Columns whose change changes the value.
  std::vector<std::string> sources;
  // No value of the source can make it fail.
  bool total = false;
  bool to_not_null = false;
  // A constant that new rows have where nobody set the destination; empty: NULL.
  std::string to_default;
};

// A function in migration_control and two triggers: BEFORE INSERT, and BEFORE UPDATE when a source changed. They sort
// behind every other trigger, so they see what those made of the row. A destination that was set explicitly is kept; an
// error of a cast that is not total leaves the destination as it was, and VERIFY reports the row. Each statement may be
// repeated.
std::vector<std::string> CreateTriggerStatements(const std::string& migration, const std::vector<CopiedColumn>& columns,
                                                 const MigrationPlan& plan);
std::vector<std::string> DropTriggerStatements(const std::string& migration, const MigrationPlan& plan);

}  // namespace migrationd
