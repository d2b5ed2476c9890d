// plan: a rehearsal of a migration.
#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/name_or_file.h"
#include "client/cli/plan_text.h"
#include "client/cli/text.h"

namespace migrationctl {
namespace {

// The server takes at most a minute.
constexpr absl::Duration kDefaultTimeout = absl::Seconds(70);

absl::Status Plan(Session& session, const NameOrFile& what) {
  v1::PlanRequest request;
  const absl::Status filled = FillNameOrFile(session, what, request);
  if (!filled.ok()) return filled;
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
  const auto what = std::make_shared<NameOrFile>();
  AddNameOrFile(plan, YamlName::kIsRead, *what);
  commands.OnRun(
      plan, Selects::kOne, [&session, what] { return Plan(session, *what); },
      [&session, what] { CheckNameOrFile(session, "plan", YamlName::kIsRead, *what); });
}

}  // namespace migrationctl
