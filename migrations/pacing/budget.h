// Stop and go by one budget, with hysteresis. Pure.
//
// It stops at the limit and goes on at 80 % of it, so that what swings about the limit does not make work swing with it; a stop lasts a
// minimum time. When the budget cannot be read, nothing changes at first; after three samples without a reading it stops, and goes on with
// the next reading that allows it.
#pragma once

#include <optional>

#include "absl/time/time.h"

namespace migrationd {

// Share of the limit at which work goes on.
inline constexpr double kGoOnAt = 0.8;
// Samples without a reading, in a row, after which a budget counts as used up.
inline constexpr int kMissedSamplesMax = 3;

// Not thread-safe.
class Budget {
 public:
  explicit Budget(absl::Duration minimum_hold) : minimum_hold_(minimum_hold) {}

  // One reading at `now` (any clock that does not go backwards). Returns stopped().
  bool Record(absl::Time now, double value, double limit);
  // It could not be read. Returns stopped().
  bool Miss(absl::Time now);
  // There is nothing to measure (any more).
  void Clear();

  bool stopped() const { return stopped_since_.has_value(); }
  // Stopped, or still stopped, since it cannot be read.
  bool stale() const { return stopped() && missed_ >= kMissedSamplesMax; }
  absl::Time stopped_since() const { return stopped_since_.value_or(absl::InfinitePast()); }
  // When it was last read; InfinitePast: never.
  absl::Time read_at() const { return read_at_; }

 private:
  absl::Duration minimum_hold_;
  std::optional<absl::Time> stopped_since_;
  absl::Time read_at_ = absl::InfinitePast();
  int missed_ = 0;
};

}  // namespace migrationd
