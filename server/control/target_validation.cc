// Validate against the target: what can be known of a definition without writing a row.
#include <utility>

#include "absl/strings/str_cat.h"
#include "migrations/kinds/plan.h"
#include "migrations/model/status_macros.h"
#include "server/control/controller.h"

namespace migrationd {
namespace {

using migrationcontrol::v1::MigrationDefinition;

DefinitionProblem Problem(std::string field, const absl::Status& status) {
  DefinitionProblem problem;
  problem.field = std::move(field);
  problem.message = std::string(status.message());
  return problem;
}

std::string KindOf(const MigrationDefinition& definition) {
  if (definition.has_copy_columns()) return "copy_columns";
  if (definition.has_delete_rows()) return "delete_rows";
  return definition.has_native() ? "native" : "sql_batch";
}

// The check could not be made, as opposed to a definition that did not pass it.
bool IsAway(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable || status.code() == absl::StatusCode::kDeadlineExceeded;
}

// Statements are only prepared, so a value that fits every type's check is enough where none is declared.
std::map<std::string, std::string> PlaceholderParameters(const MigrationDefinition& definition) {
  std::map<std::string, std::string> values;
  for (const auto& parameter : definition.parameters()) values[parameter.name()] = parameter.default_();
  return values;
}

struct Statement {
  std::string field;
  std::string sql;
  std::vector<std::string> parameter_types;
};

std::vector<Statement> StatementsOf(const MigrationDefinition& definition, const MigrationPlan& plan) {
  std::vector<std::string> range_types = plan.key_casts;
  range_types.insert(range_types.end(), plan.key_casts.begin(), plan.key_casts.end());
  range_types.insert(range_types.end(), plan.parameter_types.begin(), plan.parameter_types.end());
  std::vector<Statement> statements;
  // `where` first: a mistake in it shows in the statement as well.
  if (!plan.count_matching.empty())
    statements.push_back({plan.native != nullptr ? "native.class" : absl::StrCat(KindOf(definition), ".where"), plan.count_matching, range_types});
  // A native class has none.
  if (plan.native == nullptr)
    statements.push_back({definition.has_sql_batch() ? "sql_batch.statement" : KindOf(definition), plan.work, range_types});
  if (!definition.skip_if().empty()) statements.push_back({"skip_if", definition.skip_if(), {}});
  for (int i = 0; i < definition.preflight().checks_size(); ++i) {
    statements.push_back({absl::StrCat("preflight.checks[", i, "].sql"), definition.preflight().checks(i).sql(), {}});
  }
  return statements;
}

}  // namespace

std::vector<DefinitionProblem> Controller::ValidateHere(const MigrationDefinition& definition) const {
  // Its message names the field.
  const absl::Status native = CheckNative(definition);
  return native.ok() ? std::vector<DefinitionProblem>() : std::vector{Problem("", native)};
}

absl::StatusOr<std::vector<DefinitionProblem>> Controller::ValidateOnTarget(const DefinitionName& name,
                                                                            const MigrationDefinition& definition,
                                                                            const VisibleTargets& visible) {
  std::vector<DefinitionProblem> problems = ValidateHere(definition);
  if (!problems.empty()) return problems;
  const auto target_name = TargetName(definition, visible);
  if (!target_name.ok()) return std::vector{Problem("target", target_name.status())};
  MD_ASSIGN_OR_RETURN(const auto target, FindTarget(*target_name));

  const std::string table_field = absl::StrCat(KindOf(definition), definition.has_native() ? ".parameters.table" : ".table");
  const auto table = ParseTableName(TableOf(definition));
  if (!table.ok()) return std::vector{Problem(table_field, table.status())};
  const auto facts = target->Inspect(*table);
  if (!facts.ok()) {
    if (IsAway(facts.status())) return facts.status();
    return std::vector{Problem(table_field, facts.status())};
  }
  PlanContext context;
  context.name = name.name;
  context.parameters = PlaceholderParameters(definition);
  if (const auto path = options_.target_search_path.find(*target_name); path != options_.target_search_path.end()) {
    context.target_search_path = path->second;
  }
  context.natives = options_.natives;
  const auto plan = MakePlan(definition, *facts, context);
  if (!plan.ok()) return std::vector{Problem(KindOf(definition), plan.status())};
  for (const Statement& statement : StatementsOf(definition, *plan)) {
    const absl::Status checked = target->CheckStatement(statement.sql, statement.parameter_types, plan->search_path);
    if (IsAway(checked)) return checked;
    if (!checked.ok()) problems.push_back(Problem(statement.field, checked));
  }
  return problems;
}

}  // namespace migrationd
