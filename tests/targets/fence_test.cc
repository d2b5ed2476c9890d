// The fence: whatever an owner that was taken over still has under way, nothing of it commits; what is committing is
// waited for.
#include <atomic>
#include <random>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "migrations/model/failure.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_postgres.h"
#include "tests/targets/answer_cutter.h"
#include "tests/targets/target_fixture.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;

class Fence : public ItemsTest, public ::testing::WithParamInterface<Path> {
 protected:
  void Start(int rows) {
    Begin(rows, 1, IncrementDefinition(), GetParam());
    InstallRoadblocks(url_);
  }
  // Until a takeover stands behind a lock.
  bool WaitForBlockedTakeOver() {
    return WaitForTrue(url_,
                       "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'migrationd control' AND "
                       "wait_event_type = 'Lock' AND datname = current_database())");
  }
};

TEST_P(Fence, AnOwnerThatWasTakenOverBeforeItsSubBatchCommitsNothing) {
  Start(100);
  auto zombie = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  MD_ASSERT_OK(RunNext(*zombie, range, 10));
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint next, target_->TakeOver(Claiming(false)));
  EXPECT_EQ(next.lanes[0].cursor, Key{"10"});
  EXPECT_GT(next.claim.epoch, checkpoint_.claim.epoch);
  EXPECT_NE(next.claim.token, checkpoint_.claim.token);
  const auto refused = RunNext(*zombie, range, 10);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kAborted, HasSubstr("fenced")));
  EXPECT_EQ(SqlStateOf(refused.status()), "MD001");
  EXPECT_EQ(Counts(), "0:90 1:10");
}

// A process that was stopped in the middle and comes back after another one has done its rows.
TEST_P(Fence, AnOwnerTakenOverBetweenItsWorkAndTheCheckAndSetIsRolledBack) {
  Start(100);
  Roadblock after_work(url_, kAfterWork);
  auto zombie = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  absl::StatusOr<SubBatchResult> result;
  std::thread owner([&] { result = RunNext(*zombie, range, 10); });
  ASSERT_TRUE(after_work.WaitForSomebody());
  // Does not wait for the work, however long it takes.
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint next, target_->TakeOver(Claiming(false)));
  EXPECT_TRUE(next.lanes[0].cursor.empty());
  after_work.Open();
  owner.join();
  EXPECT_EQ(SqlStateOf(result.status()), "MD001");
  EXPECT_EQ(Counts(), "0:100");
  MD_ASSERT_OK(RunLane(*target_, next, plan_, 0, 10));
  EXPECT_EQ(Counts(), "1:100");
}

TEST_P(Fence, ATakeOverWaitsForASubBatchThatIsCommittingAndSeesItsCursor) {
  Start(100);
  Roadblock after_set(url_, kAfterSet);
  auto session = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  absl::StatusOr<SubBatchResult> result;
  std::thread owner([&] { result = RunNext(*session, range, 10); });
  ASSERT_TRUE(after_set.WaitForSomebody());
  absl::StatusOr<Checkpoint> next;
  std::thread successor([&] { next = target_->TakeOver(Claiming(false)); });
  ASSERT_TRUE(WaitForBlockedTakeOver());
  after_set.Open();
  owner.join();
  successor.join();
  MD_ASSERT_OK(result);
  MD_ASSERT_OK(next);
  EXPECT_EQ(next->lanes[0].cursor, Key{"10"});
  EXPECT_EQ(next->rows_total, 10);
  MD_ASSERT_OK(RunLane(*target_, *next, plan_, 0, 10));
  EXPECT_EQ(Counts(), "1:100");
}

TEST_P(Fence, AnOwnerKilledAfterTheCheckAndSetLeavesNothing) {
  Start(100);
  Roadblock after_set(url_, kAfterSet);
  auto session = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  absl::StatusOr<SubBatchResult> result;
  std::thread owner([&] { result = RunNext(*session, range, 10); });
  ASSERT_TRUE(after_set.WaitForSomebody());
  Sql(url_, absl::StrCat("SELECT pg_terminate_backend(",
                         Ask(url_,
                             "SELECT pid FROM pg_stat_activity WHERE application_name "
                             "LIKE 'migrationd/%/fill_items' AND datname = "
                             "current_database()"),
                         ")"));
  owner.join();
  EXPECT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), absl::StatusCode::kUnavailable);
  if (GetParam() == Path::kDirect) {
    EXPECT_TRUE(IsCommitUnknown(result.status())) << result.status();
  }
  after_set.Open();
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint next, target_->TakeOver(Claiming(false)));
  EXPECT_TRUE(next.lanes[0].cursor.empty());
  MD_ASSERT_OK(RunLane(*target_, next, plan_, 0, 10));
  EXPECT_EQ(Counts(), "1:100");
}

// What every network may do: the message or its answer is lost. Taking the owner row again tells what became of it.
TEST_P(Fence, AnUnknownCommitIsResolvedByTakingOver) {
  Begin(400, 1, IncrementDefinition(), GetParam());
  AnswerCutter cutter;
  auto through = TargetAt(cutter.UrlFor(url_), GetParam());
  std::mt19937 random(20261121);
  int unknown = 0;
  int landed = 0;
  Checkpoint checkpoint = checkpoint_;
  while (!checkpoint.lanes[0].done()) {
    auto session = through->OpenLane(LaneOf(checkpoint, plan_));
    MD_ASSERT_OK(session);
    LaneRange range = checkpoint.lanes[0];
    MD_ASSERT_OK_AND_ASSIGN(const Key bound, (*session)->FindBound(range, 5));
    // In the pooled form COMMIT is one of several messages: those before it are cut, too.
    std::thread cut([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(random() % (GetParam() == Path::kDirect ? 1 : 1500)));
      cutter.Arm(random() % 2 == 0 ? AnswerCutter::Cut::kRequest : AnswerCutter::Cut::kAnswer);
    });
    if (GetParam() == Path::kDirect) cut.join();
    SubBatchRequest request{.old_cursor = range.cursor, .new_cursor = bound, .lane_upper = range.upper};
    const auto result = (*session)->RunSubBatch(request);
    if (cut.joinable()) cut.join();
    cutter.Arm(AnswerCutter::Cut::kNothing);
    MD_ASSERT_OK_AND_ASSIGN(checkpoint, target_->TakeOver(Claiming(false)));
    if (result.ok()) {
      EXPECT_EQ(checkpoint.lanes[0].cursor, bound);
    } else if (IsCommitUnknown(result.status())) {
      ++unknown;
      if (checkpoint.lanes[0].cursor == bound) ++landed;
    } else {
      EXPECT_EQ(result.status().code(), absl::StatusCode::kUnavailable);
      EXPECT_NE(checkpoint.lanes[0].cursor, bound) << "said not to be committed, and was: " << result.status();
    }
  }
  EXPECT_EQ(Counts(), "1:400");
  EXPECT_EQ(checkpoint.rows_total, 400);
  if (GetParam() == Path::kDirect) {
    EXPECT_GT(landed, 10) << "of " << unknown;
    EXPECT_GT(unknown - landed, 10);
  }
}

TEST_P(Fence, ALateSubBatchOfTheLastPassDoesNotMatchTheNext) {
  Start(100);
  Roadblock after_work(url_, kAfterWork);
  auto late = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  absl::StatusOr<SubBatchResult> result;
  std::thread owner([&] { result = RunNext(*late, range, 10); });
  ASSERT_TRUE(after_work.WaitForSomebody());
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint next, target_->BeginPass(checkpoint_.claim, 2, checkpoint_.lanes));
  EXPECT_EQ(next.pass, 2);
  after_work.Open();
  owner.join();
  EXPECT_EQ(SqlStateOf(result.status()), "MD001");
  EXPECT_EQ(Counts(), "0:100");
  EXPECT_EQ(SqlStateOf(target_->BeginPass(checkpoint_.claim, 3, next.lanes).status()), "MD001") << "with the old claim";
}

// 200 times: a stranger pauses at once, while the owner is working as fast as it can.
TEST_P(Fence, NothingCommitsAfterARevokeReturned) {
  constexpr int kRows = 200000;
  Begin(kRows, 1, IncrementDefinition(), GetParam());
  std::mt19937 random(7);
  Checkpoint checkpoint = checkpoint_;
  int with_progress = 0;
  for (int round = 0; round < 200; ++round) {
    std::atomic<bool> working = false;
    std::thread owner([&] {
      auto session = target_->OpenLane(LaneOf(checkpoint, plan_));
      LaneRange range = checkpoint.lanes[0];
      while (session.ok() && !range.done() && RunNext(**session, range, 2).ok()) working = true;
      working = true;
    });
    while (!working) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
    auto revoked = target_->Revoke(Claiming(false), absl::Seconds(20));
    const std::string counts = Counts();
    owner.join();
    MD_ASSERT_OK(revoked);
    EXPECT_EQ(Counts(), counts) << "committed after the revoke";
    ASSERT_FALSE(revoked->checkpoint.lanes[0].done()) << "too few rows for this test";
    const Key& cursor = revoked->checkpoint.lanes[0].cursor;
    ASSERT_EQ(cursor.size(), 1u);
    EXPECT_EQ(counts, absl::StrCat("0:", kRows - std::stoi(cursor[0]), " 1:", cursor[0]));
    EXPECT_GT(revoked->quiesced_at, absl::UnixEpoch());
    if (revoked->checkpoint.lanes[0].cursor != checkpoint.lanes[0].cursor) ++with_progress;
    checkpoint = revoked->checkpoint;
  }
  EXPECT_GT(with_progress, 150) << "the owner hardly worked: the test proves little";
}

TEST_P(Fence, RevokeEndsAWorkThatWouldTakeLong) {
  Start(100);
  Roadblock after_work(url_, kAfterWork);
  auto session = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  absl::StatusOr<SubBatchResult> result;
  std::thread owner([&] { result = RunNext(*session, range, 10); });
  ASSERT_TRUE(after_work.WaitForSomebody());
  MD_ASSERT_OK(target_->Revoke(Claiming(false), absl::Seconds(20)));
  owner.join();
  EXPECT_EQ(SqlStateOf(result.status()), "57014");
  EXPECT_EQ(Counts(), "0:100");
}

// The first answer came too soon for the backend: the second one must not say that it is gone while it is not.
TEST_P(Fence, ARepeatedRevokeWaitsForTheSameBackends) {
  Start(100);
  Roadblock after_work(url_, kAfterWork);
  auto session = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  absl::StatusOr<SubBatchResult> result;
  std::thread owner([&] { result = RunNext(*session, range, 10); });
  ASSERT_TRUE(after_work.WaitForSomebody());
  // Fenced by somebody who does not wait for its end.
  MD_ASSERT_OK(target_->TakeOver(Claiming(false)));
  MD_ASSERT_OK(target_->Revoke(Claiming(false), absl::Seconds(20)));
  EXPECT_EQ(Ask(url_, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND "
                      "application_name LIKE 'migrationd/%/%/%'"),
            "0");
  owner.join();
  EXPECT_FALSE(result.ok());
  EXPECT_EQ(Counts(), "0:100");
}

// Stopped between check-and-set and commit, holding the lane: whoever revokes does not wait for ever.
TEST_P(Fence, RevokeGetsPastAnOwnerThatSitsOnItsLane) {
  Start(100);
  Roadblock after_set(url_, kAfterSet);
  auto session = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  absl::StatusOr<SubBatchResult> result;
  std::thread owner([&] { result = RunNext(*session, range, 10); });
  ASSERT_TRUE(after_set.WaitForSomebody());
  MD_ASSERT_OK_AND_ASSIGN(const QuiesceResult revoked, target_->Revoke(Claiming(false), absl::Seconds(20)));
  owner.join();
  EXPECT_FALSE(result.ok());
  EXPECT_TRUE(revoked.checkpoint.lanes[0].cursor.empty());
  EXPECT_EQ(Counts(), "0:100");
}

INSTANTIATE_TEST_SUITE_P(Forms, Fence, ::testing::Values(Path::kDirect, Path::kPooled, Path::kNative),
                         [](const auto& info) { return PathName(info.param); });

class Owner : public ItemsTest {};

TEST_F(Owner, EpochsAreNeverGivenTwice) {
  Begin(10);
  std::mutex mutex;
  std::set<std::int64_t> epochs;
  std::set<std::string> tokens;
  std::vector<std::thread> claimants;
  for (int i = 0; i < 8; ++i) {
    claimants.emplace_back([&] {
      for (int round = 0; round < 20; ++round) {
        const auto taken = target_->TakeOver(Claiming(false));
        ASSERT_THAT(taken, IsOk());
        std::lock_guard<std::mutex> lock(mutex);
        EXPECT_TRUE(epochs.insert(taken->claim.epoch).second);
        EXPECT_TRUE(tokens.insert(taken->claim.token).second);
      }
    });
  }
  for (std::thread& claimant : claimants) claimant.join();
  EXPECT_EQ(epochs.size(), 160u);
  EXPECT_EQ(*epochs.rbegin() - checkpoint_.claim.epoch, 160);
}

TEST_F(Owner, TheEpochIsAboveTheStoresAndAboveTheTargets) {
  Begin(10);
  MD_ASSERT_OK_AND_ASSIGN(Checkpoint taken, target_->TakeOver(Claiming(false, /*store_epoch=*/100)));
  EXPECT_EQ(taken.claim.epoch, 101);
  MD_ASSERT_OK_AND_ASSIGN(taken, target_->TakeOver(Claiming(false, /*store_epoch=*/3)));
  EXPECT_EQ(taken.claim.epoch, 102);
}

TEST_F(Owner, AMissingRowIsALostCheckpointUnlessItMayBeMade) {
  url_ = FreshDatabase();
  target_ = TargetAt(url_);
  MD_ASSERT_OK(target_->Open(true));
  EXPECT_THAT(target_->TakeOver(Claiming(false)), StatusIs(absl::StatusCode::kNotFound, HasSubstr("missing")));
  EXPECT_THAT(target_->Revoke(Claiming(false), absl::Seconds(1)),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("missing")));
  EXPECT_EQ(Ask(url_, "SELECT count(*) FROM migration_control.owner"), "0");
  MD_ASSERT_OK_AND_ASSIGN(const QuiesceResult revoked, target_->Revoke(Claiming(true, 5), absl::Seconds(1)));
  EXPECT_EQ(revoked.checkpoint.claim.epoch, 6);
  EXPECT_EQ(revoked.checkpoint.pass, 0);
}

TEST_F(Owner, RowsOfAnotherControlStoreAreLeftAloneUnlessAdopted) {
  Begin(10);
  TakeOverRequest foreign = Claiming();
  foreign.control_id = kForeignControlId;
  EXPECT_THAT(target_->TakeOver(foreign),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("another control store")));
  MD_EXPECT_OK(target_->Barrier(checkpoint_.claim, false)) << "the owner did not notice";
  foreign.adopt = true;
  MD_ASSERT_OK(target_->TakeOver(foreign));
  EXPECT_EQ(SqlStateOf(target_->Barrier(checkpoint_.claim, false)), "MD001");
  EXPECT_THAT(target_->TakeOver(Claiming()),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("another control store")));
}

TEST_F(Owner, AForgottenMigrationIsNeverBegunAgainAndItsSubBatchesDoNotCommit) {
  Begin(10);
  auto session = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  MD_ASSERT_OK(target_->Forget(kMigration, kForeignControlId));
  MD_ASSERT_OK(RunNext(*session, range, 2));
  MD_ASSERT_OK(target_->Forget(kMigration, kControlId));
  EXPECT_EQ(SqlStateOf(RunNext(*session, range, 2).status()), "MD001");
  EXPECT_THAT(target_->TakeOver(Claiming()), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("deleted")));
  MD_EXPECT_OK(target_->Forget(kMigration, kControlId));
  MD_ASSERT_OK(target_->Forget("never_seen", kControlId));
  TakeOverRequest other = Claiming();
  other.migration = "never_seen";
  EXPECT_THAT(target_->TakeOver(other), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("deleted")));
}

TEST_F(Owner, ARestartForgetsCursorsAndCounts) {
  Begin(10);
  MD_ASSERT_OK(RunLane(*target_, checkpoint_, plan_, 0, 3));
  MD_ASSERT_OK(target_->Barrier(checkpoint_.claim, true));
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint fresh, target_->Reset(checkpoint_.claim, Forgetting::kProgress));
  EXPECT_EQ(fresh.claim.epoch, checkpoint_.claim.epoch) << "the owner stays the same";
  EXPECT_EQ(fresh.pass, 0);
  EXPECT_EQ(fresh.rows_total, 0);
  EXPECT_TRUE(fresh.lanes.empty());
  EXPECT_FALSE(fresh.completed_at.has_value());
}

TEST_F(Owner, WhoLooksAgainForgetsTheEndAndTheRowsLeftAsTheyAre) {
  Begin(10);
  MD_ASSERT_OK(RunLane(*target_, checkpoint_, plan_, 0, 3));
  MD_ASSERT_OK(target_->Barrier(checkpoint_.claim, /*completed=*/true));
  Sql(url_, "INSERT INTO migration_control.failed_range (migration, key, kind, pass) SELECT migration, '{3}', 'UNCHANGED', 2 FROM "
            "migration_control.owner");
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint taken, target_->Reset(checkpoint_.claim, Forgetting::kVerdict));
  EXPECT_FALSE(taken.completed_at.has_value());
  EXPECT_EQ(taken.unchanged_rows, 0);
  EXPECT_EQ(taken.rows_total, 10) << "the cursors and counts stay";
  EXPECT_EQ(Ask(url_, "SELECT migration_control.is_completed(migration) FROM migration_control.owner"), "f");
}

TEST_F(Owner, WhoWasFencedForgetsNothing) {
  Begin(10);
  MD_ASSERT_OK(RunLane(*target_, checkpoint_, plan_, 0, 3));
  MD_ASSERT_OK(target_->TakeOver(Claiming(false)));
  for (const Forgetting what : {Forgetting::kProgress, Forgetting::kVerdict}) {
    EXPECT_EQ(SqlStateOf(target_->Reset(checkpoint_.claim, what).status()), "MD001");
  }
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint taken, target_->TakeOver(Claiming(false)));
  EXPECT_EQ(taken.rows_total, 10);
}

TEST_F(Owner, WithoutTheSchemaTheCheckpointIsLost) {
  Begin(10);
  Sql(url_, "DROP SCHEMA migration_control CASCADE");
  EXPECT_EQ(target_->TakeOver(Claiming(false)).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(target_->Revoke(Claiming(false), absl::Seconds(5)).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(Owner, APassIsBegunOnceAndKeepsTheCounts) {
  Begin(10);
  MD_ASSERT_OK(RunLane(*target_, checkpoint_, plan_, 0, 3));
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint second, target_->BeginPass(checkpoint_.claim, 2, checkpoint_.lanes));
  EXPECT_EQ(second.rows_total, 10);
  EXPECT_EQ(second.pass_affected, 0);
  EXPECT_EQ(second.sub_batches_total, 4);
  EXPECT_FALSE(second.lanes[0].done());
  EXPECT_EQ(SqlStateOf(target_->BeginPass(second.claim, 2, checkpoint_.lanes).status()), "MD001");
  EXPECT_EQ(SqlStateOf(target_->BeginPass(second.claim, 4, checkpoint_.lanes).status()), "MD001");
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint taken, target_->TakeOver(Claiming(false)));
  EXPECT_EQ(taken.pass, 2) << "the refused ones changed nothing";
}

TEST_F(Owner, TheBarrierWritesSynchronously) {
  Begin(10);
  Sql(url_, "ALTER DATABASE " + Ask(url_, "SELECT current_database()") + " SET synchronous_commit = off");
  const std::string before = Ask(url_, "SELECT barrier FROM migration_control.owner");
  MD_ASSERT_OK(RunLane(*target_, checkpoint_, plan_, 0, 3));
  const std::string written = Ask(url_, "SELECT pg_current_wal_insert_lsn()");
  MD_ASSERT_OK(target_->Barrier(checkpoint_.claim, false));
  EXPECT_EQ(Ask(url_, absl::StrCat("SELECT pg_current_wal_flush_lsn() >= '", written, "'")), "t");
  EXPECT_NE(Ask(url_, "SELECT barrier FROM migration_control.owner"), before);
  EXPECT_EQ(Ask(url_, "SELECT completed_at IS NULL FROM migration_control.owner"), "t");
  EXPECT_EQ(SqlStateOf(target_->Barrier({kMigration, checkpoint_.claim.epoch, kForeignControlId}, false)), "MD001");
}

TEST_F(Owner, ATableIsRecordedOnlyByTheOwner) {
  Begin(10);
  MD_ASSERT_OK(target_->RecordTable(checkpoint_.claim, 4711, "columns"));
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint next, target_->TakeOver(Claiming(false)));
  EXPECT_EQ(next.table_oid, 4711);
  EXPECT_EQ(next.column_digest, "columns");
  EXPECT_EQ(SqlStateOf(target_->RecordTable(checkpoint_.claim, 1, "")), "MD001");
}

class Step : public ItemsTest {
 protected:
  absl::Status Run(const std::string& step, const std::string& sql) {
    return target_->RunStep(checkpoint_.claim, step, sql, "pg_catalog, public, pg_temp", absl::Seconds(5));
  }
};

TEST_F(Step, RunsOnce) {
  Begin(10);
  MD_ASSERT_OK(Run("prepare/0", "UPDATE items SET n = n + 1"));
  MD_ASSERT_OK(Run("prepare/0", "UPDATE items SET n = n + 1"));
  EXPECT_EQ(Counts(), "1:10");
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint next, target_->TakeOver(Claiming(false)));
  EXPECT_EQ(next.steps_done, std::vector<std::string>{"prepare/0"});
  EXPECT_EQ(SqlStateOf(Run("prepare/0", "SELECT 1")), "MD001") << "of a claim that ended";
}

TEST_F(Step, RunsAgainOnceItIsForgottenByTheOwner) {
  Begin(10);
  MD_ASSERT_OK(Run("prepare/0", "UPDATE items SET n = n + 1"));
  FenceClaim stranger = checkpoint_.claim;
  stranger.epoch += 1;
  EXPECT_EQ(SqlStateOf(target_->ForgetSteps(stranger)), "MD001");
  MD_ASSERT_OK(target_->ForgetSteps(checkpoint_.claim));
  MD_ASSERT_OK(Run("prepare/0", "UPDATE items SET n = n + 1"));
  EXPECT_EQ(Counts(), "2:10");
}

TEST_F(Step, LeavesNothingWhenItFails) {
  Begin(10);
  EXPECT_EQ(SqlStateOf(Run("prepare/0", "UPDATE items SET n = 1 / (id - 5)")), "22012");
  EXPECT_EQ(Counts(), "0:10");
  EXPECT_EQ(Ask(url_, "SELECT count(*) FROM migration_control.step"), "0");
}

TEST_F(Step, IsOneStatementInsideOurTransaction) {
  Begin(10);
  EXPECT_EQ(SqlStateOf(Run("prepare/0", "UPDATE items SET n = 1; UPDATE items SET n = 2")), "42601");
  for (const char* ends : {"COMMIT", "ROLLBACK", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN"}) {
    EXPECT_FALSE(Run("prepare/1", ends).ok()) << ends;
  }
  EXPECT_FALSE(Run("prepare/2", "COPY items FROM STDIN").ok());
  EXPECT_EQ(Ask(url_, "SELECT count(*) FROM migration_control.step"), "0");
  MD_EXPECT_OK(Run("prepare/0", "UPDATE items SET n = 1"));
}

TEST_F(Step, DoesNotHoldUpATakeOverAndIsRolledBackByIt) {
  Begin(10);
  InstallRoadblocks(url_);
  Roadblock after_work(url_, kAfterWork);
  absl::Status result;
  std::thread owner([&] { result = Run("prepare/0", "UPDATE public.items SET n = n + 1"); });
  ASSERT_TRUE(after_work.WaitForSomebody());
  MD_ASSERT_OK(target_->TakeOver(Claiming(false)));
  after_work.Open();
  owner.join();
  EXPECT_EQ(SqlStateOf(result), "MD001");
  EXPECT_EQ(Counts(), "0:10");
}

TEST_F(Step, IsEndedByARevoke) {
  Begin(10);
  InstallRoadblocks(url_);
  Roadblock after_work(url_, kAfterWork);
  absl::Status result;
  std::thread owner([&] { result = Run("prepare/0", "UPDATE public.items SET n = n + 1"); });
  ASSERT_TRUE(after_work.WaitForSomebody());
  MD_ASSERT_OK(target_->Revoke(Claiming(false), absl::Seconds(20)));
  owner.join();
  EXPECT_EQ(SqlStateOf(result), "57014");
  EXPECT_EQ(Counts(), "0:10");
}

}  // namespace
}  // namespace migrationd
