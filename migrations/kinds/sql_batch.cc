// Kind sql_batch: a statement of the user's own over ranges of one table, cut by one of the strategies.
#include <algorithm>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "migrations/definition/sql_lexer.h"
#include "migrations/kinds/batch_queries.h"
#include "migrations/kinds/columns.h"
#include "migrations/kinds/kinds.h"
#include "migrations/kinds/walk_strategy.h"
#include "migrations/kinds/walked_key.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

bool IsIdentifier(const SqlToken& token) {
  return token.kind == SqlTokenKind::kWord || token.kind == SqlTokenKind::kQuotedIdentifier;
}

// The table that an UPDATE at `i` names, without its schema.
std::string UpdatedTable(const std::vector<SqlToken>& tokens, std::size_t i) {
  ++i;
  if (i < tokens.size() && tokens[i].IsWord("ONLY")) ++i;
  while (i + 2 < tokens.size() && tokens[i + 1].IsSymbol('.')) i += 2;
  return i < tokens.size() && IsIdentifier(tokens[i]) ? IdentifierOf(tokens[i]) : "";
}

// Columns set between SET at `i` and the end of the list: `a = 1`, `(b, c) = (2, 3)`.
std::set<std::string> AssignedColumns(const std::vector<SqlToken>& tokens, std::size_t i) {
  const int depth = tokens[i].depth;
  std::set<std::string> assigned;
  bool left_side = true;
  for (++i; i < tokens.size() && tokens[i].depth >= depth; ++i) {
    const SqlToken& token = tokens[i];
    if (token.depth == depth && (token.IsWord("FROM") || token.IsWord("WHERE"))) break;
    if (token.depth == depth && token.IsSymbol('=')) left_side = false;
    if (token.depth == depth && token.IsSymbol(',')) left_side = true;
    if (left_side && IsIdentifier(token)) assigned.insert(IdentifierOf(token));
  }
  return assigned;
}

// A row whose key grows would be met again further on, and one whose key shrinks might never be: no UPDATE of the
// walked table may set a column of the key.
absl::Status CheckKeyIsKept(const std::string& statement, const MigrationPlan& plan) {
  MD_ASSIGN_OR_RETURN(std::vector<SqlToken> tokens, LexSql(statement));
  tokens.erase(std::remove_if(tokens.begin(), tokens.end(), [](const SqlToken& token) { return token.IsComment(); }),
               tokens.end());
  bool updates_walked_table = false;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i].IsWord("UPDATE")) updates_walked_table = UpdatedTable(tokens, i) == plan.table;
    if (!tokens[i].IsWord("SET") || !updates_walked_table) continue;
    updates_walked_table = false;
    const std::set<std::string> assigned = AssignedColumns(tokens, i);
    for (const std::string& column : plan.key) {
      if (assigned.count(column) == 0) continue;
      return absl::FailedPreconditionError(
          absl::StrCat("sql_batch.statement: sets ", column,
                       ", a column of the key that batches are cut by, so rows would move "
                       "under way; cut by another key or change another column"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status PlanSqlBatch(const migrationcontrol::v1::MigrationDefinition& definition, const TableFacts& table,
                          const PlanContext& context, MigrationPlan& plan) {
  const migrationcontrol::v1::SqlBatch& batch = definition.sql_batch();
  const std::string word = migrationcontrol::v1::Strategy_Name(batch.strategy());
  const WalkStrategy* strategy = FindWalkStrategy(std::string(absl::StripPrefix(word, "STRATEGY_")));
  if (strategy == nullptr) return absl::UnimplementedError(absl::StrCat("sql_batch.strategy: ", word, " is not served by this version"));
  const WalkRequest request = {
      .key = {batch.key().begin(), batch.key().end()}, .kind = "sql_batch", .has_where = !batch.where().empty()};
  MD_ASSIGN_OR_RETURN(const std::vector<std::string> alias, ParseQualifiedName(batch.alias(), 1));
  plan.alias = alias.front();
  MD_RETURN_IF_ERROR(strategy->verify().Resolve(table, request, plan));
  MD_RETURN_IF_ERROR(ResolveBounds({batch.min_key().begin(), batch.min_key().end()},
                                   {batch.max_key().begin(), batch.max_key().end()}, "sql_batch", plan));
  MD_RETURN_IF_ERROR(CheckKeyIsKept(batch.statement(), plan));
  const BatchText text = {batch.statement(), batch.where()};
  MD_RETURN_IF_ERROR(RenderBatchQueries(text, definition, context.name, plan, strategy->verify()));

  std::set<std::string> columns(plan.key.begin(), plan.key.end());
  MD_RETURN_IF_ERROR(AddNamedColumns(table, batch.statement(), columns));
  MD_RETURN_IF_ERROR(AddNamedColumns(table, batch.where(), columns));
  plan.column_digest = ColumnDigest(table, plan, columns);
  if (&strategy->verify() == strategy) return absl::OkStatus();
  MigrationPlan first = plan;
  MD_RETURN_IF_ERROR(strategy->Resolve(table, request, first));
  MD_RETURN_IF_ERROR(RenderBatchQueries(text, definition, context.name, first, *strategy));
  plan.first_pass = std::make_shared<const MigrationPlan>(std::move(first));
  return absl::OkStatus();
}

}  // namespace migrationd
