#include "migrations/kinds/columns.h"

#include <algorithm>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "migrations/definition/digest.h"
#include "migrations/definition/sql_lexer.h"
#include "migrations/definition/text_rules.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

constexpr std::size_t kMostColumnsShown = 20;

const ColumnFacts* Lookup(const TableFacts& table, const std::string& name) {
  const auto found = std::find_if(table.columns.begin(), table.columns.end(),
                                  [&](const ColumnFacts& column) { return column.name == name; });
  return found == table.columns.end() ? nullptr : &*found;
}

// "did you mean id?" or what there is.
std::string Suggestion(const TableFacts& table, const std::string& name) {
  std::vector<std::string> names;
  for (const ColumnFacts& column : table.columns) names.push_back(column.name);
  const std::string closest = ClosestTo(name, names);
  if (!closest.empty()) return absl::StrCat("did you mean ", closest, "?");
  if (names.size() > kMostColumnsShown) {
    names.resize(kMostColumnsShown);
    names.push_back("...");
  }
  return absl::StrCat("it has ", absl::StrJoin(names, ", "));
}

// Values of whole numbers have one order, whatever their size. Others are ordered by their type, and texts by their collation.
std::string OrderOf(const std::string& cast, const std::string& collation) {
  const bool number = cast == "smallint" || cast == "integer" || cast == "bigint";
  return number ? "number" : absl::StrCat(cast, " ", collation);
}

std::string KeyDigest(const TableFacts& table, const MigrationPlan& plan) {
  std::string facts;
  for (std::size_t i = 0; i < plan.key.size(); ++i) {
    const ColumnFacts* column = Lookup(table, plan.key[i]);
    facts.append(plan.key[i]).push_back('\0');
    facts.append(OrderOf(plan.key_casts[i], column == nullptr ? "" : column->collation)).push_back('\0');
  }
  return Sha256Hex(facts);
}

}  // namespace

std::string TableText(const TableFacts& table) { return absl::StrCat(table.schema, ".", table.name); }

absl::StatusOr<const ColumnFacts*> FindColumn(const TableFacts& table, const std::string& name,
                                              const std::string& field) {
  if (const ColumnFacts* column = Lookup(table, name)) return column;
  return absl::FailedPreconditionError(absl::StrCat(field, ": table ", TableText(table), " has no column '",
                                                    Shown(name), "'; ", Suggestion(table, name)));
}

std::string TypeWithoutLength(const std::string& type) {
  const std::size_t open = type.find('(');
  const std::size_t close = type.find(')', open == std::string::npos ? 0 : open);
  if (open == std::string::npos || close == std::string::npos) return type;
  return type.substr(0, open) + type.substr(close + 1);
}

std::string StoringCast(const std::string& type) {
  if (absl::StartsWith(type, "character varying(") || absl::StartsWith(type, "bit varying("))
    return TypeWithoutLength(type);
  if (absl::StartsWith(type, "character(")) return absl::StrCat("bpchar", type.substr(type.find(')') + 1));
  if (absl::StartsWith(type, "bit(")) return absl::StrCat("bit varying", type.substr(type.find(')') + 1));
  return type;
}

absl::Status AddNamedColumns(const TableFacts& table, const std::string& sql, std::set<std::string>& columns) {
  MD_ASSIGN_OR_RETURN(const std::vector<SqlToken> tokens, LexSql(sql));
  for (const SqlToken& token : tokens) {
    if (token.kind != SqlTokenKind::kWord && token.kind != SqlTokenKind::kQuotedIdentifier) continue;
    const std::string name = IdentifierOf(token);
    if (Lookup(table, name) != nullptr) columns.insert(name);
  }
  return absl::OkStatus();
}

std::string ColumnDigest(const TableFacts& table, const MigrationPlan& plan, const std::set<std::string>& columns) {
  std::string facts;
  for (const std::string& name : columns) {
    const ColumnFacts* column = Lookup(table, name);
    if (column == nullptr) continue;
    // A zero byte ends each part: no name or type can hold one.
    facts.append(column->name).push_back('\0');
    facts.append(column->type).push_back('\0');
    facts.append(column->collation).push_back('\0');
    facts.append(column->not_null ? "not null" : "null").push_back('\0');
    facts.append(column->generated ? "generated" : "").push_back('\0');
  }
  return absl::StrCat(KeyDigest(table, plan), std::string(1, kKeyDigestEnd), Sha256Hex(facts));
}

}  // namespace migrationd
