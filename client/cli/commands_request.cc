// enqueue, start: asking for a migration.
#include "client/cli/command.h"
#include "client/cli/name_or_file.h"

namespace migrationctl {
namespace {

struct EnqueueArguments {
  NameOrFile what;
  bool start = false;
  std::int64_t pause_after_rows = 0;
  migrationcontrol::CallOptions call;
};

absl::Status Enqueue(Session& session, const EnqueueArguments& arguments) {
  v1::EnqueueRequest request;
  const absl::Status filled = FillNameOrFile(session, arguments.what, request);
  if (!filled.ok()) return filled;
  request.set_start(arguments.start);
  request.set_pause_after_rows(arguments.pause_after_rows);
  request.set_reason(arguments.call.reason);
  request.set_request_id(arguments.call.request_id);
  request.set_validate_only(arguments.call.validate_only);
  const absl::StatusOr<v1::EnqueueResponse> response = session.client().Enqueue(request);
  if (!response.ok()) return session.Explain(response.status());
  std::string prefix = response->created() ? "new: " : "known before: ";
  if (arguments.call.validate_only) prefix = "dry run, nothing changed: ";
  session.PrintMigration(*response, response->migration(), prefix);
  return absl::OkStatus();
}

struct StartArguments {
  std::string name;
  migrationcontrol::CallOptions call;
};

absl::Status Start(Session& session, const StartArguments& arguments) {
  const absl::StatusOr<std::string> named = session.Named(arguments.name);
  if (!named.ok()) return named.status();
  const absl::StatusOr<v1::Migration> migration = session.client().Start(*named, arguments.call);
  if (!migration.ok()) return session.Explain(migration.status());
  v1::StartResponse response;
  *response.mutable_migration() = *migration;
  session.PrintMigration(response, *migration, arguments.call.validate_only ? "dry run, nothing changed: " : "");
  return absl::OkStatus();
}

}  // namespace

void AddRequestCommands(CommandSet& commands) {
  Session& session = commands.session();

  CLI::App& enqueue =
      commands.Add("enqueue", "Request a migration of the catalogue, or one from a file; a known one is left as it is",
                   "migrationctl enqueue -f 20261120093000_backfill_builds_stage_id.yaml --start --pause-after 10000");
  const auto arguments = std::make_shared<EnqueueArguments>();
  // A file name is that of the catalogue, whose files everybody may enqueue: what is here is sent with -f only.
  AddNameOrFile(enqueue, YamlName::kIsCatalogued, arguments->what);
  enqueue.add_flag("--start", arguments->start, "Also start it, if it waits for that");
  enqueue.add_option("--pause-after", arguments->pause_after_rows, "A canary: paused once so many rows are done")
      ->check(CLI::PositiveNumber)
      ->type_name("ROWS");
  AddMutationOptions(enqueue, arguments->call, /*revision=*/false);
  commands.OnRun(
      enqueue, Selects::kOne, [&session, arguments] { return Enqueue(session, *arguments); },
      [&session, arguments] { CheckNameOrFile(session, "enqueue", YamlName::kIsCatalogued, arguments->what); });

  CLI::App& start = commands.Add("start", "Let a migration begin that waits for it (hold NEEDS_START)",
                                 "migrationctl start backfill_builds_stage_id --reason 'release 17.3 is out'");
  const auto start_arguments = std::make_shared<StartArguments>();
  AddName(start, start_arguments->name)->required();
  AddMutationOptions(start, start_arguments->call);
  commands.OnRun(start, Selects::kOne, [&session, start_arguments] { return Start(session, *start_arguments); });
}

}  // namespace migrationctl
