#include "server/rpc/executor.h"

#include <atomic>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;

TEST(ExecutorTest, RunsWhatItAccepts) {
  Executor executor(2, 100);
  absl::BlockingCounter left(50);
  for (int i = 0; i < 50; ++i) {
    MD_ASSERT_OK(executor.Submit([&](bool proceed) {
      EXPECT_TRUE(proceed);
      left.DecrementCount();
    }));
  }
  left.Wait();
}

TEST(ExecutorTest, RefusesAtOnceWhenTheQueueIsFullAndTakesMoreAfterwards) {
  Executor executor(1, 2);
  absl::Notification entered;
  absl::Notification release;
  MD_ASSERT_OK(executor.Submit([&](bool) {
    entered.Notify();
    release.WaitForNotification();
  }));
  entered.WaitForNotification();
  absl::BlockingCounter left(2);
  for (int i = 0; i < 2; ++i) MD_ASSERT_OK(executor.Submit([&](bool) { left.DecrementCount(); }));
  bool called = false;
  EXPECT_THAT(executor.Submit([&](bool) { called = true; }),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("overloaded")));
  release.Notify();
  left.Wait();
  absl::Notification done;
  MD_EXPECT_OK(executor.Submit([&](bool) { done.Notify(); }));
  done.WaitForNotification();
  EXPECT_FALSE(called);
}

TEST(ExecutorTest, CloseTellsQueuedTasksNotToProceedAndRefusesNewOnes) {
  Executor executor(1, 10);
  absl::Notification entered;
  absl::Notification release;
  std::atomic<bool> first_proceeded{false};
  MD_ASSERT_OK(executor.Submit([&](bool proceed) {
    entered.Notify();
    release.WaitForNotification();
    first_proceeded = proceed;
  }));
  entered.WaitForNotification();
  int dropped = 0;
  for (int i = 0; i < 3; ++i) {
    MD_ASSERT_OK(executor.Submit([&](bool proceed) {
      EXPECT_FALSE(proceed);
      ++dropped;
    }));
  }
  executor.Close();
  EXPECT_EQ(dropped, 3);
  EXPECT_THAT(executor.Submit([](bool) {}), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("stopping")));
  EXPECT_FALSE(first_proceeded) << "Close does not wait for what runs";
  release.Notify();
  executor.Stop();
  EXPECT_TRUE(first_proceeded);
}

}  // namespace
}  // namespace migrationd
