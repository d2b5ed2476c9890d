#include "client/cli/completion.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace migrationctl {
namespace {

constexpr char kAskNames[] = "migrationctl list -o name --timeout 1s 2>/dev/null";
constexpr char kFormats[] = "table wide json yaml name";

struct OptionWords {
  std::vector<std::string> names;  // with their dashes
  bool takes_value = false;
  std::string description;
};

struct CommandWords {
  std::string name;
  std::string description;
  std::vector<OptionWords> options;
  bool takes_migration = false;
  bool takes_files = false;

  std::string AllOptions() const {
    std::vector<std::string> names;
    for (const OptionWords& option : options) names.insert(names.end(), option.names.begin(), option.names.end());
    return absl::StrJoin(names, " ");
  }
};

CommandWords WordsOf(CLI::App& app) {
  CommandWords words{app.get_name(), app.get_description(), {}, false, false};
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) {
      words.takes_migration = words.takes_migration || option->get_name() == "NAME";
      words.takes_files = words.takes_files || option->get_name() == "FILE";
      continue;
    }
    OptionWords option_words{{}, option->get_items_expected_max() > 0, option->get_description()};
    for (const std::string& name : option->get_snames()) option_words.names.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) option_words.names.push_back("--" + name);
    words.options.push_back(std::move(option_words));
  }
  return words;
}

std::vector<CommandWords> CommandsOf(CLI::App& app) {
  std::vector<CommandWords> commands;
  for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; })) commands.push_back(WordsOf(*command));
  return commands;
}

std::string JoinNames(const std::vector<CommandWords>& commands, bool (*which)(const CommandWords&),
                      const char* separator) {
  std::vector<std::string> names;
  for (const CommandWords& command : commands) {
    if (which(command)) names.push_back(command.name);
  }
  return absl::StrJoin(names, separator);
}

std::string Bash(const CommandWords& global, const std::vector<CommandWords>& commands) {
  std::string options;
  for (const CommandWords& command : commands) {
    absl::StrAppend(&options, "    ", command.name, ") words=\"", command.AllOptions(), "\" ;;\n");
  }
  return absl::StrReplaceAll(R"~sh~(# bash completion for migrationctl: source <(migrationctl completion bash)
_migrationctl() {
  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"
  local commands="@COMMANDS@" command="" words="" word
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case " $commands " in *" $word "*) command="$word"; break ;; esac
  done
  COMPREPLY=()
  case "$previous" in
    -o|--output) mapfile -t COMPREPLY < <(compgen -W "@FORMATS@" -- "$current"); return ;;
    -f|--file) mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
  esac
  case "$command" in
    "") words="$commands" ;;
@OPTIONS@  esac
  if [[ "$current" == -* ]]; then
    [[ -n "$command" ]] || words=""
    mapfile -t COMPREPLY < <(compgen -W "$words @GLOBAL@" -- "$current")
    return
  fi
  case "$command" in
    "") mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$current") ;;
    completion) mapfile -t COMPREPLY < <(compgen -W "bash zsh fish" -- "$current") ;;
    @FILES@) mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
    @NAMES@) mapfile -t COMPREPLY < <(compgen -W "$(@ASK@)" -- "$current") ;;
  esac
}
complete -F _migrationctl migrationctl
)~sh~",
                             {{"@COMMANDS@", JoinNames(
                                                 commands, [](const CommandWords&) { return true; }, " ")},
                              {"@OPTIONS@", options},
                              {"@GLOBAL@", global.AllOptions()},
                              {"@FORMATS@", kFormats},
                              {"@FILES@", JoinNames(
                                              commands, [](const CommandWords& c) { return c.takes_files; }, "|")},
                              {"@NAMES@", JoinNames(
                                              commands, [](const CommandWords& c) { return c.takes_migration; }, "|")},
                              {"@ASK@", kAskNames}});
}

std::string Zsh(const CommandWords& global, const std::vector<CommandWords>& commands) {
  std::string described;
  std::string options;
  for (const CommandWords& command : commands) {
    absl::StrAppend(&described, "    '", command.name, ":",
                    absl::StrReplaceAll(command.description, {{"'", "'\\''"}, {":", "\\:"}}), "'\n");
    absl::StrAppend(&options, "    ", command.name, ") options=(", command.AllOptions(), ") ;;\n");
  }
  return absl::StrReplaceAll(R"~sh~(#compdef migrationctl
# zsh completion for migrationctl: source <(migrationctl completion zsh), or as _migrationctl in a folder of $fpath
_migrationctl() {
  local -a commands options
  local command="" word
  commands=(
@DESCRIBED@  )
  for word in ${words[2,CURRENT-1]}; do
    if (( ${commands[(I)$word:*]} )); then command=$word; break; fi
  done
  case ${words[CURRENT-1]} in
    -o|--output) compadd -- @FORMATS@; return ;;
    -f|--file) _files; return ;;
  esac
  case $command in
@OPTIONS@  esac
  if [[ ${words[CURRENT]} == -* ]]; then
    compadd -- $options @GLOBAL@
    return
  fi
  case $command in
    "") _describe command commands ;;
    completion) compadd -- bash zsh fish ;;
    @FILES@) _files ;;
    @NAMES@) compadd -- ${(f)"$(@ASK@)"} ;;
  esac
}
if [ "$funcstack[1]" = "_migrationctl" ]; then
  _migrationctl "$@"
else
  compdef _migrationctl migrationctl
fi
)~sh~",
                             {{"@DESCRIBED@", described},
                              {"@OPTIONS@", options},
                              {"@GLOBAL@", global.AllOptions()},
                              {"@FORMATS@", kFormats},
                              {"@FILES@", JoinNames(
                                              commands, [](const CommandWords& c) { return c.takes_files; }, "|")},
                              {"@NAMES@", JoinNames(
                                              commands, [](const CommandWords& c) { return c.takes_migration; }, "|")},
                              {"@ASK@", kAskNames}});
}

std::string FishQuoted(const std::string& text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"'", "\\'"}}), "'");
}

std::string FishOption(const std::string& condition, const OptionWords& option) {
  std::string line = absl::StrCat("complete -c migrationctl", condition);
  for (const std::string& name : option.names) {
    absl::StrAppend(&line, name.rfind("--", 0) == 0 ? " -l " : " -s ", name.substr(name.rfind("--", 0) == 0 ? 2 : 1));
    if (name == "--output") absl::StrAppend(&line, " -xa ", FishQuoted(kFormats));
    if (name == "--file") absl::StrAppend(&line, " -F");
  }
  return absl::StrCat(line, option.takes_value ? " -r" : "", " -d ", FishQuoted(option.description), "\n");
}

std::string Fish(const CommandWords& global, const std::vector<CommandWords>& commands) {
  std::string script =
      "# fish completion for migrationctl: migrationctl completion fish | source\ncomplete -c migrationctl -f\n";
  for (const OptionWords& option : global.options) script += FishOption("", option);
  for (const CommandWords& command : commands) {
    absl::StrAppend(&script, "complete -c migrationctl -n __fish_use_subcommand -a ", command.name, " -d ",
                    FishQuoted(command.description), "\n");
    const std::string condition =
        absl::StrCat(" -n ", FishQuoted(absl::StrCat("__fish_seen_subcommand_from ", command.name)));
    for (const OptionWords& option : command.options) script += FishOption(condition, option);
    if (command.takes_migration) {
      absl::StrAppend(&script, "complete -c migrationctl", condition, " -a ",
                      FishQuoted(absl::StrCat("(", kAskNames, ")")), "\n");
    }
    if (command.takes_files) absl::StrAppend(&script, "complete -c migrationctl", condition, " -F\n");
    if (command.name == "completion")
      absl::StrAppend(&script, "complete -c migrationctl", condition, " -a 'bash zsh fish'\n");
  }
  return script;
}

}  // namespace

std::string CompletionScript(const std::string& shell, CLI::App& app) {
  const CommandWords global = WordsOf(app);
  const std::vector<CommandWords> commands = CommandsOf(app);
  if (shell == "zsh") return Zsh(global, commands);
  if (shell == "fish") return Fish(global, commands);
  return Bash(global, commands);
}

}  // namespace migrationctl
