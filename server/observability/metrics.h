// What happens in this process, counted for Prometheus. Written where it happens; read by GET /metrics.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/clock.h"

namespace prometheus {
struct MetricFamily;
}

namespace migrationd {

// Thread-safe; nothing here blocks for longer than a map is looked up. Label sets are bounded: migrations beyond kMigrationSeriesMax are
// counted under the name "(others)"; one of which nothing happened for an hour gives its place, and its series, to another.
class Metrics {
 public:
  // `clock` outlives it.
  explicit Metrics(Clock& clock = Clock::Real());
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  void SubBatchDone(const std::string& target, const std::string& migration, std::int64_t rows, absl::Duration took);
  void BatchDone(const std::string& target, const std::string& migration, const std::string& outcome);
  // `failure`: the name of a FailureClass, or COMMIT_UNKNOWN.
  void SubBatchFailed(const std::string& target, const std::string& failure);
  void StepFailed(const std::string& target, const std::string& failure);
  void Fenced(const std::string& target);
  void TookOver(const std::string& target);
  void Yielded(const std::string& target);
  void Held(const std::string& target, const std::string& hold, absl::Duration time);

  // "/migrationcontrol.v1.MigrationControl/Pause"; what is no method of the kind that callers can make up at will goes under "unknown".
  struct Call {
    bool streaming = false;
    std::string service;
    std::string method;
  };
  // Series of every method and code from the start, so that a rate of the first error is not lost.
  void ExpectCall(const Call& call);
  void CallStarted(const Call& call);
  // `code` in gRPC's numbers.
  void CallHandled(const Call& call, int code, absl::Duration took);

  std::vector<prometheus::MetricFamily> Collect() const;

 private:
  struct Families;
  const std::unique_ptr<Families> families_;
};

}  // namespace migrationd
