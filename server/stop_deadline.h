// A bound on an orderly stop that holds whatever hangs.
#pragma once

#include <thread>

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

namespace migrationd {

// Ends the process with kStopTimedOut, without any destructor, when it has not been destroyed after `limit`. Losing the process is safe at
// any moment; what is lost is that claims are given back at once instead of running out.
class StopDeadline {
 public:
  static constexpr int kStopTimedOut = 1;

  explicit StopDeadline(absl::Duration limit);
  ~StopDeadline();
  StopDeadline(const StopDeadline&) = delete;
  StopDeadline& operator=(const StopDeadline&) = delete;

 private:
  absl::Notification stopped_;
  std::thread thread_;
};

}  // namespace migrationd
