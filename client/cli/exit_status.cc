#include "client/cli/exit_status.h"

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

absl::Status NoAnswerIsUnavailable(const absl::Status& status) {
  if (!absl::IsDeadlineExceeded(status)) return status;
  return absl::UnavailableError("no answer in time; what was asked for may still happen (--timeout waits longer)");
}

}  // namespace migrationctl
