// Waiting for something to become true, or watching that it stays true, without guessing how long that takes.
#pragma once

#include <functional>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace migrationd {

// Between two looks: short beside everything that is waited for, long beside the cost of a look.
inline constexpr absl::Duration kLookInterval = absl::Milliseconds(5);

// True as soon as `predicate` is; false when it was not within `deadline`. Asks at least once.
inline bool WaitUntil(const std::function<bool()>& predicate, absl::Duration deadline = absl::Seconds(60),
                      absl::Duration interval = kLookInterval) {
  const absl::Time end = absl::Now() + deadline;
  while (!predicate()) {
    if (absl::Now() >= end) return false;
    absl::SleepFor(interval);
  }
  return true;
}

// False as soon as `predicate` is; true when it held at every look for as long as `duration`.
inline bool StaysTrue(const std::function<bool()>& predicate, absl::Duration duration) {
  return !WaitUntil([&predicate] { return !predicate(); }, duration);
}

}  // namespace migrationd
