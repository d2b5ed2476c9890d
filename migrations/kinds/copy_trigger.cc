#include "migrations/kinds/copy_trigger.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "migrations/definition/digest.h"
#include "migrations/kinds/identifiers.h"

namespace migrationd {
namespace {

std::string FunctionName(const std::string& migration) {
  return absl::StrCat("migration_control.", QuoteIdentifier(BoundedIdentifier("copy_", migration, "")));
}

std::string TriggerName(const std::string& migration, const std::string& event) {
  return QuoteIdentifier(BoundedIdentifier("zzz_migrationd_", migration, "_" + event));
}

std::string New(const std::string& column) { return absl::StrCat("NEW.", QuoteIdentifier(column)); }
std::string Old(const std::string& column) { return absl::StrCat("OLD.", QuoteIdentifier(column)); }

std::string Changed(const std::vector<std::string>& columns) {
  return absl::StrJoin(columns, " OR ", [](std::string* out, const std::string& column) {
    absl::StrAppend(out, Old(column), " IS DISTINCT FROM ", New(column));
  });
}

// The value as PL/pgSQL computes it. A user's expression names bare columns, so it gets the new row as a table of that
// name.
std::string Value(const CopiedColumn& column, const MigrationPlan& plan) {
  std::string value = absl::StrCat(New(column.from), "::", column.cast);
  if (!column.expression.empty()) {
    value = absl::StrCat("(SELECT (", column.expression, ") FROM (SELECT NEW.*) AS ", QuoteIdentifier(plan.alias), ")");
  }
  // NULL would break the application's write where the column is NOT NULL; what stood there is kept for VERIFY to
  // report.
  return column.to_not_null ? absl::StrCat("coalesce(", value, ", ", New(column.to), ")") : value;
}

std::string Unset(const CopiedColumn& column) {
  if (column.to_default.empty()) return absl::StrCat(New(column.to), " IS NULL");
  return absl::StrCat("(", New(column.to), " IS NULL OR ", New(column.to), " IS NOT DISTINCT FROM ", column.to_default,
                      ")");
}

std::string ColumnBlock(const CopiedColumn& column, const MigrationPlan& plan) {
  const std::string assignment = absl::StrCat(New(column.to), " := ", Value(column, plan), ";");
  std::string block = absl::StrCat(
      "  IF TG_OP = 'INSERT' THEN\n"
      "    migrationd_fill := ",
      Unset(column), ";\n  ELSE\n    migrationd_fill := (", Changed(column.sources), ") AND ", New(column.to),
      " IS NOT DISTINCT FROM ", Old(column.to), ";\n  END IF;\n  IF migrationd_fill THEN\n");
  if (column.total) {
    absl::StrAppend(&block, "    ", assignment, "\n");
  } else {
    // A cancelled query is not among OTHERS: it stays cancelled.
    absl::StrAppend(&block, "    BEGIN\n      ", assignment,
                    "\n    EXCEPTION WHEN OTHERS THEN\n      NULL;\n    END;\n");
  }
  return block + "  END IF;\n";
}

// A dollar quote that the body does not hold.
std::string QuoteBody(const std::string& body) {
  std::string tag = "$migrationd$";
  while (body.find(tag) != std::string::npos)
    tag = absl::StrCat("$migrationd_", Sha256Hex(body + tag).substr(0, 8), "$");
  return absl::StrCat(tag, body, tag);
}

std::string DropTrigger(const std::string& migration, const std::string& event, const MigrationPlan& plan) {
  return absl::StrCat("DROP TRIGGER IF EXISTS ", TriggerName(migration, event), " ON ", QualifiedTable(plan));
}

std::string CreateTrigger(const std::string& migration, const std::string& event, const std::string& condition,
                          const MigrationPlan& plan) {
  return absl::StrCat("CREATE TRIGGER ", TriggerName(migration, event), " BEFORE ",
                      event == "insert" ? "INSERT" : "UPDATE", " ON ", QualifiedTable(plan), " FOR EACH ROW",
                      condition.empty() ? "" : absl::StrCat(" WHEN (", condition, ")"), " EXECUTE FUNCTION ",
                      FunctionName(migration), "()");
}

}  // namespace

std::vector<std::string> CreateTriggerStatements(const std::string& migration, const std::vector<CopiedColumn>& columns,
                                                 const MigrationPlan& plan) {
  // Names in a user's expression are columns, whatever variables there are.
  std::string body = "\n#variable_conflict use_column\nDECLARE\n  migrationd_fill boolean;\nBEGIN\n";
  std::set<std::string> sources;
  for (const CopiedColumn& column : columns) {
    absl::StrAppend(&body, ColumnBlock(column, plan));
    sources.insert(column.sources.begin(), column.sources.end());
  }
  absl::StrAppend(&body, "  RETURN NEW;\nEND\n");
  return {
      absl::StrCat("CREATE OR REPLACE FUNCTION ", FunctionName(migration),
                   "() RETURNS trigger LANGUAGE plpgsql SET search_path = ", plan.search_path, " AS ", QuoteBody(body)),
      DropTrigger(migration, "insert", plan), CreateTrigger(migration, "insert", "", plan),
      DropTrigger(migration, "update", plan),
      CreateTrigger(migration, "update", Changed({sources.begin(), sources.end()}), plan)};
}

std::vector<std::string> DropTriggerStatements(const std::string& migration, const MigrationPlan& plan) {
  return {DropTrigger(migration, "insert", plan), DropTrigger(migration, "update", plan),
          absl::StrCat("DROP FUNCTION IF EXISTS ", FunctionName(migration), "()")};
}

}  // namespace migrationd
