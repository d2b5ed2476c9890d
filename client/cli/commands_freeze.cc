// freeze, unfreeze: holding everything.
#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/quantity.h"
#include "client/cli/text.h"

namespace migrationctl {
namespace {

struct FreezeArguments {
  migrationcontrol::CallOptions call;
  std::optional<absl::Time> until;
};

std::string TargetWords(const std::string& target) {
  return target.empty() ? "all targets" : absl::StrCat("target ", target);
}

void PrintFreeze(Session& session, const google::protobuf::Message& response, const v1::FreezeInfo& freeze,
                 const std::string& verb, bool dry_run) {
  if (session.PrintForPrograms(response)) return;
  if (session.options().output == OutputFormat::kName) {
    session.out() << (freeze.target().empty() ? "*" : Printable(freeze.target())) << '\n';
    return;
  }
  session.out() << Printable(absl::StrCat(
                       dry_run ? "dry run, nothing changed: " : "", verb, " ", TargetWords(freeze.target()),
                       freeze.reason().empty() ? "" : absl::StrCat(": ", freeze.reason()),
                       freeze.has_until() ? absl::StrCat(" (until ", HumanTime(FromProto(freeze.until())), ")") : ""))
                << '\n';
}

absl::Status Freeze(Session& session, const FreezeArguments& arguments) {
  v1::FreezeRequest request;
  request.set_target(session.options().target);
  request.set_reason(arguments.call.reason);
  request.set_request_id(arguments.call.request_id);
  request.set_validate_only(arguments.call.validate_only);
  if (arguments.until.has_value()) *request.mutable_until() = ToProto(*arguments.until);
  const absl::StatusOr<v1::FreezeInfo> freeze = session.client().Freeze(request);
  if (!freeze.ok()) return session.Explain(freeze.status());
  v1::FreezeResponse response;
  *response.mutable_freeze() = *freeze;
  PrintFreeze(session, response, *freeze, "froze", arguments.call.validate_only);
  return absl::OkStatus();
}

absl::Status Unfreeze(Session& session, const FreezeArguments& arguments) {
  v1::UnfreezeRequest request;
  request.set_target(session.options().target);
  request.set_reason(arguments.call.reason);
  request.set_request_id(arguments.call.request_id);
  request.set_validate_only(arguments.call.validate_only);
  const absl::StatusOr<v1::FreezeInfo> freeze = session.client().Unfreeze(request);
  if (!freeze.ok()) return session.Explain(freeze.status());
  v1::UnfreezeResponse response;
  *response.mutable_freeze() = *freeze;
  PrintFreeze(session, response, *freeze, "unfroze", arguments.call.validate_only);
  return absl::OkStatus();
}

}  // namespace

void AddFreezeCommands(CommandSet& commands) {
  Session& session = commands.session();

  CLI::App& freeze = commands.Add("freeze", "Hold all migrations, or those of one target (--target), until unfreeze",
                                  "migrationctl freeze --target main --reason 'incident 4711' --until 4h");
  const auto arguments = std::make_shared<FreezeArguments>();
  AddUntil(freeze, arguments->until, "Ends by itself then: a time like 2026-11-20T22:00:00Z, or a duration from now");
  AddMutationOptions(freeze, arguments->call, /*revision=*/false);
  freeze.get_option("--reason")->required();
  commands.OnRun(freeze, Selects::kOne, [&session, arguments] { return Freeze(session, *arguments); });

  CLI::App& unfreeze = commands.Add("unfreeze", "End a freeze", "migrationctl unfreeze --target main");
  const auto unfreeze_arguments = std::make_shared<FreezeArguments>();
  AddMutationOptions(unfreeze, unfreeze_arguments->call, /*revision=*/false);
  commands.OnRun(unfreeze, Selects::kOne,
                 [&session, unfreeze_arguments] { return Unfreeze(session, *unfreeze_arguments); });
}

}  // namespace migrationctl
