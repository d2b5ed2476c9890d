#include "tests/support/next_schema.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/targets/postgres/schema_sql.h"
#include "store/postgres/schema.h"

namespace migrationd {
namespace {

// A column at the end of every table, of a type that everything must be able to skip; an index on it; a new table.
std::string Adding(const std::string& schema) {
  return absl::StrCat(
      "DO $do$ DECLARE one record; BEGIN\n"
      "FOR one IN SELECT c.oid::regclass AS name, c.relname FROM pg_catalog.pg_class AS c\n"
      "           WHERE c.relnamespace = '", schema, "'::regnamespace AND c.relkind = 'r' LOOP\n"
      "  EXECUTE format('ALTER TABLE %s ADD COLUMN IF NOT EXISTS next jsonb NOT NULL DEFAULT ''{\"by\": \"next\"}''', one.name);\n"
      "  EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %s USING gin (next)', 'next_' || one.relname, one.name);\n"
      "END LOOP; END $do$;\n"
      "CREATE TABLE IF NOT EXISTS ", schema, ".next_things (id bigint PRIMARY KEY);\n");
}

// The steps of `now`, which stay where they are, and `adding` and `taking` after them.
SchemaSteps After(const SchemaSteps& now, const std::string& adding, const std::string& taking) {
  std::vector<std::pair<std::string, std::string>> files;
  for (const SchemaStep& step : now.Due({}, Contracting::kApply)) files.emplace_back(step.name, step.sql);
  const int number = static_cast<int>(files.size()) + 1;
  files.emplace_back(absl::StrCat(number, "_next"), adding);
  files.emplace_back(absl::StrCat(number + 1, "_contract"), absl::StrCat("-- contracting: oldest_program ", number, "\n", taking));
  return SchemaSteps::Read(files).value();
}

}  // namespace

const SchemaSteps& NextControlSchemaSteps() {
  static const SchemaSteps steps = After(ControlSchemaSteps(), Adding("migrationd"), "DROP TABLE IF EXISTS migrationd.request CASCADE;\n");
  return steps;
}

const SchemaSteps& NextTargetSchemaSteps() {
  static const SchemaSteps steps =
      After(TargetSchemaSteps(), Adding("migration_control"), "DROP TABLE IF EXISTS migration_control.freeze_flag CASCADE;\n");
  return steps;
}

}  // namespace migrationd
