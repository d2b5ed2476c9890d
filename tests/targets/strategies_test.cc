// The strategies by which batches are cut, on real tables: every row once, whatever the table is like.
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "migrations/definition/definition.h"
#include "migrations/model/failure.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_postgres.h"
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

class Things : public ::testing::Test {
 protected:
  void Open(Path path) {
    url_ = FreshDatabase();
    target_ = TargetAt(url_, path);
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

  std::string url_;
  std::unique_ptr<PostgresTarget> target_;
  MigrationPlan plan_;
  Checkpoint checkpoint_;
};

class InBothForms : public Things, public ::testing::WithParamInterface<Path> {
 protected:
  void SetUp() override { Open(GetParam()); }
};

class Physical : public InBothForms {};

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
  EXPECT_EQ(result.next_bounds, std::vector<Key>{next});
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
  EXPECT_EQ(result.next_bounds, std::vector<Key>{range.upper});
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

INSTANTIATE_TEST_SUITE_P(All, Physical, ::testing::Values(Path::kDirect, Path::kPooled),
                         [](const auto& info) { return PathName(info.param); });

class Distinct : public InBothForms {
 protected:
  // things(id, tenant): `rows` for each of the tenants 1 to `tenants`, mixed on disk, and an index over tenant.
  void MakeTenants(int tenants, int rows) {
    Sql(url_, absl::StrCat("CREATE TABLE things (id bigserial PRIMARY KEY, tenant int NOT NULL, ", kColumns, "); INSERT INTO things (tenant) SELECT t FROM "
                           "generate_series(1, ", tenants, ") AS t, generate_series(1, ", rows, ") AS r ORDER BY r, md5(t::text); CREATE INDEX ON things (tenant)"));
  }
  static std::string ByTenant(const std::string& more = "") { return Definition("DISTINCT", absl::StrCat("  key: [tenant]\n", more)); }
  // One that leaves `where` true for some rows.
  static std::string DoneIf(const std::string& condition) {
    return absl::StrCat("sql_batch:\n  table: things\n  key: [tenant]\n  strategy: DISTINCT\n  where: NOT done\n"
                        "  statement: UPDATE things SET done = ", condition, ", times = times + 1 WHERE {{batch}}\n");
  }
};

TEST_P(Distinct, SizesCountValuesAndRowsAreCountedExactly) {
  MakeTenants(50, 40);
  Start(ByTenant());
  auto session = Lane();
  LaneRange range = checkpoint_.lanes[0];
  MD_ASSERT_OK_AND_ASSIGN(SubBatchResult result, RunNext(*session, range, 1));
  EXPECT_EQ(result.affected, 40);
  MD_ASSERT_OK_AND_ASSIGN(result, RunNext(*session, range, 7, true));
  EXPECT_EQ(range.cursor, Key{"8"});
  EXPECT_EQ(result.affected, 280);
  SubBatchRequest request{.old_cursor = {"8"}, .new_cursor = {"10"}, .lane_upper = {"50"}, .next_size = 30};
  MD_ASSERT_OK_AND_ASSIGN(result, session->RunSubBatch(request));
  EXPECT_EQ(result.next_bounds, std::vector<Key>{Key{"40"}});
  request = {.old_cursor = {"10"}, .new_cursor = {"40"}, .lane_upper = {"50"}, .next_size = 11};
  MD_ASSERT_OK_AND_ASSIGN(result, session->RunSubBatch(request));
  EXPECT_EQ(result.next_bounds, std::vector<Key>{Key{"50"}}) << "the lane's end when fewer values are left";
  range.cursor = {"40"};
  MD_ASSERT_OK(RunNext(*session, range, 1000));
  EXPECT_TRUE(range.done());
  EXPECT_EQ(RunVerify(3), 0);
  EXPECT_EQ(Times(), "1:2000");
  EXPECT_EQ(Ask("SELECT rows FROM migration_control.migration"), "2000");
}

TEST_P(Distinct, LanesShareTheValuesAlsoWhenOneHasMostRows) {
  MakeTenants(30, 10);
  Sql(url_, "INSERT INTO things (tenant) SELECT 12 FROM generate_series(1, 3000)");
  Start(ByTenant(), 4);
  ASSERT_GE(checkpoint_.lanes.size(), 1u);
  EXPECT_EQ(RunPass(4, true), 3300);
  EXPECT_EQ(RunVerify(), 0);
  EXPECT_EQ(Times(), "1:3300");
}

TEST_P(Distinct, AnEmptyTableHasNothingToDo) {
  MakeTenants(0, 0);
  Start(ByTenant(), 3);
  EXPECT_TRUE(checkpoint_.lanes.at(0).done());
  Sql(url_, "INSERT INTO things (tenant) VALUES (1), (1)");
  EXPECT_EQ(RunVerify(), 2);
}

// All rows of a value stand and fall together: one record, one Retry.
TEST_P(Distinct, ABadRowLeavesOutItsValue) {
  MakeTenants(30, 10);
  Sql(url_, "ALTER TABLE things ADD bad boolean NOT NULL DEFAULT false, ADD CHECK (NOT (bad AND done)); UPDATE things SET bad = true WHERE id = (SELECT max(id) "
            "FROM things WHERE tenant = 11)");
  Start(ByTenant());
  auto session = Lane();
  LaneRange range = checkpoint_.lanes[0];
  std::int64_t recorded = 0;
  for (std::int64_t size = 8; !range.done();) {
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
    size = 8;
  }
  EXPECT_EQ(recorded, 1);
  EXPECT_EQ(Times(), "0:10 1:290");
  EXPECT_EQ(RunVerify(), 0) << "what is recorded is left alone";
  MD_ASSERT_OK_AND_ASSIGN(const std::vector<RowFailure> failures, target_->ListFailures(kMigration, {}, 10));
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_EQ(failures[0].key, Key{"11"});
  Sql(url_, "UPDATE things SET bad = false");
  MD_ASSERT_OK_AND_ASSIGN(checkpoint_, target_->TakeOver(Claiming(false)));
  const RowRetry retry{.claim = checkpoint_.claim, .plan = &plan_, .key = failures[0].key};
  MD_ASSERT_OK_AND_ASSIGN(const std::int64_t affected, target_->RetryRow(retry));
  EXPECT_EQ(affected, 10);
  EXPECT_EQ(Times(), "1:300");
}

TEST_P(Distinct, AStatementThatLeavesWhereTrueCommitsNothing) {
  MakeTenants(10, 5);
  Start(DoneIf("false"));
  auto session = Lane();
  LaneRange range = checkpoint_.lanes[0];
  EXPECT_EQ(SqlStateOf(RunNext(*session, range, 3, true).status()), "MD002");
  EXPECT_EQ(Times(), "0:50");
}

// Every value still has a row that matches, but not every row still does.
TEST_P(Distinct, AStatementThatDoesSomeRowsOfEachValueGoesOn) {
  MakeTenants(10, 5);
  Start(DoneIf("(id % 5 <> 0)"));
  auto session = Lane();
  LaneRange range = checkpoint_.lanes[0];
  MD_ASSERT_OK_AND_ASSIGN(const SubBatchResult result, RunNext(*session, range, 10, true));
  EXPECT_EQ(result.matched, 50);
}

TEST_P(Distinct, VerifyRecordsAValueWithRowsLeftOnce) {
  MakeTenants(10, 5);
  Start(DoneIf("(tenant <> 3)"));
  EXPECT_EQ(RunPass(4, true), 50);
  Sql(url_, "INSERT INTO things (tenant) VALUES (1), (20)");
  EXPECT_EQ(RunVerify(4), 7);
  EXPECT_EQ(Ask("SELECT string_agg(key::text || kind, ' ') FROM migration_control.failed_range"), "{3}UNCHANGED");
  EXPECT_EQ(RunVerify(4), 0);
  EXPECT_EQ(checkpoint_.unchanged_rows, 1);
}

// A row that came after its value had its turn is for the next pass: its value must not be given up for it.
TEST_P(Distinct, ARowThatComesInDuringVerifyDoesNotMakeItsValueUnchanged) {
  MakeTenants(4, 3);
  Start(ByTenant());
  Sql(url_, "CREATE FUNCTION wait_here() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN PERFORM pg_advisory_xact_lock_shared(71); RETURN NULL; END $f$; "
            "CREATE TRIGGER wait_here AFTER UPDATE ON things FOR EACH STATEMENT EXECUTE FUNCTION wait_here()");
  NextPass(checkpoint_);
  absl::StatusOr<SubBatchResult> result;
  {
    Roadblock after_work(url_, kAfterWork);
    auto session = Lane();
    LaneRange range = checkpoint_.lanes[0];
    std::thread owner([&] { result = RunNext(*session, range, 100); });
    ASSERT_TRUE(after_work.WaitForSomebody());
    Sql(url_, "INSERT INTO things (tenant) VALUES (2)");
    after_work.Open();
    owner.join();
  }
  MD_ASSERT_OK(result);
  EXPECT_EQ(result->affected, 12);
  EXPECT_EQ(result->unchanged, 0);
  EXPECT_EQ(RunVerify(), 1);
}

TEST_P(Distinct, APartitionedTable) {
  Sql(url_, absl::StrCat("CREATE TABLE things (tenant int NOT NULL, day int NOT NULL, ", kColumns, ") PARTITION BY LIST (day); CREATE TABLE things_1 PARTITION OF things "
                         "FOR VALUES IN (1); CREATE TABLE things_2 PARTITION OF things FOR VALUES IN (2); CREATE INDEX ON things (tenant); INSERT INTO things (tenant, "
                         "day) SELECT t, 1 + r % 2 FROM generate_series(1, 20) AS t, generate_series(1, 10) AS r"));
  Start(ByTenant(), 2);
  EXPECT_EQ(RunPass(3, true), 200);
  EXPECT_EQ(RunVerify(), 0);
  EXPECT_EQ(Times(), "1:200");
}

TEST_P(Distinct, BoundsAreFoundByTheIndexValueByValue) {
  MakeTenants(40, 500);
  Sql(url_, "ANALYZE things");
  Start(ByTenant());
  pqxx::connection connection(url_);
  pqxx::nontransaction tx(connection);
  tx.exec("SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off");
  tx.exec("PREPARE rendered AS " + plan_.next_bound);
  std::string text;
  for (const auto& row : tx.exec("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) EXECUTE rendered ('3', '40', 10)")) absl::StrAppend(&text, row[0].c_str(), "\n");
  EXPECT_THAT(text, AllOf(HasSubstr("Index Cond: (("), HasSubstr("loops=9"), Not(HasSubstr("Sort")))) << "of 500 rows a value one is read";
}

TEST_P(Distinct, RefusesColumnsThatCannotBeWalked) {
  Sql(url_, "CREATE TABLE odd (id bigint PRIMARY KEY, maybe int, plain int NOT NULL, partly int NOT NULL, hashed int NOT NULL, second int NOT NULL, word text "
            "COLLATE \"C\" NOT NULL, amount numeric NOT NULL, good int NOT NULL, done boolean, times int); CREATE INDEX ON odd (maybe); CREATE INDEX ON odd "
            "(partly) WHERE partly > 3; CREATE INDEX ON odd USING hash (hashed); CREATE INDEX ON odd (good, second); CREATE INDEX ON odd (word COLLATE "
            "\"POSIX\"); CREATE INDEX ON odd (word text_pattern_ops); CREATE INDEX ON odd (amount)");
  MD_ASSERT_OK_AND_ASSIGN(const TableFacts facts, target_->Inspect({"public", "odd"}));
  const auto message = [&](const std::string& column) {
    const DefinitionResult parsed = ParseDefinition(Definition("DISTINCT", absl::StrCat("  key: [", column, "]\n"), "public.odd"));
    const auto plan = MakePlan(parsed.definition, facts, {.name = kMigration});
    return plan.ok() ? "" : std::string(plan.status().message());
  };
  EXPECT_EQ(message("good"), "");
  EXPECT_THAT(message("maybe"), HasSubstr("may be null"));
  EXPECT_THAT(message("amount"), HasSubstr("of type numeric"));
  for (const std::string column : {"plain", "partly", "hashed", "second", "word"}) {
    EXPECT_THAT(message(column), AllOf(HasSubstr(absl::StrCat("no complete btree index of public.odd begins with ", column)),
                                       HasSubstr("use a column that has one: amount, good, id, maybe")));
  }
}

// Frequent values are not in the histogram: they are counted in.
TEST_P(Distinct, FractionsCountFrequentValues) {
  MakeTenants(10, 10);
  Sql(url_, "INSERT INTO things (tenant) SELECT 5 FROM generate_series(1, 900)");
  Sql(url_, "ANALYZE things");
  Start(ByTenant());
  const auto at = [&](const std::string& tenant) {
    std::vector<LaneRange> lanes = checkpoint_.lanes;
    lanes[0].cursor = {tenant};
    const auto fractions = target_->KeyFractions(plan_, lanes);
    return fractions.ok() ? fractions->at(0).value_or(-1) : -2;
  };
  EXPECT_NEAR(at("4"), 0.03, 0.02);
  EXPECT_NEAR(at("5"), 0.94, 0.02);
  EXPECT_NEAR(at("10"), 1.0, 0.001);
}

INSTANTIATE_TEST_SUITE_P(All, Distinct, ::testing::Values(Path::kDirect, Path::kPooled),
                         [](const auto& info) { return PathName(info.param); });

// Every strategy over every type of key.
struct KeyOfType {
  std::string name;
  std::string columns;  // of CREATE TABLE
  std::string key;      // list in YAML and SQL
  std::string minimum;  // the smallest value there is
  std::string value;    // of row g
};

const KeyOfType kTypes[] = {
    {"Smallint", "id smallint", "id", "'-32768'::smallint", "g * 7 - 1000"},
    {"Integer", "id integer", "id", "'-2147483648'::integer", "g * 1000003 - 100000000"},
    {"Bigint", "id bigint", "id", "'-9223372036854775808'::bigint", "g * 1000000000000"},
    {"Uuid", "id uuid", "id", "'00000000-0000-0000-0000-000000000000'::uuid", "md5(g::text)::uuid"},
    {"Text", "id text", "id", "''", "'k\"\\ä ' || g"},
    {"TextC", "id text COLLATE \"C\"", "id", "''", "chr(40 + g % 80) || g"},
    {"Varchar", "id varchar(20)", "id", "''", "'k' || g"},
    {"Char", "id char(8)", "id", "''", "'k' || g"},
    {"Timestamptz", "id timestamptz", "id", "'-infinity'::timestamptz", "'2024-03-31 00:59:59.999937+00'::timestamptz + g * interval '1.000001 s'"},
    {"Composite", "tenant int, id text", "tenant, id", "'-2147483648'::int, ''", "g % 5, 'n,' || g"},
};

class EveryType : public Things, public ::testing::WithParamInterface<KeyOfType> {
 protected:
  // The strategies that can walk this key.
  std::vector<std::string> OfThisKey() const {
    if (Columns().size() > 1) return {"KEYSET", "PHYSICAL"};
    return {"KEYSET", "DISTINCT", "PHYSICAL"};
  }
  // The smallest value of the type and 300 others, in another order on disk than in the index; with DISTINCT three rows of each.
  void Make(const std::string& strategy) {
    strategy_ = strategy;
    copies_ = strategy == "DISTINCT" ? 3 : 1;
    Open(Path::kDirect);
    const std::string index = strategy_ == "DISTINCT" ? "CREATE INDEX ON things (" : "ALTER TABLE things ADD PRIMARY KEY (";
    Sql(url_, absl::StrCat("CREATE TABLE things (", type_.columns, ", ", kColumns, "); ", index, type_.key, ")"));
    for (const std::string& column : Columns()) Sql(url_, absl::StrCat("ALTER TABLE things ALTER ", column, " SET NOT NULL"));
    Insert("1, 300", type_.value);
    Insert("1, 1", type_.minimum);
  }
  void Insert(const std::string& series, const std::string& value) {
    Sql(url_, absl::StrCat("INSERT INTO things (", type_.key, ") SELECT ", value, " FROM generate_series(", series, ") AS g, generate_series(1, ", copies_,
                           ") AS c ORDER BY md5(g::text)"));
  }
  std::vector<std::string> Columns() const { return absl::StrSplit(type_.key, ", "); }
  std::string OfStrategy(const std::string& more = "") const { return Definition(strategy_, absl::StrCat("  key: [", type_.key, "]\n", more)); }
  // The n-th smallest key, as a list in YAML.
  std::string NthKey(int n) {
    std::vector<std::string> values;
    for (const std::string& column : Columns()) {
      values.push_back(Ask(absl::StrCat("SELECT '''' || replace(t.", column, "::text, '''', '''''') || '''' FROM (SELECT DISTINCT ", type_.key,
                                        " FROM things) AS t ORDER BY ", type_.key, " OFFSET ", n - 1, " LIMIT 1")));
    }
    return absl::StrCat("[", absl::StrJoin(values, ", "), "]");
  }

  const KeyOfType type_ = GetParam();
  std::string strategy_;
  int copies_ = 1;
};

TEST_P(EveryType, DoesEveryRowOnceFromTheSmallestValueThereIs) {
  for (const std::string& strategy : OfThisKey()) {
    SCOPED_TRACE(strategy);
    Make(strategy);
    Start(OfStrategy(), 2);
    {
      auto session = Lane();
      LaneRange range = checkpoint_.lanes[0];
      MD_ASSERT_OK_AND_ASSIGN(const SubBatchResult result, RunNext(*session, range, 1, true));
      EXPECT_EQ(result.affected, copies_);
      MD_ASSERT_OK(RunNext(*session, range, 20));
    }
    // The table goes on living: a stretch of keys is deleted, more rows come in.
    MD_ASSERT_OK_AND_ASSIGN(checkpoint_, target_->TakeOver(Claiming(false)));
    Sql(url_, absl::StrCat("DELETE FROM things WHERE (", type_.key, ") IN (SELECT ", type_.key, " FROM things ORDER BY ", type_.key, " OFFSET 120 LIMIT 90)"));
    Insert("301, 400", type_.value);
    RunPass(9);
    RunVerify(50);
    EXPECT_EQ(RunVerify(50), 0);
    EXPECT_EQ(Ask("SELECT count(*) FROM things WHERE times <> 1"), "0");
    EXPECT_EQ(Ask("SELECT count(*) > 300 FROM things"), "t");
  }
}

TEST_P(EveryType, MinAndMaxKeyAreIncluded) {
  for (const std::string& strategy : OfThisKey()) {
    for (const auto& [from, to] : {std::pair{11, 150}, std::pair{1, 1}}) {
      SCOPED_TRACE(absl::StrCat(strategy, " from ", from));
      Make(strategy);
      Start(OfStrategy(absl::StrCat("  min_key: ", NthKey(from), "\n  max_key: ", NthKey(to), "\n")), 2);
      EXPECT_EQ(RunPass(30, true), (to - from + 1) * copies_);
      EXPECT_EQ(RunVerify(), 0);
      EXPECT_EQ(Ask(absl::StrCat("SELECT string_agg(DISTINCT (n BETWEEN ", from, " AND ", to, " = done)::text, ' ') FROM (SELECT done, dense_rank() OVER (ORDER BY ",
                                 type_.key, ") AS n FROM things) AS t")),
                "true");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, EveryType, ::testing::ValuesIn(kTypes), [](const auto& info) { return info.param.name; });

class Keyset : public Things {
 protected:
  void SetUp() override { Open(Path::kDirect); }
  std::string Explain(const std::string& sql, const std::string& values) {
    pqxx::connection connection(url_);
    pqxx::nontransaction tx(connection);
    tx.exec("SET plan_cache_mode = force_generic_plan");
    tx.exec("PREPARE rendered AS " + sql);
    std::string text;
    for (const auto& row : tx.exec("EXPLAIN (COSTS OFF) EXECUTE rendered " + values)) absl::StrAppend(&text, row[0].c_str(), "\n");
    return text;
  }
};

TEST_F(Keyset, ATableOfOneRowAndOneWithout) {
  MakeThings("SELECT -9223372036854775808");
  Start(Definition("KEYSET"), 4);
  EXPECT_EQ(RunPass(100, true), 1);
  Sql(url_, "DELETE FROM things");
  NextPass(checkpoint_);
  EXPECT_TRUE(checkpoint_.lanes.at(0).done());
}

// The rows of the partitions come in one order, and no partition is read to its end.
TEST_F(Keyset, APartitionedTableIsWalkedByTheIndexOfEachPartition) {
  Sql(url_, absl::StrCat("CREATE TABLE things (id bigint PRIMARY KEY, ", kColumns, ") PARTITION BY HASH (id); CREATE TABLE things_0 PARTITION OF things FOR VALUES "
                         "WITH (MODULUS 3, REMAINDER 0); CREATE TABLE things_1 PARTITION OF things FOR VALUES WITH (MODULUS 3, REMAINDER 1); CREATE TABLE "
                         "things_2 PARTITION OF things FOR VALUES WITH (MODULUS 3, REMAINDER 2); INSERT INTO things (id) SELECT generate_series(1, 30000); "
                         "ANALYZE things"));
  Start(Definition("KEYSET"), 3);
  EXPECT_EQ(checkpoint_.lanes.size(), 3u);
  EXPECT_THAT(Explain(plan_.next_bound, "(500, 30000, 100)"), AllOf(HasSubstr("Merge Append"), HasSubstr("things_2_pkey"), Not(HasSubstr("Seq Scan"))));
  EXPECT_THAT(Explain(plan_.work, "(500, 600)"), AllOf(HasSubstr("things_2_pkey"), Not(HasSubstr("Seq Scan"))));
  EXPECT_EQ(RunPass(1000, true), 30000);
  EXPECT_EQ(RunVerify(), 0);
  EXPECT_EQ(Times(), "1:30000");
}

TEST_F(Keyset, ACompositeKeyIsOneIndexCondition) {
  Sql(url_, absl::StrCat("CREATE TABLE things (a int, b uuid, c text, ", kColumns, ", PRIMARY KEY (a, b, c)); INSERT INTO things (a, b, c) SELECT g % 10, md5(g::text)::uuid, "
                         "'c' FROM generate_series(1, 20000) AS g; ANALYZE things"));
  Start(Definition("KEYSET"));
  const std::string nil = "'00000000-0000-0000-0000-000000000000'";
  for (const auto& [sql, values] : {std::pair{plan_.next_bound, absl::StrCat("(3, ", nil, ", 'a', 8, ", nil, ", 'b', 100)")},
                                    std::pair{plan_.work, absl::StrCat("(3, ", nil, ", 'a', 3, ", nil, ", 'b')")}}) {
    const std::string text = Explain(sql, values);
    EXPECT_THAT(text, HasSubstr("Index Cond: ((ROW(a, b, c) > ROW($1, $2, $3)) AND (ROW(a, b, c) <= ROW($4, $5, $6)))"));
    EXPECT_THAT(text, AllOf(Not(HasSubstr("Sort")), Not(HasSubstr("Seq Scan")), Not(HasSubstr(" OR (a"))));
  }
}

// Others insert at the end as fast as it goes, and one deletes what is next.
TEST_F(Keyset, ATableThatGrowsAndShrinksUnderTheWalk) {
  MakeThings("SELECT g * 10 FROM generate_series(1, 1000) AS g");
  Start(Definition("KEYSET"));
  auto session = Lane();
  LaneRange range = checkpoint_.lanes[0];
  for (int step = 0; !range.done(); ++step) {
    MD_ASSERT_OK_AND_ASSIGN(const Key ahead, session->FindBound(range, 50));
    Sql(url_, absl::StrCat("DELETE FROM things WHERE id = ", ahead[0], "; INSERT INTO things (id) SELECT max(id) + 1 FROM things; INSERT INTO things (id) VALUES (",
                           std::stoll(ahead[0]) - 3, ")"));
    SubBatchRequest request{.old_cursor = range.cursor, .new_cursor = ahead, .lane_upper = range.upper};
    MD_ASSERT_OK(session->RunSubBatch(request));
    range.cursor = ahead;
    ASSERT_LT(step, 100);
  }
  EXPECT_GT(RunVerify(), 0);
  EXPECT_EQ(RunVerify(), 0);
  EXPECT_EQ(Ask("SELECT count(*) FROM things WHERE times <> 1"), "0");
}

}  // namespace
}  // namespace migrationd
