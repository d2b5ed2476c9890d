// What `plan` and `enqueue` take: a migration that the service knows, or a definition file of this machine.
#pragma once

#include <map>
#include <string>

#include "client/cli/command.h"
#include "client/cli/definition_file.h"
#include "client/cli/session.h"

namespace migrationctl {

struct NameOrFile {
  std::string name;
  std::string file;
  std::map<std::string, std::string> parameters;
};

// A NAME that ends with .yaml: a file here, or the name of a file in the service's catalogue.
enum class YamlName { kIsRead, kIsCatalogued };

// NAME, --file and --param. `what` outlives the command.
void AddNameOrFile(CLI::App& command, YamlName yaml_name, NameOrFile& what);
// For OnRun's check: throws CLI::ValidationError unless it is one of them, or when --target contradicts a file.
void CheckNameOrFile(const Session& session, const std::string& command, YamlName yaml_name, NameOrFile& what);

// Into a request with `migration`, `file` and `parameters`. INVALID_ARGUMENT as of Session::Named, FAILED_PRECONDITION as of
// ReadDefinitionFile.
template <typename Request>
absl::Status FillNameOrFile(const Session& session, const NameOrFile& what, Request& request) {
  if (what.file.empty()) {
    absl::StatusOr<std::string> named = session.Named(what.name);
    if (!named.ok()) return named.status();
    request.set_migration(*std::move(named));
  } else {
    absl::StatusOr<std::string> content = ReadDefinitionFile(what.file);
    if (!content.ok()) return content.status();
    request.mutable_file()->set_file_name(BaseName(what.file));
    request.mutable_file()->set_content(*std::move(content));
  }
  request.mutable_parameters()->insert(what.parameters.begin(), what.parameters.end());
  return absl::OkStatus();
}

}  // namespace migrationctl
