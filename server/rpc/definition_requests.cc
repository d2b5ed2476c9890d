#include "server/rpc/definition_requests.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "migrations/model/status_macros.h"
#include "server/rpc/grpc_status.h"

namespace migrationd {
namespace {

namespace v1 = migrationcontrol::v1;

void Add(const std::string& field, const absl::Status& status, std::vector<DefinitionProblem>& problems) {
  if (status.ok()) return;
  DefinitionProblem problem;
  problem.field = field;
  problem.message = std::string(status.message());
  problems.push_back(std::move(problem));
}

void Take(DefinitionResult result, SentDefinition& sent) {
  sent.definition = std::move(result.definition);
  sent.start_given = result.start_given;
  for (DefinitionProblem& problem : result.problems) sent.problems.push_back(std::move(problem));
}

absl::Status ProblemsError(const SentDefinition& sent) {
  std::vector<FieldViolation> violations;
  for (const DefinitionProblem& problem : sent.problems) {
    const std::string place =
        problem.line > 0 ? absl::StrCat(sent.file_name, ":", problem.line, ":", problem.column, ": ") : std::string();
    violations.push_back({problem.field, absl::StrCat(place, problem.message)});
  }
  return FieldErrors(kReasonDefinitionInvalid, violations);
}

// Of `migration`, `file` and `inline`.
template <typename Request>
absl::Status CheckExactlyOne(const Request& request) {
  const int given = (request.migration().empty() ? 0 : 1) + (request.has_file() ? 1 : 0) + (request.has_inline_() ? 1 : 0);
  if (given == 1) return absl::OkStatus();
  return FieldError("migration", absl::StrCat("expected exactly one of migration, file and inline; got ", given, "."));
}

template <typename Request>
absl::StatusOr<SentDefinition> ReadValid(const Request& request) {
  MD_ASSIGN_OR_RETURN(SentDefinition sent, ReadDefinition(request.has_file() ? &request.file() : nullptr,
                                                          request.has_inline_() ? &request.inline_() : nullptr));
  if (!sent.problems.empty()) return ProblemsError(sent);
  return sent;
}

template <typename Request>
std::string Subject(const Request& request) {
  if (request.has_file()) return request.file().file_name();
  return request.has_inline_() ? request.inline_().name() : request.migration();
}

}  // namespace

absl::StatusOr<SentDefinition> ReadDefinition(const v1::DefinitionFile* file, const v1::InlineDefinition* message) {
  if ((file == nullptr) == (message == nullptr)) return FieldError("file", "expected exactly one of file and inline.");
  SentDefinition sent;
  if (file != nullptr) {
    sent.file_name = file->file_name();
    const auto name = ParseFileName(file->file_name());
    Add("file_name", name.status(), sent.problems);
    if (name.ok()) sent.name = *name;
    Take(ParseDefinition(file->content()), sent);
    return sent;
  }
  sent.name = {message->version(), message->name()};
  Add("name", CheckName(sent.name), sent.problems);
  Take(CheckDefinition(message->definition()), sent);
  return sent;
}

absl::StatusOr<Controller::EnqueueArguments> EnqueueArgumentsOf(const v1::EnqueueRequest& request) {
  MD_RETURN_IF_ERROR(CheckExactlyOne(request));
  Controller::EnqueueArguments arguments;
  arguments.parameters = {request.parameters().begin(), request.parameters().end()};
  arguments.start = request.start();
  if (request.pause_after_rows() < 0)
    return FieldError("pause_after_rows", "is negative; expected a number of rows, or 0 for never.");
  arguments.pause_after_rows = request.pause_after_rows();
  arguments.migration = request.migration();
  if (!request.migration().empty()) return arguments;
  MD_ASSIGN_OR_RETURN(const SentDefinition sent, ReadValid(request));
  arguments.name = sent.name;
  arguments.definition = sent.definition;
  arguments.start_given = sent.start_given;
  return arguments;
}

absl::StatusOr<Controller::RehearsalArguments> RehearsalArgumentsOf(const v1::PlanRequest& request) {
  MD_RETURN_IF_ERROR(CheckExactlyOne(request));
  Controller::RehearsalArguments arguments;
  arguments.parameters = {request.parameters().begin(), request.parameters().end()};
  arguments.migration = request.migration();
  if (!request.migration().empty()) return arguments;
  MD_ASSIGN_OR_RETURN(const SentDefinition sent, ReadValid(request));
  arguments.name = sent.name;
  arguments.definition = sent.definition;
  return arguments;
}

std::string SubjectOf(const v1::EnqueueRequest& request) { return Subject(request); }

std::string SubjectOf(const v1::PlanRequest& request) { return Subject(request); }

v1::Problem ToProto(const DefinitionProblem& problem, const std::string& file_name) {
  v1::Problem out;
  out.set_file(file_name);
  out.set_line(problem.line);
  out.set_column(problem.column);
  out.set_field(problem.field);
  out.set_message(problem.message);
  return out;
}

}  // namespace migrationd
