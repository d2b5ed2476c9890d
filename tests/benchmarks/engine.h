// The engine without the service: a migration on a target, run pass by pass through LaneRunner, as migrationd does it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "migrations/kinds/plan.h"
#include "server/execution/lane_runner.h"
#include "server/targets/postgres/postgres_target.h"

namespace migrationd {

struct EngineOptions {
  std::string url = {};
  std::string definition = {};  // YAML
  int lanes = 1;           // a thread each
  std::int32_t batch_size = 50'000;
  std::int32_t sub_batch_size = 1000;  // servo off
  bool session_functions = true;       // false: the form for transaction poolers
  bool synchronous_commit = false;
  // Told of each batch, on the thread of its lane.
  std::function<void()> on_batch = [] {};
};

class Engine {
 public:
  // Plans the migration and takes its fence on the target, which must not know it yet.
  static absl::StatusOr<std::unique_ptr<Engine>> Open(EngineOptions options);

  // The next pass, EXECUTE first, then VERIFY: cuts the lanes and records them.
  absl::Status BeginPass();
  // BeginPass, then all of it. Rows affected.
  absl::StatusOr<std::int64_t> RunPass();
  // The barrier that makes asynchronous commits durable.
  absl::Status Finish();
  // For statements of one's own in the migration's name.
  const FenceClaim& claim() const { return checkpoint_.claim; }

 private:
  explicit Engine(EngineOptions options) : options_(std::move(options)) {}
  absl::Status TakeOver();
  absl::StatusOr<std::int64_t> RunLane(const LaneRange& range, RunControls& controls);

  const EngineOptions options_;
  std::unique_ptr<PostgresTarget> target_;
  MigrationPlan plan_;
  Checkpoint checkpoint_;
};

}  // namespace migrationd
