// One measured value behind a hold or a slower pace.
#pragma once

#include <optional>
#include <string>

#include "absl/time/time.h"

namespace migrationd {

struct Reading {
  std::string signal = {};           // such as replica_lag; migrations/pacing/signals.h has them all
  std::optional<double> value = {};  // nullopt: it cannot be read, `detail` says why
  double limit = 0;                  // from here on work stops (a budget), or is at its slowest (a gauge)
  std::string unit = {};             // s, bytes, files ...; empty for a ratio
  absl::Time at = absl::InfinitePast();  // the target's clock
  std::string detail = {};           // whose it is: the replica, the slot, the table
};

}  // namespace migrationd
