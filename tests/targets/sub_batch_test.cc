// The sub-batch: exactly the rows of the range, exactly counted, in both forms and through PgBouncer.
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "migrations/model/failure.h"
#include "tests/support/native_probe.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_postgres.h"
#include "tests/targets/pgbouncer.h"
#include "tests/targets/target_fixture.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct KeyCase {
  std::string name;
  std::string make;  // 137 rows with n = 0
  std::string table;
  std::string definition;
};

std::string Definition(const std::string& table, const std::string& alias) {
  return absl::StrCat("sql_batch:\n  table: '", table, "'\n  alias: ", alias, "\n  statement: >-\n    UPDATE ", table,
                      " AS ", alias, " SET n = ", alias, ".n + 1 WHERE {{batch}}\n");
}

const KeyCase kKeyCases[] = {
    {"Integer",
     "CREATE TABLE things (id integer PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO things SELECT g * 7 - 400 "
     "FROM "
     "generate_series(1, 137) AS g",
     "public.things", Definition("public.things", "t")},
    {"Uuid",
     "CREATE TABLE things (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), n int NOT NULL DEFAULT 0); INSERT INTO "
     "things (n) "
     "SELECT 0 FROM generate_series(1, 137)",
     "public.things", Definition("public.things", "t")},
    {"Text",
     R"(CREATE TABLE things (id text PRIMARY KEY, n int NOT NULL DEFAULT 0);
        INSERT INTO things (id) VALUES (''), ('NULL'), ('null'), ('"'), (''''), ('\'), ('{a,b}'), ('a,b'), (' x '), ('ä€𝄞'), ('$1'), ('--'), (E'\n'), ('$md$');
        INSERT INTO things SELECT 'k' || g FROM generate_series(1, 123) AS g)",
     "public.things", Definition("public.things", "t")},
    {"Timestamptz",
     "CREATE TABLE things (id timestamptz PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO things SELECT "
     "'2024-03-31 "
     "00:59:59.999937+00'::timestamptz + g * interval '1 microsecond' FROM generate_series(1, 137) AS g",
     "public.things", Definition("public.things", "t")},
    {"Composite",
     "CREATE TABLE things (tenant int, name text, n int NOT NULL DEFAULT 0, PRIMARY KEY (tenant, name)); INSERT INTO "
     "things "
     "SELECT g % 5, 'n,' || g FROM generate_series(1, 137) AS g",
     "public.things", Definition("public.things", "t")},
    {"QuotedIdentifiers",
     R"(CREATE SCHEMA "Odd Schema"; CREATE TABLE "Odd Schema"."Odd ""Table" ("Key $1" bigint PRIMARY KEY, n int NOT NULL DEFAULT 0);
        INSERT INTO "Odd Schema"."Odd ""Table" SELECT generate_series(1, 137))",
     R"("Odd Schema"."Odd ""Table")", Definition(R"("Odd Schema"."Odd ""Table")", "t")},
};

class EveryKey : public ::testing::TestWithParam<std::tuple<KeyCase, Path, bool>> {
 protected:
  // By a statement, or by a native class that does the same.
  static MigrationPlan Plan(Target& target) {
    const auto& [key, path, native] = GetParam();
    if (!native) return PlanOf(target, key.definition);
    return PlanOf(target, ProbeDefinition(absl::StrReplaceAll(key.table, {{"'", "''"}})), ProbeRegistry(IncrementN).get());
  }
};

// Lanes, first and later sub-batches, look-ahead, take-over in the middle, completion.
TEST_P(EveryKey, DoesEveryRowExactlyOnce) {
  const auto& [key, path, native] = GetParam();
  if (path == Path::kPgBouncer && !PgBouncer::Installed()) GTEST_SKIP() << "no PgBouncer installed";
  const std::string url = FreshDatabase();
  Sql(url, key.make);
  auto target = TargetAt(url, path);
  MD_ASSERT_OK(target->Open(true));
  const MigrationPlan plan = Plan(*target);
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint taken, target->TakeOver(Claiming()));
  MD_ASSERT_OK_AND_ASSIGN(const auto ranges, target->PlanLanes(plan, 3));
  ASSERT_EQ(ranges.size(), 3u);
  MD_ASSERT_OK_AND_ASSIGN(Checkpoint checkpoint, target->BeginPass(taken.claim, 1, ranges));
  MD_ASSERT_OK_AND_ASSIGN(const std::int64_t first, RunLane(*target, checkpoint, plan, 0, 10));
  {
    MD_ASSERT_OK_AND_ASSIGN(auto session, target->OpenLane(LaneOf(checkpoint, plan, 1)));
    LaneRange range = checkpoint.lanes[1];
    MD_ASSERT_OK_AND_ASSIGN(const SubBatchResult result, RunNext(*session, range, 7));
    EXPECT_EQ(result.affected, 7);
    EXPECT_EQ(result.matched, -1);
  }
  // Another owner goes on from what is there.
  MD_ASSERT_OK_AND_ASSIGN(checkpoint, target->TakeOver(Claiming(false)));
  EXPECT_EQ(checkpoint.rows_total, first + 7);
  EXPECT_TRUE(checkpoint.lanes[0].done());
  MD_ASSERT_OK(RunLane(*target, checkpoint, plan, 1, 10));
  MD_ASSERT_OK(RunLane(*target, checkpoint, plan, 2, 1));
  EXPECT_EQ(Ask(url, absl::StrCat("SELECT count(*) FROM ", key.table, " WHERE n = 1")), "137");
  EXPECT_EQ(Ask(url, "SELECT migration_control.is_completed('fill_items')"), "f");
  MD_ASSERT_OK(target->Barrier(checkpoint.claim, /*completed=*/true));
  EXPECT_EQ(Ask(url, "SELECT migration_control.is_completed('fill_items')"), "t");
  EXPECT_EQ(Ask(url, "SELECT rows FROM migration_control.migration"), "137");
}

// Found by halves, recorded under its key, done again under its key.
TEST_P(EveryKey, LeavesOutABadRowAndDoesItOnceRepaired) {
  const auto& [key, path, native] = GetParam();
  if (path == Path::kPgBouncer && !PgBouncer::Installed()) GTEST_SKIP() << "no PgBouncer installed";
  const std::string url = FreshDatabase();
  Sql(url, key.make);
  Sql(url, absl::StrCat("ALTER TABLE ", key.table, " ADD CHECK (n <> 1001); UPDATE ", key.table, " SET n = 1000 WHERE ctid = '(0,50)'"));
  auto target = TargetAt(url, path);
  MD_ASSERT_OK(target->Open(true));
  const MigrationPlan plan = Plan(*target);
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint taken, target->TakeOver(Claiming()));
  MD_ASSERT_OK_AND_ASSIGN(const auto ranges, target->PlanLanes(plan, 1));
  MD_ASSERT_OK_AND_ASSIGN(Checkpoint checkpoint, target->BeginPass(taken.claim, 1, ranges));
  MD_ASSERT_OK_AND_ASSIGN(auto session, target->OpenLane(LaneOf(checkpoint, plan)));
  LaneRange range = checkpoint.lanes[0];
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
    MD_ASSERT_OK_AND_ASSIGN(const SkipResult skipped, session->SkipRow({range.cursor, bound, "23514", "new row violates a constraint"}));
    recorded += skipped.recorded;
    range.cursor = bound;
    size = 64;
  }
  EXPECT_EQ(recorded, 1);
  EXPECT_EQ(Ask(url, absl::StrCat("SELECT count(*) FROM ", key.table, " WHERE n = 1")), "136");
  MD_ASSERT_OK_AND_ASSIGN(const std::vector<RowFailure> failures, target->ListFailures(kMigration, {}, 10));
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_EQ(failures[0].sqlstate, "23514");
  MD_ASSERT_OK_AND_ASSIGN(checkpoint, target->TakeOver(Claiming(false)));
  EXPECT_EQ(checkpoint.failed_rows, 1);

  const RowRetry retry{.claim = checkpoint.claim, .plan = &plan, .key = failures[0].key};
  EXPECT_EQ(SqlStateOf(target->RetryRow(retry).status()), "23514");
  Sql(url, absl::StrCat("UPDATE ", key.table, " SET n = 0 WHERE n = 1000"));
  MD_ASSERT_OK_AND_ASSIGN(std::int64_t affected, target->RetryRow(retry));
  EXPECT_EQ(affected, 1);
  MD_ASSERT_OK_AND_ASSIGN(affected, target->RetryRow(retry));
  EXPECT_EQ(affected, 0) << "it was done";
  EXPECT_EQ(Ask(url, absl::StrCat("SELECT count(*) FROM ", key.table, " WHERE n = 1")), "137");
  EXPECT_EQ(Ask(url, "SELECT rows FROM migration_control.migration"), "137");
}

INSTANTIATE_TEST_SUITE_P(All, EveryKey,
                         ::testing::Combine(::testing::ValuesIn(kKeyCases),
                                            ::testing::Values(Path::kDirect, Path::kPooled, Path::kPgBouncer), ::testing::Bool()),
                         [](const auto& info) {
                           return std::get<0>(info.param).name + PathName(std::get<1>(info.param)) +
                                  (std::get<2>(info.param) ? "Native" : "");
                         });

class SubBatch : public ItemsTest, public ::testing::WithParamInterface<Path> {
 protected:
  void Start(int rows, const std::string& definition = IncrementDefinition(), int lanes = 1) {
    Begin(rows, lanes, definition, GetParam());
  }
};

std::string FillDefinition(const std::string& set) {
  return absl::StrCat("sql_batch:\n  table: public.items\n  where: items.n = 0\n  statement: UPDATE items SET ", set,
                      " WHERE {{batch}}\n");
}

TEST_P(SubBatch, LooksUpTheNextBoundForTheSizeAsked) {
  Start(100);
  auto session = Lane(checkpoint_);
  MD_ASSERT_OK_AND_ASSIGN(const Key bound, session->FindBound(checkpoint_.lanes[0], 30));
  EXPECT_EQ(bound, Key{"30"});
  SubBatchRequest request{.old_cursor = {}, .new_cursor = bound, .lane_upper = {"100"}, .next_size = 25};
  MD_ASSERT_OK_AND_ASSIGN(SubBatchResult result, session->RunSubBatch(request));
  EXPECT_EQ(result.next_bounds, std::vector<Key>{{"55"}});
  EXPECT_GT(result.at, absl::UnixEpoch() + absl::Hours(24 * 365 * 50));
  request = {.old_cursor = {"30"}, .new_cursor = {"55"}, .lane_upper = {"100"}, .next_size = 1000};
  MD_ASSERT_OK_AND_ASSIGN(result, session->RunSubBatch(request));
  EXPECT_EQ(result.next_bounds, std::vector<Key>{{"100"}}) << "the lane's end when fewer rows are left";
  request = {.old_cursor = {"55"}, .new_cursor = {"100"}, .lane_upper = {"100"}, .next_size = 0};
  MD_ASSERT_OK_AND_ASSIGN(result, session->RunSubBatch(request));
  EXPECT_TRUE(result.next_bounds.empty());
  EXPECT_EQ(Counts(), "1:100");
}

TEST_P(SubBatch, AStaleCursorIsRefusedAndNothingCommitted) {
  Start(100);
  auto session = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  MD_ASSERT_OK(RunNext(*session, range, 20));
  MD_ASSERT_OK(RunNext(*session, range, 20));
  // A failover that lost the last commit: rows and cursor are back together.
  Sql(url_, "UPDATE items SET n = 0 WHERE id > 20; UPDATE migration_control.lane SET cursor = '{20}', rows = 20");
  const auto refused = RunNext(*session, range, 20);
  EXPECT_EQ(SqlStateOf(refused.status()), "MD001");
  EXPECT_EQ(Counts(), "0:80 1:20") << "skipping rows 21 to 40 would have been the mistake";
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint again, target_->TakeOver(Claiming(false)));
  MD_ASSERT_OK(RunLane(*target_, again, plan_, 0, 20));
  EXPECT_EQ(Counts(), "1:100");
}

TEST_P(SubBatch, AStatementThatLeavesWhereTrueCommitsNothing) {
  Start(100, FillDefinition("n = n"));
  auto session = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  const auto refused = RunNext(*session, range, 10, /*check_where=*/true);
  EXPECT_EQ(SqlStateOf(refused.status()), "MD002");
  EXPECT_EQ(Cursor(), "NULL");
  EXPECT_EQ(Ask(url_, "SELECT count(*) FROM items WHERE xmax <> 0"), "10") << "rolled back, not written";
}

TEST_P(SubBatch, RowsThatMatchedNothingBeforeAreNoReasonToRefuse) {
  Start(100, FillDefinition("n = 1"));
  Sql(url_, "UPDATE items SET n = 5 WHERE id <= 10");
  auto session = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  MD_ASSERT_OK_AND_ASSIGN(SubBatchResult result, RunNext(*session, range, 10, true));
  EXPECT_EQ(result.matched, 0);
  EXPECT_EQ(result.affected, 0);
  MD_ASSERT_OK_AND_ASSIGN(result, RunNext(*session, range, 10, true));
  EXPECT_EQ(result.matched, 10);
  EXPECT_EQ(result.affected, 10);
}

TEST_P(SubBatch, RowsThatComeInMeanwhileDoNotLookUnsatisfied) {
  Start(10, FillDefinition("n = 1"));
  InstallRoadblocks(url_);
  Sql(url_, "DELETE FROM items WHERE id BETWEEN 2 AND 4");
  Roadblock after_work(url_, kAfterWork);
  auto session = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  absl::StatusOr<SubBatchResult> result;
  std::thread owner([&] { result = RunNext(*session, range, 3, true); });
  ASSERT_TRUE(after_work.WaitForSomebody());
  // As many as there were, in the range of the sub-batch.
  Sql(url_, "INSERT INTO items (id) VALUES (2), (3), (4)");
  after_work.Open();
  owner.join();
  MD_ASSERT_OK(result);
  EXPECT_EQ(result->affected, 3);
}

TEST_P(SubBatch, VerifyDoesNewRowsAndRecordsUnchangedOnes) {
  // Odd rows are left as they are.
  Start(100, FillDefinition("n = CASE WHEN id % 2 = 0 THEN 1 ELSE 0 END"));
  MD_ASSERT_OK(RunLane(*target_, checkpoint_, plan_, 0, 10, true));
  Sql(url_, "INSERT INTO items (id) VALUES (200)");
  MD_ASSERT_OK_AND_ASSIGN(const auto ranges, target_->PlanLanes(plan_, 1));
  MD_ASSERT_OK_AND_ASSIGN(Checkpoint verify, target_->BeginPass(checkpoint_.claim, 2, ranges));
  EXPECT_EQ(verify.rows_total, 100);
  MD_ASSERT_OK_AND_ASSIGN(const std::int64_t affected, RunLane(*target_, verify, plan_, 0, 10));
  EXPECT_EQ(affected, 51);
  EXPECT_EQ(Ask(url_, "SELECT count(*) FROM migration_control.failed_range WHERE kind = 'UNCHANGED' AND pass = 2"),
            "50");
  EXPECT_EQ(Ask(url_, "SELECT n FROM items WHERE id = 200"), "1");
  // The next pass leaves them out.
  MD_ASSERT_OK_AND_ASSIGN(verify, target_->BeginPass(verify.claim, 3, ranges));
  EXPECT_EQ(verify.unchanged_rows, 50);
  MD_ASSERT_OK_AND_ASSIGN(const std::int64_t nothing, RunLane(*target_, verify, plan_, 0, 10));
  EXPECT_EQ(nothing, 0);
  // Asked again, they are looked at again.
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint rechecked, target_->Reset(verify.claim, Forgetting::kVerdict));
  EXPECT_EQ(rechecked.unchanged_rows, 0);
}

TEST_P(SubBatch, ARowThatComesInDuringVerifyIsNotRecordedAsUnchanged) {
  Start(10, FillDefinition("n = 1"));
  Sql(url_, "DELETE FROM items WHERE id = 5");
  MD_ASSERT_OK_AND_ASSIGN(const auto ranges, target_->PlanLanes(plan_, 1));
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint verify, target_->BeginPass(checkpoint_.claim, 2, ranges));
  InstallRoadblocks(url_);
  Roadblock after_work(url_, kAfterWork);
  auto session = Lane(verify);
  LaneRange range = verify.lanes[0];
  absl::StatusOr<SubBatchResult> result;
  std::thread owner([&] { result = RunNext(*session, range, 100); });
  ASSERT_TRUE(after_work.WaitForSomebody());
  Sql(url_, "INSERT INTO items (id) VALUES (5)");
  after_work.Open();
  owner.join();
  MD_ASSERT_OK(result);
  EXPECT_EQ(result->affected, 9);
  EXPECT_EQ(result->unchanged, 0) << "row 5 has not had its turn: it is for the next pass";
}

TEST_P(SubBatch, DeferredConstraintsAreCheckedBeforeTheCursorMoves) {
  Start(20);
  Sql(url_,
      "CREATE FUNCTION refuse_15() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF new.id = 15 THEN RAISE EXCEPTION "
      "'no' USING ERRCODE = '23514'; END IF; RETURN NULL; END $$; CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON "
      "items "
      "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_15()");
  auto session = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  MD_ASSERT_OK(RunNext(*session, range, 10));
  const auto refused = RunNext(*session, range, 10);
  EXPECT_EQ(SqlStateOf(refused.status()), "23514");
  EXPECT_FALSE(IsCommitUnknown(refused.status()));
  EXPECT_EQ(Counts(), "0:10 1:10");
  EXPECT_EQ(Cursor(), "{10}");
}

TEST_P(SubBatch, ReplacedTableIsNotTouched) {
  Start(20);
  auto session = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  MD_ASSERT_OK(RunNext(*session, range, 10));
  Sql(url_, "ALTER TABLE items RENAME TO old_items; CREATE TABLE items AS SELECT id, 0 AS n FROM old_items");
  EXPECT_EQ(SqlStateOf(RunNext(*session, range, 10).status()), "MD004");
  EXPECT_EQ(Counts(), "0:20");
  Sql(url_, "DROP TABLE items");
  EXPECT_NE(SqlStateOf(RunNext(*session, range, 10).status()), "");
}

// The swap commits after the sub-batch looked at the name and before its work has a lock.
TEST_P(SubBatch, TableReplacedInTheMiddleOfASubBatchIsNotTouched) {
  Start(20);
  Sql(url_, "CREATE TABLE new_items (LIKE items INCLUDING ALL); INSERT INTO new_items SELECT * FROM items");
  auto session = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  MD_ASSERT_OK(RunNext(*session, range, 5));
  pqxx::connection ddl(url_);
  auto swap = std::make_unique<pqxx::work>(ddl);
  // The sub-batch waits for this lock in its work: the name still is the old table's when it looks.
  swap->exec("LOCK TABLE items IN ACCESS EXCLUSIVE MODE");
  absl::StatusOr<SubBatchResult> result;
  SubBatchRequest request{.old_cursor = {"5"}, .new_cursor = {"10"}, .lane_upper = {"20"}};
  std::thread owner([&] { result = session->RunSubBatch(request); });
  ASSERT_TRUE(
      WaitForTrue(url_, "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'items'::regclass AND NOT granted)"));
  swap->exec("ALTER TABLE items RENAME TO old_items; ALTER TABLE new_items RENAME TO items");
  swap->commit();
  owner.join();
  EXPECT_EQ(SqlStateOf(result.status()), "MD004");
  EXPECT_EQ(Counts(), "0:20");
  EXPECT_EQ(Ask(url_, "SELECT count(*) FROM old_items WHERE n = 1"), "5");
}

TEST_P(SubBatch, AnErrorLeavesTheSessionUsable) {
  Start(20, "sql_batch:\n  table: public.items\n  statement: UPDATE items SET n = 1 / (id - 15) WHERE {{batch}}\n");
  auto session = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  MD_ASSERT_OK(RunNext(*session, range, 10));
  const auto failed = RunNext(*session, range, 10);
  EXPECT_EQ(SqlStateOf(failed.status()), "22012");
  MD_EXPECT_OK(RunNext(*session, range, 4));
  EXPECT_EQ(Cursor(), "{14}");
}

TEST_P(SubBatch, StoppedFromAnotherThreadEndsAtOnceAndCommitsNothing) {
  Start(20);
  InstallRoadblocks(url_);
  Roadblock after_work(url_, kAfterWork);
  std::stop_source stop;
  MD_ASSERT_OK_AND_ASSIGN(auto session, target_->WithStop(stop.get_token())->OpenLane(LaneOf(checkpoint_, plan_)));
  LaneRange range = checkpoint_.lanes[0];
  absl::StatusOr<SubBatchResult> result;
  std::thread owner([&] { result = RunNext(*session, range, 10); });
  ASSERT_TRUE(after_work.WaitForSomebody());
  stop.request_stop();
  owner.join();
  EXPECT_EQ(result.status().code(), absl::StatusCode::kUnavailable);
  session.reset();
  // The backend notices that nobody is there any more, and rolls back.
  EXPECT_TRUE(WaitForTrue(url_,
                          "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND "
                          "application_name LIKE 'migrationd/%')"));
  after_work.Open();
  EXPECT_EQ(Counts(), "0:20");
}

TEST_P(SubBatch, RunsUnderPinnedSettings) {
  Begin(1, 1,
        "sql_batch:\n  table: public.items\n  statement: UPDATE items SET seen = concat_ws('|', "
        "current_setting('TimeZone'), "
        "current_setting('search_path'), current_setting('application_name'), current_setting('synchronous_commit'), "
        "current_setting('transaction_isolation'), current_setting('lock_timeout')) WHERE {{batch}}\n",
        GetParam());
  Sql(url_, "ALTER TABLE items ADD COLUMN seen text");
  LaneOptions options = LaneOf(checkpoint_, plan_);
  options.lock_timeout = absl::Milliseconds(750);
  MD_ASSERT_OK_AND_ASSIGN(auto session, target_->OpenLane(options));
  LaneRange range = checkpoint_.lanes[0];
  MD_ASSERT_OK(RunNext(*session, range, 1));
  EXPECT_EQ(Ask(url_, "SELECT seen FROM items"),
            absl::StrCat("UTC|", plan_.search_path, "|migrationd/", checkpoint_.claim.token.substr(0, 8), "/",
                         checkpoint_.claim.epoch, "/fill_items|off|read committed|750ms"));
}

TEST_P(SubBatch, RowsChangedByATriggerDoNotCountAsAffected) {
  Start(50,
        "sql_batch:\n  table: public.items\n  statement: UPDATE items SET n = n + 1 WHERE {{batch}} AND id % 2 = 0\n");
  Sql(url_,
      "CREATE TABLE log (id bigint); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO "
      "public.log "
      "VALUES (new.id), (new.id); RETURN NULL; END $$; CREATE TRIGGER note AFTER UPDATE ON items FOR EACH ROW EXECUTE "
      "FUNCTION note()");
  MD_ASSERT_OK_AND_ASSIGN(const std::int64_t affected, RunLane(*target_, checkpoint_, plan_, 0, 7));
  EXPECT_EQ(affected, 25);
  EXPECT_EQ(Ask(url_, "SELECT rows FROM migration_control.migration"), "25");
}

TEST_P(SubBatch, ColumnsNamedLikeOurVariablesAreTheUsersColumns) {
  Start(30,
        "sql_batch:\n  table: public.items\n  statement: UPDATE items SET md_at = md_affected + 1, md_keys = "
        "md_affected WHERE {{batch}}\n");
  Sql(url_, "ALTER TABLE items ADD COLUMN md_affected int DEFAULT 5, ADD COLUMN md_at int, ADD COLUMN md_keys int");
  MD_ASSERT_OK(RunLane(*target_, checkpoint_, plan_, 0, 7));
  EXPECT_EQ(Ask(url_, "SELECT count(*) FROM items WHERE md_at = 6 AND md_keys = 5"), "30");
}

TEST_P(SubBatch, InsertsAndDeletesAreCountedToo) {
  Start(50,
        "sql_batch:\n  table: public.items\n  statement: INSERT INTO copies SELECT items.id FROM items WHERE "
        "{{batch}}\n");
  Sql(url_, "CREATE TABLE copies (id bigint)");
  MD_ASSERT_OK_AND_ASSIGN(std::int64_t affected, RunLane(*target_, checkpoint_, plan_, 0, 9));
  EXPECT_EQ(affected, 50);
  EXPECT_EQ(Ask(url_, "SELECT count(DISTINCT id) || '/' || count(*) FROM copies"), "50/50");
  const MigrationPlan deletes =
      PlanOf(*target_,
             "sql_batch:\n  table: public.items\n  statement: DELETE FROM items WHERE {{batch}} AND items.id > 10\n");
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint next, target_->BeginPass(checkpoint_.claim, 2, checkpoint_.lanes));
  Checkpoint execute = next;
  execute.pass = 1;
  MD_ASSERT_OK_AND_ASSIGN(affected, RunLane(*target_, execute, deletes, 0, 9));
  EXPECT_EQ(affected, 40);
  EXPECT_EQ(Counts(), "0:10");
}

TEST_P(SubBatch, EveryCommitOfManyLanesAtOnceCounts) {
  Start(4000, IncrementDefinition(), 2);
  ASSERT_EQ(checkpoint_.lanes.size(), 2u);
  std::int64_t affected[2] = {0, 0};
  std::thread lanes[2];
  for (int i = 0; i < 2; ++i) {
    lanes[i] = std::thread([this, i, &affected] {
      const auto done = RunLane(*target_, checkpoint_, plan_, static_cast<std::size_t>(i), 37);
      EXPECT_THAT(done, IsOk());
      if (done.ok()) affected[i] = *done;
    });
  }
  for (std::thread& lane : lanes) lane.join();
  EXPECT_EQ(affected[0] + affected[1], 4000);
  EXPECT_EQ(Counts(), "1:4000");
  EXPECT_EQ(Ask(url_, "SELECT rows FROM migration_control.migration"), "4000");
}

INSTANTIATE_TEST_SUITE_P(Forms, SubBatch, ::testing::Values(Path::kDirect, Path::kPooled, Path::kNative),
                         [](const auto& info) { return PathName(info.param); });

class OneSubBatch : public ItemsTest {};

TEST_F(OneSubBatch, IsOneTransaction) {
  Begin(200);
  auto session = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  MD_ASSERT_OK(RunNext(*session, range, 10));
  const std::int64_t before = std::stoll(Ask(url_, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"));
  Key next = {"20"};
  for (int i = 0; i < 10; ++i) {
    SubBatchRequest request{.old_cursor = range.cursor, .new_cursor = next, .lane_upper = {"200"}, .next_size = 10};
    MD_ASSERT_OK_AND_ASSIGN(const SubBatchResult result, session->RunSubBatch(request));
    range.cursor = next;
    next = result.next_bounds.empty() ? Key{} : result.next_bounds.front();
  }
  const std::int64_t after = std::stoll(Ask(url_, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"));
  EXPECT_EQ(after - before, 10);
}

TEST_F(OneSubBatch, WithoutTheRightToMakeTemporaryFunctionsTheOtherFormIsUsed) {
  Begin(30);
  Sql(url_, "CREATE ROLE plain_one LOGIN; REVOKE TEMPORARY ON DATABASE " + Ask(url_, "SELECT current_database()") +
                " FROM PUBLIC; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA migration_control TO "
                "plain_one; GRANT "
                "EXECUTE ON ALL FUNCTIONS IN SCHEMA migration_control TO plain_one; GRANT SELECT, UPDATE ON items TO "
                "plain_one");
  PostgresTargetOptions options;
  options.name = "main";
  const std::string url = url_ + "&user=plain_one";
  options.url = [url]() -> absl::StatusOr<std::string> { return url; };
  PostgresTarget target(options);
  MD_EXPECT_OK(RunLane(target, checkpoint_, plan_, 0, 7));
  EXPECT_EQ(Counts(), "1:30");
}

TEST_F(OneSubBatch, AVerifyPassWithoutWhereIsRefused) {
  Begin(10);
  LaneOptions options = LaneOf(checkpoint_, plan_);
  options.pass = 2;
  EXPECT_THAT(target_->OpenLane(options), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("where")));
}

TEST_F(OneSubBatch, ErrorsShowNoRowValues) {
  Begin(10, 1, "sql_batch:\n  table: public.items\n  statement: UPDATE items SET n = secret::int WHERE {{batch}}\n");
  Sql(url_, "ALTER TABLE items ADD COLUMN secret text DEFAULT 'hunter2'");
  auto session = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  const auto failed = RunNext(*session, range, 10);
  EXPECT_EQ(SqlStateOf(failed.status()), "22P02");
  EXPECT_THAT(std::string(failed.status().message()), Not(HasSubstr("hunter2")));
}

}  // namespace
}  // namespace migrationd
