#include "migrations/kinds/batch_queries.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "migrations/definition/sql_lexer.h"
#include "migrations/kinds/identifiers.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

using Values = std::vector<std::pair<std::string, std::string>>;

// "b"."id"
std::vector<std::string> KeyColumns(const MigrationPlan& plan) {
  std::vector<std::string> columns;
  for (const std::string& column : plan.key) {
    columns.push_back(absl::StrCat(QuoteIdentifier(plan.alias), ".", QuoteIdentifier(column)));
  }
  return columns;
}

std::string KeyTexts(const MigrationPlan& plan) {
  return absl::StrJoin(KeyColumns(plan), ", ",
                       [](std::string* out, const std::string& column) { absl::StrAppend(out, column, "::text"); });
}

// $from, $from+1 ..., each cast to the type of its column.
std::vector<std::string> BoundPlaceholders(const MigrationPlan& plan, std::size_t from) {
  std::vector<std::string> placeholders;
  for (std::size_t i = 0; i < plan.key_casts.size(); ++i) {
    placeholders.push_back(absl::StrCat("$", from + i, "::", plan.key_casts[i]));
  }
  return placeholders;
}

// One value as it is, several as a row: a comparison of rows is one index condition, nested ORs are not.
std::string AsRow(const std::vector<std::string>& values) {
  return values.size() == 1 ? values[0] : absl::StrCat("(", absl::StrJoin(values, ", "), ")");
}

std::string FromTable(const MigrationPlan& plan) {
  return absl::StrCat(" FROM ", QualifiedTable(plan), " AS ", QuoteIdentifier(plan.alias));
}

// Rows that are recorded as failed or unchanged. The alias inside must not hide the table's.
std::string NotRecorded(const MigrationPlan& plan, const std::string& migration) {
  const std::string f = plan.alias == "f" ? "ff" : "f";
  return absl::StrCat("NOT EXISTS (SELECT FROM migration_control.failed_range ", f, " WHERE ", f,
                      ".migration = ", QuoteLiteral(migration), " AND ", f, ".key = ARRAY[", KeyTexts(plan), "])");
}

// `where` of the rows that are not recorded. It is not evaluated for the others, since it may be what fails for them: AND promises no
// order, CASE does. Mostly nothing is recorded, which is looked up once.
std::string WhereOfOthers(const std::string& where, const std::string& not_recorded, const std::string& migration) {
  return absl::StrCat("CASE WHEN NOT EXISTS (SELECT FROM migration_control.failed_range WHERE migration = ", QuoteLiteral(migration), ") OR ",
                      not_recorded, " THEN (", where, ") END");
}

Values ParameterValues(const migrationcontrol::v1::MigrationDefinition& definition, const MigrationPlan& plan) {
  Values values;
  for (int i = 0; i < definition.parameters_size(); ++i) {
    values.emplace_back("param." + definition.parameters(i).name(),
                        absl::StrCat("$", 2 * plan.key.size() + 1 + i, "::", plan.parameter_types[i]));
  }
  return values;
}

// Parameters that only the statement names must stand in the queries over `where` too: all take the same placeholders,
// and a placeholder that stands nowhere has no type. It folds to TRUE when planned.
absl::StatusOr<std::string> MentionOthers(const std::string& where, const Values& parameters) {
  MD_ASSIGN_OR_RETURN(const std::vector<SqlToken> tokens, LexSql(where));
  std::string mentions;
  for (const auto& [name, value] : parameters) {
    bool used = false;
    for (const SqlToken& token : tokens) {
      used = used || (token.kind == SqlTokenKind::kPlaceholder && PlaceholderName(token) == name);
    }
    if (!used) absl::StrAppend(&mentions, " AND (", value, " IS NULL OR TRUE)");
  }
  return mentions;
}

std::string NextBound(const MigrationPlan& plan, bool first) {
  return absl::StrCat("SELECT ", KeyTexts(plan), FromTable(plan), " WHERE ", RangePredicate(plan, first), " ORDER BY ",
                      absl::StrJoin(KeyColumns(plan), ", "), " OFFSET $", 2 * plan.key.size() + 1,
                      "::bigint - 1 LIMIT 1");
}

}  // namespace

std::string RangePredicate(const MigrationPlan& plan, bool first) {
  const std::string row = AsRow(KeyColumns(plan));
  return absl::StrCat(row, first ? " >= " : " > ", AsRow(BoundPlaceholders(plan, 1)), " AND ", row,
                      " <= ", AsRow(BoundPlaceholders(plan, plan.key.size() + 1)));
}

absl::Status RenderBatchQueries(const BatchText& text, const migrationcontrol::v1::MigrationDefinition& definition,
                                const std::string& migration, MigrationPlan& plan) {
  const Values parameters = ParameterValues(definition, plan);
  plan.has_where = !text.where.empty();
  MD_ASSIGN_OR_RETURN(const std::string where, RenderSql(text.where, parameters));
  MD_ASSIGN_OR_RETURN(const std::string mentions, MentionOthers(text.where, parameters));
  MD_ASSIGN_OR_RETURN(const std::string all_mentions, MentionOthers("", parameters));
  const std::string not_recorded = NotRecorded(plan, migration);

  for (const bool first : {false, true}) {
    const std::string range = RangePredicate(plan, first);
    const std::string matching = plan.has_where ? absl::StrCat(range, " AND (", where, ")") : range;
    const std::string remaining =
        absl::StrCat(range, " AND ", plan.has_where ? WhereOfOthers(where, not_recorded, migration) : not_recorded);
    const auto work = [&](const std::string& batch) {
      Values values = parameters;
      values.emplace_back("batch", absl::StrCat("(", batch, ")"));
      return RenderSql(text.statement, values);
    };
    MD_ASSIGN_OR_RETURN((first ? plan.work_first : plan.work), work(matching));
    MD_ASSIGN_OR_RETURN((first ? plan.verify_work_first : plan.verify_work), work(remaining));
    (first ? plan.next_bound_first : plan.next_bound) = NextBound(plan, first);
    const std::string from = FromTable(plan);
    (first ? plan.select_keys_first : plan.select_keys) =
        absl::StrCat("SELECT ARRAY[", KeyTexts(plan), "]", from, " WHERE ", RangePredicate(plan, first), " AND ", not_recorded, all_mentions);
    if (!plan.has_where) continue;
    if (first) {
      // SYSTEM reads whole pages, so that a large table costs no more than a small one.
      plan.sample_matching_first =
          absl::StrCat("SELECT count(*) FILTER (WHERE ", where, "), count(*)", from, " TABLESAMPLE SYSTEM ($",
                       2 * plan.key.size() + plan.parameter_types.size() + 1, "::real) WHERE ", range, mentions);
    }
    (first ? plan.count_matching_first : plan.count_matching) =
        absl::StrCat("SELECT count(*)", from, " WHERE ", matching, mentions);
    (first ? plan.count_verify_first : plan.count_verify) =
        absl::StrCat("SELECT count(*)", from, " WHERE ", remaining, mentions);
    (first ? plan.select_unchanged_first : plan.select_unchanged) =
        absl::StrCat("SELECT ARRAY[", KeyTexts(plan), "]", from, " WHERE ", remaining, mentions);
  }
  return absl::OkStatus();
}

}  // namespace migrationd
