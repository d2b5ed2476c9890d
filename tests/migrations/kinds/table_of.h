// Tables and plans for the tests of kinds.
#pragma once

#include <map>
#include <pqxx/pqxx>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "migrations/kinds/plan.h"

namespace migrationd {

// A table of name public.`name` with these columns (name, type), all not null, and that primary key.
TableFacts FactsOf(const std::string& name, const std::vector<std::pair<std::string, std::string>>& columns,
                   const std::vector<std::string>& primary_key);

// What a real database says of it.
TableFacts ReadFacts(pqxx::connection& connection, const std::string& schema, const std::string& name);

// Parses (failing the test on problems) and plans.
absl::StatusOr<MigrationPlan> PlanOf(const std::string& yaml, const TableFacts& table,
                                     const std::map<std::string, std::string>& parameters = {},
                                     const std::string& migration = "backfill");

// A fresh database with the schema migration_control as far as rendered statements name it.
std::string DatabaseWithControlSchema();

}  // namespace migrationd
