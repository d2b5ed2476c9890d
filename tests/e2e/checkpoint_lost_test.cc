// The checkpoint on the target is gone: nothing goes on from a guess.
#include "absl/strings/str_cat.h"
#include "tests/e2e/end_to_end.h"

namespace migrationd {
namespace {

class CheckpointLost : public EndToEnd {
 protected:
  void PauseMidRun(const std::string& name) {
    ASSERT_TRUE(PassesRows(name, 100));
    ASSERT_THAT(Pause(name), IsOk());
    ASSERT_TRUE(Reaches(name, v1::STATE_PAUSED));
  }
  void ResumeAndHalt(const std::string& name) {
    ASSERT_THAT(Resume(name), IsOk());
    ASSERT_TRUE(WaitUntil([&] { return Get(name).state() != v1::STATE_PAUSED; }));
    ASSERT_TRUE(HaltsWith(name, "CHECKPOINT_LOST"));
  }
};

TEST_F(CheckpointLost, AMissingOwnerRowHaltsItAndOnlyAnAcknowledgedStartFromTheBeginningGoesOn) {
  constexpr int kRows = 20000;
  MakeCounter(kRows);
  StartServer();
  Define("count_rows", CounterYaml({.interval = "30ms"}));
  PauseMidRun("count_rows");
  const std::int64_t done = RowsDone("count_rows");
  ASSERT_LT(done, kRows);
  target().Run(
      "DELETE FROM migration_control.lane; DELETE FROM migration_control.step; DELETE FROM migration_control.owner");

  ResumeAndHalt("count_rows");
  EXPECT_EQ(target().Number("SELECT sum(n) FROM counter"), done) << "something was done from a guess";
  EXPECT_THAT(Retry("count_rows"), StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::HasSubstr("FROM_START")));
  EXPECT_THAT(Retry("count_rows", v1::RETRY_FROM_START), StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::_));
  EXPECT_EQ(target().Number("SELECT sum(n) FROM counter"), done);

  ASSERT_THAT(Retry("count_rows", v1::RETRY_FROM_START, /*acknowledge_repeat=*/true), IsOk());
  Hurry("count_rows");
  ASSERT_TRUE(WaitUntil([&] { return Get("count_rows").state() != v1::STATE_HALTED; }));
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_EQ(target().Number("SELECT count(*) FROM counter WHERE n NOT IN (1, 2)"), 0);
  EXPECT_EQ(target().Number("SELECT count(*) FROM counter WHERE n = 2"), done)
      << "those done before, as was acknowledged, and no others";
}

TEST_F(CheckpointLost, ADroppedSchemaHaltsItAndWithWhereItMayStartFromTheBeginning) {
  constexpr int kRows = 20000;
  target().Run(
      absl::StrCat("CREATE TABLE fill (id bigint PRIMARY KEY, n int, times int NOT NULL DEFAULT 0); INSERT INTO fill "
                   "(id) SELECT generate_series(1, ",
                   kRows, ")"));
  StartServer();
  Define("fill_n", absl::StrCat("sql_batch:\n  table: fill\n  where: n IS NULL\n  statement: UPDATE fill SET n = 1, "
                                "times = times + 1 WHERE {{batch}}\n",
                                PaceYaml({.interval = "30ms"}), kSoonRetryYaml));
  PauseMidRun("fill_n");
  const std::int64_t done = RowsDone("fill_n");
  target().Run("DROP SCHEMA migration_control CASCADE");

  ResumeAndHalt("fill_n");
  EXPECT_EQ(target().Number("SELECT sum(times) FROM fill"), done);
  EXPECT_THAT(Retry("fill_n"), StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::HasSubstr("FROM_START")));

  ASSERT_THAT(Retry("fill_n", v1::RETRY_FROM_START), IsOk());
  Hurry("fill_n");
  ASSERT_TRUE(WaitUntil([&] { return Get("fill_n").state() != v1::STATE_HALTED; }));
  ASSERT_TRUE(Reaches("fill_n", v1::STATE_COMPLETED));
  EXPECT_EQ(target().Number("SELECT count(*) FROM fill WHERE n IS DISTINCT FROM 1 OR times <> 1"), 0);
}

}  // namespace
}  // namespace migrationd
