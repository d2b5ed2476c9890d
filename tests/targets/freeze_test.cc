// migration_control.freeze(): the way of a DBA with only psql. After it has committed, nothing of migrationd commits.
#include <atomic>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "migrations/model/failure.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_postgres.h"
#include "tests/targets/target_fixture.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;

class Freeze : public ItemsTest, public ::testing::WithParamInterface<Path> {
 protected:
  void Start(int rows) {
    Begin(rows, 1, IncrementDefinition(), GetParam());
    InstallRoadblocks(url_);
  }
  void FreezeNow() { Sql(url_, "SELECT migration_control.freeze('deploy')"); }
};

TEST_P(Freeze, RefusesTheNextSubBatchSayingWhyUntilUnfrozen) {
  Start(100);
  auto session = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  MD_ASSERT_OK(RunNext(*session, range, 10));
  MD_ASSERT_OK_AND_ASSIGN(auto reason, target_->FrozenReason());
  EXPECT_EQ(reason, std::nullopt);
  FreezeNow();
  const auto refused = RunNext(*session, range, 10);
  EXPECT_EQ(SqlStateOf(refused.status()), "MD003");
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("deploy"));
  MD_ASSERT_OK_AND_ASSIGN(reason, target_->FrozenReason());
  EXPECT_EQ(reason, "deploy");
  EXPECT_EQ(Counts(), "0:90 1:10");
  Sql(url_, "SELECT migration_control.unfreeze()");
  MD_EXPECT_OK(RunNext(*session, range, 10)) << "the same owner goes on";
  EXPECT_EQ(Counts(), "0:80 1:20");
}

TEST_P(Freeze, RollsBackWhatHasNotSetItsCursorYet) {
  Start(100);
  Roadblock after_work(url_, kAfterWork);
  auto session = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  absl::StatusOr<SubBatchResult> result;
  std::thread owner([&] { result = RunNext(*session, range, 10); });
  ASSERT_TRUE(after_work.WaitForSomebody());
  FreezeNow();
  after_work.Open();
  owner.join();
  EXPECT_EQ(SqlStateOf(result.status()), "MD003");
  EXPECT_EQ(Counts(), "0:100");
}

TEST_P(Freeze, WaitsForWhatIsCommitting) {
  Start(100);
  Roadblock after_set(url_, kAfterSet);
  auto session = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  absl::StatusOr<SubBatchResult> result;
  std::thread owner([&] { result = RunNext(*session, range, 10); });
  ASSERT_TRUE(after_set.WaitForSomebody());
  std::atomic<bool> frozen = false;
  std::thread dba([&] {
    FreezeNow();
    frozen = true;
  });
  ASSERT_TRUE(WaitForTrue(url_,
                          "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%freeze(''deploy'')%' AND "
                          "wait_event_type = 'Lock' AND datname = current_database())"));
  EXPECT_FALSE(frozen);
  after_set.Open();
  owner.join();
  dba.join();
  MD_EXPECT_OK(result);
  EXPECT_EQ(Counts(), "0:90 1:10");
}

// 60 times, at random moments of takeovers, passes and sub-batches.
TEST_P(Freeze, NothingCommitsAfterItReturned) {
  Begin(20000, 1, IncrementDefinition(), GetParam());
  std::mt19937 random(11);
  for (int round = 0; round < 60; ++round) {
    std::atomic<bool> stop = false;
    std::atomic<bool> worked = false;
    std::thread owner([&] {
      for (int pass = 0; !stop; ++pass) {
        TakeOverRequest request = Claiming();
        request.migration = absl::StrCat("m", round, "_", pass);
        auto taken = target_->TakeOver(request);
        if (!taken.ok()) continue;
        auto begun = target_->BeginPass(taken->claim, 1, {checkpoint_.lanes[0]});
        if (!begun.ok()) continue;
        auto session = target_->OpenLane(LaneOf(*begun, plan_));
        LaneRange range = begun->lanes[0];
        for (int i = 0; i < 3 && session.ok() && !stop; ++i) worked = RunNext(**session, range, 3).ok() || worked;
      }
    });
    // Every other time not before something was committed.
    while (round % 2 == 1 && !worked) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 30));
    FreezeNow();
    const std::string sum =
        "SELECT sum(n) || ' ' || (SELECT coalesce(sum(rows), 0) FROM migration_control.lane) FROM items";
    const std::string before = Ask(url_, sum);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    stop = true;
    owner.join();
    ASSERT_EQ(Ask(url_, sum), before) << "round " << round;
    Sql(url_, "SELECT migration_control.unfreeze()");
  }
  EXPECT_NE(CountsAt(url_), "0:20000") << "nothing was done at all: the test proves nothing";
}

INSTANTIATE_TEST_SUITE_P(Forms, Freeze, ::testing::Values(Path::kDirect, Path::kPooled),
                         [](const auto& info) { return PathName(info.param); });

class FrozenTarget : public ItemsTest {};

TEST_F(FrozenTarget, RefusesStepsPassesAndCompletionButNotTakingOver) {
  Begin(10);
  // A sequence tells also of what was rolled back.
  Sql(url_, "CREATE SEQUENCE public.begun; SELECT migration_control.freeze('deploy'); SELECT migration_control.freeze('longer')");
  EXPECT_EQ(SqlStateOf(
                target_->RunStep(checkpoint_.claim, "prepare/0", "SELECT nextval('begun')", "public", absl::Seconds(1))),
            "MD003");
  EXPECT_EQ(Ask(url_, "SELECT is_called FROM public.begun"), "f") << "the statement was begun";
  EXPECT_EQ(SqlStateOf(target_->Barrier(checkpoint_.claim, /*completed=*/true)), "MD003");
  EXPECT_EQ(SqlStateOf(target_->BeginPass(checkpoint_.claim, 2, checkpoint_.lanes).status()), "MD003");
  MD_ASSERT_OK_AND_ASSIGN(const QuiesceResult revoked, target_->Revoke(Claiming(false), absl::Seconds(5)));
  EXPECT_TRUE(revoked.checkpoint.frozen);
  TakeOverRequest fresh = Claiming();
  fresh.migration = "begun_while_frozen";
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint taken, target_->TakeOver(fresh));
  EXPECT_TRUE(taken.frozen);
  MD_ASSERT_OK_AND_ASSIGN(const auto reason, target_->FrozenReason());
  EXPECT_EQ(reason, "longer");
  EXPECT_EQ(Counts(), "0:10");
}

TEST_F(FrozenTarget, IsRefusedInATransactionWhoseSnapshotIsOld) {
  Begin(10);
  EXPECT_EQ(SqlStateFrom(url_, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT migration_control.freeze('x'); COMMIT"),
            "25001");
  EXPECT_EQ(SqlStateFrom(url_, "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT migration_control.unfreeze(); COMMIT"),
            "25001");
}

}  // namespace
}  // namespace migrationd
