#include "migrations/model/failure.h"

#include <algorithm>
#include <array>

#include "absl/strings/cord.h"

namespace migrationd {
namespace {

constexpr char kSqlStateUrl[] = "migrationd/sqlstate";
constexpr char kCommitUnknownUrl[] = "migrationd/commit-unknown";
constexpr char kRowSecurityUrl[] = "migrationd/row-security";

absl::StatusCode CodeOf(FailureClass failure) {
  switch (failure) {
    case FailureClass::kBackOff: return absl::StatusCode::kUnavailable;
    case FailureClass::kRetryNow:
    case FailureClass::kFenced: return absl::StatusCode::kAborted;
    default: return absl::StatusCode::kFailedPrecondition;
  }
}

}  // namespace

FailureClass ClassifyFailure(std::string_view sqlstate) {
  if (sqlstate.empty()) return FailureClass::kBackOff;
  if (sqlstate == kSqlStateFenced) return FailureClass::kFenced;
  if (sqlstate == kSqlStateWhereNotSatisfied) return FailureClass::kWhereNotSatisfied;
  if (sqlstate == kSqlStateFrozen) return FailureClass::kFrozen;
  if (sqlstate == kSqlStateSchemaChanged) return FailureClass::kSchemaChanged;
  if (sqlstate == "40001" || sqlstate == "40P01") return FailureClass::kRetryNow;
  if (sqlstate == "57014" || sqlstate == "55P03") return FailureClass::kRetrySmaller;
  if (sqlstate == "25006" || sqlstate.starts_with("08") || sqlstate.starts_with("53") || sqlstate.starts_with("57P")) {
    return FailureClass::kBackOff;
  }
  constexpr std::array<std::string_view, 8> kBadRowClasses = {"21", "22", "23", "44", "54", "P0", "38", "39"};
  const auto starts = [&](std::string_view prefix) { return sqlstate.starts_with(prefix); };
  if (std::any_of(kBadRowClasses.begin(), kBadRowClasses.end(), starts)) return FailureClass::kBadRows;
  if (starts("42") || starts("0A")) return FailureClass::kHalt;
  return FailureClass::kAttempt;
}

std::string_view FailureClassName(FailureClass failure) {
  switch (failure) {
    case FailureClass::kRetryNow: return "RETRY_NOW";
    case FailureClass::kRetrySmaller: return "RETRY_SMALLER";
    case FailureClass::kBackOff: return "BACK_OFF";
    case FailureClass::kBadRows: return "BAD_ROWS";
    case FailureClass::kHalt: return "HALT";
    case FailureClass::kAttempt: return "ATTEMPT";
    case FailureClass::kFenced: return "FENCED";
    case FailureClass::kWhereNotSatisfied: return "WHERE_NOT_SATISFIED";
    case FailureClass::kFrozen: return "FROZEN";
    case FailureClass::kSchemaChanged: return "SCHEMA_CHANGED";
  }
  return "";
}

absl::Status DatabaseError(std::string_view sqlstate, std::string_view message) {
  absl::Status status(CodeOf(ClassifyFailure(sqlstate)), std::string(message));
  status.SetPayload(kSqlStateUrl, absl::Cord(std::string(sqlstate)));
  return status;
}

std::string SqlStateOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kSqlStateUrl);
  return payload.has_value() ? std::string(*payload) : std::string();
}

bool IsDatabaseError(const absl::Status& status) { return status.GetPayload(kSqlStateUrl).has_value(); }

absl::Status RowSecurityError(std::string_view message) {
  absl::Status status = DatabaseError(
      "42501", std::string(message) + ". Rows that row-level security hides would be left out: give the role of the service BYPASSRLS "
               "(ALTER ROLE ... BYPASSRLS), or make it a member of the table's owner, which helps only without FORCE ROW LEVEL SECURITY");
  status.SetPayload(kRowSecurityUrl, absl::Cord("1"));
  return status;
}

bool IsRowSecurityError(const absl::Status& status) { return status.GetPayload(kRowSecurityUrl).has_value(); }

bool IsCommitUnknown(const absl::Status& status) { return status.GetPayload(kCommitUnknownUrl).has_value(); }

absl::Status CommitUnknownError(std::string_view message) {
  absl::Status status = DatabaseError("", message);
  status.SetPayload(kCommitUnknownUrl, absl::Cord("1"));
  return status;
}

}  // namespace migrationd
