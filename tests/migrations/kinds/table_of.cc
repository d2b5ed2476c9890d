#include "tests/migrations/kinds/table_of.h"

#include "gtest/gtest.h"
#include "migrations/definition/definition.h"
#include "tests/support/temp_postgres.h"

namespace migrationd {

TableFacts FactsOf(const std::string& name, const std::vector<std::pair<std::string, std::string>>& columns,
                   const std::vector<std::string>& primary_key) {
  TableFacts facts;
  facts.schema = "public";
  facts.name = name;
  facts.oid = 4711;
  for (const auto& [column, type] : columns) facts.columns.push_back({.name = column, .type = type, .not_null = true});
  facts.primary_key = primary_key;
  if (!primary_key.empty()) {
    facts.unique_keys = {primary_key};
    facts.leading_columns = {primary_key[0]};
  }
  return facts;
}

TableFacts ReadFacts(pqxx::connection& connection, const std::string& schema, const std::string& name) {
  pqxx::work tx(connection);
  TableFacts facts;
  facts.schema = schema;
  facts.name = name;
  const std::string table = tx.quote_name(schema) + "." + tx.quote_name(name);
  facts.oid = tx.exec1("SELECT " + tx.quote(table) + "::regclass::oid::bigint")[0].as<std::int64_t>();
  for (const auto& row :
       tx.exec("SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated <> '', "
               "coalesce(pg_get_expr(d.adbin, d.adrelid), '') FROM pg_attribute a LEFT JOIN pg_attrdef d ON "
               "d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE a.attrelid = " +
               std::to_string(facts.oid) + " AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum")) {
    facts.columns.push_back({row[0].c_str(), row[1].c_str(), row[2].as<bool>(), row[3].as<bool>(),
                             row[3].as<bool>() ? "" : row[4].c_str()});
  }
  for (const auto& row :
       tx.exec("SELECT a.attname FROM pg_index i CROSS JOIN unnest(i.indkey) WITH ORDINALITY k(n, o) JOIN "
               "pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n WHERE i.indisprimary AND "
               "i.indrelid = " +
               std::to_string(facts.oid) + " ORDER BY k.o")) {
    facts.primary_key.push_back(row[0].c_str());
  }
  facts.unique_keys = {facts.primary_key};
  return facts;
}

absl::StatusOr<MigrationPlan> PlanOf(const std::string& yaml, const TableFacts& table,
                                     const std::map<std::string, std::string>& parameters,
                                     const std::string& migration) {
  const DefinitionResult result = ParseDefinition(yaml);
  for (const DefinitionProblem& problem : result.problems) ADD_FAILURE() << FormatProblem("f", problem);
  PlanContext context;
  context.name = migration;
  context.parameters = parameters;
  return MakePlan(result.definition, table, context);
}

std::string DatabaseWithControlSchema() {
  const std::string url = FreshDatabase();
  pqxx::connection connection(url);
  pqxx::work tx(connection);
  tx.exec(
      "CREATE SCHEMA migration_control; CREATE TABLE migration_control.failed_range "
      "(migration text, key text[], kind text, PRIMARY KEY (migration, key))");
  tx.commit();
  return url;
}

}  // namespace migrationd
