// Identifiers and literals as SQL writes them.
#pragma once

#include <string>

#include "migrations/kinds/plan.h"

namespace migrationd {

// 'quoted', whatever standard_conforming_strings says.
std::string QuoteLiteral(const std::string& text);

// "schema"."table"
std::string QualifiedTable(const MigrationPlan& plan);

// prefix + name + suffix, at most the 63 bytes that PostgreSQL keeps: where it would be cut, the end of `name` becomes
// a hash of all of it, so that two long names stay apart.
std::string BoundedIdentifier(const std::string& prefix, const std::string& name, const std::string& suffix);

}  // namespace migrationd
