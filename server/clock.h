// The process's own clock: only waits and measures. What is stored or compared between processes is database time.
#pragma once

#include "absl/time/time.h"

namespace migrationd {

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;

  // Time since boot, which goes on while the machine sleeps and never jumps (CLOCK_BOOTTIME), as a Time so that it subtracts. Not
  // comparable with database time.
  virtual absl::Time Now() = 0;

  // The real one; lives for ever.
  static Clock& Real();
};

// The machine's wall clock: for log lines, and for what is dated by it (certificates). Nothing of a migration is decided by it.
absl::Time WallTime();

}  // namespace migrationd
