// One measured value behind a hold or a slower pace.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/time/time.h"

namespace migrationd {

struct Reading {
  std::string signal = {};           // such as replica_lag; migrations/pacing/signals.h has them all
  std::optional<double> value = {};  // nullopt: it cannot be read, `detail` says why
  double limit = 0;                  // from here on work stops (a budget), or is at its slowest (a gauge)
  std::string unit = {};             // s, bytes, bytes/s, files ...; empty for a ratio
  absl::Time at = absl::InfinitePast();  // the target's clock
  std::string detail = {};           // whose it is: the replica, the slot, the table
};

// "31 s", "1.5 GiB", "256 MiB/s", "0.93". The same for the service's reasons and for migrationctl.
std::string FormatQuantity(double value, std::string_view unit);

}  // namespace migrationd
