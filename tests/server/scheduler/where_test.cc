// The check that a statement makes `where` false, and rows that rightly stay as they are.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "migrations/model/failure.h"
#include "tests/server/scheduler/scheduler_world.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

constexpr char kAcceptingYaml[] =
    "sql_batch:\n  table: public.t\n  where: NOT t.done\n  statement: UPDATE t SET done = true WHERE {{batch}}\n"
    "  on_unchanged: ACCEPT\n"
    "pace: {batch_size: 20, sub_batch_size: 10}\norder: INDEPENDENT\n";

class Where : public ::testing::Test {
 protected:
  void MakeStubborn(int first, int last) {
    for (int key = first; key <= last; ++key) world_.database->MakeStubborn(key);
  }
  SchedulerWorld world_{100};
};

TEST_F(Where, ThatStaysTrueForTheFirstRowsHaltsWithNothingDone) {
  MakeStubborn(1, 10);
  world_.Add("a", kAcceptingYaml);
  ASSERT_TRUE(world_.Reaches("a", State::kHalted));
  EXPECT_EQ(world_.HaltOf("a"), kHaltWhereNotSatisfied);
}

TEST_F(Where, IsNotCheckedAgainByALaneThatIsOpenedAnewBeforeRowsThatStay) {
  MakeStubborn(21, 40);
  world_.database->before = [calls = std::make_shared<std::atomic<int>>(0)](const std::string& call, const std::stop_token&) {
    return call == "RunSubBatch" && ++*calls == 3 ? DatabaseError("57P01", "the connection broke") : absl::OkStatus();
  };
  world_.Add("a", kAcceptingYaml);
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.StateOf("a") == State::kCompleted || world_.StateOf("a") == State::kHalted; }));
  EXPECT_EQ(world_.HaltOf("a"), "");
  EXPECT_GE(world_.database->Calls("TakeOver"), 2);
  EXPECT_EQ(world_.database->RowsLeft("a"), 20);
}

TEST_F(Where, IsNotCheckedAgainAfterAPauseBeforeRowsThatStay) {
  std::atomic<int> calls = 0;
  std::atomic<bool> broken = true;
  MakeStubborn(21, 40);
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    return call == "RunSubBatch" && ++calls >= 3 && broken ? DatabaseError("57P01", "the connection broke") : absl::OkStatus();
  };
  world_.Add("a", kAcceptingYaml);
  ASSERT_TRUE(world_.PumpUntil([&] { return calls >= 3; }));
  MD_ASSERT_OK(world_.controller.Pause("a", std::nullopt, /*immediate=*/false, ByAlice()));
  ASSERT_TRUE(world_.Reaches("a", State::kPaused));
  broken = false;
  MD_ASSERT_OK(world_.controller.Resume("a", ByAlice()));
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.StateOf("a") == State::kCompleted || world_.StateOf("a") == State::kHalted; }));
  EXPECT_EQ(world_.HaltOf("a"), "");
}

TEST_F(Where, IsNotCheckedByARetryFromTheStartOfWhatHasWorkedBefore) {
  std::atomic<bool> refuse = false;
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    return refuse && call == "RunSubBatch" ? DatabaseError("42703", "no such column") : absl::OkStatus();
  };
  MakeStubborn(2, 20);
  world_.Add("a", kAcceptingYaml);
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.database->Calls("RunSubBatch") > 0; }));
  refuse = true;
  ASSERT_TRUE(world_.Reaches("a", State::kHalted));
  ASSERT_EQ(world_.HaltOf("a"), kHaltStatementRefused);
  refuse = false;
  // Of the first ten rows only such are left as rightly stay.
  MD_ASSERT_OK(world_.controller.Retry("a", RestartFrom::kStart, false, ByAlice()));
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.StateOf("a") != State::kHalted; }));
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.StateOf("a") == State::kCompleted || world_.StateOf("a") == State::kHalted; }));
  EXPECT_EQ(world_.HaltOf("a"), "");
}

}  // namespace
}  // namespace migrationd
