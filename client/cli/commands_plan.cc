// plan: a rehearsal of a migration.
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/definition_file.h"
#include "client/cli/plan_text.h"
#include "client/cli/text.h"

namespace migrationctl {
namespace {

// The server takes at most a minute.
constexpr absl::Duration kDefaultTimeout = absl::Seconds(70);

struct PlanArguments {
  std::string name;
  std::string file;
  std::map<std::string, std::string> parameters;
};

absl::Status Plan(Session& session, const PlanArguments& arguments) {
  v1::PlanRequest request;
  if (arguments.file.empty()) {
    const absl::StatusOr<std::string> named = session.Named(arguments.name);
    if (!named.ok()) return named.status();
    request.set_migration(*named);
  } else {
    absl::StatusOr<std::string> content = ReadDefinitionFile(arguments.file);
    if (!content.ok()) return content.status();
    request.mutable_file()->set_file_name(BaseName(arguments.file));
    request.mutable_file()->set_content(*std::move(content));
  }
  request.mutable_parameters()->insert(arguments.parameters.begin(), arguments.parameters.end());
  if (!session.options().timeout.has_value()) session.options().timeout = kDefaultTimeout;
  const absl::StatusOr<v1::PlanResponse> plan = session.client().Plan(request);
  if (!plan.ok()) return session.Explain(plan.status());
  if (IsText(session.options().output)) {
    session.out() << DescribePlan(*plan, session.terminal());
  } else if (session.options().output == OutputFormat::kName) {
    session.out() << Printable(plan->migration()) << '\n';
  } else {
    session.PrintForPrograms(*plan);
  }
  if (plan->feasible()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(plan->migration(), " will not run like this"));
}

}  // namespace

void AddPlanCommand(CommandSet& commands) {
  Session& session = commands.session();
  CLI::App& plan = commands.Add(
      "plan",
      "Rehearse a migration, or a definition file, on its target: rows to do, plans, rights, and one sub-batch that is rolled back (what a "
      "transaction does not take back stays: sequences, effects elsewhere). Exits 1 when it would not run",
      "migrationctl plan 20261120093000_backfill_builds_stage_id.yaml");
  const auto arguments = std::make_shared<PlanArguments>();
  plan.add_option("NAME", arguments->name, "A migration, or a definition file: what ends with .yaml is read here");
  plan.add_option("-f,--file", arguments->file, "A definition file, where the server allows that")->type_name("FILE");
  AddPairs(plan, "-P,--param", arguments->parameters, "Value of a parameter of the definition (repeatable)");
  commands.OnRun(
      plan, Selects::kOne, [&session, arguments] { return Plan(session, *arguments); },
      [&session, arguments] {
        if (arguments->name.empty() == arguments->file.empty()) throw CLI::ValidationError("plan", "one NAME or FILE is required");
        if (arguments->file.empty() && absl::EndsWith(arguments->name, ".yaml")) arguments->file = arguments->name;
        if (!arguments->file.empty() && !session.options().target.empty()) {
          throw CLI::ValidationError("--target", "the target stands in the file");
        }
      });
}

}  // namespace migrationctl
