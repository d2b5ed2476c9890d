// Sub-batches that are sent before the one in front of them was answered, and the plans that they run by.
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "migrations/model/failure.h"
#include "server/execution/lane_runner.h"
#include "server/targets/postgres/plan_choice.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_postgres.h"
#include "tests/targets/target_fixture.h"

namespace migrationd {
namespace {

using ::testing::ElementsAre;

SubBatchRequest Range(const Key& from, const Key& to) { return {.old_cursor = from, .new_cursor = to, .lane_upper = {"100"}}; }

class SentAhead : public ItemsTest {
 protected:
  void SetUp() override {
    Begin(100);
    session_ = Lane(checkpoint_);
  }
  std::unique_ptr<LaneSession> session_;
};

TEST_F(SentAhead, EachIsATransactionOfItsOwnAndAnswersComeInOrder) {
  ASSERT_GE(session_->depth(), 2);
  SubBatchRequest first = Range({}, {"10"});
  first.next_size = 5;
  first.next_count = 3;
  first.look_from = {"30"};
  MD_ASSERT_OK(session_->Send(first));
  MD_ASSERT_OK(session_->Send(Range({"10"}, {"30"})));
  MD_ASSERT_OK_AND_ASSIGN(const SubBatchResult one, session_->Receive());
  EXPECT_EQ(one.affected, 10);
  EXPECT_THAT(one.next_bounds, ElementsAre(Key{"35"}, Key{"40"}, Key{"45"}));
  MD_ASSERT_OK_AND_ASSIGN(const SubBatchResult two, session_->Receive());
  EXPECT_EQ(two.affected, 20);
  EXPECT_EQ(Counts(), "0:70 1:30");
  EXPECT_EQ(Ask(url_, "SELECT sub_batches FROM migration_control.lane"), "2");
  // The session is as it was: other calls follow.
  LaneRange range = checkpoint_.lanes[0];
  range.cursor = {"30"};
  MD_ASSERT_OK_AND_ASSIGN(const Key bound, session_->FindBound(range, 7));
  EXPECT_EQ(bound, Key{"37"});
}

TEST_F(SentAhead, BoundsEndWithTheLane) {
  SubBatchRequest request = Range({}, {"10"});
  request.next_size = 40;
  request.next_count = 5;
  MD_ASSERT_OK_AND_ASSIGN(const SubBatchResult result, session_->RunSubBatch(request));
  EXPECT_THAT(result.next_bounds, ElementsAre(Key{"50"}, Key{"90"}, Key{"100"}));
}

TEST_F(SentAhead, WhatWasSentBehindAFailureIsRefusedToo) {
  Sql(url_, "ALTER TABLE items ADD CONSTRAINT no_seven CHECK (id <> 7 OR n = 0)");
  MD_ASSERT_OK(session_->Send(Range({}, {"10"})));
  MD_ASSERT_OK(session_->Send(Range({"10"}, {"20"})));
  EXPECT_EQ(SqlStateOf(session_->Receive().status()), "23514");
  EXPECT_EQ(SqlStateOf(session_->Receive().status()), kSqlStateFenced);
  EXPECT_EQ(Counts(), "0:100") << "neither left anything";
  MD_ASSERT_OK_AND_ASSIGN(const SubBatchResult again, session_->RunSubBatch(Range({}, {"6"})));
  EXPECT_EQ(again.affected, 6);
}

TEST_F(SentAhead, WhatWasSentBehindAFailureDoesNoWork) {
  Sql(url_, "CREATE SEQUENCE begun; CREATE FUNCTION begin_one() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('begun');"
            " RETURN NULL; END $$; CREATE TRIGGER begun BEFORE UPDATE ON items EXECUTE FUNCTION begin_one();"
            "ALTER TABLE items ADD CONSTRAINT no_seven CHECK (id <> 7 OR n = 0)");
  MD_ASSERT_OK(session_->Send(Range({}, {"10"})));
  MD_ASSERT_OK(session_->Send(Range({"10"}, {"20"})));
  EXPECT_EQ(SqlStateOf(session_->Receive().status()), "23514");
  EXPECT_EQ(SqlStateOf(session_->Receive().status()), kSqlStateFenced);
  EXPECT_EQ(Ask(url_, "SELECT last_value FROM begun"), "1") << "a sequence remembers what was rolled back";
}

TEST_F(SentAhead, ALostConnectionLeavesBothUnknown) {
  Sql(url_, "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(30); RETURN NEW; END $$;"
            "CREATE TRIGGER slow BEFORE UPDATE ON items FOR EACH ROW WHEN (NEW.id = 5) EXECUTE FUNCTION slow()");
  MD_ASSERT_OK(session_->Send(Range({}, {"10"})));
  MD_ASSERT_OK(session_->Send(Range({"10"}, {"20"})));
  ASSERT_TRUE(WaitForTrue(url_, absl::StrCat("SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = ", session_->backend_pid())));
  Sql(url_, absl::StrCat("SELECT pg_terminate_backend(", session_->backend_pid(), ")"));
  const absl::Status first = session_->Receive().status();
  const absl::Status second = session_->Receive().status();
  EXPECT_TRUE(IsCommitUnknown(first) || SqlStateOf(first) == "57P01") << first;
  EXPECT_TRUE(IsCommitUnknown(second)) << second;
  EXPECT_EQ(Counts(), "0:100");
  EXPECT_FALSE(session_->Send(Range({}, {"10"})).ok());
}

TEST_F(SentAhead, TheRunnerDoesEachRowOnceAndCountsEachBatchWhateverTheSizes) {
  RunControls controls(Clock::Real());
  controls.TrustUntil(absl::InfiniteFuture());
  for (const auto& [batch, sub_batch] : std::vector<std::pair<int, int>>{{10, 3}, {7, 7}, {1000, 1}, {25, 6}}) {
    SCOPED_TRACE(absl::StrCat(batch, "/", sub_batch));
    Begin(100);
    controls.SetSizes({.batch_size = batch, .sub_batch_size = sub_batch}, /*pinned=*/true);
    LaneRunner::Options options;
    options.lane = LaneOf(checkpoint_, plan_);
    options.adaptive = false;
    options.first_sub_batch_size = sub_batch;
    LaneRunner runner(options, *target_, controls, Clock::Real());
    std::int64_t rows = 0;
    while (!runner.done()) {
      const BatchOutcome outcome = runner.RunBatch();
      ASSERT_NE(outcome.kind, BatchOutcome::Kind::kFailed) << outcome.error;
      EXPECT_EQ(outcome.rows, std::min<std::int64_t>(batch, 100 - rows));
      rows += outcome.rows;
    }
    EXPECT_EQ(Counts(), "1:100");
    runner.Close();
  }
}

TEST_F(SentAhead, ARowThatFailsIsFoundAndTheOthersAreDone) {
  Sql(url_, "ALTER TABLE items ADD CONSTRAINT no_43 CHECK (id <> 43 OR n = 0)");
  RunControls controls(Clock::Real());
  controls.TrustUntil(absl::InfiniteFuture());
  controls.SetSizes({.batch_size = 1000, .sub_batch_size = 10}, /*pinned=*/true);
  LaneRunner::Options options;
  options.lane = LaneOf(checkpoint_, plan_);
  options.adaptive = false;
  options.first_sub_batch_size = 10;
  LaneRunner runner(options, *target_, controls, Clock::Real());
  for (int i = 0; i < 100 && !runner.done(); ++i) {
    const BatchOutcome outcome = runner.RunBatch();
    if (outcome.kind != BatchOutcome::Kind::kFailed) continue;
    ASSERT_EQ(SqlStateOf(outcome.error), "23514");
    ASSERT_TRUE(outcome.in_work);
    if (outcome.failed_sub_batch_size > 1) {
      runner.Isolate(outcome.failed_sub_batch_size);
    } else {
      runner.SkipFailedRow("23514", "no", /*then_stop=*/false);
    }
  }
  EXPECT_TRUE(runner.done());
  EXPECT_EQ(Counts(), "0:1 1:99");
  EXPECT_EQ(Ask(url_, "SELECT key::text FROM migration_control.failed_range"), "{43}");
}

class PlanChoice : public ItemsTest {};

TEST_F(PlanChoice, AnUpdateByKeyAloneKeepsOnePlan) {
  Begin(20000);
  Sql(url_, "ANALYZE items");
  MD_ASSERT_OK_AND_ASSIGN(const auto connection, Connection::Open({.url = url_}));
  EXPECT_TRUE(OnePlanIsAsGood(*connection, LaneOf(checkpoint_, plan_)));
  // Nothing is left behind.
  MD_ASSERT_OK_AND_ASSIGN(const QueryResult mode, connection->Query("SHOW plan_cache_mode"));
  EXPECT_EQ(mode.text(0, 0), "auto");
  MD_ASSERT_OK_AND_ASSIGN(const QueryResult left, connection->Query("SELECT count(*) FROM pg_prepared_statements"));
  EXPECT_EQ(left.integer(0, 0), 0);
}

TEST_F(PlanChoice, PlansThatDependOnTheRangeAreMadeEachTime) {
  Begin(10);
  // With its values, a plan is over one partition.
  Sql(url_, "CREATE TABLE parts (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0) PARTITION BY RANGE (id);"
            "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (50000);"
            "CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (50000) TO (100000);"
            "INSERT INTO parts SELECT generate_series(1, 99999); ANALYZE parts");
  plan_ = PlanOf(*target_, "sql_batch: {table: public.parts, alias: p, statement: 'UPDATE parts AS p SET n = p.n + 1 WHERE {{batch}}'}");
  LaneOptions options = LaneOf(checkpoint_, plan_);
  options.range.lower = {"1"};
  options.range.upper = {"99999"};
  MD_ASSERT_OK_AND_ASSIGN(const auto connection, Connection::Open({.url = url_}));
  EXPECT_FALSE(OnePlanIsAsGood(*connection, options));
}

TEST(PlanShape, IsTheNodesWithoutTheValuesInTheirConditions) {
  const std::vector<std::string> own = {"Update on t b", "  ->  Index Scan using t_pkey on t b", "        Index Cond: ((id > '5'::bigint))"};
  const std::vector<std::string> one = {"Update on t b", "  ->  Index Scan using t_pkey on t b", "        Index Cond: ((id > $1))"};
  const std::vector<std::string> other = {"Update on t b", "  ->  Seq Scan on t b", "        Filter: ((id > $1))"};
  EXPECT_EQ(PlanShape(own), PlanShape(one));
  EXPECT_NE(PlanShape(own), PlanShape(other));
}

}  // namespace
}  // namespace migrationd
