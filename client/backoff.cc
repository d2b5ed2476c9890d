#include "client/backoff.h"

#include <algorithm>
#include <random>

namespace migrationcontrol {

absl::Duration BackoffDelay(const ClientOptions& options, int failures, double jitter,
                            std::optional<absl::Duration> asked_by_server) {
  // Options of zero must not make a loop that never rests.
  absl::Duration ceiling = std::max(options.initial_backoff, absl::Milliseconds(1));
  for (int i = 1; i < failures && ceiling < options.max_backoff; ++i) ceiling *= 2;
  const absl::Duration delay =
      std::min(ceiling, std::max(options.max_backoff, absl::Milliseconds(1))) * (1 - jitter / 2);
  if (!asked_by_server.has_value()) return delay;
  // Spread over a tenth more, for the same reason.
  return std::max(delay, *asked_by_server * (1 + jitter / 10));
}

double DrawJitter() {
  std::random_device device;
  return device() / (static_cast<double>(std::random_device::max()) + 1);
}

}  // namespace migrationcontrol
