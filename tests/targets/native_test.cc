// A native class in the transaction of its sub-batch: what it may do, and what becomes of what it does wrong. That each row is done once,
// whoever takes over, is shown in sub_batch_test.cc, failed_rows_test.cc and fence_test.cc, which run native classes too.
#include <stdexcept>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "migrations/model/failure.h"
#include "migrations/model/status_macros.h"
#include "tests/support/native_probe.h"
#include "tests/support/status_matchers.h"
#include "tests/targets/pgbouncer.h"
#include "tests/targets/target_fixture.h"

namespace migrationd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Optional;
using Work = NativeProbe::Work;

class Native : public ItemsTest {
 protected:
  // `rows` rows, done by `work`.
  void Start(int rows, Work work, NativeShape shape = {}) {
    Begin(rows);
    Use(std::move(work), std::move(shape));
  }
  void Use(Work work, NativeShape shape = {}) {
    plan_ = PlanOf(*target_, ProbeDefinition("public.items"), ProbeRegistry(std::move(work), std::move(shape)).get());
  }
  // One sub-batch of ten rows with that time limit.
  absl::StatusOr<SubBatchResult> RunTen(absl::Duration limit = absl::Seconds(40), bool check_where = false) {
    LaneOptions options = LaneOf(checkpoint_, plan_);
    options.statement_timeout = limit;
    auto session = target_->OpenLane(options);
    if (!session.ok()) return session.status();
    LaneRange range = checkpoint_.lanes[0];
    return RunNext(**session, range, 10, check_where);
  }
  // Nothing of the sub-batch is there.
  void NothingCommitted() {
    EXPECT_EQ(Counts(), "0:20");
    EXPECT_EQ(Cursor(), "NULL");
  }
};

TEST_F(Native, ItsWorkAndTheCursorAreOneTransaction) {
  std::string transaction;
  Start(20, [&](NativeBatch& batch) -> absl::StatusOr<std::int64_t> {
    auto id = batch.session().Query("SELECT pg_current_xact_id()::text", {});
    if (!id.ok()) return id.status();
    transaction = id->at(0).at(0).value();
    return IncrementN(batch);
  });
  MD_ASSERT_OK_AND_ASSIGN(const SubBatchResult result, RunTen());
  EXPECT_EQ(result.affected, 10);
  EXPECT_EQ(Counts(), "0:10 1:10");
  EXPECT_EQ(Ask(url_, "SELECT DISTINCT xmin::text FROM items WHERE n = 1"), transaction);
  EXPECT_EQ(Ask(url_, "SELECT xmin::text FROM migration_control.lane"), transaction);
}

TEST_F(Native, MayNotEndTheTransactionNorLeaveSettingsBehind) {
  Begin(20);
  for (const char* sql : {"COMMIT", "commit and chain", "/* so */ END", "ROLLBACK", "ROLLBACK AND CHAIN", "ABORT", "BEGIN", "START TRANSACTION",
                          "PREPARE TRANSACTION 'x'", "SET work_mem = '1GB'", "SET SESSION work_mem = '1GB'", "RESET ALL", "DISCARD ALL",
                          "LISTEN x", "DECLARE c CURSOR WITH HOLD FOR SELECT 1", "COPY items TO STDOUT"}) {
    for (const bool swallowed : {false, true}) {
      Use([&](NativeBatch& batch) -> absl::StatusOr<std::int64_t> {
        const auto done = IncrementN(batch);
        const auto refused = batch.session().Execute(sql, {});
        return swallowed ? done : refused;
      });
      const auto refused = RunTen();
      EXPECT_EQ(SqlStateOf(refused.status()), "0A000") << sql << ": " << refused.status();
      EXPECT_EQ(ClassifyFailure(SqlStateOf(refused.status())), FailureClass::kHalt);
      EXPECT_THAT(std::string(refused.status().message()), AllOf(HasSubstr("native class probe"), HasSubstr("must not run")));
      NothingCommitted();
    }
  }
}

TEST_F(Native, MayUseSavepointsSettingsOfTheTransactionAndCursors) {
  Start(20, [](NativeBatch& batch) -> absl::StatusOr<std::int64_t> {
    NativeSession& session = batch.session();
    for (const char* sql : {"SET LOCAL work_mem = '8MB'", "SAVEPOINT here"}) MD_EXPECT_OK(session.Execute(sql, {}));
    EXPECT_EQ(SqlStateOf(session.Execute("UPDATE items SET n = 1 / 0", {}).status()), "22012");
    EXPECT_EQ(SqlStateOf(session.Query("SELECT 1", {}).status()), "25P02");
    MD_EXPECT_OK(session.Execute("ROLLBACK TO SAVEPOINT here", {}));
    MD_EXPECT_OK(session.Execute("DECLARE chunk NO SCROLL CURSOR FOR SELECT 7", {}));
    MD_ASSIGN_OR_RETURN(const auto seven, session.Query("FETCH 5 FROM chunk", {}));
    EXPECT_THAT(seven, ElementsAre(ElementsAre(Optional(std::string("7")))));
    return IncrementN(batch);
  });
  MD_EXPECT_OK(RunTen());
  EXPECT_EQ(Counts(), "0:10 1:10");
}

TEST_F(Native, AnErrorThatItSwallowsIsReportedAllTheSame) {
  Start(20, [](NativeBatch& batch) -> absl::StatusOr<std::int64_t> {
    const auto done = IncrementN(batch);
    EXPECT_FALSE(batch.session().Execute("UPDATE items SET n = 1 / 0", {}).ok());
    return done;
  });
  EXPECT_EQ(SqlStateOf(RunTen().status()), "22012");
  NothingCommitted();
}

TEST_F(Native, WhatItThrowsEndsTheSubBatchAndUsesAnAttempt) {
  const Work throwing[] = {
      [](NativeBatch& batch) -> absl::StatusOr<std::int64_t> {
        MD_EXPECT_OK(IncrementN(batch));
        throw std::runtime_error("the model is not loaded");
      },
      [](NativeBatch& batch) -> absl::StatusOr<std::int64_t> {
        MD_EXPECT_OK(IncrementN(batch));
        throw 42;
      }};
  Begin(20);
  for (const Work& work : throwing) {
    Use(work);
    auto session = Lane(checkpoint_);
    LaneRange range = checkpoint_.lanes[0];
    const auto failed = RunNext(*session, range, 10);
    EXPECT_EQ(SqlStateOf(failed.status()), kSqlStateNativeFailed) << failed.status();
    EXPECT_EQ(ClassifyFailure(SqlStateOf(failed.status())), FailureClass::kAttempt);
    EXPECT_THAT(std::string(failed.status().message()), HasSubstr("threw"));
    NothingCommitted();
    // The session is of use still.
    EXPECT_EQ(SqlStateOf(RunNext(*session, range, 10).status()), kSqlStateNativeFailed);
  }
  Use(throwing[0]);
  EXPECT_THAT(std::string(RunTen().status().message()), HasSubstr("the model is not loaded"));
}

TEST_F(Native, ItsOwnErrorsUseAttemptsAndBadRowsAreBadRows) {
  Start(20, [](NativeBatch& batch) -> absl::StatusOr<std::int64_t> {
    MD_EXPECT_OK(IncrementN(batch));
    return absl::UnavailableError(absl::StrCat("no answer from the geocoder", std::string(3000, '!')));
  });
  absl::Status failed = RunTen().status();
  EXPECT_EQ(SqlStateOf(failed), kSqlStateNativeFailed);
  EXPECT_THAT(std::string(failed.message()), HasSubstr("no answer from the geocoder"));
  EXPECT_LT(failed.message().size(), 600u) << "a line, not a dump";
  NothingCommitted();

  Use([](NativeBatch& batch) -> absl::StatusOr<std::int64_t> {
    MD_EXPECT_OK(IncrementN(batch));
    return BadRowError("the address has no country");
  });
  failed = RunTen().status();
  EXPECT_EQ(ClassifyFailure(SqlStateOf(failed)), FailureClass::kBadRows);
  EXPECT_THAT(std::string(failed.message()), HasSubstr("no country"));
  NothingCommitted();

  Use([](NativeBatch& batch) -> absl::StatusOr<std::int64_t> {
    MD_EXPECT_OK(IncrementN(batch));
    return -1;
  });
  EXPECT_EQ(SqlStateOf(RunTen().status()), kSqlStateNativeFailed);
  NothingCommitted();
}

TEST_F(Native, HasTheTimeOfOneStatementForAllThatItDoes) {
  for (const bool complains : {false, true}) {
    Start(20, [complains](NativeBatch& batch) -> absl::StatusOr<std::int64_t> {
      const auto done = IncrementN(batch);
      while (batch.MayGoOn()) std::this_thread::yield();
      EXPECT_EQ(SqlStateOf(batch.session().Query("SELECT 1", {}).status()), "57014");
      if (complains) return absl::CancelledError("told to stop");
      return done;
    });
    const absl::Status late = RunTen(absl::Milliseconds(200)).status();
    EXPECT_EQ(ClassifyFailure(SqlStateOf(late)), FailureClass::kRetrySmaller) << late;
    NothingCommitted();
  }
  // One that does not look is stopped too.
  Start(20, [](NativeBatch& batch) -> absl::StatusOr<std::int64_t> {
    const auto done = IncrementN(batch);
    while (batch.MayGoOn()) std::this_thread::yield();
    return done;
  });
  EXPECT_EQ(SqlStateOf(RunTen(absl::Milliseconds(200)).status()), "57014");
  NothingCommitted();
}

TEST_F(Native, IsToldToStopAndUsesNoAttemptForIt) {
  std::stop_source stop;
  Start(20, [&](NativeBatch& batch) -> absl::StatusOr<std::int64_t> {
    MD_EXPECT_OK(IncrementN(batch));
    EXPECT_TRUE(batch.MayGoOn());
    stop.request_stop();
    EXPECT_FALSE(batch.MayGoOn());
    return absl::CancelledError("told to stop");
  });
  MD_ASSERT_OK_AND_ASSIGN(auto session, target_->WithStop(stop.get_token())->OpenLane(LaneOf(checkpoint_, plan_)));
  LaneRange range = checkpoint_.lanes[0];
  SubBatchRequest request{.old_cursor = {}, .new_cursor = {"10"}, .lane_upper = {"20"}};
  const absl::Status stopped = session->RunSubBatch(request).status();
  EXPECT_EQ(stopped.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ClassifyFailure(SqlStateOf(stopped)), FailureClass::kBackOff);
  EXPECT_FALSE(IsCommitUnknown(stopped)) << "nothing was sent that could have committed";
  session.reset();
  EXPECT_TRUE(WaitForTrue(url_, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND "
                                "application_name LIKE 'migrationd/%')"));
  NothingCommitted();
}

TEST_F(Native, AConnectionThatBreaksIsNotTheClasssFault) {
  Start(20, [](NativeBatch& batch) -> absl::StatusOr<std::int64_t> {
    MD_EXPECT_OK(IncrementN(batch));
    EXPECT_FALSE(batch.session().Query("SELECT pg_terminate_backend(pg_backend_pid())", {}).ok());
    EXPECT_FALSE(batch.MayGoOn());
    return BadRowError("whatever it makes of that");
  });
  const absl::Status lost = RunTen().status();
  EXPECT_EQ(ClassifyFailure(SqlStateOf(lost)), FailureClass::kBackOff) << lost;
  NothingCommitted();
}

TEST_F(Native, WithWhereVerifyFindsNewRowsAndReportsThoseThatStay) {
  // Odd rows are left as they are.
  const Work work = [](NativeBatch& batch) {
    return batch.session().Execute(absl::StrCat("UPDATE ", batch.table(), " AS ", QuoteIdentifier(batch.alias()),
                                                " SET n = CASE WHEN id % 2 = 0 THEN 1 ELSE 0 END WHERE ", batch.rows()),
                                   batch.values());
  };
  Start(20, work, {.where = "items.n = 0"});
  ASSERT_TRUE(plan_.has_where);
  MD_ASSERT_OK(RunLane(*target_, checkpoint_, plan_, 0, 10, /*check_where=*/true));
  Sql(url_, "INSERT INTO items (id) VALUES (200)");
  MD_ASSERT_OK_AND_ASSIGN(const auto ranges, target_->PlanLanes(plan_, 1));
  MD_ASSERT_OK_AND_ASSIGN(Checkpoint verify, target_->BeginPass(checkpoint_.claim, 2, ranges));
  MD_ASSERT_OK_AND_ASSIGN(const std::int64_t affected, RunLane(*target_, verify, plan_, 0, 10));
  EXPECT_EQ(affected, 11);
  EXPECT_EQ(Ask(url_, "SELECT count(*) FROM migration_control.failed_range WHERE kind = 'UNCHANGED' AND pass = 2"), "10");
  EXPECT_EQ(Ask(url_, "SELECT n FROM items WHERE id = 200"), "1");
  MD_ASSERT_OK_AND_ASSIGN(verify, target_->BeginPass(verify.claim, 3, ranges));
  // In one sub-batch with rows that were reported.
  Sql(url_, "UPDATE items SET n = 0 WHERE id = 4");
  MD_ASSERT_OK_AND_ASSIGN(const std::int64_t again, RunLane(*target_, verify, plan_, 0, 10));
  EXPECT_EQ(again, 1) << "what was reported is not done again";
}

TEST_F(Native, WorkThatLeavesEveryRowAsItWasIsRefused) {
  Start(20, [](NativeBatch& batch) -> absl::StatusOr<std::int64_t> {
    MD_ASSIGN_OR_RETURN(const auto rows, batch.Select({"n"}));
    return batch.Update({"n"}, rows);
  }, {.where = "items.n = 0"});
  EXPECT_EQ(SqlStateOf(RunTen(absl::Seconds(40), /*check_where=*/true).status()), kSqlStateWhereNotSatisfied);
  NothingCommitted();
}

TEST_F(Native, SeesExactlyTheRowsOfItsRangeInTheOrderOfTheKey) {
  std::vector<std::string> seen;
  Begin(20);
  Sql(url_, "UPDATE items SET n = 5 WHERE id IN (3, 4, 15)");
  Use([&](NativeBatch& batch) -> absl::StatusOr<std::int64_t> {
    MD_ASSIGN_OR_RETURN(const auto rows, batch.Select({}));
    for (const NativeRow& row : rows) seen.push_back(row.at(0).value());
    return batch.Update({"n"}, {});
  }, {.where = "items.n = 5"});
  auto session = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  MD_ASSERT_OK(RunNext(*session, range, 10));
  EXPECT_THAT(seen, ElementsAre("3", "4"));
  MD_ASSERT_OK(RunNext(*session, range, 10));
  EXPECT_THAT(seen, ElementsAre("3", "4", "15"));
}

TEST_F(Native, UpdateStoresEveryTextAsItIs) {
  const std::string odd = R"(a,"b"\c {d} NULL 'e' $1 )" "\n\t ä€𝄞";
  Begin(1);
  Sql(url_, "ALTER TABLE items ADD COLUMN t text, ADD COLUMN v varchar(3), ADD COLUMN c char(3), ADD COLUMN a text[], ADD COLUMN j jsonb, "
            "ADD COLUMN m numeric(10,2), ADD COLUMN \"Odd \"\"name\" bytea, ADD COLUMN z text DEFAULT 'x'");
  const NativeRow values = {"1", odd, "abc", "ab", SqlArray({"x,y", std::nullopt, "\""}), R"({"k": [1, "\""]})", "12.30", "\\x00ff", std::nullopt};
  const std::vector<std::string> columns = {"t", "v", "c", "a", "j", "m", "Odd \"name", "z"};
  Use([&](NativeBatch& batch) { return batch.Update(columns, {values}); });
  MD_ASSERT_OK_AND_ASSIGN(SubBatchResult result, RunTen());
  EXPECT_EQ(result.affected, 1);
  std::vector<NativeRow> back;
  Sql(url_, "UPDATE migration_control.lane SET cursor = NULL");
  Use([&](NativeBatch& batch) -> absl::StatusOr<std::int64_t> {
    MD_ASSIGN_OR_RETURN(back, batch.Select(columns));
    return 0;
  });
  MD_ASSERT_OK(RunTen());
  ASSERT_EQ(back.size(), 1u);
  EXPECT_EQ(back[0], (NativeRow{"1", odd, "abc", "ab", R"({"x,y",NULL,"\""})", R"({"k": [1, "\""]})", "12.30", "\\x00ff", std::nullopt}));
}

TEST_F(Native, WhatDoesNotFitAColumnIsABadRowAndNotCut) {
  Begin(1);
  Sql(url_, "ALTER TABLE items ADD COLUMN v varchar(3), ADD COLUMN c char(3)");
  for (const char* column : {"v", "c"}) {
    Use([&](NativeBatch& batch) { return batch.Update({column}, {{"1", "abcd"}}); });
    EXPECT_EQ(SqlStateOf(RunTen().status()), "22001");
  }
}

TEST_F(Native, UpdateRefusesTheKeyUnknownColumnsAndUnevenRows) {
  Begin(20);
  const std::vector<std::pair<Work, std::string>> wrong = {
      {[](NativeBatch& batch) { return batch.Update({"id"}, {{"1", "2"}}); }, "key"},
      {[](NativeBatch& batch) { return batch.Update({"m"}, {{"1", "2"}}); }, "no column m"},
      {[](NativeBatch& batch) { return batch.Update({"n"}, {{"1"}}); }, "1 values"},
      {[](NativeBatch& batch) { return batch.Update({}, {{"1"}}); }, "no column"}};
  for (const auto& [work, why] : wrong) {
    Use(work);
    const absl::Status refused = RunTen().status();
    EXPECT_EQ(SqlStateOf(refused), kSqlStateNativeFailed);
    EXPECT_THAT(std::string(refused.message()), HasSubstr(why));
  }
  NothingCommitted();
}

TEST_F(Native, RowsAreLockedFromReadingToWriting) {
  Start(20, [&](NativeBatch& batch) -> absl::StatusOr<std::int64_t> {
    MD_ASSIGN_OR_RETURN(auto rows, batch.Select({"n"}));
    EXPECT_EQ(SqlStateFrom(url_, "SET lock_timeout = '10ms'; UPDATE items SET n = 100 WHERE id = 5"), "55P03");
    // Who only refers to the rows does not wait.
    EXPECT_EQ(SqlStateFrom(url_, "SET lock_timeout = '10s'; SELECT FROM items WHERE id = 5 FOR KEY SHARE"), "");
    for (NativeRow& row : rows) row.back() = "1";
    return batch.Update({"n"}, rows);
  });
  MD_EXPECT_OK(RunTen());
  EXPECT_EQ(Counts(), "0:10 1:10");
}

TEST_F(Native, ThroughAPoolerNothingStaysBehind) {
  if (!PgBouncer::Installed()) GTEST_SKIP() << "no PgBouncer installed";
  Begin(20, 1, IncrementDefinition(), Path::kPgBouncer);
  Use([](NativeBatch& batch) -> absl::StatusOr<std::int64_t> {
    MD_RETURN_IF_ERROR(batch.session().Execute("SET LOCAL work_mem = '17MB'", {}).status());
    throw std::runtime_error("in the middle");
  });
  EXPECT_EQ(SqlStateOf(RunTen().status()), kSqlStateNativeFailed);
  Use(IncrementN);
  MD_ASSERT_OK_AND_ASSIGN(const std::int64_t affected, RunLane(*target_, checkpoint_, plan_, 0, 7));
  EXPECT_EQ(affected, 20);
  EXPECT_EQ(Counts(), "1:20");
}

}  // namespace
}  // namespace migrationd
