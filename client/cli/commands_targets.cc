// targets: the databases of the server, and how they are.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/command.h"
#include "client/cli/migration_text.h"
#include "client/cli/quantity.h"
#include "client/cli/table.h"
#include "client/cli/text.h"

namespace migrationctl {
namespace {

std::string HoldText(const v1::TargetInfo& target) {
  const std::string kind = HoldWord(target.hold().kind());
  return kind.empty() ? "" : absl::StrCat(kind, ": ", target.hold().reason());
}

std::vector<Cell> Row(const v1::TargetInfo& target, bool wide) {
  std::vector<Cell> row = {target.name(),
                           target.reachable() ? Cell(target.known() ? "yes" : "-") : Cell(absl::StrCat("no: ", target.reason()), Style::kBad),
                           absl::StrCat(target.running()),
                           FormatPercent(target.allowed(), target.allowed() >= 1),
                           Cell(HoldText(target), Style::kWarning)};
  if (wide) {
    row.emplace_back(absl::StrJoin(target.readings(), "; ",
                                   [](std::string* out, const v1::Reading& reading) { out->append(ReadingText(reading)); }));
  }
  return row;
}

absl::Status Targets(Session& session) {
  absl::StatusOr<v1::ListTargetsResponse> response = session.client().ListTargets({});
  if (!response.ok()) return session.Explain(response.status());
  if (const std::string& only = session.options().target; !only.empty()) {
    v1::ListTargetsResponse one;
    for (const v1::TargetInfo& target : response->targets()) {
      if (target.name() == only) *one.add_targets() = target;
    }
    response = std::move(one);
  }
  if (session.PrintForPrograms(*response)) return absl::OkStatus();
  if (session.options().output == OutputFormat::kName) {
    for (const v1::TargetInfo& target : response->targets()) session.out() << Printable(target.name()) << '\n';
    return absl::OkStatus();
  }
  const bool wide = session.options().output == OutputFormat::kWide;
  std::vector<std::string> header = {"NAME", "REACHABLE", "RUNNING", "ALLOWED", "HOLD"};
  if (wide) header.emplace_back("READINGS");
  Table table(header);
  for (const v1::TargetInfo& target : response->targets()) table.AddRow(Row(target, wide));
  table.Print(session.out(), session.terminal());
  return absl::OkStatus();
}

}  // namespace

void AddTargetsCommand(CommandSet& commands) {
  Session& session = commands.session();
  CLI::App& targets = commands.Add("targets", "Show the databases of the server, what their health allows, and what was measured",
                                   "migrationctl targets -o wide");
  commands.OnRun(targets, Selects::kOne, [&session] { return Targets(session); });
}

}  // namespace migrationctl
