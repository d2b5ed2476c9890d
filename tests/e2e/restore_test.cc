// Databases that are put back to an earlier moment, one without the other.
#include <csignal>

#include "tests/e2e/end_to_end.h"
#include "tests/e2e/own_cluster.h"
#include "tests/e2e/readme.h"

namespace migrationd {
namespace {

class RestoreTest : public EndToEnd {
 protected:
  static constexpr int kRows = 20000;
  // Counts rows, slowly, in databases of a cluster that is to be restored.
  void StartCounting() {
    MakeCounter(kRows);
    StartServer();
    Define("backfill_status", CounterYaml({.interval = "30ms"}));
    ASSERT_TRUE(PassesRows("backfill_status", 100));
  }
  void Complete() {
    // Refused as long as the service has not seen its databases again.
    ASSERT_TRUE(WaitUntil([&] { return SetBatchSize("backfill_status", 20000, 5000).ok(); }));
    ASSERT_TRUE(Reaches("backfill_status", v1::STATE_COMPLETED));
  }
  std::string Events() { return Migrationctl({"events", "backfill_status"}).out; }
  OwnCluster cluster_;
};

TEST_F(RestoreTest, ATargetThatWasPutBackGoesOnAtItsOwnCursor) {
  target_url_ = cluster_.Database("main");
  StartCounting();
  DropConnections();
  cluster_.Backup();
  const std::int64_t kept = RowsDone("backfill_status");
  ASSERT_TRUE(PassesRows("backfill_status", kept + 500));
  ASSERT_THAT(Pause("backfill_status"), IsOk());
  ASSERT_TRUE(Reaches("backfill_status", v1::STATE_PAUSED));
  const std::int64_t done = RowsDone("backfill_status");
  DropConnections();
  cluster_.Restore();
  ASSERT_LT(RowsDone("backfill_status"), done);
  EXPECT_TRUE(NothingCommits("backfill_status", absl::Seconds(1))) << "it was paused";

  ASSERT_THAT(Resume("backfill_status"), IsOk());
  Complete();
  EXPECT_TRUE(EachOnce(kRows));
  EXPECT_THAT(Events(), ::testing::HasSubstr("TARGET_REWOUND"));
}

TEST_F(RestoreTest, ATargetThatWasPutBackToBeforeTheEndIsFinishedOnceTheReadmesStatementReopensIt) {
  target_url_ = cluster_.Database("main");
  StartCounting();
  DropConnections();
  cluster_.Backup();
  Complete();
  DropConnections();
  cluster_.Restore();
  EXPECT_FALSE(target().True("SELECT migration_control.is_completed('backfill_status')")) << "the target itself knows";
  ASSERT_LT(target().Number("SELECT sum(n) FROM counter"), kRows);

  Sql(control_url_).Run(ReadmeSql("control store: the target was restored to before the end of this migration"));
  ASSERT_TRUE(WaitUntil([&] { return target().True("SELECT migration_control.is_completed('backfill_status')"); }, kPatience));
  ASSERT_TRUE(Reaches("backfill_status", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(kRows));
  EXPECT_THAT(Events(), ::testing::HasSubstr("TARGET_REWOUND"));
}

TEST_F(RestoreTest, AControlStoreThatWasPutBackFindsOnTheTargetHowFarItIs) {
  control_url_ = cluster_.Database("control");
  StartCounting();
  cluster_.Backup();
  const std::int64_t rows = RowsDone("backfill_status");
  ASSERT_TRUE(PassesRows("backfill_status", rows + 200));
  ASSERT_THAT(server().Stop(SIGTERM), IsOk());
  cluster_.Restore();
  ASSERT_THAT(server().Start(), IsOk());
  ASSERT_TRUE(PassesRows("backfill_status", rows + 400));
  Complete();
  EXPECT_TRUE(EachOnce(kRows));

  // Once more, now that the target is at its end.
  ASSERT_THAT(server().Stop(SIGTERM), IsOk());
  cluster_.Restore();
  ASSERT_THAT(server().Start(), IsOk());
  ASSERT_TRUE(Reaches("backfill_status", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(kRows));
  EXPECT_THAT(Events(), ::testing::HasSubstr("found complete on the target"));
}

TEST_F(RestoreTest, ANewControlStoreTakesOverWhatItIsToldToAdopt) {
  control_url_ = cluster_.Database("control");
  StartCounting();
  ASSERT_THAT(server().Stop(SIGTERM), IsOk());
  const std::int64_t done = RowsDone("backfill_status");
  server().SetControlUrl(cluster_.Database("new_control"));
  ASSERT_THAT(server().Start(), IsOk());
  ASSERT_TRUE(WaitUntil([&] { return Migrationctl({"status", "backfill_status"}).exit_status == 0; }));
  ASSERT_TRUE(HaltsWith("backfill_status", "FOREIGN_CONTROL"));
  EXPECT_EQ(RowsDone("backfill_status"), done);

  const CommandResult adopted = Migrationctl({"retry", "backfill_status", "--from", "adopt", "--reason", "control store lost"});
  ASSERT_EQ(adopted.exit_status, 0) << adopted.err;
  Complete();
  EXPECT_TRUE(EachOnce(kRows));
}

}  // namespace
}  // namespace migrationd
