#include "migrations/pacing/budget.h"

#include <algorithm>

namespace migrationd {

bool Budget::Record(absl::Time now, double value, double limit) {
  missed_ = 0;
  read_at_ = now;
  if (value >= limit) {
    if (!stopped()) stopped_since_ = now;
  } else if (stopped() && value <= kGoOnAt * limit && now - *stopped_since_ >= minimum_hold_) {
    stopped_since_.reset();
  }
  return stopped();
}

bool Budget::Miss(absl::Time now) {
  missed_ = std::min(missed_ + 1, kMissedSamplesMax);
  if (missed_ >= kMissedSamplesMax && !stopped()) stopped_since_ = now;
  return stopped();
}

void Budget::Clear() {
  stopped_since_.reset();
  read_at_ = absl::InfinitePast();
  missed_ = 0;
}

}  // namespace migrationd
