// Sub-batches over every kind of key, in both forms: each row exactly once, counted exactly, resumed anywhere.
#include "absl/strings/str_cat.h"
#include "migrations/model/failure.h"
#include "tests/targets/target_fixture.h"

namespace migrationd {
namespace {

struct KeyCase {
  std::string name;
  std::string table;   // CREATE TABLE and its rows
  std::string target;  // as the definition names the table
  std::string key;     // YAML list; empty: the primary key
};

void PrintTo(const KeyCase& c, std::ostream* out) { *out << c.name; }

const std::vector<KeyCase>& KeyCases() {
  static const std::vector<KeyCase> cases = {
      {"Bigint", "CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT i * 7 - 900 FROM generate_series(1, 500) i", "t", ""},
      {"SmallintAtItsMinimum", "CREATE TABLE t (id smallint PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT i - 32768 FROM generate_series(0, 300) i", "t", ""},
      {"Uuid", "CREATE TABLE t (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), n int NOT NULL DEFAULT 0); INSERT INTO t (n) SELECT 0 FROM generate_series(1, 500)", "t", ""},
      {"Text",
       "CREATE TABLE t (id text PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT x FROM unnest(ARRAY['', ' ', 'a', 'A', 'ä', 'NULL', 'null', '\"', "
       "'\\', '{}', 'a,b', E'new\\nline', '''quoted''', '$1', '$md$']) x; INSERT INTO t SELECT md5(i::text) FROM generate_series(1, 300) i",
       "t", ""},
      {"TextInAnotherCollation", "CREATE TABLE t (id text COLLATE \"C\" PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT chr(65 + i % 50) || i FROM generate_series(1, 300) i", "t", ""},
      {"Timestamptz",
       "SET TimeZone = 'Asia/Kathmandu'; CREATE TABLE t (id timestamptz PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT '2026-03-29 00:00:00.000001+00'::timestamptz + i * interval '37.000123 minutes' FROM generate_series(1, 300) i",
       "t", ""},
      {"Composite",
       "CREATE TABLE t (a int, b uuid DEFAULT gen_random_uuid(), c text, n int NOT NULL DEFAULT 0, PRIMARY KEY (a, b, c)); INSERT INTO t (a, c) SELECT i % 7, 'x' || i % 3 FROM generate_series(1, 500) i",
       "t", ""},
      {"UniqueIndexNotPrimary", "CREATE TABLE t (id int PRIMARY KEY, k bigint NOT NULL UNIQUE, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT i, 10000 - i FROM generate_series(1, 300) i", "t", "[k]"},
      {"QuotedNames",
       "CREATE SCHEMA \"Odd Schema\"; CREATE TABLE \"Odd Schema\".\"T \"\"x\"\" $1\" (\"The Key\" bigint PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO \"Odd Schema\".\"T \"\"x\"\" $1\" SELECT i FROM generate_series(1, 300) i",
       "'\"Odd Schema\".\"T \"\"x\"\" $1\"'", ""},
      {"Partitioned",
       "CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (MINVALUE) TO (100); CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (100) TO (MAXVALUE); INSERT INTO t SELECT i FROM generate_series(1, 300) i",
       "t", ""},
      {"OneRow", "CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t VALUES (1)", "t", ""},
      {"Empty", "CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0)", "t", ""},
  };
  return cases;
}

class ExactlyOnceTest : public TargetTest, public ::testing::WithParamInterface<std::tuple<KeyCase, bool>> {
 protected:
  const KeyCase& key_case() const { return std::get<0>(GetParam()); }
  bool pooled() const { return std::get<1>(GetParam()); }

  std::string sql_table() const {
    std::string name = key_case().target;
    if (name.front() == '\'') name = name.substr(1, name.size() - 2);
    return name;
  }

  MigrationPlan Prepare(const std::string& where) {
    if (pooled()) UsePooledForm();
    sql_->Run(key_case().table);
    return PlanOf(absl::StrCat("sql_batch:\n  table: ", key_case().target, "\n  alias: b\n", key_case().key.empty() ? "" : absl::StrCat("  key: ", key_case().key, "\n"),
                               where.empty() ? "" : absl::StrCat("  where: ", where, "\n"), "  statement: |\n    UPDATE ", sql_table(), " AS b SET n = n + 1 WHERE {{batch}} -- done\n"));
  }

  std::string Count() { return sql_->Value("SELECT count(*) FROM " + sql_table()); }
  std::string CountOnce() { return sql_->Value("SELECT count(*) FROM " + sql_table() + " WHERE n = 1"); }
};

TEST_P(ExactlyOnceTest, EachRowIsDoneOnceAndCountedExactly) {
  const MigrationPlan plan = Prepare("");
  const Checkpoint checkpoint = Open(plan);
  ASSERT_EQ(checkpoint.lanes.size(), 1u);
  auto session = Lane(plan, checkpoint);
  const auto rows = Walk(*session, checkpoint.lanes[0], 37);
  MD_ASSERT_OK(rows);
  EXPECT_EQ(absl::StrCat(*rows), Count());
  EXPECT_EQ(CountOnce(), Count());
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint after, target_->TakeOver(Request()));
  EXPECT_EQ(absl::StrCat(after.rows_total), Count());
  EXPECT_TRUE(after.lanes[0].done());
}

TEST_P(ExactlyOnceTest, AnotherOwnerGoesOnAfterEverySubBatch) {
  const MigrationPlan plan = Prepare("");
  Checkpoint checkpoint = Open(plan);
  std::int64_t epoch = checkpoint.claim.epoch;
  for (int owner = 0; owner < 200 && !checkpoint.lanes[0].done(); ++owner) {
    auto session = Lane(plan, checkpoint);
    MD_ASSERT_OK(Walk(*session, checkpoint.lanes[0], 50, false, 1));
    MD_ASSERT_OK_AND_ASSIGN(checkpoint, target_->TakeOver(Request()));
    EXPECT_GT(checkpoint.claim.epoch, epoch);
    epoch = checkpoint.claim.epoch;
  }
  EXPECT_TRUE(checkpoint.lanes[0].done());
  EXPECT_EQ(CountOnce(), Count());
  EXPECT_EQ(absl::StrCat(checkpoint.rows_total), Count());
}

TEST_P(ExactlyOnceTest, LanesAreDisjointAndTogetherComplete) {
  const MigrationPlan plan = Prepare("");
  const Checkpoint checkpoint = Open(plan, /*lanes=*/3);
  std::int64_t rows = 0;
  for (std::size_t lane = 0; lane < checkpoint.lanes.size(); ++lane) {
    auto session = Lane(plan, checkpoint, lane);
    const auto walked = Walk(*session, checkpoint.lanes[lane], 20);
    MD_ASSERT_OK(walked);
    rows += *walked;
  }
  const bool cut = key_case().name != "OneRow" && key_case().name != "Empty";
  EXPECT_EQ(checkpoint.lanes.size(), cut ? 3u : 1u);
  EXPECT_EQ(absl::StrCat(rows), Count());
  EXPECT_EQ(CountOnce(), Count());
}

TEST_P(ExactlyOnceTest, VerifyFindsNothingAfterExecuteAndRowsThatComeLater) {
  const MigrationPlan plan = Prepare("b.n = 0");
  Checkpoint checkpoint = Open(plan);
  {
    auto session = Lane(plan, checkpoint);
    MD_ASSERT_OK(Walk(*session, checkpoint.lanes[0], 50, /*check_where=*/true));
  }
  sql_->Run("UPDATE " + sql_table() + " SET n = 0");
  MD_ASSERT_OK_AND_ASSIGN(const auto ranges, target_->PlanLanes(plan, 1));
  MD_ASSERT_OK_AND_ASSIGN(checkpoint, target_->BeginPass(checkpoint.claim, 2, ranges));
  {
    auto session = Lane(plan, checkpoint);
    const auto found = Walk(*session, checkpoint.lanes[0], 50);
    MD_ASSERT_OK(found);
    EXPECT_EQ(absl::StrCat(*found), Count());
  }
  MD_ASSERT_OK_AND_ASSIGN(checkpoint, target_->BeginPass(checkpoint.claim, 3, ranges));
  auto session = Lane(plan, checkpoint);
  const auto again = Walk(*session, checkpoint.lanes[0], 50);
  MD_ASSERT_OK(again);
  EXPECT_EQ(*again, 0);
  EXPECT_EQ(CountOnce(), Count());
}

INSTANTIATE_TEST_SUITE_P(Keys, ExactlyOnceTest, ::testing::Combine(::testing::ValuesIn(KeyCases()), ::testing::Bool()),
                         [](const auto& info) { return std::get<0>(info.param).name + (std::get<1>(info.param) ? "Pooled" : "Direct"); });

class StatementTest : public TargetTest, public ::testing::WithParamInterface<bool> {
 protected:
  void SetUp() override {
    if (GetParam()) UsePooledForm();
  }
};

TEST_P(StatementTest, AWhereThatStaysTrueCommitsNothing) {
  sql_->Run("CREATE TABLE t (id bigint PRIMARY KEY, n int, m int); INSERT INTO t SELECT i, NULL FROM generate_series(1, 100) i");
  const MigrationPlan plan = PlanOf("sql_batch: {table: t, alias: b, where: b.n IS NULL, statement: 'UPDATE t AS b SET m = 1 WHERE {{batch}}'}");
  const Checkpoint checkpoint = Open(plan);
  auto session = Lane(plan, checkpoint);
  const auto rows = Walk(*session, checkpoint.lanes[0], 10, /*check_where=*/true);
  EXPECT_EQ(SqlStateOf(rows.status()), kSqlStateWhereNotSatisfied);
  EXPECT_EQ(sql_->Value("SELECT count(*) FROM t WHERE m = 1"), "0");
  EXPECT_EQ(sql_->Value("SELECT cursor IS NULL FROM migration_control.lane"), "t");
}

TEST_P(StatementTest, RowsThatVerifyLeavesAreRecordedByKeyOnceAndLeftAlone) {
  sql_->Run("CREATE TABLE t (id bigint PRIMARY KEY, n int, tries int DEFAULT 0); INSERT INTO t SELECT i, CASE WHEN i % 10 = 0 THEN -1 END FROM generate_series(1, 100) i");
  const MigrationPlan plan = PlanOf(
      "sql_batch: {table: t, alias: b, where: b.n IS NULL OR b.n < 0, statement: 'UPDATE t AS b SET n = coalesce(n, 1), tries = tries + 1 WHERE {{batch}}'}");
  Checkpoint checkpoint = Open(plan);
  MD_ASSERT_OK(Walk(*Lane(plan, checkpoint), checkpoint.lanes[0], 30, true));
  for (int pass = 2; pass <= 3; ++pass) {
    MD_ASSERT_OK_AND_ASSIGN(const auto ranges, target_->PlanLanes(plan, 1));
    MD_ASSERT_OK_AND_ASSIGN(checkpoint, target_->BeginPass(checkpoint.claim, pass, ranges));
    MD_ASSERT_OK(Walk(*Lane(plan, checkpoint), checkpoint.lanes[0], 30));
  }
  EXPECT_EQ(sql_->Value("SELECT count(*) FROM migration_control.failed_range WHERE kind = 'UNCHANGED'"), "10");
  EXPECT_EQ(sql_->Value("SELECT count(*) FROM migration_control.failed_range WHERE key = '{10}'"), "1");
  // Once in EXECUTE, once in the pass that recorded them, never again.
  EXPECT_EQ(sql_->Value("SELECT max(tries) FROM t"), "2");
  MD_ASSERT_OK_AND_ASSIGN(checkpoint, target_->TakeOver(Request()));
  EXPECT_EQ(checkpoint.unchanged_rows, 10);
  EXPECT_EQ(checkpoint.pass_affected, 0);
}

TEST_P(StatementTest, ADeferredConstraintFailsInTheSubBatchAndNotAtCommit) {
  sql_->Run("CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE t (id bigint PRIMARY KEY, p int REFERENCES p DEFERRABLE INITIALLY DEFERRED); INSERT INTO t SELECT i FROM generate_series(1, 20) i");
  const MigrationPlan plan = PlanOf("sql_batch: {table: t, alias: b, statement: 'UPDATE t AS b SET p = 99 WHERE {{batch}}'}");
  const Checkpoint checkpoint = Open(plan);
  EXPECT_EQ(SqlStateOf(Walk(*Lane(plan, checkpoint), checkpoint.lanes[0], 10).status()), "23503");
  EXPECT_EQ(sql_->Value("SELECT count(p) FROM t"), "0");
  EXPECT_EQ(sql_->Value("SELECT cursor IS NULL FROM migration_control.lane"), "t");
}

TEST_P(StatementTest, ATableReplacedUnderWayIsNotTouched) {
  sql_->Run("CREATE TABLE t (id bigint PRIMARY KEY, n int DEFAULT 0); INSERT INTO t SELECT i FROM generate_series(1, 20) i");
  const MigrationPlan plan = PlanOf("sql_batch: {table: t, alias: b, statement: 'UPDATE t AS b SET n = n + 1 WHERE {{batch}}'}");
  const Checkpoint checkpoint = Open(plan);
  auto session = Lane(plan, checkpoint);
  MD_ASSERT_OK_AND_ASSIGN(SubBatchRequest request, First(*session, checkpoint.lanes[0], 5));
  MD_ASSERT_OK_AND_ASSIGN(const SubBatchResult result, session->RunSubBatch(request));
  sql_->Run("ALTER TABLE t RENAME TO old; CREATE TABLE t (LIKE old INCLUDING ALL); INSERT INTO t SELECT i, 0 FROM generate_series(1, 20) i");
  request.old_cursor = request.new_cursor;
  request.new_cursor = result.next_bound;
  EXPECT_EQ(SqlStateOf(session->RunSubBatch(request).status()), kSqlStateSchemaChanged);
  EXPECT_EQ(sql_->Value("SELECT sum(n) FROM t"), "0");
  EXPECT_EQ(sql_->Value("SELECT sum(n) FROM old"), "5");
}

TEST_P(StatementTest, RowsChangedByATriggerDoNotCountAsAffected) {
  sql_->Run(
      "CREATE TABLE t (id bigint PRIMARY KEY, n int DEFAULT 0); INSERT INTO t SELECT i FROM generate_series(1, 50) i; CREATE TABLE log (id bigint); "
      "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (NEW.id), (NEW.id); RETURN NULL; END $$; "
      "CREATE TRIGGER note AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note()");
  const MigrationPlan plan = PlanOf("sql_batch: {table: t, alias: b, statement: 'UPDATE t AS b SET n = n + 1 WHERE {{batch}} AND id % 2 = 0'}");
  const Checkpoint checkpoint = Open(plan);
  const auto rows = Walk(*Lane(plan, checkpoint), checkpoint.lanes[0], 7);
  MD_ASSERT_OK(rows);
  EXPECT_EQ(*rows, 25);
  EXPECT_EQ(sql_->Value("SELECT rows FROM migration_control.migration WHERE name = 'm'"), "25");
}

TEST_P(StatementTest, ColumnsNamedLikeOurVariablesAreTheUsersColumns) {
  sql_->Run("CREATE TABLE t (id bigint PRIMARY KEY, md_affected int DEFAULT 5, md_at int DEFAULT 0, md_next int); INSERT INTO t SELECT i FROM generate_series(1, 30) i");
  const MigrationPlan plan = PlanOf("sql_batch: {table: t, alias: b, statement: 'UPDATE t AS b SET md_at = md_affected + 1, md_next = md_affected WHERE {{batch}}'}");
  const Checkpoint checkpoint = Open(plan);
  MD_ASSERT_OK(Walk(*Lane(plan, checkpoint), checkpoint.lanes[0], 7));
  EXPECT_EQ(sql_->Value("SELECT count(*) FROM t WHERE md_at = 6 AND md_next = 5"), "30");
}

TEST_P(StatementTest, DeleteAndInsertStatementsAreCountedToo) {
  sql_->Run("CREATE TABLE t (id bigint PRIMARY KEY); INSERT INTO t SELECT i FROM generate_series(1, 50) i; CREATE TABLE copy (id bigint)");
  const MigrationPlan copy = PlanOf("sql_batch: {table: t, alias: b, statement: 'INSERT INTO copy SELECT b.id FROM t AS b WHERE {{batch}}'}");
  const Checkpoint checkpoint = Open(copy);
  const auto rows = Walk(*Lane(copy, checkpoint), checkpoint.lanes[0], 9);
  MD_ASSERT_OK(rows);
  EXPECT_EQ(*rows, 50);
  EXPECT_EQ(sql_->Value("SELECT count(DISTINCT id) || '/' || count(*) FROM copy"), "50/50");
}

INSTANTIATE_TEST_SUITE_P(Forms, StatementTest, ::testing::Bool(), [](const auto& info) { return info.param ? "Pooled" : "Direct"; });

}  // namespace
}  // namespace migrationd
