// What migrationctl tells the shell.
#pragma once

#include "absl/status/status.h"

namespace migrationctl {

inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;       // refused or failed
inline constexpr int kExitUsage = 2;        // the command line is wrong
inline constexpr int kExitNotFound = 3;     // no such migration
inline constexpr int kExitUnreachable = 4;  // no server there, or it cannot reach what it needs
inline constexpr int kExitStillGoing = 5;   // the wait timed out; what was waited for goes on

int ExitStatus(const absl::Status& status);

// A plain call that timed out was not answered: UNAVAILABLE. DEADLINE_EXCEEDED is kept for waits,
// where it means that all is well and still going. Anything else is returned as it is.
absl::Status NoAnswerIsUnavailable(const absl::Status& status);

}  // namespace migrationctl
