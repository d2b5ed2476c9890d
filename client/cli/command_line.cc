#include "client/cli/command_line.h"

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/exit_status.h"
#include "client/cli/text.h"

namespace migrationctl {
namespace {

void AddGlobalOptions(CLI::App& app, GlobalOptions& options) {
  app.add_option("--server", options.server, "Address of migrationd")
      ->envname("MIGRATIONCTL_SERVER")
      ->capture_default_str()
      ->type_name("HOST:PORT");
  const auto file = [&app](const char* flag, std::string& value, const char* variable, const char* help) {
    app.add_option(flag, value, help)->envname(variable)->type_name("FILE");
  };
  app.add_flag("--tls", options.tls, "Encrypt the connection, and trust the system's authorities");
  file("--ca", options.ca_file, "MIGRATIONCTL_CA", "Encrypt the connection, and trust these authorities (PEM)");
  file("--cert", options.certificate_file, "MIGRATIONCTL_CERT", "Client certificate to show (PEM), with --key");
  file("--key", options.key_file, "MIGRATIONCTL_KEY", "Its key (PEM)");
  file("--token-file", options.token_file, "MIGRATIONCTL_TOKEN_FILE", "File with the bearer token to show; not without TLS to other machines");
  app.add_flag("--allow-token-without-tls", options.allow_token_without_tls,
               "Show it in plain text: something else encrypts, such as a service mesh")
      ->envname("MIGRATIONCTL_ALLOW_TOKEN_WITHOUT_TLS");
  const std::map<std::string, OutputFormat> formats = {{"table", OutputFormat::kTable},
                                                       {"wide", OutputFormat::kWide},
                                                       {"json", OutputFormat::kJson},
                                                       {"yaml", OutputFormat::kYaml},
                                                       {"name", OutputFormat::kName}};
  app.add_option_function<std::string>(
         "-o,--output", [&options, formats](const std::string& word) { options.output = formats.at(word); },
         "table, wide, json, yaml or name")
      ->check(CLI::IsMember({"table", "wide", "json", "yaml", "name"}))
      ->default_str("table")
      ->type_name("FORMAT");
  app.add_option("-t,--target", options.target, "Only this target; for one migration, the target that it is on");
  AddPairs(app, "-l,--label", options.labels, "Only migrations with this label (repeatable; all must match)");
  AddDuration(app, "--timeout", options.timeout,
              "For one call (default 15s); for wait and watch, the whole time (default 1h and for ever)");
}

// Says what is wrong with the command line, or prints the help that was asked for.
int ReportParseError(CLI::App& app, const CLI::ParseError& error, std::ostream& out, std::ostream& err) {
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {
    // --help and --version: CLI11 knows whose help was meant.
    app.exit(error, out, err);
    return kExitDone;
  }
  const auto given = app.get_subcommands();
  // CLI11 only says that a command is missing.
  const std::vector<std::string> rest = app.remaining();
  if (given.empty() && !rest.empty()) {
    err << "migrationctl: there is no command \"" << Printable(rest.front()) << "\" (see migrationctl --help)"
        << std::endl;
    return kExitUsage;
  }
  const std::string command = given.empty() ? "migrationctl" : "migrationctl " + given.front()->get_name();
  err << "migrationctl: " << Printable(error.what()) << " (see " << command << " --help)" << std::endl;
  return kExitUsage;
}

std::string ErrorLine(const absl::Status& status, const std::string& server) {
  std::string message(status.message());
  if (message.empty()) message = absl::StatusCodeToString(status.code());
  // Which server could not be reached is the first question, and it may have come from the environment.
  if (absl::IsUnavailable(status) && message.find(server) == std::string::npos)
    message = absl::StrCat(server, ": ", message);
  return Printable(message);
}

// Writes what is still in the buffer. What cannot be written is an error, unless the reader simply went away.
int FlushOutput(int exit_status, std::ostream& out, std::ostream& err) {
  out.flush();
  if (out.good() || OutputReaderIsGone()) return exit_status;
  err << "migrationctl: the output cannot be written to its end" << std::endl;
  return exit_status == kExitDone ? kExitFailed : exit_status;
}

}  // namespace

int RunCommandLine(int argc, const char* const* argv, std::ostream& out, std::ostream& err, const Terminal& terminal) {
  CLI::App app("migrationctl: watch and control migrations that migrationd runs", "migrationctl");
  app.fallthrough();
  app.require_subcommand(1);
  app.set_version_flag("--version", MIGRATIONCTL_VERSION);
  app.footer(
      "Example:\n  migrationctl --server migrationd.infra:50051 list\n\n"
      "Exit status: 0 done, 1 refused or failed, 2 usage, 3 not found, 4 unreachable, 5 timed out and still going.");
  Session session(out, err, terminal);
  AddGlobalOptions(app, session.options());
  CommandSet commands(app, session);
  AddObserveCommands(commands);
  AddWatchCommands(commands);
  AddRequestCommands(commands);
  AddValidateCommand(commands);
  AddPlanCommand(commands);
  AddControlCommands(commands);
  AddVerifyCommand(commands);
  AddFreezeCommands(commands);
  AddTargetsCommand(commands);
  AddSetupCommands(commands);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return FlushOutput(ReportParseError(app, error, out, err), out, err);
  }
  const absl::Status status = commands.Run();
  const int exit_status = FlushOutput(ExitStatus(status), out, err);
  if (!status.ok()) err << "migrationctl: " << ErrorLine(status, session.options().server) << std::endl;
  return exit_status;
}

}  // namespace migrationctl
