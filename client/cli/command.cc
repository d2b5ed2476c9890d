#include "client/cli/command.h"

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cli/quantity.h"

namespace migrationctl {

CLI::App& CommandSet::Add(const std::string& name, const std::string& description, const std::string& example) {
  CLI::App* command = app_.add_subcommand(name, description);
  command->footer(absl::StrCat("Example:\n  ", example,
                               "\n\nServer, output format and other options of all commands: migrationctl --help"));
  return *command;
}

void CommandSet::OnRun(CLI::App& command, Selects selects, std::function<absl::Status()> action,
                       std::function<void()> check) {
  command.callback([this, selects, action = std::move(action), check = std::move(check)] {
    if (selects == Selects::kOne && !session_.options().labels.empty()) {
      // Ignored in silence, a filter would make somebody believe that less is done than is.
      throw CLI::ValidationError("--label", "only list and watch select by label");
    }
    if (check != nullptr) check();
    action_ = action;
  });
}

void AddMutationOptions(CLI::App& command, migrationcontrol::CallOptions& call, bool revision) {
  command.add_option("--reason", call.reason, "Why; kept in the history");
  command.add_option("--request-id", call.request_id,
                     "The same id within 24 h does nothing twice (default: a fresh one)");
  command.add_flag("--dry-run", call.validate_only, "Check everything, change nothing");
  if (revision) {
    command
        .add_option("--expected-revision", call.expected_revision, "Only if this is still its revision (see status)")
        ->check(CLI::PositiveNumber);
  }
}

CLI::Option* AddName(CLI::App& command, std::string& name) {
  return command.add_option("NAME", name, "name, TARGET/name, version or file name of a migration");
}

CLI::Option* AddDuration(CLI::App& command, const std::string& names, std::optional<absl::Duration>& value,
                         const std::string& description) {
  return command
      .add_option_function<std::string>(
          names,
          [&value, names](const std::string& text) {
            const absl::StatusOr<absl::Duration> duration = ParseDuration(text);
            if (!duration.ok()) throw CLI::ValidationError(names, std::string(duration.status().message()));
            if (*duration == absl::ZeroDuration()) throw CLI::ValidationError(names, "must be more than 0");
            value = *duration;
          },
          description)
      ->type_name("DURATION");
}

CLI::Option* AddUntil(CLI::App& command, std::optional<absl::Time>& value, const std::string& description) {
  return command
      .add_option_function<std::string>(
          "--until",
          [&value](const std::string& text) {
            const absl::StatusOr<absl::Time> time = ParseTimeOrDuration(text, absl::Now());
            if (!time.ok()) throw CLI::ValidationError("--until", std::string(time.status().message()));
            value = *time;
          },
          description)
      ->type_name("TIME|DURATION");
}

CLI::Option* AddPairs(CLI::App& command, const std::string& names, std::map<std::string, std::string>& pairs,
                      const std::string& description) {
  return command
      .add_option_function<std::vector<std::string>>(
          names,
          [&pairs, names](const std::vector<std::string>& texts) {
            pairs.clear();
            for (const std::string& text : texts) {
              const std::size_t equals = text.find('=');
              if (equals == 0 || equals == std::string::npos) {
                throw CLI::ValidationError(names, absl::StrCat("\"", text, "\" is not KEY=VALUE"));
              }
              if (!pairs.emplace(text.substr(0, equals), text.substr(equals + 1)).second) {
                throw CLI::ValidationError(names, absl::StrCat("\"", text.substr(0, equals), "\" is given twice"));
              }
            }
          },
          description)
      // One value each time: what follows it is the next argument.
      ->allow_extra_args(false)
      ->type_name("KEY=VALUE");
}

}  // namespace migrationctl
