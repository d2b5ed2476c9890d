#include "server/stop_deadline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/time/clock.h"

namespace migrationd {
namespace {

TEST(StopDeadlineDeathTest, EndsAProcessThatDoesNotStop) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        const StopDeadline deadline(absl::Milliseconds(1));
        absl::SleepFor(absl::InfiniteDuration());
      },
      ::testing::ExitedWithCode(StopDeadline::kStopTimedOut), "stop_timed_out");
}

TEST(StopDeadlineDeathTest, LeavesOneAloneThatStopsInTime) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        { const StopDeadline deadline(absl::Hours(1)); }
        std::_Exit(7);
      },
      ::testing::ExitedWithCode(7), "");
}

}  // namespace
}  // namespace migrationd
