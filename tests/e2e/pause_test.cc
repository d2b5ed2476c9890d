// After an OK from Pause nothing later contradicts it, and Resume goes on without losing or doubling a row.
#include <cstdlib>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tests/e2e/end_to_end.h"

namespace migrationd {
namespace {

// MIGRATIOND_PAUSE_TRIES=1000 proves by hand what few tries watch over in every run.
int PauseTries() {
  const char* text = std::getenv("MIGRATIOND_PAUSE_TRIES");
  int tries = 0;
  return text != nullptr && absl::SimpleAtoi(text, &tries) && tries > 0 ? tries : 30;
}

class PauseTest : public EndToEnd {
 protected:
  // What the target says of a migration and its table, in one snapshot.
  struct Reading {
    std::int64_t rows_done = 0;
    std::int64_t sum = 0;
    friend bool operator==(const Reading& a, const Reading& b) { return a.rows_done == b.rows_done && a.sum == b.sum; }
    friend std::ostream& operator<<(std::ostream& out, const Reading& r) {
      return out << r.rows_done << " rows done, sum " << r.sum;
    }
  };
  Reading Read() {
    const auto row = target()
                         .Rows(
                             "SELECT (SELECT sum(rows) FROM migration_control.lane WHERE migration = 'count_rows'), "
                             "(SELECT sum(n) FROM counter)")
                         .at(0);
    return {std::stoll(row[0]), std::stoll(row[1])};
  }
  std::int64_t WorkingBackends() {
    return target().Number(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE "
        "'migrationd%' "
        "AND (xact_start IS NOT NULL OR backend_xmin IS NOT NULL OR state = 'active')");
  }
};

TEST_F(PauseTest, NothingCommitsWhilePausedAndResumeCompletesEachRowOnce) {
  constexpr int kRows = 20000;
  MakeCounter(kRows);
  StartServer();
  Define("count_rows", CounterYaml({.interval = "30ms"}));
  ASSERT_TRUE(PassesRows("count_rows", 200));

  const auto paused = Pause("count_rows");
  ASSERT_THAT(paused, IsOk());
  EXPECT_THAT(paused->migration().state(), ::testing::AnyOf(v1::STATE_PAUSING, v1::STATE_PAUSED));
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_PAUSED, absl::Seconds(30)));
  EXPECT_TRUE(NothingCommits("count_rows", absl::Seconds(2)));
  EXPECT_EQ(Read().rows_done, Read().sum);
  EXPECT_LT(Read().sum, kRows) << "it was over before it was paused: the test shows nothing";
  EXPECT_EQ(LaneBackends(), 0) << "a paused migration holds a connection";
  EXPECT_TRUE(WaitUntil([&] { return WorkingBackends() == 0; }, absl::Seconds(10)))
      << "a paused migration holds a transaction";
  const v1::Migration seen = Get("count_rows");
  EXPECT_EQ(seen.progress().rows_done(), Read().rows_done);
  EXPECT_EQ(seen.backends_size(), 0);
  EXPECT_EQ(seen.intent().reason(), "a test");

  const auto again = Pause("count_rows");
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->migration().state(), v1::STATE_PAUSED);
  EXPECT_EQ(again->migration().revision(), seen.revision()) << "asking again changed something";

  ASSERT_THAT(Resume("count_rows"), IsOk());
  Hurry("count_rows");
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(kRows));
  EXPECT_EQ(Get("count_rows").progress().rows_done(), kRows);
}

TEST_F(PauseTest, PlainPauseLetsTheSubBatchInFlightCommit) {
  MakeCounter(2000);
  StartServer();
  Define("count_rows", absl::StrCat("sql_batch:\n  table: counter\n  statement: UPDATE counter SET n = n + 1 WHERE "
                                    "{{batch}}\nlock_timeout: 1m\nstatement_timeout: 1m\n",
                                    PaceYaml({})));
  ASSERT_TRUE(PassesRows("count_rows", 100));
  // Whatever comes next waits for this lock.
  Sql blocker(target_url_);
  blocker.Run("BEGIN; LOCK TABLE counter IN SHARE MODE");
  ASSERT_TRUE(WaitUntil([&] {
    return target().True(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE 'migrationd/%' AND wait_event_type = "
        "'Lock')");
  }));
  const std::int64_t before = RowsDone("count_rows");

  const auto pausing = Pause("count_rows");
  ASSERT_THAT(pausing, IsOk());
  EXPECT_EQ(pausing->migration().state(), v1::STATE_PAUSING);
  EXPECT_TRUE(StaysTrue([&] { return Get("count_rows").state() == v1::STATE_PAUSING; }, absl::Milliseconds(500)));
  blocker.Run("COMMIT");
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_PAUSED, absl::Seconds(30)));
  EXPECT_EQ(RowsDone("count_rows"), before + 10) << "one sub-batch was in flight, and no more";
  EXPECT_TRUE(NothingCommits("count_rows", absl::Milliseconds(500)));
}

TEST_F(PauseTest, ImmediatePauseEndsASubBatchThatWaitsForALock) {
  constexpr int kRows = 2000;
  MakeCounter(kRows);
  StartServer();
  Define("count_rows", absl::StrCat("sql_batch:\n  table: counter\n  statement: UPDATE counter SET n = n + 1 WHERE "
                                    "{{batch}}\nlock_timeout: 1m\nstatement_timeout: 1m\n",
                                    PaceYaml({})));
  ASSERT_TRUE(PassesRows("count_rows", 100));
  Sql blocker(target_url_);
  blocker.Run("BEGIN; LOCK TABLE counter IN SHARE MODE");
  ASSERT_TRUE(WaitUntil([&] {
    return target().True(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE 'migrationd/%' AND wait_event_type = "
        "'Lock')");
  }));
  const Reading before = Read();

  const auto paused = Pause("count_rows", /*immediate=*/true);
  ASSERT_THAT(paused, IsOk());
  EXPECT_EQ(paused->migration().state(), v1::STATE_PAUSED);
  EXPECT_GT(paused->quiesced_at().seconds(), 0);
  blocker.Run("COMMIT");
  EXPECT_EQ(Read(), before);
  EXPECT_TRUE(NothingCommits("count_rows", absl::Seconds(1)));

  ASSERT_THAT(Resume("count_rows"), IsOk());
  Hurry("count_rows");
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(kRows));
}

TEST_F(PauseTest, NothingEverCommitsAfterAnImmediatePauseAnswered) {
  const int tries = PauseTries();
  const int rows = 2000 * tries;
  MakeCounter(rows);
  StartServer();
  Define("count_rows", CounterYaml({.batch_size = 5000, .sub_batch_size = 5, .interval = "0s"}));
  for (int attempt = 1; attempt <= tries; ++attempt) {
    SCOPED_TRACE(absl::StrCat("try ", attempt));
    ASSERT_TRUE(PassesRows("count_rows", attempt == 1 ? 0 : Read().rows_done));
    const auto paused = Pause("count_rows", /*immediate=*/true);
    ASSERT_THAT(paused, IsOk());
    const Reading at_once = Read();
    ASSERT_EQ(paused->migration().state(), v1::STATE_PAUSED) << "the table is too small: it was over";
    ASSERT_EQ(at_once.rows_done, at_once.sum);
    ASSERT_TRUE(WaitUntil([&] { return WorkingBackends() == 0; }, absl::Seconds(10)));
    ASSERT_EQ(Read(), at_once) << "something committed after the answer";
    ASSERT_THAT(Resume("count_rows"), IsOk());
  }
  Hurry("count_rows");
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(rows));
}

TEST_F(PauseTest, APauseWithAnEndIsOverByItself) {
  MakeCounter(20000);
  StartServer();
  Define("count_rows", CounterYaml({.interval = "30ms"}));
  ASSERT_TRUE(PassesRows("count_rows", 50));
  v1::PauseRequest request;
  request.set_migration("count_rows");
  request.mutable_until()->set_seconds(absl::ToUnixSeconds(absl::Now()) + 3);
  ASSERT_THAT(Call(server(), &v1::MigrationControl::Stub::Pause, request), IsOk());
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_PAUSED, absl::Seconds(30)));
  ASSERT_TRUE(WaitUntil([&] { return Get("count_rows").state() != v1::STATE_PAUSED; }, absl::Seconds(60)));
  Hurry("count_rows");
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(20000));
}

}  // namespace
}  // namespace migrationd
