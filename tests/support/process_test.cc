#include "tests/support/process.h"

#include <signal.h>

#include <cstdlib>

#include "tests/support/status_matchers.h"
#include "tests/support/wait_until.h"

namespace migrationd {
namespace {

TEST(ProcessTest, TellsExitStatusAndWhatWasWritten) {
  MD_ASSERT_OK_AND_ASSIGN(const CommandResult result,
                          RunCommand({"/bin/sh", "-c", "echo said; echo complained >&2; exit 7"}));
  EXPECT_EQ(result.exit_status, 7);
  EXPECT_EQ(result.out, "said\n");
  EXPECT_EQ(result.err, "complained\n");
}

TEST(ProcessTest, AProgramThatIsNotThereExitsWith127) {
  MD_ASSERT_OK_AND_ASSIGN(const CommandResult result, RunCommand({"/nowhere/at/all"}));
  EXPECT_EQ(result.exit_status, 127);
}

TEST(ProcessTest, ADeadlineEndsTheWaitButNotTheProcessAndASignalEndsIt) {
  TempFolder folder;
  MD_ASSERT_OK_AND_ASSIGN(
      auto process,
      Process::Start({.command = {"/bin/sleep", "600"}, .environment = {}, .output_prefix = folder.path() + "/p"}));
  EXPECT_THAT(process->Wait(absl::Milliseconds(20)), StatusIs(absl::StatusCode::kDeadlineExceeded, ::testing::_));
  EXPECT_TRUE(process->Running());
  process->Signal(SIGTERM);
  MD_ASSERT_OK_AND_ASSIGN(const int exit_status, process->Wait(absl::Seconds(30)));
  EXPECT_EQ(exit_status, 128 + SIGTERM);
  EXPECT_FALSE(process->Running());
  // Its id may be another's by now.
  process->Signal(SIGKILL);
}

TEST(ProcessTest, NothingIsLeftBehind) {
  TempFolder folder;
  MD_ASSERT_OK_AND_ASSIGN(
      auto process,
      Process::Start({.command = {"/bin/sleep", "600"}, .environment = {}, .output_prefix = folder.path() + "/p"}));
  const pid_t pid = process->pid();
  EXPECT_EQ(kill(pid, 0), 0);
  process.reset();
  EXPECT_NE(kill(pid, 0), 0);
}

TEST(ProcessTest, SettingsOfTheMachineDoNotReachIt) {
  setenv("MIGRATIOND_LISTEN", "127.0.0.1:1", 1);
  TempFolder folder;
  MD_ASSERT_OK_AND_ASSIGN(auto process, Process::Start({.command = {"/usr/bin/env"},
                                                        .environment = {{"MIGRATIOND_WORKERS", "3"}},
                                                        .output_prefix = folder.path() + "/p"}));
  MD_ASSERT_OK_AND_ASSIGN(const int exit_status, process->Wait(absl::Seconds(30)));
  unsetenv("MIGRATIOND_LISTEN");
  EXPECT_EQ(exit_status, 0);
  EXPECT_THAT(process->Out(), ::testing::Not(::testing::HasSubstr("MIGRATIOND_LISTEN")));
  EXPECT_THAT(process->Out(), ::testing::HasSubstr("MIGRATIOND_WORKERS=3\n"));
}

TEST(WaitUntilTest, AsksAtLeastOnceAndStopsAtTheDeadline) {
  int asked = 0;
  EXPECT_TRUE(WaitUntil([&] { return ++asked > 0; }, absl::ZeroDuration()));
  EXPECT_EQ(asked, 1);
  EXPECT_FALSE(WaitUntil([] { return false; }, absl::Milliseconds(20)));
  EXPECT_TRUE(StaysTrue([] { return true; }, absl::Milliseconds(20)));
  int looks = 3;
  EXPECT_FALSE(StaysTrue([&] { return --looks > 0; }, absl::Seconds(30)));
}

}  // namespace
}  // namespace migrationd
