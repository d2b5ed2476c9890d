// Definitions that come with a call, as a file or as a message. Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "migrationcontrol/v1/migration_control.pb.h"
#include "migrations/definition/definition.h"
#include "server/control/controller.h"

namespace migrationd {

struct SentDefinition {
  std::string file_name;  // empty for a message
  DefinitionName name;
  migrationcontrol::v1::MigrationDefinition definition;  // normalized, when there are no problems
  bool start_given = true;
  std::vector<DefinitionProblem> problems;  // also those of the name
};

// Null: not sent. INVALID_ARGUMENT unless exactly one is; what is wrong with it is in `problems`.
absl::StatusOr<SentDefinition> ReadDefinition(const migrationcontrol::v1::DefinitionFile* file,
                                              const migrationcontrol::v1::InlineDefinition* message);

// INVALID_ARGUMENT: not exactly one of migration, file and inline; or DEFINITION_INVALID with every problem.
absl::StatusOr<Controller::EnqueueArguments> EnqueueArgumentsOf(const migrationcontrol::v1::EnqueueRequest& request);

absl::StatusOr<Controller::RehearsalArguments> RehearsalArgumentsOf(const migrationcontrol::v1::PlanRequest& request);

// What the request is about, for error details.
std::string SubjectOf(const migrationcontrol::v1::EnqueueRequest& request);
std::string SubjectOf(const migrationcontrol::v1::PlanRequest& request);

migrationcontrol::v1::Problem ToProto(const DefinitionProblem& problem, const std::string& file_name);

}  // namespace migrationd
