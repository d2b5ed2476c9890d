// Definitions with `where`: rows that still need the work, and what becomes of those that the work leaves as they are.
#include "absl/strings/str_cat.h"
#include "tests/e2e/end_to_end.h"

namespace migrationd {
namespace {

class WhereTest : public EndToEnd {
 protected:
  static constexpr int kRows = 4000;
  static constexpr int kStubborn = 40;

  // fill(id, n): n is to become 1 wherever it is NULL; a row that is stubborn stays NULL.
  void MakeTable() {
    target().Run(
        absl::StrCat("CREATE TABLE fill (id bigint PRIMARY KEY, n int, times int NOT NULL DEFAULT 0, stubborn boolean "
                     "NOT NULL DEFAULT false);"
                     "INSERT INTO fill (id, stubborn) SELECT i, i % 100 = 0 FROM generate_series(1, ",
                     kRows, ") i; ANALYZE fill"));
  }
  std::string Yaml(const std::string& on_unchanged,
                   const TestPace& pace = {.batch_size = 1000, .sub_batch_size = 100, .interval = "0s"}) {
    return absl::StrCat(
        "sql_batch:\n"
        "  table: fill\n"
        "  alias: f\n"
        "  where: f.n IS NULL\n"
        "  statement: UPDATE fill AS f SET n = CASE WHEN f.stubborn THEN NULL ELSE 1 END, times = f.times + 1 WHERE "
        "{{batch}}\n"
        "  on_unchanged: ",
        on_unchanged, "\n", PaceYaml(pace), kSoonRetryYaml);
  }
};

TEST_F(WhereTest, AStatementThatNeverMakesWhereFalseIsHaltedWithNothingCommitted) {
  target().Run(
      "CREATE TABLE fill (id bigint PRIMARY KEY, n int, m int NOT NULL DEFAULT 0); INSERT INTO fill (id) SELECT "
      "generate_series(1, 1000)");
  StartServer();
  Define("fill_n",
         absl::StrCat(
             "sql_batch:\n  table: fill\n  where: n IS NULL\n  statement: UPDATE fill SET m = m + 1 WHERE {{batch}}\n",
             PaceYaml({})));
  ASSERT_TRUE(HaltsWith("fill_n", "WHERE_NOT_SATISFIED"));
  EXPECT_EQ(target().Number("SELECT sum(m) FROM fill"), 0);
  EXPECT_EQ(RowsDone("fill_n"), 0);
}

TEST_F(WhereTest, RowsLeftAsTheyAreHaltItAndAcceptCompletesIt) {
  MakeTable();
  StartServer();
  Define("fill_n", Yaml("HALT"));
  ASSERT_TRUE(HaltsWith("fill_n", "ROWS_LEFT"));
  EXPECT_EQ(Get("fill_n").unchanged_rows(), kStubborn);
  EXPECT_EQ(target().Number("SELECT count(*) FROM fill WHERE n IS NULL"), kStubborn);
  EXPECT_EQ(target().Number("SELECT count(*) FROM migration_control.failed_range"), kStubborn);
  EXPECT_EQ(target().Text("SELECT migration_control.is_completed('fill_n')"), "f");

  const CommandResult accepted = Migrationctl({"accept", "fill_n"});
  ASSERT_EQ(accepted.exit_status, 0) << accepted.err;
  ASSERT_TRUE(WaitUntil([&] { return Get("fill_n").state() == v1::STATE_COMPLETED; }));
  EXPECT_EQ(Get("fill_n").accepted_rows(), kStubborn);
  // The data's own database says so as well.
  EXPECT_TRUE(WaitUntil([&] { return target().True("SELECT migration_control.is_completed('fill_n')"); }));
}

TEST_F(WhereTest, RowsLeftAreDoneByRetryOnceTheyAreRepaired) {
  MakeTable();
  StartServer();
  Define("fill_n", Yaml("HALT"));
  ASSERT_TRUE(HaltsWith("fill_n", "ROWS_LEFT"));
  target().Run("UPDATE fill SET stubborn = false");
  ASSERT_THAT(Retry("fill_n"), IsOk());
  ASSERT_TRUE(WaitUntil([&] { return Get("fill_n").state() != v1::STATE_HALTED; }));
  ASSERT_TRUE(Reaches("fill_n", v1::STATE_COMPLETED));
  EXPECT_EQ(target().Number("SELECT count(*) FROM fill WHERE n IS DISTINCT FROM 1"), 0);
  EXPECT_EQ(target().Number("SELECT max(times) FROM fill WHERE id % 100 <> 0"), 1)
      << "rows that were done are done again";
  EXPECT_EQ(Get("fill_n").unchanged_rows(), 0);
}

TEST_F(WhereTest, OnUnchangedAcceptCompletesAndCountsThem) {
  MakeTable();
  StartServer();
  Define("fill_n", Yaml("ACCEPT"));
  ASSERT_TRUE(Reaches("fill_n", v1::STATE_COMPLETED));
  EXPECT_EQ(Get("fill_n").accepted_rows(), kStubborn);
  EXPECT_EQ(target().Number("SELECT count(*) FROM fill WHERE n IS NULL"), kStubborn);
}

TEST_F(WhereTest, RowsInsertedBehindTheCursorAreFoundByVerify) {
  MakeTable();
  target().Run("UPDATE fill SET stubborn = false");
  StartServer();
  Define("fill_n", Yaml("HALT", {.batch_size = 100, .sub_batch_size = 20, .interval = "100ms"}));
  ASSERT_TRUE(PassesRows("fill_n", 200));
  // Below the smallest key at start, and rows that were done and need it again.
  target().Run(
      "INSERT INTO fill (id) SELECT -i FROM generate_series(1, 150) i; UPDATE fill SET n = NULL WHERE id BETWEEN 10 "
      "AND 19");
  // Above the largest one.
  target().Run(
      absl::StrCat("INSERT INTO fill (id) SELECT i FROM generate_series(", kRows + 1, ", ", kRows + 50, ") i"));
  EXPECT_EQ(target().Number("SELECT pass FROM migration_control.migration WHERE name = 'fill_n'"), 1)
      << "the inserts came too late to show anything";
  Hurry("fill_n");
  ASSERT_TRUE(Reaches("fill_n", v1::STATE_COMPLETED));
  EXPECT_EQ(target().Number("SELECT count(*) FROM fill WHERE n IS DISTINCT FROM 1"), 0);
  EXPECT_EQ(target().Number("SELECT count(*) FROM fill"), kRows + 200);
  EXPECT_EQ(target().Number("SELECT max(times) FROM fill WHERE id NOT BETWEEN 10 AND 19"), 1);
}

// Rows that others refer to cannot go: they are left out and named, and go when nothing refers to them any more.
TEST_F(WhereTest, DeleteRowsLeavesWhatOthersReferToAndSaysWhich) {
  MakeCounter(3000);
  target().Run("CREATE TABLE child (counter_id bigint REFERENCES counter); INSERT INTO child VALUES (10), (2999); UPDATE counter SET n = 1 WHERE id % 2 = 0");
  StartServer();
  Define("drop_even", "delete_rows: {table: public.counter, where: 'counter.n = {{param.state}}'}\n"
                      "parameters: [{name: state, type: integer, default: '1'}]\npace: {interval: 0s}\norder: INDEPENDENT\n");
  ASSERT_TRUE(HaltsWith("drop_even", "FAILED_RANGES"));
  EXPECT_EQ(Get("drop_even").failed_ranges(), 1);
  EXPECT_EQ(Get("drop_even").last_error().sqlstate(), "23503");
  EXPECT_EQ(target().Number("SELECT count(*) FROM counter"), 1501);
  target().Run("DELETE FROM child");
  ASSERT_THAT(Retry("drop_even"), IsOk());
  ASSERT_TRUE(Reaches("drop_even", v1::STATE_COMPLETED));
  EXPECT_EQ(target().Number("SELECT count(*) FROM counter"), 1500);
  EXPECT_EQ(target().Number("SELECT count(*) FROM counter WHERE n = 1"), 0);
  EXPECT_EQ(Get("drop_even").progress().rows_done(), 1500);
}

}  // namespace
}  // namespace migrationd
