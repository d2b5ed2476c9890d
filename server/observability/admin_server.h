// Plain HTTP for scrapers and probes: GET /metrics, /healthz, /readyz. Nothing can be changed here, and nothing of the data is shown.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace prometheus {
struct MetricFamily;
}

namespace migrationd {

struct AdminPages {
  // Asked at each scrape; called from any thread, must not block on databases.
  std::function<std::vector<prometheus::MetricFamily>()> metrics;
  // OK: 200; otherwise 503 with the message. Independent of databases: whether the process works at all.
  std::function<absl::Status()> healthy;
  // The same for whether it can serve calls: the control store could be read.
  std::function<absl::Status()> ready;
};

// Serves from construction to destruction.
class AdminServer {
 public:
  // `listen`: IP:PORT or [IPV6]:PORT (port 0: any free one). INVALID_ARGUMENT: no address. UNAVAILABLE: it cannot be bound.
  static absl::StatusOr<std::unique_ptr<AdminServer>> Start(const std::string& listen, AdminPages pages);
  ~AdminServer();
  AdminServer(const AdminServer&) = delete;
  AdminServer& operator=(const AdminServer&) = delete;

  int port() const;

 private:
  class Web;
  explicit AdminServer(std::unique_ptr<Web> web);
  const std::unique_ptr<Web> web_;
};

}  // namespace migrationd
