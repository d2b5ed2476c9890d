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

// The texts of the columns by which rows are recorded.
std::string KeyTexts(const MigrationPlan& plan) {
  return absl::StrJoin(OnAlias(plan, plan.row_key), ", ",
                       [](std::string* out, const std::string& column) { absl::StrAppend(out, column, "::text"); });
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

// The placeholders of the range, for a query that does not ask for it: as MentionOthers.
std::string MentionRange(const MigrationPlan& plan) {
  std::string mentions;
  for (std::size_t i = 0; i < 2 * plan.key.size(); ++i) {
    absl::StrAppend(&mentions, " AND ($", i + 1, "::", plan.key_casts[i % plan.key.size()], " IS NULL OR TRUE)");
  }
  return mentions;
}

// What tells rows apart until the transaction ends, as text[]: the key, or, where several rows share one, the place of the row version.
std::string Identity(const MigrationPlan& plan, const WalkTraits& traits) {
  if (!traits.rows_share_keys) return absl::StrCat("ARRAY[", KeyTexts(plan), "]");
  const std::string alias = QuoteIdentifier(plan.alias);
  return absl::StrCat("ARRAY[", alias, ".tableoid::text, ", alias, ".ctid::text]");
}

// Whether a row is one of md_turn, after the work.
std::string HadTurn(const MigrationPlan& plan, const WalkTraits& traits) {
  const std::string listed = absl::StrCat(Identity(plan, traits), "::text IN (SELECT md_turn.md_key FROM md_turn)");
  // The work gave rows that it changed another place, and made it visible that it did.
  if (traits.rows_share_keys) {
    return absl::StrCat("(", QuoteIdentifier(plan.alias), ".xmin = pg_catalog.pg_current_xact_id()::xid OR ", listed, ")");
  }
  if (!traits.work_moves_rows) return listed;
  // They may be anywhere in the table: looked up by their key, with its types, so that its index serves.
  std::vector<std::string> values;
  for (std::size_t i = 0; i < plan.row_key_casts.size(); ++i) {
    values.push_back(absl::StrCat("(md_turn.md_key::text[])[", i + 1, "]::", plan.row_key_casts[i]));
  }
  return absl::StrCat("(", absl::StrJoin(OnAlias(plan, plan.row_key), ", "), ") IN (SELECT ", absl::StrJoin(values, ", "), " FROM md_turn)");
}

}  // namespace

absl::Status RenderBatchQueries(const BatchText& text, const migrationcontrol::v1::MigrationDefinition& definition,
                                const std::string& migration, MigrationPlan& plan, const WalkStrategy& strategy) {
  const Values parameters = ParameterValues(definition, plan);
  plan.has_where = !text.where.empty();
  MD_ASSIGN_OR_RETURN(const std::string where, RenderSql(text.where, parameters));
  MD_ASSIGN_OR_RETURN(const std::string mentions, MentionOthers(text.where, parameters));
  MD_ASSIGN_OR_RETURN(const std::string all_mentions, MentionOthers("", parameters));
  const std::string not_recorded = NotRecorded(plan, migration);
  const WalkTraits traits = strategy.traits();
  plan.rows_share_keys = traits.rows_share_keys;
  const std::string select_keys = absl::StrCat(traits.rows_share_keys ? "SELECT DISTINCT" : "SELECT", " ARRAY[", KeyTexts(plan), "]");
  plan.lane_bounds = strategy.LaneBounds(plan);

  for (const bool first : {false, true}) {
    const std::string range = strategy.Range(plan, first);
    (first ? plan.range_first : plan.range) = range;
    const std::string matching = plan.has_where ? absl::StrCat(range, " AND (", where, ")") : range;
    const std::string others = plan.has_where ? WhereOfOthers(where, not_recorded, migration) : not_recorded;
    const std::string remaining = absl::StrCat(range, " AND ", others);
    const auto work = [&](const std::string& batch) {
      Values values = parameters;
      values.emplace_back("batch", absl::StrCat("(", batch, ")"));
      return RenderSql(text.statement, values);
    };
    MD_ASSIGN_OR_RETURN((first ? plan.work_first : plan.work), work(traits.work_moves_rows ? remaining : matching));
    MD_ASSIGN_OR_RETURN((first ? plan.verify_work_first : plan.verify_work), work(remaining));
    (first ? plan.next_bound_first : plan.next_bound) = strategy.NextBound(plan, first);
    const std::string from = FromTable(plan);
    (first ? plan.select_keys_first : plan.select_keys) =
        absl::StrCat(select_keys, from, " WHERE ", range, " AND ", not_recorded, all_mentions);
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
        absl::StrCat("SELECT ", Identity(plan, traits), from, " WHERE ", remaining, mentions);
    const std::string still = traits.work_moves_rows ? absl::StrCat(others, MentionRange(plan)) : remaining;
    (first ? plan.select_left_first : plan.select_left) =
        absl::StrCat("SELECT ARRAY[", KeyTexts(plan), "]", from, " WHERE ", still, mentions, " AND ", HadTurn(plan, traits));
  }
  return absl::OkStatus();
}

}  // namespace migrationd
