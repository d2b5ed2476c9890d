// When the target's write-ahead log was where: tells how long a replica has been behind, and how fast the log grows. Pure.
//
// PostgreSQL's own replay_lag keeps its last value while the replica does not replay at all, so it tells least when it matters most.
// What was seen here does not: a replica is behind by the time since the log was first seen beyond the replica's position.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "absl/time/time.h"

namespace migrationd {

// Not thread-safe.
class LogHistory {
 public:
  // The log was written up to `position` at `at` (the target's clock). What goes backwards (a failover, a restore) begins a new history.
  void Add(absl::Time at, std::int64_t position);

  // How long ago, as of the last Add, the log went beyond `position`; zero: it has not. At most as far back as the history goes: an hour.
  absl::Duration Behind(std::int64_t position) const;

  // Bytes a second over the last few seconds; nullopt: too little is known yet.
  std::optional<double> Rate() const;

  std::size_t size() const { return points_.size(); }

 private:
  struct Point {
    absl::Time at;
    std::int64_t position;
  };
  void Thin();

  std::deque<Point> points_;  // oldest first; bounded
};

}  // namespace migrationd
