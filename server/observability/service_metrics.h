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

// Of the gRPC port.
struct ConnectionFacts {
  std::int64_t open = 0;
  std::int64_t refused_limit = 0;
  std::int64_t refused_host_limit = 0;
  std::int64_t refused_descriptors = 0;
};

struct ServiceFacts {
  std::string version;
  std::string revision;
  int watch_streams = 0;
  CertificateFacts certificate;
  std::optional<bool> credentials_refused;  // the file of --tokens as it is now cannot be used; nullopt: there is none
  ConnectionFacts connections;
};

std::vector<prometheus::MetricFamily> ServiceMetrics(const ServiceFacts& facts);

}  // namespace migrationd
