#include "server/targets/postgres/plan_choice.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "migrations/kinds/identifiers.h"
#include "migrations/model/status_macros.h"
#include "server/targets/postgres/sub_batch_sql.h"

namespace migrationd {
namespace {

// Rows of the range that the plans are made for.
constexpr int kRangeRows = 1000;

std::string Literals(const Parameters& values) {
  return absl::StrJoin(values, ", ", [](std::string* out, const std::optional<std::string>& value) {
    absl::StrAppend(out, value.has_value() ? QuoteLiteral(*value) : "NULL");
  });
}

absl::StatusOr<std::vector<std::string>> Explain(Connection& connection, const std::string& mode, const Parameters& values) {
  MD_RETURN_IF_ERROR(connection.Query("SET plan_cache_mode = " + mode).status());
  MD_ASSIGN_OR_RETURN(const QueryResult plan, connection.Query(absl::StrCat("EXPLAIN (COSTS OFF) EXECUTE md_probe(", Literals(values), ")")));
  std::vector<std::string> lines;
  for (int row = 0; row < plan.rows(); ++row) lines.push_back(plan.text(row, 0));
  return PlanShape(lines);
}

absl::StatusOr<bool> SameShape(Connection& connection, const std::string& sql, const std::vector<std::string>& types, const Parameters& values) {
  MD_RETURN_IF_ERROR(connection.Query(absl::StrCat("PREPARE md_probe (", absl::StrJoin(types, ", "), ") AS ", Embedded(sql))).status());
  const auto own = Explain(connection, "force_custom_plan", values);
  const auto one = Explain(connection, "force_generic_plan", values);
  MD_RETURN_IF_ERROR(connection.Query("DEALLOCATE md_probe; RESET plan_cache_mode").status());
  return own.ok() && one.ok() && *own == *one;
}

absl::StatusOr<bool> SameShapes(Connection& connection, const LaneOptions& options) {
  const MigrationPlan& plan = *options.plan;
  const SubBatchStatements statements = StatementsFor(plan, /*first=*/false, /*verify=*/false);
  const Key& lower = options.range.cursor.empty() ? options.range.lower : options.range.cursor;
  Parameters bound_values(lower.begin(), lower.end());
  bound_values.insert(bound_values.end(), options.range.upper.begin(), options.range.upper.end());
  bound_values.push_back(absl::StrCat(kRangeRows));
  std::vector<std::string> types = plan.key_casts;
  types.insert(types.end(), plan.key_casts.begin(), plan.key_casts.end());
  std::vector<std::string> bound_types = types;
  bound_types.push_back("bigint");
  MD_ASSIGN_OR_RETURN(const bool bounds_alike, SameShape(connection, statements.bound, bound_types, bound_values));
  if (!bounds_alike) return false;
  MD_ASSIGN_OR_RETURN(const QueryResult found, connection.Query(statements.bound, bound_values));
  Key upper = options.range.upper;
  for (std::size_t i = 0; found.rows() == 1 && i < upper.size(); ++i) upper[i] = found.text(0, static_cast<int>(i));
  types.insert(types.end(), plan.parameter_types.begin(), plan.parameter_types.end());
  return SameShape(connection, statements.work, types, WorkParameters(plan, lower, upper));
}

}  // namespace

std::vector<std::string> PlanShape(const std::vector<std::string>& lines) {
  std::vector<std::string> shape;
  for (const std::string& line : lines) {
    // "Index Cond: (id > 5)"; a node has no colon behind its first words: "->  Index Scan using t_pkey on t b".
    const std::string text(absl::StripLeadingAsciiWhitespace(line));
    const std::size_t colon = text.find(": ");
    const bool node = absl::StartsWith(text, "->") || shape.empty() || colon == std::string::npos;
    if (node) shape.push_back(line);
  }
  return shape;
}

bool OnePlanIsAsGood(Connection& connection, const LaneOptions& options) {
  if (options.pass > 1 || options.range.upper.empty()) return false;
  const auto same = SameShapes(connection, options);
  return same.ok() && *same;
}

}  // namespace migrationd
