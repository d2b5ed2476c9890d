// The strategies by which batches are cut, on real tables: every row once, whatever the table is like.
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "migrations/definition/definition.h"
#include "migrations/model/failure.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_postgres.h"
#include "tests/targets/pgbouncer.h"
#include "tests/targets/target_fixture.h"

namespace migrationd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// public.things, whose column `done` becomes true and whose column `times` counts how often.
std::string Definition(const std::string& strategy, const std::string& more = "", const std::string& table = "public.things") {
  return absl::StrCat("sql_batch:\n  table: '", table, "'\n  alias: t\n  strategy: ", strategy,
                      "\n  where: NOT t.done\n  statement: 'UPDATE ", table, " AS t SET done = true, times = t.times + 1 WHERE {{batch}}'\n", more);
}

constexpr char kColumns[] = "done boolean NOT NULL DEFAULT false, times int NOT NULL DEFAULT 0, filler text NOT NULL DEFAULT repeat('x', 100)";

class Strategies : public ::testing::TestWithParam<Path> {
 protected:
  void SetUp() override {
    if (GetParam() == Path::kPgBouncer && !PgBouncer::Installed()) GTEST_SKIP() << "no PgBouncer installed";
    target_ = TargetAt(url_, GetParam());
    MD_ASSERT_OK(target_->Open(true));
  }

  // things(id bigint) with these ids; `ids` is a query of one column.
  void MakeThings(const std::string& ids) {
    Sql(url_, absl::StrCat("CREATE TABLE things (id bigint PRIMARY KEY, ", kColumns, "); INSERT INTO things (id) ", ids));
  }
  // Takes the migration over and begins EXECUTE.
  void Start(const std::string& definition, int lanes = 1) {
    plan_ = PlanOf(*target_, definition);
    MD_ASSERT_OK_AND_ASSIGN(const Checkpoint taken, target_->TakeOver(Claiming()));
    NextPass(taken, lanes);
  }
  void NextPass(const Checkpoint& after, int lanes = 1) {
    MD_ASSERT_OK_AND_ASSIGN(const auto ranges, target_->PlanLanes(PlanOfPass(plan_, after.pass + 1), lanes));
    MD_ASSERT_OK_AND_ASSIGN(checkpoint_, target_->BeginPass(after.claim, after.pass + 1, ranges));
  }
  // The rest of the pass; rows affected.
  std::int64_t RunPass(std::int64_t size, bool check_where = false) {
    std::int64_t affected = 0;
    for (std::size_t lane = 0; lane < checkpoint_.lanes.size(); ++lane) {
      const auto done = RunLane(*target_, checkpoint_, plan_, lane, size, check_where);
      EXPECT_THAT(done, IsOk());
      affected += done.value_or(0);
    }
    return affected;
  }
  std::int64_t RunVerify(std::int64_t size = 1000) {
    NextPass(checkpoint_);
    return RunPass(size);
  }
  std::unique_ptr<LaneSession> Lane(std::size_t lane = 0) {
    auto session = target_->OpenLane(LaneOf(checkpoint_, plan_, lane));
    EXPECT_THAT(session, IsOk());
    return session.ok() ? *std::move(session) : nullptr;
  }
  std::string Ask(const std::string& sql) { return migrationd::Ask(url_, sql); }
  // Rows by how often they were done, such as "1:137".
  std::string Times(const std::string& table = "things") {
    return Ask(absl::StrCat("SELECT string_agg(times || ':' || c, ' ' ORDER BY times) FROM (SELECT times, count(*) AS c FROM ", table,
                            " GROUP BY times) AS x"));
  }

  const std::string url_ = FreshDatabase();
  std::unique_ptr<PostgresTarget> target_;
  MigrationPlan plan_;
  Checkpoint checkpoint_;
};

using Physical = Strategies;

TEST_P(Physical, DoesEveryRowOnceInAllLanes) {
  MakeThings("SELECT generate_series(1, 5000)");
  Start(Definition("PHYSICAL"), 3);
  ASSERT_EQ(checkpoint_.lanes.size(), 3u);
  EXPECT_EQ(checkpoint_.lanes[0].lower[1], "(0,0)");
  EXPECT_EQ(checkpoint_.lanes[1].cursor, checkpoint_.lanes[0].upper);
  EXPECT_EQ(RunPass(100, true), 5000);
  EXPECT_EQ(RunVerify(), 0);
  EXPECT_EQ(Times(), "1:5000");
  EXPECT_EQ(Ask("SELECT rows FROM migration_control.migration"), "5000");
}

TEST_P(Physical, CutsSubBatchesOfTheRowsAskedFor) {
  MakeThings("SELECT generate_series(1, 5000)");
  Sql(url_, "DELETE FROM things WHERE id % 7 = 0");
  Start(Definition("PHYSICAL"));
  auto session = Lane();
  LaneRange range = checkpoint_.lanes[0];
  std::string place = "(0,0)";
  for (const std::int64_t size : {1, 2, 60, 500, 1}) {
    // New versions take the places of deleted rows, also ahead: they are counted, and not done again.
    place = Ask(absl::StrCat("SELECT ctid FROM things WHERE ctid > '", place, "' ORDER BY ctid OFFSET ", size - 1, " LIMIT 1"));
    MD_ASSERT_OK(RunNext(*session, range, size));
    EXPECT_EQ(range.cursor[1], place);
  }
  EXPECT_EQ(Ask("SELECT max(times) FROM things"), "1");
  // The bound looked up ahead is the same as the one asked for.
  MD_ASSERT_OK_AND_ASSIGN(const Key bound, session->FindBound(range, 40));
  SubBatchRequest request{.old_cursor = range.cursor, .new_cursor = bound, .lane_upper = range.upper, .next_size = 25};
  MD_ASSERT_OK_AND_ASSIGN(const SubBatchResult result, session->RunSubBatch(request));
  range.cursor = bound;
  MD_ASSERT_OK_AND_ASSIGN(const Key next, session->FindBound(range, 25));
  EXPECT_EQ(result.next_bound, next);
}

// A stretch without rows is passed in steps of a bounded size, not in one look over all of it.
TEST_P(Physical, PassesEmptyBlocksInSteps) {
  MakeThings("SELECT generate_series(1, 60000)");
  Sql(url_, "DELETE FROM things WHERE id BETWEEN 100 AND 59900");
  Sql(url_, "VACUUM things");
  Start(Definition("PHYSICAL"));
  auto session = Lane();
  LaneRange range = checkpoint_.lanes[0];
  MD_ASSERT_OK(RunNext(*session, range, 99));
  MD_ASSERT_OK_AND_ASSIGN(const SubBatchResult nothing, RunNext(*session, range, 10));
  EXPECT_EQ(nothing.affected, 0);
  EXPECT_NE(range.cursor, range.upper);
  int steps = 1;
  std::int64_t affected = 99;
  while (!range.done()) {
    MD_ASSERT_OK_AND_ASSIGN(const SubBatchResult result, RunNext(*session, range, 10));
    affected += result.affected;
    ++steps;
  }
  EXPECT_EQ(affected, 199);
  EXPECT_LT(steps, 40) << "about 1,000 blocks";
}

TEST_P(Physical, AnEmptyTableHasNothingToDo) {
  MakeThings("SELECT 1 WHERE false");
  Start(Definition("PHYSICAL"), 4);
  ASSERT_EQ(checkpoint_.lanes.size(), 1u);
  EXPECT_TRUE(checkpoint_.lanes[0].done());
  Sql(url_, "INSERT INTO things (id) VALUES (1)");
  EXPECT_EQ(RunVerify(), 1);
}

TEST_P(Physical, ATableOfOneRow) {
  MakeThings("SELECT 1");
  Start(Definition("PHYSICAL"), 4);
  EXPECT_EQ(checkpoint_.lanes.size(), 1u) << "not more lanes than blocks";
  EXPECT_EQ(RunPass(100), 1);
  EXPECT_EQ(RunVerify(), 0);
}

TEST_P(Physical, AllRowsGoneAndTheFileCutShort) {
  MakeThings("SELECT generate_series(1, 5000)");
  Start(Definition("PHYSICAL"));
  Sql(url_, "DELETE FROM things WHERE id > 10");
  Sql(url_, "VACUUM things");
  auto session = Lane();
  LaneRange range = checkpoint_.lanes[0];
  MD_ASSERT_OK_AND_ASSIGN(const SubBatchResult result, RunNext(*session, range, 11));
  EXPECT_EQ(result.affected, 10);
  EXPECT_TRUE(range.done());
}

// New row versions go to free places before and behind the cursor, and beyond the end of the file: none is done twice.
TEST_P(Physical, RowsThatMoveAreDoneOnce) {
  Sql(url_, absl::StrCat("CREATE TABLE things (id bigint PRIMARY KEY, ", kColumns, ", n int NOT NULL DEFAULT 0) WITH (fillfactor = 60); ",
                         "INSERT INTO things (id) SELECT generate_series(1, 3000)"));
  Start(Definition("PHYSICAL"));
  auto session = Lane();
  LaneRange range = checkpoint_.lanes[0];
  std::int64_t affected = 0;
  for (int step = 0; !range.done(); ++step) {
    MD_ASSERT_OK_AND_ASSIGN(const SubBatchResult result, RunNext(*session, range, 100));
    affected += result.affected;
    // Every row moves now and then, as does the index of one that is done.
    Sql(url_, absl::StrCat("UPDATE things SET n = n + 1, id = id + 100000 * (", step, " % 2) WHERE id % 17 = ", step % 17,
                           "; INSERT INTO things (id) VALUES (", -1 - step, ")"));
    ASSERT_LT(step, 1000);
  }
  for (std::int64_t found = 1; found > 0;) {
    found = RunVerify(500);
    affected += found;
  }
  EXPECT_EQ(Ask("SELECT count(*) FROM things WHERE times <> 1 OR NOT done"), "0");
  EXPECT_EQ(Ask("SELECT count(*) FROM things"), absl::StrCat(affected));
}

TEST_P(Physical, ARewrittenTableEndsThePassAndVerifyDoesTheRest) {
  MakeThings("SELECT generate_series(1, 5000)");
  // Another order in the new file: rows that were passed and rows that were not change places.
  Sql(url_, "CREATE INDEX backwards ON things ((-id))");
  Start(Definition("PHYSICAL"), 2);
  auto session = Lane();
  LaneRange range = checkpoint_.lanes[0];
  MD_ASSERT_OK(RunNext(*session, range, 500));
  MD_ASSERT_OK_AND_ASSIGN(const Key ahead, session->FindBound(range, 500));
  Sql(url_, "CLUSTER things USING backwards");
  // Nothing of the new file by places of the old one.
  SubBatchRequest request{.old_cursor = range.cursor, .new_cursor = ahead, .lane_upper = range.upper, .next_size = 500};
  MD_ASSERT_OK_AND_ASSIGN(SubBatchResult result, session->RunSubBatch(request));
  EXPECT_EQ(result.affected, 0);
  EXPECT_EQ(result.next_bound, range.upper);
  session.reset();
  // Another owner does not know of it either.
  MD_ASSERT_OK_AND_ASSIGN(checkpoint_, target_->TakeOver(Claiming(false)));
  EXPECT_EQ(RunPass(100), 0);
  EXPECT_EQ(Times(), "0:4500 1:500");
  EXPECT_EQ(RunVerify(), 4500);
  EXPECT_EQ(RunVerify(), 0);
  EXPECT_EQ(Times(), "1:5000");
}

TEST_P(Physical, AnotherOwnerGoesOnAtThePlace) {
  MakeThings("SELECT generate_series(1, 2000)");
  Start(Definition("PHYSICAL"));
  auto session = Lane();
  LaneRange range = checkpoint_.lanes[0];
  MD_ASSERT_OK(RunNext(*session, range, 333));
  MD_ASSERT_OK_AND_ASSIGN(checkpoint_, target_->TakeOver(Claiming(false)));
  EXPECT_EQ(checkpoint_.lanes[0].cursor, range.cursor);
  EXPECT_EQ(SqlStateOf(RunNext(*session, range, 10).status()), "MD001");
  EXPECT_EQ(RunPass(100), 1667);
  EXPECT_EQ(Times(), "1:2000");
}

TEST_P(Physical, AStatementThatLeavesWhereTrueCommitsNothing) {
  MakeThings("SELECT generate_series(1, 500)");
  Start("sql_batch:\n  table: things\n  strategy: PHYSICAL\n  where: NOT done\n  statement: UPDATE things SET times = times + 1 WHERE {{batch}}\n");
  auto session = Lane();
  LaneRange range = checkpoint_.lanes[0];
  EXPECT_EQ(SqlStateOf(RunNext(*session, range, 50, /*check_where=*/true).status()), "MD002") << "they moved to places beyond the sub-batch";
  EXPECT_EQ(Times(), "0:500");
}

TEST_P(Physical, AStatementThatDoesSomeOfItsRowsGoesOn) {
  MakeThings("SELECT generate_series(1, 500)");
  Start(absl::StrCat("sql_batch:\n  table: things\n  strategy: PHYSICAL\n  where: NOT done\n  statement: UPDATE things SET done = (id > 50), "
                     "times = times + 1 WHERE {{batch}}\n"));
  auto session = Lane();
  LaneRange range = checkpoint_.lanes[0];
  MD_ASSERT_OK_AND_ASSIGN(const SubBatchResult result, RunNext(*session, range, 51, true));
  EXPECT_EQ(result.matched, 51);
  EXPECT_EQ(result.affected, 51);
}

// Bisection ends at one place; what is recorded, listed and retried is the row, by its key.
TEST_P(Physical, ABadRowIsLeftOutByItsKeyAndDoneOnceRepaired) {
  MakeThings("SELECT 10000 - g FROM generate_series(1, 300) AS g");
  Sql(url_, "ALTER TABLE things ADD bad boolean NOT NULL DEFAULT false, ADD CHECK (NOT (bad AND done)); UPDATE things SET bad = true WHERE id = 9900");
  Start(Definition("PHYSICAL"));
  auto session = Lane();
  LaneRange range = checkpoint_.lanes[0];
  std::int64_t size = 64;
  std::int64_t recorded = 0;
  while (!range.done()) {
    const auto result = RunNext(*session, range, size);
    if (result.ok()) continue;
    ASSERT_EQ(SqlStateOf(result.status()), "23514") << result.status();
    if (size > 1) {
      size /= 2;
      continue;
    }
    MD_ASSERT_OK_AND_ASSIGN(const Key bound, session->FindBound(range, 1));
    MD_ASSERT_OK_AND_ASSIGN(const SkipResult skipped, session->SkipRow({range.cursor, bound, "23514", "a constraint"}));
    recorded += skipped.recorded;
    range.cursor = bound;
    size = 64;
    // Its new version is met again, further on, and left alone.
    Sql(url_, "UPDATE things SET filler = filler || 'y' WHERE bad");
  }
  EXPECT_EQ(recorded, 1);
  MD_ASSERT_OK_AND_ASSIGN(const std::vector<RowFailure> failures, target_->ListFailures(kMigration, {}, 10));
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_EQ(failures[0].key, Key{"9900"});
  EXPECT_EQ(Times(), "0:1 1:299");
  MD_ASSERT_OK_AND_ASSIGN(checkpoint_, target_->TakeOver(Claiming(false)));
  Sql(url_, "UPDATE things SET bad = false");
  const RowRetry retry{.claim = checkpoint_.claim, .plan = &plan_, .key = failures[0].key};
  MD_ASSERT_OK_AND_ASSIGN(const std::int64_t affected, target_->RetryRow(retry));
  EXPECT_EQ(affected, 1);
  EXPECT_EQ(Times(), "1:300");
  EXPECT_EQ(RunVerify(), 0);
}

TEST_P(Physical, MinAndMaxKeyAreBoundsOfRows) {
  MakeThings("SELECT g FROM generate_series(1, 2000) AS g ORDER BY md5(g::text)");
  Start("sql_batch:\n  table: things\n  strategy: PHYSICAL\n  min_key: ['101']\n  max_key: ['1500']\n  where: NOT done\n"
        "  statement: UPDATE things SET done = true, times = times + 1 WHERE {{batch}}\n",
        2);
  EXPECT_EQ(RunPass(77, true), 1400);
  EXPECT_EQ(RunVerify(), 0);
  EXPECT_EQ(Ask("SELECT min(id) || '-' || max(id) FROM things WHERE done"), "101-1500");
}

TEST_P(Physical, OddNamesAndACompositeKey) {
  Sql(url_, absl::StrCat(R"(CREATE SCHEMA "Odd Schema"; CREATE TABLE "Odd Schema"."Odd ""Table" ("Key 1" text, "ctid 2" uuid, )", kColumns,
                         R"(, PRIMARY KEY ("Key 1", "ctid 2")); INSERT INTO "Odd Schema"."Odd ""Table" ("Key 1", "ctid 2") )",
                         "SELECT 'a,\"' || g % 7, gen_random_uuid() FROM generate_series(1, 700) AS g"));
  const std::string table = R"("Odd Schema"."Odd ""Table")";
  Start(Definition("PHYSICAL", "", table), 2);
  EXPECT_EQ(RunPass(33, true), 700);
  EXPECT_EQ(RunVerify(), 0);
  EXPECT_EQ(Times(table), "1:700");
}

// The plan of the work, also as the sub-batch's function caches it after some calls.
TEST_P(Physical, TheWorkScansARangeOfPlaces) {
  MakeThings("SELECT generate_series(1, 20000)");
  Sql(url_, "CREATE INDEX ON things (id) WHERE NOT done; ANALYZE things");
  Start(Definition("PHYSICAL"));
  const MigrationPlan& plan = PlanOfPass(plan_, 1);
  pqxx::connection connection(url_);
  pqxx::nontransaction tx(connection);
  tx.exec("SET plan_cache_mode = force_generic_plan");
  for (const std::string& sql : {plan.work, plan.work_first, plan.select_unchanged, plan.select_keys}) {
    tx.exec("PREPARE rendered AS " + sql);
    const std::string file = checkpoint_.lanes[0].upper[0];
    std::string text;
    for (const auto& row : tx.exec(absl::StrCat("EXPLAIN EXECUTE rendered (", file, ", '(10,1)', ", file, ", '(12,3)')"))) {
      absl::StrAppend(&text, row[0].c_str(), "\n");
    }
    EXPECT_THAT(text, AllOf(HasSubstr("Tid Range Scan on things"), HasSubstr("One-Time Filter"), Not(HasSubstr("Seq Scan on things")))) << sql;
    tx.exec("DEALLOCATE rendered");
  }
  // No look-up of a bound reads more than it needs.
  tx.exec("PREPARE rendered AS " + plan.next_bound);
  const std::string file = checkpoint_.lanes[0].upper[0];
  std::string text;
  for (const auto& row : tx.exec(absl::StrCat("EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) EXECUTE rendered (", file, ", '(10,1)', ", file,
                                              ", '(300,65535)', 100)"))) {
    absl::StrAppend(&text, row[0].c_str(), "\n");
  }
  EXPECT_THAT(text, Not(HasSubstr("Seq Scan")));
  EXPECT_THAT(text, ::testing::ContainsRegex("Buffers: shared hit=[0-9]\n")) << "two blocks, and some more for ends: fewer than ten";
}

TEST_P(Physical, RefusesWhatIsNotOneFileOfRows) {
  Sql(url_, "CREATE TABLE parted (id bigint PRIMARY KEY, done boolean, times int) PARTITION BY RANGE (id); "
            "CREATE TABLE parent (id bigint PRIMARY KEY, done boolean, times int); CREATE TABLE child () INHERITS (parent)");
  for (const auto& [table, why] : {std::pair{"parted", "is partitioned; migrate its partitions one by one, or use KEYSET"},
                                   std::pair{"parent", "other tables inherit from public.parent; use KEYSET"}}) {
    MD_ASSERT_OK_AND_ASSIGN(const TableFacts facts, target_->Inspect({"public", table}));
    const DefinitionResult parsed = ParseDefinition(Definition("PHYSICAL", "", absl::StrCat("public.", table)));
    ASSERT_TRUE(parsed.ok());
    const auto plan = MakePlan(parsed.definition, facts, {.name = kMigration});
    EXPECT_EQ(plan.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(plan.status().message()), HasSubstr(why));
  }
}

INSTANTIATE_TEST_SUITE_P(All, Physical, ::testing::Values(Path::kDirect, Path::kPooled, Path::kPgBouncer),
                         [](const auto& info) { return PathName(info.param); });

}  // namespace
}  // namespace migrationd
