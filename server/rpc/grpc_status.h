// Errors on the wire: absl::Status becomes a grpc::Status whose trailer carries google.rpc.Status with ErrorInfo and,
// where they fit, BadRequest, PreconditionFailure and RetryInfo. The essential always is in the message too.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "grpcpp/support/status.h"

namespace migrationd {

// ErrorInfo.domain of everything this service says.
inline constexpr char kErrorDomain[] = "migrationcontrol";

// ErrorInfo.reason. Which one a status gets by itself follows from its code; WithReason names another.
inline constexpr char kReasonRequestInvalid[] = "REQUEST_INVALID";
inline constexpr char kReasonDefinitionInvalid[] = "DEFINITION_INVALID";
inline constexpr char kReasonMigrationNotFound[] = "MIGRATION_NOT_FOUND";
inline constexpr char kReasonFreezeNotFound[] = "FREEZE_NOT_FOUND";
inline constexpr char kReasonMigrationExists[] = "MIGRATION_EXISTS";
inline constexpr char kReasonRequestIdReused[] = "REQUEST_ID_REUSED";
inline constexpr char kReasonStateInvalid[] = "MIGRATION_STATE_INVALID";
inline constexpr char kReasonRevisionMismatch[] = "REVISION_MISMATCH";
inline constexpr char kReasonRoleMissing[] = "ROLE_MISSING";
inline constexpr char kReasonCredentialsInvalid[] = "CREDENTIALS_INVALID";
inline constexpr char kReasonInlineNotAllowed[] = "INLINE_DEFINITIONS_NOT_ALLOWED";
inline constexpr char kReasonUnavailable[] = "DATABASE_UNAVAILABLE";
inline constexpr char kReasonStopping[] = "SERVER_STOPPING";
inline constexpr char kReasonOverloaded[] = "OVERLOADED";
inline constexpr char kReasonTooManyWatches[] = "TOO_MANY_WATCHES";

// One line of BadRequest: field, what is wrong.
struct FieldViolation {
  std::string field;
  std::string description;
};

// `status` with that reason; it travels in a payload.
absl::Status WithReason(absl::Status status, const std::string& reason);

// INVALID_ARGUMENT "field: description".
absl::Status FieldError(const std::string& field, const std::string& description);
// INVALID_ARGUMENT with all of them; `violations` is not empty.
absl::Status FieldErrors(const std::string& reason, const std::vector<FieldViolation>& violations);

// `subject`: what the call was about, such as the migration as it was named; may be empty. RESOURCE_EXHAUSTED and
// UNAVAILABLE get RetryInfo; other details follow from code and payloads.
grpc::Status ToGrpcStatus(const absl::Status& status, const std::string& subject);

}  // namespace migrationd
