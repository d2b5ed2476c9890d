// pause, resume, retry, set-batch-size, set-pace, accept, cancel, cleanup, delete: what an operator does to a migration.
#include <algorithm>
#include <limits>
#include <optional>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/migration_text.h"
#include "client/cli/quantity.h"

namespace migrationctl {
namespace {

using migrationcontrol::CallOptions;
using migrationcontrol::Client;

// How long `pause` waits for PAUSED.
constexpr absl::Duration kPauseWait = absl::Seconds(10);

struct VerbArguments {
  std::string name;
  CallOptions call;
};

std::string Prefix(const CallOptions& call) { return call.validate_only ? "dry run, nothing changed: " : ""; }

// A verb with nothing but a name: calls it and prints its response.
template <typename Response>
void AddVerb(CommandSet& commands, const std::string& verb, const std::string& description, const std::string& example,
             absl::StatusOr<v1::Migration> (Client::*method)(const std::string&, const CallOptions&)) {
  CLI::App& command = commands.Add(verb, description, example);
  const auto arguments = std::make_shared<VerbArguments>();
  AddName(command, arguments->name)->required();
  AddMutationOptions(command, arguments->call);
  Session& session = commands.session();
  commands.OnRun(command, Selects::kOne, [&session, arguments, method]() -> absl::Status {
    const absl::StatusOr<std::string> named = session.Named(arguments->name);
    if (!named.ok()) return named.status();
    const absl::StatusOr<v1::Migration> migration = (session.client().*method)(*named, arguments->call);
    if (!migration.ok()) return session.Explain(migration.status());
    Response response;
    *response.mutable_migration() = *migration;
    session.PrintMigration(response, *migration, Prefix(arguments->call));
    return absl::OkStatus();
  });
}

struct DeleteArguments : VerbArguments {
  bool acknowledge_leftovers = false;
};

absl::Status Delete(Session& session, const DeleteArguments& arguments) {
  const absl::StatusOr<std::string> named = session.Named(arguments.name);
  if (!named.ok()) return named.status();
  const absl::StatusOr<v1::Migration> migration = session.client().Delete(*named, arguments.call, arguments.acknowledge_leftovers);
  if (!migration.ok()) return session.Explain(migration.status());
  v1::DeleteResponse response;
  *response.mutable_migration() = *migration;
  session.PrintMigration(response, *migration, arguments.call.validate_only ? Prefix(arguments.call) : "deleted; it was ");
  return absl::OkStatus();
}

struct PauseArguments : VerbArguments {
  bool immediate = false;
  bool no_wait = false;
  std::optional<absl::Time> until;
};

// What became of a pause that was asked for. It may complete meanwhile: its last batch was in flight.
absl::Status PauseOutcome(const v1::Migration& migration) {
  if (migration.state() == v1::STATE_PAUSED || migration.state() == v1::STATE_COMPLETED) return absl::OkStatus();
  const std::string why = WhyText(migration);
  return absl::FailedPreconditionError(absl::StrCat(FullName(migration), " is ", StateWord(migration.state()),
                                                    " instead of PAUSED", why.empty() ? "" : ": ", why));
}

absl::Status Pause(Session& session, const PauseArguments& arguments) {
  const absl::StatusOr<std::string> named = session.Named(arguments.name);
  if (!named.ok()) return named.status();
  absl::StatusOr<v1::PauseResponse> response =
      session.client().Pause(*named, arguments.call, arguments.immediate, arguments.until);
  if (!response.ok()) return session.Explain(response.status());
  absl::Status outcome;
  if (response->migration().state() == v1::STATE_PAUSING && !arguments.no_wait && !arguments.call.validate_only) {
    const absl::StatusOr<v1::Migration> settled =
        session.client().WaitFor(FullName(response->migration()), kPauseWait,
                                 [](const v1::Migration& migration) { return migration.state() != v1::STATE_PAUSING; });
    if (settled.ok()) {
      *response->mutable_migration() = *settled;
      outcome = PauseOutcome(*settled);
    } else {
      outcome = settled.status();
    }
  }
  session.PrintMigration(*response, response->migration(), Prefix(arguments.call));
  return outcome;
}

struct RetryArguments : VerbArguments {
  std::string from;
  bool acknowledge_repeat = false;
};

absl::Status Retry(Session& session, const RetryArguments& arguments) {
  const absl::StatusOr<std::string> named = session.Named(arguments.name);
  if (!named.ok()) return named.status();
  v1::RetryFrom from = v1::RETRY_FROM_UNSPECIFIED;
  if (arguments.from == "continue") from = v1::RETRY_FROM_CONTINUE;
  if (arguments.from == "start") from = v1::RETRY_FROM_START;
  if (arguments.from == "adopt") from = v1::RETRY_FROM_ADOPT;
  const absl::StatusOr<v1::Migration> migration =
      session.client().Retry(*named, arguments.call, from, arguments.acknowledge_repeat);
  if (!migration.ok()) return session.Explain(migration.status());
  v1::RetryResponse response;
  *response.mutable_migration() = *migration;
  session.PrintMigration(response, *migration, Prefix(arguments.call));
  return absl::OkStatus();
}

struct SizeArguments : VerbArguments {
  std::string size;
  std::int32_t sub_batch_size = 0;
  std::optional<absl::Time> until;
};

absl::Status SetBatchSize(Session& session, const SizeArguments& arguments) {
  const absl::StatusOr<std::string> named = session.Named(arguments.name);
  if (!named.ok()) return named.status();
  v1::SetBatchSizeRequest request;
  request.set_migration(*named);
  std::int32_t size = 0;
  if (absl::SimpleAtoi(arguments.size, &size)) {
    request.set_batch_size(size);
  } else {
    request.set_automatic(true);
  }
  request.set_sub_batch_size(arguments.sub_batch_size);
  if (arguments.until.has_value()) *request.mutable_until() = ToProto(*arguments.until);
  request.set_reason(arguments.call.reason);
  request.set_request_id(arguments.call.request_id);
  request.set_expected_revision(arguments.call.expected_revision);
  request.set_validate_only(arguments.call.validate_only);
  const absl::StatusOr<v1::Migration> migration = session.client().SetBatchSize(request);
  if (!migration.ok()) return session.Explain(migration.status());
  v1::SetBatchSizeResponse response;
  *response.mutable_migration() = *migration;
  session.PrintMigration(response, *migration,
                         absl::StrCat(Prefix(arguments.call), "batch ", FormatCount(migration->batch_size()),
                                      ", sub-batch ", FormatCount(migration->sub_batch_size()), ": "));
  return absl::OkStatus();
}

struct PaceArguments : VerbArguments {
  bool automatic = false;
  std::optional<absl::Duration> interval;
  std::optional<std::int64_t> max_rows_per_second;
  std::optional<std::int32_t> lanes;
  std::vector<std::string> windows;
  std::optional<absl::Duration> target_sub_batch_time;
  std::optional<absl::Duration> lock_timeout;
  std::optional<absl::Duration> statement_timeout;
  std::optional<absl::Time> until;
};

absl::Status SetPace(Session& session, const PaceArguments& arguments) {
  const absl::StatusOr<std::string> named = session.Named(arguments.name);
  if (!named.ok()) return named.status();
  v1::SetPaceRequest request;
  request.set_migration(*named);
  request.set_automatic(arguments.automatic);
  if (arguments.interval.has_value()) *request.mutable_interval() = ToProto(*arguments.interval);
  if (arguments.max_rows_per_second.has_value()) request.set_max_rows_per_second(*arguments.max_rows_per_second);
  if (arguments.lanes.has_value()) request.set_lanes(*arguments.lanes);
  request.mutable_windows()->Assign(arguments.windows.begin(), arguments.windows.end());
  if (arguments.target_sub_batch_time.has_value()) *request.mutable_target_sub_batch_time() = ToProto(*arguments.target_sub_batch_time);
  if (arguments.lock_timeout.has_value()) *request.mutable_lock_timeout() = ToProto(*arguments.lock_timeout);
  if (arguments.statement_timeout.has_value()) *request.mutable_statement_timeout() = ToProto(*arguments.statement_timeout);
  if (arguments.until.has_value()) *request.mutable_until() = ToProto(*arguments.until);
  request.set_reason(arguments.call.reason);
  request.set_request_id(arguments.call.request_id);
  request.set_expected_revision(arguments.call.expected_revision);
  request.set_validate_only(arguments.call.validate_only);
  const absl::StatusOr<v1::Migration> migration = session.client().SetPace(request);
  if (!migration.ok()) return session.Explain(migration.status());
  v1::SetPaceResponse response;
  *response.mutable_migration() = *migration;
  session.PrintMigration(response, *migration, absl::StrCat(Prefix(arguments.call), PaceText(migration->pace(), FromProto(migration->as_of())), ": "));
  return absl::OkStatus();
}

void AddPause(CommandSet& commands) {
  CLI::App& command = commands.Add(
      "pause",
      "Stop after the sub-batch in flight, and wait up to 10 s until nothing runs any more; exits 5 when it still does",
      "migrationctl pause backfill_builds_stage_id --reason 'replica lag' --until 2h");
  const auto arguments = std::make_shared<PauseArguments>();
  AddName(command, arguments->name)->required();
  AddUntil(command, arguments->until,
           "Resume by itself then: a time like 2026-11-20T22:00:00Z, or a duration from now");
  command.add_flag("--immediate", arguments->immediate,
                   "Cancel what is in flight, too; nothing commits after the answer");
  command.add_flag("--no-wait", arguments->no_wait, "Return at once");
  AddMutationOptions(command, arguments->call);
  Session& session = commands.session();
  commands.OnRun(command, Selects::kOne, [&session, arguments] { return Pause(session, *arguments); });
}

void AddRetry(CommandSet& commands) {
  CLI::App& command = commands.Add("retry", "Run a HALTED or CANCELLED migration again",
                                   "migrationctl retry backfill_builds_stage_id --reason 'index was built'");
  const auto arguments = std::make_shared<RetryArguments>();
  AddName(command, arguments->name)->required();
  command
      .add_option(
          "--from", arguments->from,
          "continue: from where it was, also when an earlier --from start has not begun; start: from the first row; adopt: take over "
          "another control store's checkpoint. Default: what an earlier retry asked for and has not begun, otherwise continue")
      ->transform(CLI::IsMember({"continue", "start", "adopt"}, CLI::ignore_case));
  command.add_flag("--acknowledge-repeat", arguments->acknowledge_repeat, "With --from start: rows may be done twice");
  AddMutationOptions(command, arguments->call);
  Session& session = commands.session();
  commands.OnRun(command, Selects::kOne, [&session, arguments] { return Retry(session, *arguments); });
}

void AddDelete(CommandSet& commands) {
  CLI::App& command = commands.Add("delete", "Forget a COMPLETED or CANCELLED migration; its name stays taken",
                                   "migrationctl delete backfill_builds_stage_id");
  const auto arguments = std::make_shared<DeleteArguments>();
  AddName(command, arguments->name)->required();
  command.add_flag("--acknowledge-leftovers", arguments->acknowledge_leftovers,
                   "Although its cleanup has not run: what it made on the target stays there");
  AddMutationOptions(command, arguments->call);
  Session& session = commands.session();
  commands.OnRun(command, Selects::kOne, [&session, arguments] { return Delete(session, *arguments); });
}

void AddSetBatchSize(CommandSet& commands) {
  CLI::App& command =
      commands.Add("set-batch-size", "Change the rows of a batch, from the next sub-batch on",
                   "migrationctl set-batch-size backfill_builds_stage_id 500 --sub-batch-size 50 --until 6h");
  const auto arguments = std::make_shared<SizeArguments>();
  AddName(command, arguments->name)->required();
  command.add_option("SIZE", arguments->size, "Rows, or auto: back to what the definition says")
      ->required()
      ->type_name("N|auto")
      ->check([](const std::string& text) -> std::string {
        std::int32_t size = 0;
        if (text == "auto" || (absl::SimpleAtoi(text, &size) && size > 0)) return "";
        return absl::StrCat("\"", text, "\" is neither a number of rows (1 and up) nor auto");
      });
  CLI::Option* sub_batch = command.add_option("--sub-batch-size", arguments->sub_batch_size, "Rows of one transaction")
                               ->check(CLI::Range(1, std::numeric_limits<std::int32_t>::max()))
                               ->type_name("ROWS");
  CLI::Option* until =
      AddUntil(command, arguments->until, "Back to what the definition says then: a time, or a duration from now");
  AddMutationOptions(command, arguments->call);
  Session& session = commands.session();
  commands.OnRun(
      command, Selects::kOne, [&session, arguments] { return SetBatchSize(session, *arguments); },
      [arguments, sub_batch, until] {
        if (arguments->size == "auto" && (sub_batch->count() > 0 || until->count() > 0)) {
          throw CLI::ValidationError("auto", "takes neither --sub-batch-size nor --until");
        }
      });
}

CLI::Option* AddDuration(CLI::App& command, const std::string& name, std::optional<absl::Duration>& value, const std::string& description) {
  return command
      .add_option_function<std::string>(name, [&value](const std::string& text) { value = *ParseDuration(text); }, description)
      ->check([](const std::string& text) -> std::string {
        const absl::StatusOr<absl::Duration> duration = ParseDuration(text);
        return duration.ok() ? "" : std::string(duration.status().message());
      })
      ->type_name("DURATION");
}

void AddSetPace(CommandSet& commands) {
  CLI::App& command = commands.Add("set-pace", "Change interval, rate, lanes, windows or time limits, from the next sub-batch on",
                                   "migrationctl set-pace backfill_builds_stage_id --lanes 4 --interval 0s --until 6h");
  const auto arguments = std::make_shared<PaceArguments>();
  AddName(command, arguments->name)->required();
  CLI::Option* automatic = command.add_flag("--auto", arguments->automatic, "Back to what the definition says");
  const std::vector<CLI::Option*> settings = {
      AddDuration(command, "--interval", arguments->interval, "Rest of a lane after a batch that changed rows"),
      command.add_option("--max-rows-per-second", arguments->max_rows_per_second, "Over all lanes; 0: no limit")->type_name("ROWS"),
      command.add_option("--lanes", arguments->lanes, "Key ranges that progress at once, 1 to 16")->type_name("N"),
      command.add_option("--window", arguments->windows, "When it may work, such as 'Mon-Fri 22:00-06:00 Europe/Berlin'; repeatable; ALWAYS: no window")
          ->type_name("WINDOW"),
      AddDuration(command, "--target-time", arguments->target_sub_batch_time, "What a sub-batch should take"),
      AddDuration(command, "--lock-timeout", arguments->lock_timeout, "Longest wait for one lock"),
      AddDuration(command, "--statement-timeout", arguments->statement_timeout, "Longest time of one sub-batch"),
  };
  CLI::Option* until = AddUntil(command, arguments->until, "Back to what the definition says then: a time, or a duration from now");
  AddMutationOptions(command, arguments->call);
  Session& session = commands.session();
  commands.OnRun(
      command, Selects::kOne, [&session, arguments] { return SetPace(session, *arguments); },
      [automatic, settings, until] {
        const bool sets = std::any_of(settings.begin(), settings.end(), [](const CLI::Option* option) { return option->count() > 0; });
        if (automatic->count() > 0 && (sets || until->count() > 0)) throw CLI::ValidationError("--auto", "takes no other setting");
        if (automatic->count() == 0 && !sets) throw CLI::ValidationError("set-pace", "needs at least one setting, or --auto");
      });
}

}  // namespace

void AddControlCommands(CommandSet& commands) {
  AddPause(commands);
  AddVerb<v1::ResumeResponse>(commands, "resume", "Go on where it was", "migrationctl resume backfill_builds_stage_id",
                              &Client::Resume);
  AddRetry(commands);
  AddSetBatchSize(commands);
  AddSetPace(commands);
  AddVerb<v1::AcceptResponse>(
      commands, "accept", "Complete a migration that is HALTED with ROWS_LEFT: those rows stay as they are",
      "migrationctl accept backfill_builds_stage_id --reason 'tenants without stage'", &Client::Accept);
  AddVerb<v1::CancelResponse>(commands, "cancel", "End a migration where it is; rows that are done stay done",
                              "migrationctl cancel backfill_builds_stage_id --reason 'superseded'", &Client::Cancel);
  AddVerb<v1::CleanupResponse>(commands, "cleanup", "Run the cleanup statements of a COMPLETED or CANCELLED migration",
                               "migrationctl cleanup backfill_builds_stage_id", &Client::Cleanup);
  AddDelete(commands);
}

}  // namespace migrationctl
