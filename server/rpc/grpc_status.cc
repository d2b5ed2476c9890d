#include "server/rpc/grpc_status.h"

#include <algorithm>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace migrationd {
namespace {

constexpr char kReasonPayload[] = "migrationcontrol/reason";
constexpr char kBadRequestPayload[] = "migrationcontrol/bad_request";
constexpr absl::Duration kRetryOverloaded = absl::Seconds(1);
constexpr absl::Duration kRetryUnavailable = absl::Seconds(2);
// gRPC's own limit for all metadata is 8 KiB on many clients, and the message travels twice.
constexpr std::size_t kMessageBytesMax = 2000;
constexpr std::size_t kDetailBytesMax = 3000;

std::string DefaultReason(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
      return kReasonRequestInvalid;
    case absl::StatusCode::kNotFound:
      return kReasonMigrationNotFound;
    case absl::StatusCode::kAlreadyExists:
      return kReasonMigrationExists;
    case absl::StatusCode::kFailedPrecondition:
      return kReasonStateInvalid;
    case absl::StatusCode::kAborted:
      return kReasonRevisionMismatch;
    case absl::StatusCode::kPermissionDenied:
      return kReasonRoleMissing;
    case absl::StatusCode::kUnavailable:
      return kReasonUnavailable;
    case absl::StatusCode::kResourceExhausted:
      return kReasonOverloaded;
    default:
      return absl::StatusCodeToString(code);
  }
}

std::string ReasonOf(const absl::Status& status) {
  if (const auto payload = status.GetPayload(kReasonPayload); payload.has_value()) return std::string(*payload);
  return DefaultReason(status.code());
}

std::string Cut(std::string text, std::size_t bytes) {
  if (text.size() <= bytes) return text;
  text.resize(bytes);
  // Not within a character.
  while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xC0) == 0x80) text.pop_back();
  if (!text.empty() && static_cast<unsigned char>(text.back()) >= 0xC0) text.pop_back();
  return text + "...";
}

// "field: what is wrong" is how this program's messages name a field.
google::rpc::BadRequest BadRequestOf(const absl::Status& status) {
  google::rpc::BadRequest bad;
  if (const auto payload = status.GetPayload(kBadRequestPayload); payload.has_value()) {
    bad.ParseFromString(std::string(*payload));
    return bad;
  }
  const std::string message(status.message());
  const std::size_t colon = message.find(": ");
  const bool named = colon != std::string::npos && message.find(' ') > colon;
  auto* violation = bad.add_field_violations();
  violation->set_field(named ? message.substr(0, colon) : "");
  violation->set_description(Cut(named ? message.substr(colon + 2) : message, kMessageBytesMax));
  return bad;
}

void AddRetryInfo(absl::Duration delay, google::rpc::Status& out) {
  google::rpc::RetryInfo info;
  info.mutable_retry_delay()->set_seconds(absl::ToInt64Seconds(delay));
  out.add_details()->PackFrom(info);
}

}  // namespace

absl::Status WithReason(absl::Status status, const std::string& reason) {
  if (!status.ok()) status.SetPayload(kReasonPayload, absl::Cord(reason));
  return status;
}

absl::Status FieldError(const std::string& field, const std::string& description) {
  return FieldErrors(kReasonRequestInvalid, {{field, description}});
}

absl::Status FieldErrors(const std::string& reason, const std::vector<FieldViolation>& violations) {
  google::rpc::BadRequest bad;
  std::size_t bytes = 0;
  for (const FieldViolation& violation : violations) {
    bytes += violation.field.size() + violation.description.size();
    if (bad.field_violations_size() > 0 && bytes > kDetailBytesMax) break;
    auto* out = bad.add_field_violations();
    out->set_field(violation.field);
    out->set_description(Cut(violation.description, kMessageBytesMax));
  }
  absl::Status status =
      absl::InvalidArgumentError(absl::StrJoin(violations, "\n", [](std::string* out, const FieldViolation& violation) {
        absl::StrAppend(out, violation.field, violation.field.empty() ? "" : ": ", violation.description);
      }));
  status.SetPayload(kBadRequestPayload, absl::Cord(bad.SerializeAsString()));
  return WithReason(std::move(status), reason);
}

grpc::Status ToGrpcStatus(const absl::Status& status, const std::string& subject) {
  if (status.ok()) return grpc::Status::OK;
  const std::string message = Cut(std::string(status.message()), kMessageBytesMax);
  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(message);

  google::rpc::ErrorInfo info;
  info.set_reason(ReasonOf(status));
  info.set_domain(kErrorDomain);
  if (!subject.empty()) (*info.mutable_metadata())["migration"] = Cut(subject, 300);
  details.add_details()->PackFrom(info);

  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      details.add_details()->PackFrom(BadRequestOf(status));
      break;
    case absl::StatusCode::kFailedPrecondition: {
      google::rpc::PreconditionFailure failure;
      auto* violation = failure.add_violations();
      violation->set_type(info.reason());
      violation->set_subject(Cut(subject, 300));
      violation->set_description(message);
      details.add_details()->PackFrom(failure);
      break;
    }
    case absl::StatusCode::kUnavailable:
      AddRetryInfo(kRetryUnavailable, details);
      break;
    case absl::StatusCode::kResourceExhausted:
      AddRetryInfo(kRetryOverloaded, details);
      break;
    default:
      break;
  }
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), message, details.SerializeAsString());
}

}  // namespace migrationd
