#include "server/stop_deadline.h"

#include <cstdlib>

#include "server/observability/log.h"

namespace migrationd {

StopDeadline::StopDeadline(absl::Duration limit)
    : thread_([this, limit] {
        if (stopped_.WaitForNotificationWithTimeout(limit)) return;
        Log(LogLevel::kError, "stop_timed_out",
            {{"after", absl::FormatDuration(limit)}, {"why", "a database does not answer; claims run out by themselves"}});
        std::_Exit(kStopTimedOut);
      }) {}

StopDeadline::~StopDeadline() {
  stopped_.Notify();
  thread_.join();
}

}  // namespace migrationd
