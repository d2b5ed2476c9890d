// Kind copy_columns: columns of a table are copied to other columns of it, and kept equal by a trigger meanwhile.
#include <algorithm>
#include <array>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "migrations/definition/sql_lexer.h"
#include "migrations/kinds/batch_queries.h"
#include "migrations/kinds/columns.h"
#include "migrations/kinds/copy_trigger.h"
#include "migrations/kinds/identifiers.h"
#include "migrations/kinds/kinds.h"
#include "migrations/kinds/walked_key.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

// Casts that succeed for every value, without a length on either side. Everything else may fail and is guarded.
constexpr std::array<std::pair<std::string_view, std::string_view>, 18> kTotalCasts = {{
    {"smallint", "integer"},
    {"smallint", "bigint"},
    {"smallint", "numeric"},
    {"smallint", "double precision"},
    {"smallint", "text"},
    {"integer", "bigint"},
    {"integer", "numeric"},
    {"integer", "double precision"},
    {"integer", "text"},
    {"bigint", "numeric"},
    {"bigint", "text"},
    {"real", "double precision"},
    {"uuid", "text"},
    {"boolean", "text"},
    {"text", "character varying"},
    {"character varying", "text"},
    {"character", "text"},
    {"jsonb", "text"},
}};

bool IsTotalCast(const std::string& from, const std::string& to) {
  if (from == to) return true;
  // Only lengths of texts: numeric(10,2) to numeric may lose nothing, but the way back may.
  const std::string source = absl::StartsWith(from, "character") ? TypeWithoutLength(from) : from;
  return source == to || std::any_of(kTotalCasts.begin(), kTotalCasts.end(),
                                     [&](const auto& cast) { return source == cast.first && to == cast.second; });
}

// A literal with casts, such as 0, 'x'::text or (-1)::numeric(10,2): safe to evaluate in a trigger. nextval(...) or
// now() is not.
absl::StatusOr<bool> IsConstant(const std::string& expression) {
  MD_ASSIGN_OR_RETURN(const std::vector<SqlToken> tokens, LexSql(expression));
  bool in_type = false;
  for (const SqlToken& token : tokens) {
    const bool word = token.kind == SqlTokenKind::kWord || token.kind == SqlTokenKind::kQuotedIdentifier;
    if (token.kind == SqlTokenKind::kNumber || token.kind == SqlTokenKind::kString) continue;
    if (word && (in_type || token.IsWord("TRUE") || token.IsWord("FALSE") || token.IsWord("NULL"))) continue;
    if (token.IsSymbol(':')) in_type = true;
    const std::string_view allowed = in_type ? ":()[],." : "()+-";
    if (token.kind != SqlTokenKind::kSymbol || allowed.find(token.text[0]) == std::string_view::npos) return false;
  }
  return true;
}

absl::Status CheckDefault(const ColumnFacts& destination, const std::string& field) {
  if (destination.default_expression.empty()) return absl::OkStatus();
  MD_ASSIGN_OR_RETURN(const bool constant, IsConstant(destination.default_expression));
  if (constant) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(field, ": column ", destination.name, " has the default ", destination.default_expression,
                   ", which cannot be told from a value that was set explicitly; drop the default first"));
}

absl::Status CheckComparable(const ColumnFacts& column, const std::string& field) {
  if (column.type != "json" && column.type != "xml") return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(field, ": column ", column.name, " is of type ", column.type,
                                                    ", whose values cannot be compared; use jsonb or text"));
}

absl::Status CheckPlain(const ColumnFacts& column, const std::string& field, const std::string& why) {
  if (!column.generated) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(field, ": column ", column.name, " is generated; ", why));
}

// The columns that the value of one copy depends on, in a fixed order.
absl::StatusOr<std::vector<std::string>> SourcesOf(const TableFacts& table,
                                                   const migrationcontrol::v1::ColumnCopy& copy,
                                                   const std::string& path) {
  std::set<std::string> sources = {copy.from()};
  if (!copy.expression().empty()) {
    MD_RETURN_IF_ERROR(AddNamedColumns(table, copy.expression(), sources));
    sources.erase(copy.to());
  }
  for (const std::string& source : sources) {
    const std::string field = path + (source == copy.from() ? ".from" : ".expression");
    MD_ASSIGN_OR_RETURN(const ColumnFacts* column, FindColumn(table, source, field));
    MD_RETURN_IF_ERROR(
        CheckPlain(*column, field, "a trigger cannot see its value; copy the columns that it is made of"));
    MD_RETURN_IF_ERROR(CheckComparable(*column, field));
  }
  return std::vector<std::string>(sources.begin(), sources.end());
}

absl::StatusOr<CopiedColumn> ResolveCopy(const TableFacts& table, const migrationcontrol::v1::ColumnCopy& copy,
                                         const std::string& path, const MigrationPlan& plan) {
  MD_ASSIGN_OR_RETURN(const ColumnFacts* from, FindColumn(table, copy.from(), path + ".from"));
  MD_ASSIGN_OR_RETURN(const ColumnFacts* to, FindColumn(table, copy.to(), path + ".to"));
  if (from == to)
    return absl::FailedPreconditionError(absl::StrCat(path, ".to: is the same column as `from`; name another one"));
  MD_RETURN_IF_ERROR(CheckPlain(*to, path + ".to", "only the database writes it; name an ordinary column"));
  MD_RETURN_IF_ERROR(CheckComparable(*to, path + ".to"));
  MD_RETURN_IF_ERROR(CheckDefault(*to, path + ".to"));
  if (std::find(plan.key.begin(), plan.key.end(), to->name) != plan.key.end()) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, ".to: column ", to->name, " is part of the key, which must not change under way; name another one"));
  }
  CopiedColumn column;
  column.to = to->name;
  column.from = from->name;
  column.cast = StoringCast(to->type);
  MD_ASSIGN_OR_RETURN(column.expression, RenderSql(copy.expression(), {}));
  MD_ASSIGN_OR_RETURN(column.sources, SourcesOf(table, copy, path));
  column.total = copy.expression().empty() && IsTotalCast(from->type, to->type);
  column.to_not_null = to->not_null;
  column.to_default = to->default_expression;
  return column;
}

BatchText BatchOf(const std::vector<CopiedColumn>& columns, const MigrationPlan& plan) {
  const std::string alias = QuoteIdentifier(plan.alias);
  std::vector<std::string> assignments;
  std::vector<std::string> conditions;
  for (const CopiedColumn& column : columns) {
    const std::string value = column.expression.empty()
                                  ? absl::StrCat(alias, ".", QuoteIdentifier(column.from), "::", column.cast)
                                  : column.expression;
    assignments.push_back(absl::StrCat(QuoteIdentifier(column.to), " = (", value, ")"));
    conditions.push_back(absl::StrCat(alias, ".", QuoteIdentifier(column.to), " IS DISTINCT FROM (", value, ")"));
  }
  return {absl::StrCat("UPDATE ", QualifiedTable(plan), " AS ", alias, " SET ", absl::StrJoin(assignments, ", "),
                       " WHERE {{batch}}"),
          absl::StrJoin(conditions, " OR ")};
}

}  // namespace

absl::Status PlanCopyColumns(const migrationcontrol::v1::MigrationDefinition& definition, const TableFacts& table,
                             const PlanContext& context, MigrationPlan& plan) {
  const migrationcontrol::v1::CopyColumns& copy = definition.copy_columns();
  plan.alias = table.name;
  MD_RETURN_IF_ERROR(ResolveKey(table, {copy.key().begin(), copy.key().end()}, "copy_columns.key", plan));
  std::vector<CopiedColumn> columns;
  std::set<std::string> relevant(plan.key.begin(), plan.key.end());
  for (int i = 0; i < copy.columns_size(); ++i) {
    const std::string path = absl::StrCat("copy_columns.columns[", i, "]");
    MD_ASSIGN_OR_RETURN(CopiedColumn column, ResolveCopy(table, copy.columns(i), path, plan));
    relevant.insert(column.to);
    relevant.insert(column.sources.begin(), column.sources.end());
    columns.push_back(std::move(column));
  }
  MD_RETURN_IF_ERROR(RenderBatchQueries(BatchOf(columns, plan), definition, context.name, plan));
  plan.prepare = CreateTriggerStatements(context.name, columns, plan);
  plan.cleanup = DropTriggerStatements(context.name, plan);
  plan.column_digest = ColumnDigest(table, plan, relevant);
  return absl::OkStatus();
}

}  // namespace migrationd
