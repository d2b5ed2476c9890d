// The rest: what runs, and what it serves with.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace prometheus {
struct MetricFamily;
}

namespace migrationd {

struct CertificateFacts {
  std::optional<absl::Time> not_after;  // nullopt: no TLS
  std::int64_t reloads = 0;
  std::int64_t refusals = 0;
  bool refused = false;  // the files as they are now cannot be used
};

// `credentials_refused`: the file of --tokens as it is now cannot be used; nullopt: there is none.
std::vector<prometheus::MetricFamily> ServiceMetrics(const std::string& version, int watch_streams, const CertificateFacts& certificate,
                                                     std::optional<bool> credentials_refused);

}  // namespace migrationd
