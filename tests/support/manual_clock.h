// A clock that goes on when a test says so.
#pragma once

#include <atomic>
#include <cstdint>

#include "absl/time/time.h"
#include "server/clock.h"

namespace migrationd {

// Thread-safe.
class ManualClock final : public Clock {
 public:
  absl::Time Now() override { return absl::FromUnixNanos(now_.load()); }
  void Advance(absl::Duration duration) { now_.fetch_add(absl::ToInt64Nanoseconds(duration)); }

 private:
  std::atomic<std::int64_t> now_{absl::ToUnixNanos(absl::FromUnixSeconds(1'000'000))};
};

}  // namespace migrationd
