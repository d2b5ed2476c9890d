// validate: checks definition files here, and with --remote on the target, too.
#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/definition_file.h"
#include "client/cli/text.h"
#include "migrations/definition/definition.h"

namespace migrationctl {
namespace {

struct ValidateArguments {
  std::vector<std::string> files;
  bool remote = false;
};

v1::Problem MakeProblem(const std::string& file, const migrationd::DefinitionProblem& problem) {
  v1::Problem result;
  result.set_file(file);
  result.set_line(problem.line);
  result.set_column(problem.column);
  result.set_field(problem.field);
  result.set_message(problem.message);
  return result;
}

v1::Problem FileProblem(const std::string& file, const absl::Status& status) {
  return MakeProblem(file, {.line = 0, .column = 0, .field = "", .message = std::string(status.message())});
}

v1::ValidateResponse ValidateHere(const std::string& path, const std::string& content) {
  v1::ValidateResponse response;
  const auto name = migrationd::ParseFileName(BaseName(path));
  if (!name.ok()) *response.add_problems() = FileProblem(path, name.status());
  const migrationd::DefinitionResult result = migrationd::ParseDefinition(content);
  for (const migrationd::DefinitionProblem& problem : result.problems)
    *response.add_problems() = MakeProblem(path, problem);
  response.set_valid(response.problems().empty());
  if (response.valid()) *response.mutable_definition() = result.definition;
  return response;
}

// An error only when the check cannot be made.
absl::StatusOr<v1::ValidateResponse> ValidateThere(Session& session, const std::string& path,
                                                   const std::string& content) {
  v1::ValidateRequest request;
  request.mutable_file()->set_file_name(BaseName(path));
  request.mutable_file()->set_content(content);
  request.set_against_target(true);
  absl::StatusOr<v1::ValidateResponse> response = session.client().Validate(request);
  if (!response.ok()) return session.Explain(response.status());
  // The server knows the file by its last name only.
  for (v1::Problem& problem : *response->mutable_problems()) problem.set_file(path);
  return response;
}

absl::StatusOr<v1::ValidateResponse> ValidateFile(Session& session, const std::string& path, bool remote) {
  const absl::StatusOr<std::string> content = ReadDefinitionFile(path);
  if (!content.ok()) {
    v1::ValidateResponse response;
    v1::Problem* problem = response.add_problems();
    *problem = FileProblem(path, content.status());
    // The message names the file already.
    problem->set_message(problem->message().substr(path.size() + 2));
    return response;
  }
  v1::ValidateResponse here = ValidateHere(path, *content);
  if (!here.valid() || !remote) return here;
  return ValidateThere(session, path, *content);
}

// What is said of a file that is valid. Classes are registered in a server, so only one can tell more of them.
std::string Verdict(const v1::ValidateResponse& response, bool remote) {
  if (remote) return ": valid, also on the target";
  if (!response.definition().has_native()) return ": valid";
  return absl::StrCat(": valid, as far as it can be told here; whether the server has the class ", response.definition().native().class_name(),
                      ", and what it says of its parameters, tells --remote");
}

void PrintProblems(Session& session, const v1::ValidateResponse& response) {
  for (const v1::Problem& problem : response.problems()) {
    session.out() << Printable(migrationd::FormatProblem(problem.file(), {.line = problem.line(),
                                                                          .column = problem.column(),
                                                                          .field = problem.field(),
                                                                          .message = problem.message()}))
                  << '\n';
  }
}

absl::Status Validate(Session& session, const ValidateArguments& arguments) {
  v1::ValidateResponse all;
  int refused = 0;
  for (const std::string& path : arguments.files) {
    const absl::StatusOr<v1::ValidateResponse> response = ValidateFile(session, path, arguments.remote);
    if (!response.ok()) return response.status();
    if (!response->valid()) ++refused;
    for (const v1::Problem& problem : response->problems()) *all.add_problems() = problem;
    if (arguments.files.size() == 1 && response->has_definition()) *all.mutable_definition() = response->definition();
    if (IsText(session.options().output)) {
      PrintProblems(session, *response);
      if (response->valid())
        session.out() << Printable(path) << Verdict(*response, arguments.remote) << '\n';
    } else if (session.options().output == OutputFormat::kName && response->valid()) {
      session.out() << Printable(path) << '\n';
    }
  }
  all.set_valid(refused == 0);
  session.PrintForPrograms(all);
  if (refused == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(refused, " of ", arguments.files.size(), " definitions not valid"));
}

}  // namespace

void AddValidateCommand(CommandSet& commands) {
  CLI::App& command =
      commands.Add("validate", "Check definition files without a server; with --remote on the target, too",
                   "migrationctl validate migrations/*.yaml");
  const auto arguments = std::make_shared<ValidateArguments>();
  command.add_option("FILE", arguments->files, "Definition files")->required()->type_name("");
  command.add_flag("--remote", arguments->remote, "Also ask the server: table, key and statement on the target");
  Session& session = commands.session();
  commands.OnRun(command, Selects::kOne, [&session, arguments] { return Validate(session, *arguments); });
}

}  // namespace migrationctl
