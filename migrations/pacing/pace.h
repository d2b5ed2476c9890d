// The pace in force: the definition's, with what SetPace put in its place. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "migrationcontrol/v1/definition.pb.h"
#include "migrations/model/migration.h"

namespace migrationd {

struct PaceInForce {
  absl::Duration interval;
  std::int64_t max_rows_per_second = 0;  // 0: no limit
  std::int32_t lanes = 1;
  std::vector<std::string> windows;  // none: always
  absl::Duration target_sub_batch_time;
  absl::Duration lock_timeout;
  absl::Duration statement_timeout;
};

// `definition` is normalized. An override that is over counts for nothing.
PaceInForce PaceOf(const migrationcontrol::v1::MigrationDefinition& definition, const std::optional<PaceOverride>& pinned, absl::Time now);

// How long a lane rests after a batch of `rows` rows that took `took`, so that all lanes together stay within the pace. None after a batch
// that changed nothing.
absl::Duration RestAfterBatch(const PaceInForce& pace, std::int64_t rows, absl::Duration took, int lanes_at_work);

}  // namespace migrationd
