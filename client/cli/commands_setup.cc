// completion, target-sql: what is set up once.
#include "client/cli/command.h"
#include "client/cli/completion.h"
#include "server/targets/postgres/schema_sql.h"

namespace migrationctl {

void AddSetupCommands(CommandSet& commands) {
  CLI::App& target_sql =
      commands.Add("target-sql", "Print the SQL that a DBA runs on a target where migrationd may not create it itself",
                   "migrationctl target-sql | psql -1 'dbname=shop user=dba'");
  const auto from = std::make_shared<int>(0);
  const auto contract = std::make_shared<bool>(false);
  target_sql.add_option("--from", *from, "only the difference to this version (SELECT version FROM migration_control.schema_version)")
      ->check(CLI::Range(0, migrationd::TargetSchemaSteps().program_version()))
      ->type_name("VERSION");
  target_sql.add_flag("--contract", *contract, "also take away what only older versions use; see migrationd upgrade --help");
  Session& sql_session = commands.session();
  commands.OnRun(target_sql, Selects::kOne, [&sql_session, from, contract] {
    const std::string sql = migrationd::TargetSchemaSql(migrationd::TargetSchemaSteps(), {.version = *from, .oldest_program = 0},
                                                        *contract ? migrationd::Contracting::kApply : migrationd::Contracting::kLeave);
    sql_session.out() << (sql.empty() ? "-- Nothing to do: the schema is as this version wants it.\n" : sql);
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
