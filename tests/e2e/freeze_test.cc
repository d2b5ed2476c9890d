// Freezes: by an operator through the service, and by a DBA who has only psql.
#include "tests/e2e/end_to_end.h"

namespace migrationd {
namespace {

using Stub = v1::MigrationControl::Stub;

class FreezeTest : public EndToEnd {
 protected:
  static constexpr int kRows = 20000;
  void SetUp() override {
    MakeCounter(kRows);
    StartServer();
    Define("count_rows", CounterYaml({.interval = "30ms"}));
    ASSERT_TRUE(PassesRows("count_rows", 100));
  }
  void GoesOnToTheEnd() {
    const std::int64_t rows = RowsDone("count_rows");
    ASSERT_LT(rows, kRows) << "it was over before it was frozen: the test shows nothing";
    ASSERT_TRUE(PassesRows("count_rows", rows));
    Hurry("count_rows");
    ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
    EXPECT_TRUE(EachOnce(kRows));
  }
};

TEST_F(FreezeTest, ADbaWithPsqlAloneStopsEverythingAndLetsItGoOn) {
  target().Run("SELECT migration_control.freeze('the disk is full')");
  // From the very moment that freeze has returned.
  EXPECT_TRUE(NothingCommits("count_rows", absl::Seconds(2)));
  ASSERT_TRUE(HeldBy("count_rows", v1::HOLD_KIND_FROZEN));
  const v1::Migration frozen = Get("count_rows");
  EXPECT_EQ(frozen.state(), v1::STATE_RUNNING);
  EXPECT_EQ(frozen.attempts(), 0);
  EXPECT_THAT(frozen.hold().reason(), ::testing::HasSubstr("the disk is full"));

  // The service never clears it.
  v1::UnfreezeRequest unfreeze;
  unfreeze.set_target("main");
  EXPECT_THAT(Call(server(), &Stub::Unfreeze, unfreeze), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
  EXPECT_TRUE(NothingCommits("count_rows", absl::Milliseconds(500)));

  target().Run("SELECT migration_control.unfreeze()");
  GoesOnToTheEnd();
}

TEST_F(FreezeTest, FreezeByAnOperatorHoldsEverythingUntilUnfreeze) {
  v1::FreezeRequest freeze;
  freeze.set_reason("a release");
  const auto frozen = Call(server(), &Stub::Freeze, freeze);
  ASSERT_THAT(frozen, IsOk());
  EXPECT_EQ(frozen->freeze().reason(), "a release");
  ASSERT_TRUE(HeldBy("count_rows", v1::HOLD_KIND_FROZEN));
  // The sub-batch in flight may have committed after the answer; then nothing.
  ASSERT_TRUE(WaitUntil(
      [&] { return Get("count_rows").backends_size() == 0 || NothingCommits("count_rows", absl::Milliseconds(100)); }));
  EXPECT_TRUE(NothingCommits("count_rows", absl::Seconds(1)));
  const auto listed = Call(server(), &Stub::List, v1::ListRequest());
  ASSERT_THAT(listed, IsOk());
  ASSERT_EQ(listed->freezes_size(), 1);

  const CommandResult unfrozen = Migrationctl({"unfreeze"});
  EXPECT_EQ(unfrozen.exit_status, 0) << unfrozen.err;
  GoesOnToTheEnd();
}

}  // namespace
}  // namespace migrationd
