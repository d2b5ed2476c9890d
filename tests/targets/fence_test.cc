// Owners that should be dead, cursors that went back, freezes and revocations: nothing of an earlier claim ever commits.
#include <atomic>
#include <thread>

#include "absl/strings/str_cat.h"
#include "migrations/model/failure.h"
#include "tests/targets/target_fixture.h"

namespace migrationd {
namespace {

constexpr char kIncrement[] = "sql_batch: {table: t, alias: b, statement: 'UPDATE t AS b SET n = n + 1 WHERE {{batch}}'}";

class FenceTest : public TargetTest, public ::testing::WithParamInterface<bool> {
 protected:
  void SetUp() override {
    if (GetParam()) UsePooledForm();
    sql_->Run("CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT i FROM generate_series(1, 100) i");
  }

  // Waits until a backend waits for a lock in this database.
  void AwaitLockWait() {
    for (int i = 0; i < 2000; ++i) {
      if (sql_->Value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") != "0") return;
      sql_->Run("SELECT pg_sleep(0.005)");
    }
    ADD_FAILURE() << "nobody waits for a lock";
  }
};

TEST_P(FenceTest, AZombieThatWasTakenOverCommitsNothing) {
  const MigrationPlan plan = PlanOf(kIncrement);
  const Checkpoint checkpoint = Open(plan);
  auto zombie = Lane(plan, checkpoint);
  MD_ASSERT_OK_AND_ASSIGN(const SubBatchRequest request, First(*zombie, checkpoint.lanes[0], 10));
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint taken, target_->TakeOver(Request()));
  EXPECT_EQ(SqlStateOf(zombie->RunSubBatch(request).status()), kSqlStateFenced);
  EXPECT_EQ(sql_->Value("SELECT sum(n) FROM t"), "0");
  MD_ASSERT_OK(Walk(*Lane(plan, taken), taken.lanes[0], 10));
  EXPECT_EQ(sql_->Value("SELECT count(*) FROM t WHERE n = 1"), "100");
}

TEST_P(FenceTest, AZombieInTheMiddleOfItsWorkIsOvertakenAndRolledBack) {
  const MigrationPlan plan = PlanOf(kIncrement);
  const Checkpoint checkpoint = Open(plan);
  auto zombie = Lane(plan, checkpoint);
  MD_ASSERT_OK_AND_ASSIGN(const SubBatchRequest request, First(*zombie, checkpoint.lanes[0], 10));
  // An application holds one of the rows: the zombie stops between work and check-and-set.
  Sql application(url_);
  application.Run("BEGIN; UPDATE t SET n = n WHERE id = 10");
  absl::Status ended;
  std::thread thread([&] { ended = zombie->RunSubBatch(request).status(); });
  AwaitLockWait();
  // The takeover does not wait for it.
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint taken, target_->TakeOver(Request()));
  EXPECT_TRUE(taken.lanes[0].cursor.empty());
  application.Run("COMMIT");
  thread.join();
  EXPECT_EQ(SqlStateOf(ended), kSqlStateFenced);
  MD_ASSERT_OK(Walk(*Lane(plan, taken), taken.lanes[0], 10));
  EXPECT_EQ(sql_->Value("SELECT count(*) FROM t WHERE n = 1"), "100");
}

TEST_P(FenceTest, ATakeoverWaitsForACheckAndSetThatIsCommittingAndSeesItsCursor) {
  const MigrationPlan plan = PlanOf(kIncrement);
  const Checkpoint checkpoint = Open(plan);
  // What a sub-batch does, stopped by hand right after its check-and-set.
  Sql owner(url_);
  owner.Run("BEGIN; UPDATE t SET n = n + 1 WHERE id <= 10");
  owner.Run(absl::StrCat("SELECT migration_control.advance('m', 0, ", checkpoint.claim.epoch, ", '", checkpoint.claim.token, "', NULL, '{10}', 10)"));
  absl::StatusOr<Checkpoint> taken = absl::UnknownError("");
  std::thread thread([&] { taken = target_->TakeOver(Request()); });
  AwaitLockWait();
  owner.Run("COMMIT");
  thread.join();
  MD_ASSERT_OK(taken);
  EXPECT_EQ(taken->lanes[0].cursor, Key{"10"});
  EXPECT_EQ(taken->rows_total, 10);
  MD_ASSERT_OK(Walk(*Lane(plan, *taken), taken->lanes[0], 10));
  EXPECT_EQ(sql_->Value("SELECT count(*) FROM t WHERE n = 1"), "100");
}

TEST_P(FenceTest, AStaleCursorIsRefusedAfterTheTargetWentBack) {
  const MigrationPlan plan = PlanOf(kIncrement);
  const Checkpoint checkpoint = Open(plan);
  auto session = Lane(plan, checkpoint);
  MD_ASSERT_OK_AND_ASSIGN(SubBatchRequest request, First(*session, checkpoint.lanes[0], 10));
  MD_ASSERT_OK_AND_ASSIGN(const SubBatchResult result, session->RunSubBatch(request));
  // A failover lost that commit: rows and cursor are as before.
  sql_->Run("UPDATE t SET n = 0; UPDATE migration_control.lane SET cursor = NULL, rows = 0, sub_batches = 0");
  request.old_cursor = request.new_cursor;
  request.new_cursor = result.next_bound;
  EXPECT_EQ(SqlStateOf(session->RunSubBatch(request).status()), kSqlStateFenced);
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint taken, target_->TakeOver(Request()));
  MD_ASSERT_OK(Walk(*Lane(plan, taken), taken.lanes[0], 10));
  EXPECT_EQ(sql_->Value("SELECT count(*) FROM t WHERE n = 1"), "100");
}

TEST_P(FenceTest, ALostConnectionIsResolvedByTakingTheOwnerRowAgain) {
  const MigrationPlan plan = PlanOf(kIncrement);
  Checkpoint checkpoint = Open(plan);
  for (int round = 0; round < 20 && !checkpoint.lanes[0].done(); ++round) {
    auto session = Lane(plan, checkpoint);
    std::atomic<bool> stop{false};
    // Kills the backend at some moment of some sub-batch.
    std::thread killer([&, pid = session->backend_pid()] {
      Sql killing(url_);
      killing.Run(absl::StrCat("SELECT pg_sleep(", 0.0007 * round, ")"));
      killing.Run(absl::StrCat("SELECT pg_terminate_backend(", pid, ")"));
    });
    LaneRange range = checkpoint.lanes[0];
    const auto walked = Walk(*session, range, 2);
    killer.join();
    if (!walked.ok()) {
      const bool in_doubt = IsCommitUnknown(walked.status()) || SqlStateOf(walked.status()).starts_with("57P") || SqlStateOf(walked.status()).empty();
      EXPECT_TRUE(in_doubt) << walked.status();
    }
    MD_ASSERT_OK_AND_ASSIGN(checkpoint, target_->TakeOver(Request()));
  }
  MD_ASSERT_OK(Walk(*Lane(plan, checkpoint), checkpoint.lanes[0], 50));
  EXPECT_EQ(sql_->Value("SELECT count(*) FROM t WHERE n = 1"), "100");
  EXPECT_EQ(sql_->Value("SELECT rows FROM migration_control.migration"), "100");
}

TEST_P(FenceTest, NothingCommitsAfterFreezeReturnedAndItGoesOnAfterUnfreeze) {
  const MigrationPlan plan = PlanOf(kIncrement);
  const Checkpoint checkpoint = Open(plan);
  auto session = Lane(plan, checkpoint);
  MD_ASSERT_OK_AND_ASSIGN(const SubBatchRequest request, First(*session, checkpoint.lanes[0], 10));
  sql_->Run("SELECT migration_control.freeze('incident')");
  const absl::Status frozen = session->RunSubBatch(request).status();
  EXPECT_EQ(SqlStateOf(frozen), kSqlStateFrozen);
  EXPECT_THAT(std::string(frozen.message()), ::testing::HasSubstr("incident"));
  EXPECT_EQ(sql_->Value("SELECT sum(n) FROM t"), "0");
  EXPECT_EQ(SqlStateOf(target_->RunStep(checkpoint.claim, "prepare/0", "UPDATE t SET n = 7", "public", absl::Seconds(1))), kSqlStateFrozen);
  MD_ASSERT_OK_AND_ASSIGN(const auto reason, target_->FrozenReason());
  EXPECT_EQ(reason.value_or(""), "incident");
  sql_->Run("SELECT migration_control.unfreeze()");
  MD_ASSERT_OK(Walk(*session, checkpoint.lanes[0], 10));
  EXPECT_EQ(sql_->Value("SELECT count(*) FROM t WHERE n = 1"), "100");
}

TEST_P(FenceTest, AMigrationThatBeginsWhileFrozenIsFrozenToo) {
  const MigrationPlan plan = PlanOf(kIncrement);
  sql_->Run("SELECT migration_control.freeze('early')");
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint checkpoint, target_->TakeOver(Request()));
  EXPECT_TRUE(checkpoint.frozen);
  MD_ASSERT_OK_AND_ASSIGN(const auto ranges, target_->PlanLanes(plan, 1));
  EXPECT_EQ(SqlStateOf(target_->BeginPass(checkpoint.claim, 1, ranges).status()), kSqlStateFrozen);
}

TEST_P(FenceTest, FreezeWaitsForASubBatchThatIsCommitting) {
  const MigrationPlan plan = PlanOf(kIncrement);
  const Checkpoint checkpoint = Open(plan);
  Sql owner(url_);
  owner.Run("BEGIN; UPDATE t SET n = n + 1 WHERE id <= 10");
  owner.Run(absl::StrCat("SELECT migration_control.advance('m', 0, ", checkpoint.claim.epoch, ", '", checkpoint.claim.token, "', NULL, '{10}', 10)"));
  std::atomic<bool> returned{false};
  Sql dba(url_);
  std::thread thread([&] {
    dba.Run("SELECT migration_control.freeze('now')");
    returned = true;
  });
  AwaitLockWait();
  EXPECT_FALSE(returned);
  owner.Run("COMMIT");
  thread.join();
  EXPECT_EQ(sql_->Value("SELECT sum(n) FROM t"), "10");
}

TEST_P(FenceTest, NothingCommitsAfterRevokeAnswered) {
  const MigrationPlan plan = PlanOf(kIncrement);
  Checkpoint checkpoint = Open(plan);
  for (int round = 0; round < 60; ++round) {
    auto session = Lane(plan, checkpoint);
    std::thread worker([&] {
      LaneRange range = checkpoint.lanes[0];
      // Ends fenced, cancelled or done.
      Walk(*session, range, 1).status().IgnoreError();
    });
    if (round % 3 != 0) sql_->Run(absl::StrCat("SELECT pg_sleep(", 0.001 * (round % 7), ")"));
    const auto quiesced = target_->Revoke(Request(), absl::Seconds(10));
    MD_ASSERT_OK(quiesced);
    const std::string rows = sql_->Value("SELECT sum(n) FROM t");
    const std::string cursor = sql_->Value("SELECT cursor FROM migration_control.lane");
    worker.join();
    EXPECT_EQ(sql_->Value("SELECT sum(n) FROM t"), rows);
    EXPECT_EQ(sql_->Value("SELECT cursor FROM migration_control.lane"), cursor);
    checkpoint = quiesced->checkpoint;
    if (!checkpoint.lanes[0].done()) continue;
    sql_->Run("UPDATE t SET n = 0; UPDATE migration_control.lane SET cursor = NULL, rows = 0");
    MD_ASSERT_OK_AND_ASSIGN(checkpoint, target_->TakeOver(Request()));
  }
  EXPECT_EQ(sql_->Value("SELECT count(*) FROM t WHERE n > 1"), "0");
}

TEST_P(FenceTest, RevokeCancelsAStatementThatTakesLong) {
  sql_->Run("CREATE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql VOLATILE AS $$ BEGIN PERFORM pg_sleep(30); RETURN $1; END $$");
  const MigrationPlan plan = PlanOf("sql_batch: {table: t, alias: b, statement: 'UPDATE t AS b SET n = slow(n) + 1 WHERE {{batch}}'}");
  const Checkpoint checkpoint = Open(plan);
  auto session = Lane(plan, checkpoint, 0, absl::Seconds(60));
  MD_ASSERT_OK_AND_ASSIGN(const SubBatchRequest request, First(*session, checkpoint.lanes[0], 10));
  absl::Status ended;
  std::thread worker([&] { ended = session->RunSubBatch(request).status(); });
  while (sql_->Value("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND application_name LIKE 'migrationd/%/m' AND datname = current_database()") == "0") {
  }
  MD_ASSERT_OK(target_->Revoke(Request(), absl::Seconds(10)));
  worker.join();
  EXPECT_FALSE(ended.ok());
  EXPECT_EQ(sql_->Value("SELECT sum(n) FROM t"), "0");
}

INSTANTIATE_TEST_SUITE_P(Forms, FenceTest, ::testing::Bool(), [](const auto& info) { return info.param ? "Pooled" : "Direct"; });

class OwnerTest : public TargetTest {
 protected:
  void SetUp() override {
    sql_->Run("CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT i FROM generate_series(1, 100) i");
  }
};

TEST_F(OwnerTest, AMissingRowIsALostCheckpointUnlessItMayBeCreated) {
  EXPECT_THAT(target_->TakeOver(Request(0, /*may_create=*/false)), StatusIs(absl::StatusCode::kNotFound, ::testing::HasSubstr("missing")));
  MD_EXPECT_OK(target_->TakeOver(Request(0, /*may_create=*/true)));
  MD_EXPECT_OK(target_->TakeOver(Request(0, /*may_create=*/false)));
}

TEST_F(OwnerTest, TheEpochIsAboveBothTheRowsAndTheStores) {
  MD_ASSERT_OK_AND_ASSIGN(Checkpoint checkpoint, target_->TakeOver(Request(40)));
  EXPECT_EQ(checkpoint.claim.epoch, 41);
  MD_ASSERT_OK_AND_ASSIGN(checkpoint, target_->TakeOver(Request(3)));
  EXPECT_EQ(checkpoint.claim.epoch, 42);
}

TEST_F(OwnerTest, AnotherControlStoresRowIsRefusedUntilAdopted) {
  MD_ASSERT_OK(target_->TakeOver(Request()));
  TakeOverRequest foreign = Request();
  foreign.control_id = "22222222-2222-2222-2222-222222222222";
  EXPECT_THAT(target_->TakeOver(foreign), StatusIs(absl::StatusCode::kPermissionDenied, ::testing::HasSubstr("another control store")));
  foreign.adopt = true;
  MD_EXPECT_OK(target_->TakeOver(foreign));
  EXPECT_THAT(target_->TakeOver(Request()), StatusIs(absl::StatusCode::kPermissionDenied, ::testing::_));
}

TEST_F(OwnerTest, RacingOwnersEndWithOneWhoCanWork) {
  const MigrationPlan plan = PlanOf(kIncrement);
  Open(plan);
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 10; ++round) {
        const auto checkpoint = target_->TakeOver(Request());
        if (!checkpoint.ok()) {
          ++failures;
          continue;
        }
        LaneOptions options{.claim = checkpoint->claim, .range = checkpoint->lanes[0], .pass = checkpoint->pass, .plan = &plan};
        auto session = target_->OpenLane(options);
        if (!session.ok()) continue;
        LaneRange range = checkpoint->lanes[0];
        Walk(**session, range, 3, false, 2).status().IgnoreError();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint last, target_->TakeOver(Request()));
  MD_ASSERT_OK(Walk(*Lane(plan, last), last.lanes[0], 10));
  EXPECT_EQ(sql_->Value("SELECT count(*) FROM t WHERE n = 1"), "100");
  EXPECT_EQ(sql_->Value("SELECT rows FROM migration_control.migration"), "100");
}

TEST_F(OwnerTest, AStepRunsOnceWithItsRecordAndOnlyForTheOwner) {
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint first, target_->TakeOver(Request()));
  const std::string step = "UPDATE t SET n = n + 1";
  MD_ASSERT_OK(target_->RunStep(first.claim, "prepare/0", step, "pg_catalog, public, pg_temp", absl::Seconds(1)));
  MD_ASSERT_OK(target_->RunStep(first.claim, "prepare/0", step, "pg_catalog, public, pg_temp", absl::Seconds(1)));
  EXPECT_EQ(sql_->Value("SELECT count(*) FROM t WHERE n = 1"), "100");
  EXPECT_FALSE(target_->RunStep(first.claim, "prepare/1", "UPDATE t SET n = n + 1; SELECT 1/0", "public", absl::Seconds(1)).ok());
  EXPECT_EQ(sql_->Value("SELECT count(*) FROM migration_control.step"), "1");
  MD_ASSERT_OK(target_->TakeOver(Request()));
  EXPECT_EQ(SqlStateOf(target_->RunStep(first.claim, "prepare/2", step, "public", absl::Seconds(1))), kSqlStateFenced);
  EXPECT_EQ(sql_->Value("SELECT count(*) FROM t WHERE n = 1"), "100");
}

TEST_F(OwnerTest, ABarrierIsForTheOwnerAndCompletionIsAnsweredInSql) {
  EXPECT_EQ(sql_->Value("SELECT migration_control.is_completed('m')"), "f");
  EXPECT_EQ(sql_->State("SELECT migration_control.require_completed('m')"), kSqlStateNotCompleted);
  const MigrationPlan plan = PlanOf(kIncrement);
  const Checkpoint checkpoint = Open(plan);
  EXPECT_EQ(sql_->State("SELECT migration_control.require_completed('m')"), kSqlStateNotCompleted);
  MD_ASSERT_OK(target_->Barrier(checkpoint.claim, /*completed=*/false));
  EXPECT_EQ(sql_->Value("SELECT migration_control.is_completed('m')"), "f");
  MD_ASSERT_OK(target_->Barrier(checkpoint.claim, /*completed=*/true));
  EXPECT_EQ(sql_->Value("SELECT migration_control.is_completed('m')"), "t");
  EXPECT_EQ(sql_->State("SELECT migration_control.require_completed('m')"), "00000");
  MD_ASSERT_OK(target_->TakeOver(Request()));
  EXPECT_EQ(SqlStateOf(target_->Barrier(checkpoint.claim, false)), kSqlStateFenced);
}

TEST_F(OwnerTest, ADeletedNameIsNeverBegunAgain) {
  MD_ASSERT_OK(target_->TakeOver(Request()));
  MD_ASSERT_OK(target_->Forget("m", kControl));
  EXPECT_THAT(target_->TakeOver(Request()), StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::HasSubstr("deleted")));
  EXPECT_EQ(sql_->Value("SELECT count(*) FROM migration_control.owner"), "1");
  EXPECT_EQ(sql_->Value("SELECT count(*) FROM migration_control.migration"), "0");
}

TEST_F(OwnerTest, APassIsBegunOnceAndKeepsWhatTheOneBeforeDid) {
  const MigrationPlan plan = PlanOf(kIncrement);
  const Checkpoint checkpoint = Open(plan);
  MD_ASSERT_OK(Walk(*Lane(plan, checkpoint), checkpoint.lanes[0], 30));
  MD_ASSERT_OK_AND_ASSIGN(const auto ranges, target_->PlanLanes(plan, 1));
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint second, target_->BeginPass(checkpoint.claim, 2, ranges));
  EXPECT_EQ(second.rows_total, 100);
  EXPECT_EQ(second.pass_affected, 0);
  EXPECT_EQ(SqlStateOf(target_->BeginPass(checkpoint.claim, 2, ranges).status()), kSqlStateFenced);
}

TEST_F(OwnerTest, RestartBeginsAtTheFirstRowWithFreshCounts) {
  const MigrationPlan plan = PlanOf(kIncrement);
  const Checkpoint checkpoint = Open(plan);
  MD_ASSERT_OK(Walk(*Lane(plan, checkpoint), checkpoint.lanes[0], 30));
  TakeOverRequest restart = Request();
  restart.restart = true;
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint fresh, target_->TakeOver(restart));
  EXPECT_EQ(fresh.pass, 0);
  EXPECT_EQ(fresh.rows_total, 0);
  EXPECT_TRUE(fresh.lanes.empty());
}

}  // namespace
}  // namespace migrationd
