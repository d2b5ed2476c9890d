// How long to wait before a call is tried again. Pure, but for the jitter that the caller draws.
#pragma once

#include <optional>

#include "absl/time/time.h"
#include "migrationcontrol/client.h"

namespace migrationcontrol {

// After the `failures`-th failure in a row (from 1). Doubles from initial_backoff to max_backoff; `jitter`, in [0, 1),
// takes up to half of it away, so that clients that failed together do not come back together. Never sooner than the
// server asks for.
absl::Duration BackoffDelay(const ClientOptions& options, int failures, double jitter,
                            std::optional<absl::Duration> asked_by_server);

// A fresh random number in [0, 1).
double DrawJitter();

}  // namespace migrationcontrol
