// From the URL of the control store to what libpq is given.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace migrationd {

struct ConnectionSettings {
  absl::Duration connect_timeout = absl::Seconds(5);
  // How long sent data may stay unacknowledged before the connection counts as lost.
  absl::Duration network_timeout = absl::Seconds(10);
  std::string application_name = "migrationd";
};

// `url` (a postgresql:// URL or key=value pairs) with our settings added where it does not say otherwise: timeouts,
// keepalives, application_name. UNAVAILABLE, without any part of it, when libpq cannot read it: a file with a rotated
// URL may be half-written.
absl::StatusOr<std::string> CompleteConnectionString(const std::string& url, const ConnectionSettings& settings);

}  // namespace migrationd
