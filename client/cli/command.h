// How a command of migrationctl is made: its words on the command line, its example, and what it does.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "client/cli/session.h"

namespace migrationctl {

// Whether --label makes sense: it selects among many.
enum class Selects { kOne, kMany };

class CommandSet {
 public:
  CommandSet(CLI::App& app, Session& session) : app_(app), session_(session) {}

  Session& session() { return session_; }
  CLI::App& app() { return app_; }

  // A command with an example for its --help.
  CLI::App& Add(const std::string& name, const std::string& description, const std::string& example);
  // What it does once the whole command line is found right. `check` may throw CLI::ValidationError for what no single
  // option shows.
  void OnRun(CLI::App& command, Selects selects, std::function<absl::Status()> action,
             std::function<void()> check = nullptr);

  // Runs the command that was given; call it after parsing.
  absl::Status Run() { return action_(); }

 private:
  CLI::App& app_;
  Session& session_;
  std::function<absl::Status()> action_;
};

// --reason, --request-id, --dry-run, and unless `revision` is false --expected-revision.
void AddMutationOptions(CLI::App& command, migrationcontrol::CallOptions& call, bool revision = true);

// The positional NAME. Not required: the caller says so where it is.
CLI::Option* AddName(CLI::App& command, std::string& name);

// An option that takes a duration, or a time or duration from now, checked while parsing.
CLI::Option* AddDuration(CLI::App& command, const std::string& names, std::optional<absl::Duration>& value,
                         const std::string& description);
CLI::Option* AddUntil(CLI::App& command, std::optional<absl::Time>& value, const std::string& description);

// An option KEY=VALUE that may be given several times; a key given twice is refused.
CLI::Option* AddPairs(CLI::App& command, const std::string& names, std::map<std::string, std::string>& pairs,
                      const std::string& description);

// Each adds the commands of one subject.
void AddObserveCommands(CommandSet& commands);  // list, status, jobs, events, show
void AddWatchCommands(CommandSet& commands);    // watch, wait
void AddRequestCommands(CommandSet& commands);  // enqueue, start
void AddValidateCommand(CommandSet& commands);  // validate
void AddPlanCommand(CommandSet& commands);      // plan
void AddControlCommands(CommandSet& commands);  // pause, resume, retry, set-batch-size, set-pace, accept, cancel, cleanup, delete
void AddVerifyCommand(CommandSet& commands);    // verify
void AddFreezeCommands(CommandSet& commands);   // freeze, unfreeze
void AddTargetsCommand(CommandSet& commands);   // targets
void AddSetupCommands(CommandSet& commands);    // completion, target-sql

}  // namespace migrationctl
