// watch and wait: commands that last.
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cli/command.h"
#include "client/cli/migration_text.h"
#include "client/cli/watch_view.h"

namespace migrationctl {
namespace {

constexpr absl::Duration kDefaultWait = absl::Hours(1);

// Prints one answer in the format that was asked for.
void PrintUpdate(Session& session, WatchView& view, const v1::WatchResponse& response) {
  if (session.options().output == OutputFormat::kJson) {
    // A stream: one object a line. Heartbeats say nothing.
    if (!response.heartbeat()) session.out() << ToJsonLine(response);
  } else if (session.options().output == OutputFormat::kYaml) {
    if (!response.heartbeat()) session.out() << "---\n" << ToYaml(response);
  } else if (session.options().output == OutputFormat::kName) {
    for (const v1::Migration& migration : response.migrations()) session.out() << FullName(migration) << '\n';
  } else {
    // The size of the window may have changed; what it is was found out at the start.
    Terminal terminal = session.terminal();
    if (terminal.interactive) {
      const Terminal now = DetectTerminal();
      terminal.columns = now.columns;
      terminal.rows = now.rows;
    }
    view.Update(response, absl::Now(), terminal);
  }
  session.out().flush();
}

bool IsOver(const v1::Migration& migration) {
  return migration.state() == v1::STATE_COMPLETED || migration.state() == v1::STATE_CANCELLED ||
         migration.state() == v1::STATE_HALTED;
}

absl::Status WatchAll(Session& session) {
  v1::WatchRequest request;
  request.set_target(session.options().target);
  request.mutable_labels()->insert(session.options().labels.begin(), session.options().labels.end());
  WatchView view(session.out());
  return session.waiting_client().Watch(request, session.options().timeout.value_or(absl::InfiniteDuration()),
                                        [&](const v1::WatchResponse& response) {
                                          PrintUpdate(session, view, response);
                                          return session.out().good();
                                        });
}

// Ends with the migration: 0 when it completed.
absl::Status WatchOne(Session& session, const std::string& name) {
  const absl::StatusOr<std::string> named = session.Named(name);
  if (!named.ok()) return named.status();
  // Finds out whom the name means, and refuses an unknown one.
  const absl::StatusOr<v1::StatusResponse> first = session.waiting_client().Status(*named);
  if (!first.ok()) return session.Explain(first.status());
  const std::string full_name = FullName(first->migration());
  v1::WatchRequest request;
  request.set_migration(full_name);
  WatchView view(session.out());
  v1::Migration last = first->migration();
  bool deleted = false;
  const absl::Status status = session.waiting_client().Watch(
      request, session.options().timeout.value_or(absl::InfiniteDuration()), [&](const v1::WatchResponse& response) {
        PrintUpdate(session, view, response);
        for (const v1::Migration& migration : response.migrations()) {
          if (FullName(migration) == full_name) last = migration;
        }
        for (const std::string& gone : response.deleted()) deleted = deleted || gone == full_name;
        return session.out().good() && !deleted && !IsOver(last);
      });
  if (absl::IsDeadlineExceeded(status)) {
    return absl::DeadlineExceededError(absl::StrCat(full_name, " is still ", StateWord(last.state())));
  }
  if (!status.ok()) return status;
  if (deleted) return absl::NotFoundError(absl::StrCat(full_name, " was deleted"));
  if (last.state() == v1::STATE_HALTED || last.state() == v1::STATE_CANCELLED) {
    const std::string why = WhyText(last);
    return absl::FailedPreconditionError(
        absl::StrCat(full_name, " is ", StateWord(last.state()), why.empty() ? "" : ": ", why));
  }
  return absl::OkStatus();
}

absl::Status Wait(Session& session, const std::string& name, v1::State wanted) {
  const absl::StatusOr<std::string> named = session.Named(name);
  if (!named.ok()) return named.status();
  const absl::StatusOr<v1::Migration> reached = session.waiting_client().WaitFor(
      *named, session.options().timeout.value_or(kDefaultWait),
      [wanted](const v1::Migration& migration) { return migration.state() == wanted; });
  if (!reached.ok()) return reached.status();
  v1::StatusResponse response;
  *response.mutable_migration() = *reached;
  session.PrintMigration(response, *reached, "");
  return absl::OkStatus();
}

struct WaitArguments {
  std::string name;
  std::string wanted = "completed";
};

}  // namespace

void AddWatchCommands(CommandSet& commands) {
  Session& session = commands.session();

  CLI::App& watch = commands.Add(
      "watch", "Follow one migration to its end, or all; progress bars on a terminal, otherwise one line a change",
      "migrationctl watch backfill_builds_stage_id");
  const auto watch_name = std::make_shared<std::string>();
  AddName(watch, *watch_name);
  commands.OnRun(
      watch, Selects::kMany,
      [&session, watch_name] { return watch_name->empty() ? WatchAll(session) : WatchOne(session, *watch_name); },
      [&session, watch_name] {
        if (!watch_name->empty() && !session.options().labels.empty()) {
          throw CLI::ValidationError("--label", "selects among all migrations; leave it out with NAME");
        }
      });

  CLI::App& wait = commands.Add(
      "wait", "Wait until a migration is completed or paused (--timeout 1h by default); exits 5 when it is still going",
      "migrationctl wait backfill_builds_stage_id --for completed --timeout 6h");
  const auto arguments = std::make_shared<WaitArguments>();
  AddName(wait, arguments->name)->required();
  wait.add_option("--for", arguments->wanted, "completed or paused")
      ->transform(CLI::IsMember({"completed", "paused"}, CLI::ignore_case))
      ->capture_default_str();
  commands.OnRun(wait, Selects::kOne, [&session, arguments] {
    return Wait(session, arguments->name, arguments->wanted == "paused" ? v1::STATE_PAUSED : v1::STATE_COMPLETED);
  });
}

}  // namespace migrationctl
