#include "client/cli/exit_status.h"

#include "absl/strings/str_cat.h"

namespace migrationctl {

int ExitStatus(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitDone;
    case absl::StatusCode::kNotFound:
      return kExitNotFound;
    case absl::StatusCode::kUnavailable:
      return kExitUnreachable;
    case absl::StatusCode::kDeadlineExceeded:
      return kExitStillGoing;
    default:
      return kExitFailed;
  }
}

absl::Status NoAnswerIsUnavailable(const absl::Status& status, const std::string& server) {
  if (!absl::IsDeadlineExceeded(status)) return status;
  return absl::UnavailableError(absl::StrCat("no answer in time from ", server,
                                             "; what was asked for may still happen (--timeout waits longer)"));
}

}  // namespace migrationctl
