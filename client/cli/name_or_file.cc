#include "client/cli/name_or_file.h"

#include "absl/strings/match.h"

namespace migrationctl {

void AddNameOrFile(CLI::App& command, YamlName yaml_name, NameOrFile& what) {
  if (yaml_name == YamlName::kIsRead) {
    command.add_option("NAME", what.name, "A migration, or a definition file: what ends with .yaml is read here");
  } else {
    AddName(command, what.name);
  }
  command.add_option("-f,--file", what.file, "A definition file, where the server allows that")->type_name("FILE");
  AddPairs(command, "-P,--param", what.parameters, "Value of a parameter of the definition (repeatable)");
}

void CheckNameOrFile(const Session& session, const std::string& command, YamlName yaml_name, NameOrFile& what) {
  if (what.name.empty() == what.file.empty()) throw CLI::ValidationError(command, "one NAME or -f FILE is required");
  if (yaml_name == YamlName::kIsRead && absl::EndsWith(what.name, ".yaml")) what.file = what.name;
  if (!what.file.empty() && !session.options().target.empty()) throw CLI::ValidationError("--target", "the target stands in the file");
}

}  // namespace migrationctl
