// verify: whether what was completed still is.
#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/migration_text.h"
#include "client/cli/quantity.h"

namespace migrationctl {
namespace {

constexpr absl::Duration kDefaultWait = absl::Hours(1);

struct VerifyArguments {
  std::string name;
  bool wait = false;
  bool stop = false;
  migrationcontrol::CallOptions call;
};

// The verification that `asked` shows is over: it has an end, or another one, or a Retry, took its place.
bool IsOver(const v1::Migration& now, const v1::Migration& asked) {
  // Another server may not have heard of it yet.
  if (now.revision() < asked.revision()) return false;
  const v1::Verification& verification = now.verification();
  return !now.has_verification() || verification.has_finished_at() ||
         FromProto(verification.requested_at()) != FromProto(asked.verification().requested_at());
}

// Until it is over: the migration as it then is. The migration itself is COMPLETED all the time.
absl::StatusOr<v1::Migration> WaitUntilOver(Session& session, const v1::Migration& asked) {
  const std::string name = FullName(asked);
  v1::WatchRequest request;
  request.set_migration(name);
  v1::Migration last = asked;
  bool deleted = false;
  const auto on_update = [&](const v1::WatchResponse& response) {
    for (const v1::Migration& migration : response.migrations()) {
      if (FullName(migration) == name) last = migration;
    }
    for (const std::string& gone : response.deleted()) deleted = deleted || gone == name;
    return !deleted && !IsOver(last, asked);
  };
  const absl::Status watched = session.waiting_client().Watch(request, session.options().timeout.value_or(kDefaultWait), on_update);
  if (absl::IsDeadlineExceeded(watched)) {
    return absl::DeadlineExceededError(
        absl::StrCat(name, " is still being verified: ", FormatPercent(last.verification().fraction(), false), ", ",
                     FormatCount(last.verification().regressed_rows()), " rows match `where` again so far"));
  }
  if (!watched.ok()) return watched;
  if (deleted) return absl::NotFoundError(absl::StrCat(name, " was deleted"));
  return last;
}

absl::Status Outcome(const v1::Migration& migration) {
  if (migration.state() != v1::STATE_COMPLETED || !migration.verification().has_finished_at()) {
    return absl::FailedPreconditionError(absl::StrCat("the verification of ", FullName(migration),
                                                      " ended without a result: migrationctl events ",
                                                      FullName(migration), " says why"));
  }
  const std::int64_t regressed = migration.verification().regressed_rows();
  if (regressed == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(FormatCount(regressed), regressed == 1 ? " row matches" : " rows match",
                                                    " `where` again. To migrate ",
                                                    regressed == 1 ? "it" : "them", ": migrationctl retry ", FullName(migration)));
}

absl::Status Verify(Session& session, const VerifyArguments& arguments) {
  const absl::StatusOr<std::string> named = session.Named(arguments.name);
  if (!named.ok()) return named.status();
  // With --wait, the timeout is for the wait.
  migrationcontrol::Client& client = arguments.wait ? session.waiting_client() : session.client();
  const absl::StatusOr<v1::Migration> asked =
      arguments.stop ? client.StopVerification(*named, arguments.call) : client.Verify(*named, arguments.call);
  if (!asked.ok()) return session.Explain(asked.status());
  v1::VerifyResponse response;
  *response.mutable_migration() = *asked;
  absl::Status outcome;
  const bool wait = arguments.wait && !arguments.call.validate_only;
  if (wait) {
    const absl::StatusOr<v1::Migration> ended = WaitUntilOver(session, *asked);
    if (!ended.ok()) return ended.status();
    *response.mutable_migration() = *ended;
    outcome = Outcome(*ended);
  }
  std::string prefix = arguments.call.validate_only ? "dry run, nothing changed: " : "";
  if (wait && outcome.ok()) prefix = "verified, no row matches `where`: ";
  session.PrintMigration(response, response.migration(), prefix);
  return outcome;
}

}  // namespace

void AddVerifyCommand(CommandSet& commands) {
  CLI::App& command = commands.Add("verify",
                                   "Look over the table of a COMPLETED migration again, without writing anything, and count the rows that "
                                   "match `where`; "
                                   "with --wait (--timeout 1h by default) exits 1 if there are any, 5 when it is still going",
                                   "migrationctl verify backfill_builds_stage_id --wait --timeout 6h");
  const auto arguments = std::make_shared<VerifyArguments>();
  AddName(command, arguments->name)->required();
  CLI::Option* wait = command.add_flag("--wait", arguments->wait, "Until it has ended");
  command.add_flag("--stop", arguments->stop, "End one that waits or is under way, without a result")->excludes(wait);
  AddMutationOptions(command, arguments->call);
  Session& session = commands.session();
  commands.OnRun(command, Selects::kOne, [&session, arguments] { return Verify(session, *arguments); });
}

}  // namespace migrationctl
