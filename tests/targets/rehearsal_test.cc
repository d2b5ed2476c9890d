// Rehearsals and estimates on a real database: what they tell, and that nothing of them stays.
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "migrations/model/failure.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_postgres.h"
#include "tests/targets/target_fixture.h"

namespace migrationd {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

std::string WhereDefinition(const std::string& where, const std::string& set, const std::string& more = "") {
  return absl::StrCat("sql_batch:\n  table: public.items\n  where: ", where, "\n  statement: UPDATE items SET ", set, " WHERE {{batch}}\n",
                      more);
}

class Rehearsing : public ::testing::Test {
 protected:
  // Also asserts that nothing was left behind.
  Rehearsal Try(const std::string& yaml, std::function<void(RehearsalRequest&)> change = [](RehearsalRequest&) {}) {
    const MigrationPlan plan = PlanOf(*target_, yaml);
    RehearsalRequest request;
    request.plan = &plan;
    request.migration = kMigration;
    change(request);
    const std::string before = State();
    const auto rehearsal = target_->Rehearse(request);
    EXPECT_TRUE(rehearsal.ok()) << rehearsal.status();
    EXPECT_EQ(State(), before);
    return rehearsal.ok() ? *rehearsal : Rehearsal{};
  }
  // All rows as they are, where they are, and all schemas, tables, functions and triggers.
  std::string State() {
    return Ask(url_, R"(SELECT (SELECT coalesce(md5(string_agg(items::text || ctid || xmin, ',' ORDER BY ctid)), '') FROM items)
      || (SELECT count(*) FROM pg_namespace) || '/' || (SELECT count(*) FROM pg_class) || '/' || (SELECT count(*) FROM pg_proc)
      || '/' || (SELECT count(*) FROM pg_trigger))");
  }
  const ExplainedSql& Statement(const Rehearsal& rehearsal, const std::string& name) {
    for (const ExplainedSql& statement : rehearsal.statements) {
      if (statement.name == name) return statement;
    }
    ADD_FAILURE() << "no statement " << name;
    static const ExplainedSql none;
    return none;
  }

  std::string url_ = FreshDatabase();
  std::unique_ptr<PostgresTarget> target_ = TargetAt(url_);
};

TEST_F(Rehearsing, OneSubBatchIsDoneAndTakenBack) {
  MakeItems(url_, 5000);
  Sql(url_, "ANALYZE items");
  const Rehearsal rehearsal = Try(WhereDefinition("n = 0", "n = 1"));
  ASSERT_TRUE(rehearsal.sample.has_value()) << rehearsal.sample_error;
  EXPECT_EQ(rehearsal.sample->rows, 100);
  EXPECT_EQ(rehearsal.sample->matched, 100);
  EXPECT_EQ(rehearsal.sample->affected, 100);
  EXPECT_EQ(rehearsal.sample->still_matched, 0);
  EXPECT_GT(rehearsal.sample->took, absl::ZeroDuration());
  EXPECT_GT(rehearsal.sample->wal_bytes, 1000);
  EXPECT_EQ(rehearsal.to_do.rows, 5000);
  EXPECT_EQ(rehearsal.to_do.method, "COUNT");
  EXPECT_EQ(rehearsal.bound_index, "items_pkey");
  EXPECT_FALSE(rehearsal.control_schema);
  EXPECT_EQ(Ask(url_, "SELECT to_regnamespace('migration_control')"), "NULL");
  ASSERT_THAT(rehearsal.statements, SizeIs(3));
  for (const ExplainedSql& statement : rehearsal.statements) {
    EXPECT_TRUE(statement.error.ok()) << statement.name << ": " << statement.error;
    EXPECT_THAT(statement.plan, Not(IsEmpty()));
    EXPECT_THAT(statement.scans, IsEmpty());
  }
  EXPECT_THAT(Statement(rehearsal, "work").plan, Contains(HasSubstr("Update on items")));
  EXPECT_TRUE(rehearsal.lacking.empty());
}

TEST_F(Rehearsing, WithTheSchemaRecordedRowsAreLeftOutOfVerify) {
  MakeItems(url_, 200);
  MD_ASSERT_OK(target_->Open(true).status());
  const Rehearsal rehearsal = Try(WhereDefinition("n = 0", "n = 1"));
  EXPECT_TRUE(rehearsal.control_schema);
  EXPECT_THAT(rehearsal.control_lacking, IsEmpty());
  EXPECT_THAT(Statement(rehearsal, "verify").sql, HasSubstr("failed_range"));
  EXPECT_TRUE(Statement(rehearsal, "verify").error.ok());
}

TEST_F(Rehearsing, FindsRowsThatNeedTheWork) {
  MakeItems(url_, 50'000);
  Sql(url_, "UPDATE items SET n = 1; UPDATE items SET n = 0 WHERE id IN (40001, 40002); ANALYZE items");
  const Rehearsal rehearsal = Try(WhereDefinition("n = 0", "n = 1"));
  ASSERT_TRUE(rehearsal.sample.has_value()) << rehearsal.sample_error;
  EXPECT_EQ(rehearsal.sample->matched, 2);
  EXPECT_EQ(rehearsal.sample->affected, 2);
  EXPECT_LE(rehearsal.sample->rows, 100);
  EXPECT_GE(rehearsal.skipped, 39'800);
  EXPECT_LE(rehearsal.skipped, 40'000);
}

TEST_F(Rehearsing, AStatementThatReadsAWholeTableIsSeen) {
  MakeItems(url_, 1000);
  Sql(url_, "CREATE TABLE \"Stages\" (pipeline bigint, name int); INSERT INTO \"Stages\" SELECT i, i FROM generate_series(1, 20000) i; "
            "ANALYZE");
  const Rehearsal rehearsal = Try(R"(sql_batch:
  table: public.items
  alias: i
  statement: UPDATE items AS i SET n = s.name FROM "Stages" s WHERE s.pipeline = i.id AND {{batch}}
)");
  EXPECT_THAT(Statement(rehearsal, "work").scans,
              Contains(::testing::AllOf(Field(&SequentialScan::relation, "public.Stages"), Field(&SequentialScan::rows, 20000))));
  EXPECT_THAT(Statement(rehearsal, "next bound").scans, IsEmpty());
  EXPECT_THAT(rehearsal.statements, SizeIs(2)) << "without `where` there is nothing to verify";
}

TEST_F(Rehearsing, ASmallTableThatIsReadAndSortedStillHasItsIndex) {
  MakeItems(url_, 10);
  Sql(url_, "ANALYZE items");
  EXPECT_EQ(Try(IncrementDefinition()).bound_index, "items_pkey");
}

TEST_F(Rehearsing, AFailingStatementTellsItsSqlState) {
  MakeItems(url_, 300);
  const Rehearsal rehearsal = Try(WhereDefinition("n = 0", "n = 1 / (id - 50)::int"));
  EXPECT_FALSE(rehearsal.sample.has_value());
  EXPECT_EQ(SqlStateOf(rehearsal.sample_error), "22012");
}

TEST_F(Rehearsing, DeferredConstraintsAndTriggersAreTried) {
  MakeItems(url_, 300);
  Sql(url_, R"(CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'not this way'; END$$;
    CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON items DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse())");
  const Rehearsal rehearsal = Try(WhereDefinition("n = 0", "n = 1"));
  EXPECT_EQ(SqlStateOf(rehearsal.sample_error), "P0001");
}

TEST_F(Rehearsing, WhatStillMatchesIsCounted) {
  MakeItems(url_, 300);
  const Rehearsal rehearsal = Try(WhereDefinition("n < 10", "n = n + 1"));
  ASSERT_TRUE(rehearsal.sample.has_value()) << rehearsal.sample_error;
  EXPECT_EQ(rehearsal.sample->matched, 100);
  EXPECT_EQ(rehearsal.sample->still_matched, 100);
}

TEST_F(Rehearsing, ALockThatIsTakenDoesNotKeepItWaiting) {
  MakeItems(url_, 300);
  pqxx::connection holder(url_);
  pqxx::work blocking(holder);
  blocking.exec("SELECT FROM items WHERE id = 7 FOR UPDATE");
  // The state names the transaction that locks, so it is not compared here.
  const MigrationPlan plan = PlanOf(*target_, WhereDefinition("n = 0", "n = 1"));
  RehearsalRequest request;
  request.plan = &plan;
  request.lock_timeout = absl::Milliseconds(50);
  MD_ASSERT_OK_AND_ASSIGN(const Rehearsal rehearsal, target_->Rehearse(request));
  EXPECT_EQ(SqlStateOf(rehearsal.sample_error), "55P03");
  EXPECT_EQ(rehearsal.to_do.rows, 300);
}

TEST_F(Rehearsing, TheStatementTimeoutOfTheDefinitionHolds) {
  MakeItems(url_, 300);
  const Rehearsal rehearsal = Try(WhereDefinition("n = 0", "n = CASE WHEN pg_sleep(60) IS NULL THEN 2 ELSE 1 END"),
                                  [](RehearsalRequest& request) { request.statement_timeout = absl::Milliseconds(100); });
  EXPECT_EQ(SqlStateOf(rehearsal.sample_error), "57014");
}

TEST_F(Rehearsing, WithoutPatienceNothingIsTried) {
  MakeItems(url_, 300);
  const MigrationPlan plan = PlanOf(*target_, IncrementDefinition());
  RehearsalRequest request;
  request.plan = &plan;
  request.patience = absl::ZeroDuration();
  EXPECT_THAT(target_->Rehearse(request), StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("no time left")));
}

TEST_F(Rehearsing, OfAnEmptyTableThereIsNothingToTry) {
  MakeItems(url_, 0);
  const Rehearsal rehearsal = Try(WhereDefinition("n = 0", "n = 1"));
  EXPECT_TRUE(rehearsal.empty);
  EXPECT_EQ(rehearsal.to_do.rows, 0);
  EXPECT_FALSE(rehearsal.sample.has_value());
  EXPECT_TRUE(rehearsal.sample_error.ok()) << rehearsal.sample_error;
}

TEST_F(Rehearsing, AFrozenTargetIsLeftAlone) {
  MakeItems(url_, 300);
  MD_ASSERT_OK(target_->Open(true).status());
  Sql(url_, "SELECT migration_control.freeze('incident')");
  const Rehearsal rehearsal = Try(WhereDefinition("n = 0", "n = 1"));
  EXPECT_EQ(rehearsal.frozen, "incident");
  EXPECT_FALSE(rehearsal.sample.has_value());
  EXPECT_EQ(rehearsal.to_do.rows, 300);
}

TEST_F(Rehearsing, MissingRightsAreNamed) {
  MakeItems(url_, 300);
  Sql(url_, "DROP ROLE IF EXISTS rehearsing");
  Sql(url_, "CREATE ROLE rehearsing LOGIN");
  Sql(url_, "REVOKE CREATE, TEMPORARY ON DATABASE " + Ask(url_, "SELECT quote_ident(current_database())") + " FROM PUBLIC");
  Sql(url_, "GRANT SELECT ON items TO rehearsing");
  MD_ASSERT_OK(target_->Open(true).status());
  Sql(url_, "GRANT USAGE ON SCHEMA migration_control TO rehearsing; GRANT SELECT ON ALL TABLES IN SCHEMA migration_control TO rehearsing");
  PostgresTargetOptions options;
  options.name = "main";
  options.url = [this] { return absl::StatusOr<std::string>(url_ + "&options=-crole%3Drehearsing"); };
  PostgresTarget target(options);
  const MigrationPlan plan = PlanOf(*target_, WhereDefinition("n = 0", "n = 1"));
  RehearsalRequest request;
  request.plan = &plan;
  MD_ASSERT_OK_AND_ASSIGN(const Rehearsal rehearsal, target.Rehearse(request));
  EXPECT_EQ(rehearsal.role, "rehearsing");
  EXPECT_THAT(rehearsal.lacking, ElementsAre("DELETE", "INSERT", "TRIGGER", "UPDATE"));
  EXPECT_FALSE(rehearsal.may_create_schema);
  EXPECT_FALSE(rehearsal.may_make_temporary);
  EXPECT_FALSE(rehearsal.owns_table);
  EXPECT_THAT(rehearsal.control_lacking, Contains("INSERT on owner"));
  EXPECT_THAT(rehearsal.control_lacking, Not(Contains("SELECT on owner")));
  EXPECT_EQ(SqlStateOf(Statement(rehearsal, "work").error), "42501");
  EXPECT_EQ(SqlStateOf(rehearsal.sample_error), "42501");
  EXPECT_TRUE(Statement(rehearsal, "next bound").error.ok());
}

TEST_F(Rehearsing, WorksThroughTheFormForPoolers) {
  MakeItems(url_, 300);
  target_ = TargetAt(url_, Path::kPgBouncer);
  const Rehearsal rehearsal = Try(WhereDefinition("n = 0", "n = 1"));
  ASSERT_TRUE(rehearsal.sample.has_value()) << rehearsal.sample_error;
  EXPECT_EQ(rehearsal.sample->affected, 100);
}

class Estimating : public Rehearsing {
 protected:
  RowEstimate Estimate(const std::string& yaml, absl::Duration patience = absl::Seconds(20)) {
    const MigrationPlan plan = PlanOf(*target_, yaml);
    const auto estimate = target_->EstimateRows(plan, patience);
    EXPECT_TRUE(estimate.ok()) << estimate.status();
    return estimate.ok() ? *estimate : RowEstimate{};
  }
};

TEST_F(Estimating, CountsWhatMatchesWithinTheBounds) {
  MakeItems(url_, 1000);
  EXPECT_EQ(Estimate(WhereDefinition("id % 2 = 0", "n = 1")).rows, 500);
  const RowEstimate bounded = Estimate(WhereDefinition("id % 2 = 0\n  max_key: [100]", "n = 1"));
  EXPECT_EQ(bounded.rows, 50);
  EXPECT_EQ(bounded.method, "COUNT");
}

TEST_F(Estimating, WithoutWhereTheStatisticsTell) {
  MakeItems(url_, 1000);
  EXPECT_EQ(Estimate(IncrementDefinition()).method, "COUNT") << "never analysed";
  Sql(url_, "ANALYZE items; DELETE FROM items WHERE id > 900");
  const RowEstimate estimate = Estimate(IncrementDefinition());
  EXPECT_EQ(estimate.rows, 1000);
  EXPECT_EQ(estimate.method, "STATISTICS");
}

TEST_F(Estimating, ASampleTellsWhereCountingTakesTooLong) {
  MakeItems(url_, 200'000);
  Sql(url_, "ANALYZE items");
  // Twenty microseconds a row: four seconds for all, one for a quarter of them.
  Sql(url_, R"(CREATE FUNCTION slow(n bigint) RETURNS boolean LANGUAGE plpgsql AS $$
    DECLARE e timestamptz := clock_timestamp() + interval '20 microseconds'; BEGIN WHILE clock_timestamp() < e LOOP END LOOP; RETURN n % 10 = 0; END$$)");
  const RowEstimate estimate = Estimate(WhereDefinition("slow(id)", "n = 1"), absl::Seconds(3));
  EXPECT_EQ(estimate.method, "SAMPLE");
  EXPECT_GT(estimate.rows, 15'000);
  EXPECT_LT(estimate.rows, 25'000);
}

TEST_F(Estimating, ThePlannerTellsWhereNothingElseDoes) {
  MakeItems(url_, 10'000);
  Sql(url_, "ANALYZE items");
  Sql(url_, "CREATE FUNCTION asleep(n bigint) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(1); RETURN true; END$$");
  const RowEstimate estimate = Estimate(WhereDefinition("asleep(id)", "n = 1"), absl::Milliseconds(200));
  EXPECT_EQ(estimate.method, "STATISTICS");
  EXPECT_GT(estimate.rows, 0);
}

TEST_F(Estimating, AConditionThatFailsIsAnError) {
  MakeItems(url_, 100);
  const MigrationPlan plan = PlanOf(*target_, WhereDefinition("1 / (id - 50) > 0", "n = 1"));
  EXPECT_EQ(SqlStateOf(target_->EstimateRows(plan, absl::Seconds(5)).status()), "22012");
}

TEST_F(Estimating, OfAnEmptyTableIsNone) {
  MakeItems(url_, 0);
  const RowEstimate estimate = Estimate(IncrementDefinition());
  EXPECT_EQ(estimate.rows, 0);
  EXPECT_EQ(estimate.method, "COUNT");
}

// ---- counting what is left, for a verification

TEST_F(Estimating, WhatIsLeftIsCountedInStepsWithoutRowsThatAreRecorded) {
  MakeItems(url_, 250);
  MD_ASSERT_OK(target_->Open(true).status());
  Sql(url_, "UPDATE items SET n = 1 WHERE id NOT IN (5, 6, 150)");
  MD_ASSERT_OK(target_->TakeOver(Claiming()).status());
  Sql(url_, "INSERT INTO migration_control.failed_range (migration, key, kind, pass) VALUES ('fill_items', '{6}', 'UNCHANGED', 2)");
  const MigrationPlan plan = PlanOf(*target_, WhereDefinition("n = 0", "n = 1"));
  MD_ASSERT_OK_AND_ASSIGN(const auto lanes, target_->PlanLanes(plan, 1));
  RangeCountRequest request;
  request.plan = &plan;
  request.range = lanes.at(0);
  request.size = 100;
  std::vector<std::int64_t> counts;
  const std::string before = State();
  while (!request.range.done()) {
    MD_ASSERT_OK_AND_ASSIGN(const RangeCount counted, target_->CountLeft(request));
    request.range.cursor = counted.upper;
    counts.push_back(counted.matching);
  }
  EXPECT_THAT(counts, ElementsAre(1, 1, 0));
  EXPECT_EQ(State(), before);
}

TEST_F(Estimating, CountingCannotWrite) {
  MakeItems(url_, 10);
  MD_ASSERT_OK(target_->Open(true).status());
  Sql(url_, "CREATE FUNCTION writes(i bigint) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN DELETE FROM items WHERE id = 10; RETURN true; "
            "END$$");
  const MigrationPlan plan = PlanOf(*target_, WhereDefinition("writes(id)", "n = 1"));
  RangeCountRequest request;
  request.plan = &plan;
  request.range.lower = {"1"};
  request.range.upper = {"10"};
  EXPECT_EQ(SqlStateOf(target_->CountLeft(request).status()), "25006");
  EXPECT_EQ(Ask(url_, "SELECT count(*) FROM items"), "10");
}

}  // namespace
}  // namespace migrationd
