#include "server/clock.h"

#include <ctime>

namespace migrationd {
namespace {

class BootClock : public Clock {
 public:
  absl::Time Now() override {
    timespec now{};
    clock_gettime(CLOCK_BOOTTIME, &now);
    return absl::TimeFromTimespec(now);
  }
};

}  // namespace

Clock& Clock::Real() {
  static BootClock clock;
  return clock;
}

absl::Time WallTime() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return absl::TimeFromTimespec(now);
}

}  // namespace migrationd
