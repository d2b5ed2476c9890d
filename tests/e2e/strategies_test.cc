// The strategies PHYSICAL and DISTINCT, while an application writes to the table.
#include <atomic>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/e2e/end_to_end.h"

namespace migrationd {
namespace {

class StrategiesTest : public EndToEnd {
 protected:
  ~StrategiesTest() override { StopWriting(); }

  // Updates rows of moving one by one, at random: with each update a row goes to another place.
  void StartWriting(int rows) {
    writer_ = std::thread([this, rows] {
      Sql application(target_url_);
      while (!stop_) {
        application.Run(absl::StrCat("UPDATE moving SET noise = noise + 1, filler = repeat('y', 50 + noise % 200) WHERE n = 1 + floor(random() * ", rows, ")"));
        ++writes_;
      }
    });
  }
  void StopWriting() {
    stop_ = true;
    if (writer_.joinable()) writer_.join();
  }

  std::atomic<bool> stop_{false};
  std::atomic<int> writes_{0};
  std::thread writer_;
};

// Rows move before and behind the cursor, and in the middle the table gets a new file.
TEST_F(StrategiesTest, PhysicalDoesEveryRowOnceWhileRowsMoveAndTheTableIsRewritten) {
  constexpr int kRows = 20000;
  target().Run(absl::StrCat("CREATE TABLE moving (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), n int UNIQUE, times int NOT NULL DEFAULT 0, done boolean NOT NULL "
                            "DEFAULT false, noise int NOT NULL DEFAULT 0, filler text NOT NULL DEFAULT repeat('x', 100)) WITH (fillfactor = 60);"
                            "INSERT INTO moving (n) SELECT generate_series(1, ", kRows, "); ANALYZE moving"));
  StartServer();
  StartWriting(kRows);
  Define("fill_moving", absl::StrCat("sql_batch:\n  table: moving\n  alias: m\n  strategy: PHYSICAL\n  where: NOT m.done\n"
                                     "  statement: UPDATE moving AS m SET done = true, times = m.times + 1 WHERE {{batch}}\n",
                                     PaceYaml({.batch_size = 200, .sub_batch_size = 50, .interval = "20ms", .lanes = 2}), kSoonRetryYaml));
  ASSERT_TRUE(PassesRows("fill_moving", kRows / 10));
  ASSERT_EQ(target().Number("SELECT pass FROM migration_control.owner"), 1);
  EXPECT_EQ(Get("fill_moving").phase(), v1::PHASE_EXECUTE);
  EXPECT_EQ(target().Number("SELECT count(*) FROM migration_control.lane WHERE cursor[2] LIKE '(%,%)'"), 2) << "places, not keys";
  // What Status shows is up to a publish interval old.
  ASSERT_TRUE(WaitUntil([&] { return Get("fill_moving").progress().fraction() > 0; }));
  const double fraction = Get("fill_moving").progress().fraction();
  EXPECT_LT(fraction, 0.9);
  target().Run("VACUUM FULL moving");
  // Every place in it is another row's now: what is left is VERIFY's.
  ASSERT_TRUE(WaitUntil([&] { return target().Number("SELECT pass FROM migration_control.owner") >= 2; }));
  EXPECT_LT(target().Number("SELECT rows_before FROM migration_control.owner"), kRows / 2);
  Hurry("fill_moving");
  ASSERT_TRUE(Reaches("fill_moving", v1::STATE_COMPLETED));
  StopWriting();
  EXPECT_GT(writes_, 100);
  EXPECT_EQ(target().Number("SELECT count(*) FROM moving WHERE NOT done"), 0);
  EXPECT_EQ(target().Number("SELECT count(*) FROM moving WHERE times <> 1"), 0);
  EXPECT_EQ(Get("fill_moving").progress().rows_done(), kRows);
}

TEST_F(StrategiesTest, PhysicalGoesOnAtItsPlaceAfterPauseAndNamesBadRowsByTheirKey) {
  constexpr int kRows = 5000;
  target().Run(absl::StrCat("CREATE TABLE moving (id bigint PRIMARY KEY, n int, times int NOT NULL DEFAULT 0, done boolean NOT NULL DEFAULT false, noise int NOT NULL "
                            "DEFAULT 0, filler text NOT NULL DEFAULT '', CHECK (NOT done OR id <> 4321)); INSERT INTO moving (id, n) SELECT ", kRows,
                            " - i, i FROM generate_series(1, ", kRows, ") i; CREATE INDEX ON moving (n)"));
  StartServer();
  StartWriting(kRows);
  Define("fill_moving", absl::StrCat("sql_batch:\n  table: moving\n  strategy: PHYSICAL\n  where: NOT done\n"
                                     "  statement: UPDATE moving SET done = true, times = times + 1 WHERE {{batch}}\n",
                                     PaceYaml({.batch_size = 100, .sub_batch_size = 25, .interval = "10ms"}), kSoonRetryYaml));
  ASSERT_TRUE(PassesRows("fill_moving", kRows / 4));
  ASSERT_THAT(Pause("fill_moving"), IsOk());
  ASSERT_TRUE(Reaches("fill_moving", v1::STATE_PAUSED));
  const std::string place = target().Text("SELECT cursor FROM migration_control.lane");
  ASSERT_THAT(Resume("fill_moving"), IsOk());
  Hurry("fill_moving");
  ASSERT_TRUE(HaltsWith("fill_moving", "FAILED_RANGES"));
  EXPECT_NE(target().Text("SELECT cursor FROM migration_control.lane"), place);
  EXPECT_EQ(target().Text("SELECT string_agg(key::text, ' ') FROM migration_control.failed_range"), "{4321}");
  EXPECT_EQ(target().Number("SELECT count(*) FROM moving WHERE times <> 1"), 1);
  target().Run("ALTER TABLE moving DROP CONSTRAINT moving_check");
  ASSERT_THAT(Retry("fill_moving"), IsOk());
  ASSERT_TRUE(Reaches("fill_moving", v1::STATE_COMPLETED));
  EXPECT_EQ(target().Number("SELECT count(*) FROM moving WHERE times <> 1"), 0);
}

TEST_F(StrategiesTest, DistinctDoesAllRowsOfAValueTogether) {
  target().Run("CREATE TABLE counter (id bigserial PRIMARY KEY, tenant text NOT NULL, n int NOT NULL DEFAULT 0);"
               "INSERT INTO counter (tenant) SELECT 't' || i % 300 FROM generate_series(1, 6000) i; CREATE INDEX ON counter (tenant); ANALYZE counter");
  StartServer();
  Define("count_up", absl::StrCat("sql_batch:\n  table: counter\n  key: [tenant]\n  strategy: DISTINCT\n"
                                  "  statement: UPDATE counter SET n = n + 1 WHERE {{batch}}\n",
                                  PaceYaml({.batch_size = 20, .sub_batch_size = 5, .interval = "10ms", .lanes = 2})));
  ASSERT_TRUE(PassesRows("count_up", 500));
  EXPECT_EQ(target().Number("SELECT count(*) FROM (SELECT tenant FROM counter GROUP BY tenant HAVING min(n) <> max(n)) AS torn"), 0);
  Hurry("count_up");
  ASSERT_TRUE(Reaches("count_up", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(6000));
}

}  // namespace
}  // namespace migrationd
