// completion, target-sql: what is set up once.
#include "client/cli/command.h"
#include "client/cli/completion.h"
#include "server/targets/postgres/schema_sql.h"

namespace migrationctl {

void AddSetupCommands(CommandSet& commands) {
  CLI::App& target_sql =
      commands.Add("target-sql", "Print the SQL that a DBA runs on a target where migrationd may not create it itself",
                   "migrationctl target-sql | psql -1 'dbname=shop user=dba'");
  Session& sql_session = commands.session();
  commands.OnRun(target_sql, Selects::kOne, [&sql_session] {
    sql_session.out() << migrationd::TargetSchemaSql();
    return absl::OkStatus();
  });

  CLI::App& completion =
      commands.Add("completion", "Print a script that lets a shell complete commands, options and migrations",
                   "source <(migrationctl completion bash)");
  const auto shell = std::make_shared<std::string>();
  completion.add_option("SHELL", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}))
      ->type_name("");
  commands.OnRun(completion, Selects::kOne, [&commands, shell] {
    commands.session().out() << CompletionScript(*shell, commands.app());
    return absl::OkStatus();
  });
}

}  // namespace migrationctl
