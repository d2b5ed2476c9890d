// Errors that use attempts, and Retry once their cause is repaired.
#include "absl/strings/str_cat.h"
#include "tests/e2e/end_to_end.h"

namespace migrationd {
namespace {

class RetryTest : public EndToEnd {};

TEST_F(RetryTest, AfterTheCauseIsRepairedRetryCompletesEachRowOnce) {
  constexpr int kRows = 3000;
  MakeCounter(kRows);
  target().Run("ALTER TABLE counter ADD CONSTRAINT not_this_one CHECK (id <> 1505 OR n = 0)");
  StartServer();
  Define("count_rows", CounterYaml({.interval = "0s"}));

  ASSERT_TRUE(HaltsWith("count_rows", "ATTEMPTS_EXHAUSTED"));
  const v1::Migration halted = Get("count_rows");
  EXPECT_EQ(halted.last_error().sqlstate(), "23514");
  EXPECT_THAT(halted.halt().message(), ::testing::HasSubstr("23514"));
  EXPECT_THAT(halted.last_error().message(), ::testing::Not(::testing::HasSubstr("1505")))
      << "row values have no place in messages";
  EXPECT_EQ(RowsDone("count_rows"), target().Number("SELECT sum(n) FROM counter"));
  EXPECT_EQ(RowsDone("count_rows"), 1500) << "all sub-batches before the bad one, and no more";
  EXPECT_TRUE(NothingCommits("count_rows", absl::Milliseconds(500)));
  // HALTED is not left by Resume.
  EXPECT_THAT(Resume("count_rows"), StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::HasSubstr("Retry")));

  // Not repaired: halted again, at the same place.
  ASSERT_THAT(Retry("count_rows"), IsOk());
  ASSERT_TRUE(WaitUntil([&] { return Get("count_rows").revision() >= halted.revision() + 2; }))
      << "it was not tried again";
  ASSERT_TRUE(HaltsWith("count_rows", "ATTEMPTS_EXHAUSTED"));
  EXPECT_EQ(target().Number("SELECT sum(n) FROM counter"), 1500);

  target().Run("ALTER TABLE counter DROP CONSTRAINT not_this_one");
  const CommandResult retried = Migrationctl({"retry", "count_rows"});
  ASSERT_EQ(retried.exit_status, 0) << retried.err;
  ASSERT_TRUE(WaitUntil([&] { return Get("count_rows").state() != v1::STATE_HALTED; }));
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(kRows));
  EXPECT_EQ(Get("count_rows").progress().rows_done(), kRows);
}

TEST_F(RetryTest, ALockThatIsTakenUsesNoAttemptAndIsNamed) {
  constexpr int kRows = 1000;
  MakeCounter(kRows);
  StartServer();
  Sql blocker(target_url_);
  blocker.Run("BEGIN; SELECT FROM counter WHERE id = 555 FOR UPDATE");
  Define("count_rows", absl::StrCat(CounterYaml({.interval = "0s"}), "lock_timeout: 50ms\n"));
  ASSERT_TRUE(HeldBy("count_rows", v1::HOLD_KIND_BLOCKED));
  EXPECT_EQ(Get("count_rows").state(), v1::STATE_RUNNING);
  EXPECT_EQ(Get("count_rows").attempts(), 0);
  blocker.Run("COMMIT");
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(kRows));
}

}  // namespace
}  // namespace migrationd
