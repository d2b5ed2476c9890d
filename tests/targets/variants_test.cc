// The protocol's rivals, each shown to fail by the very schedule that the real one survives: so these schedules would notice if a
// protection were lost. Plain SQL, two sessions, no product code.
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/targets/target_fixture.h"

namespace migrationd {
namespace {

class VariantsTest : public ::testing::Test {
 protected:
  VariantsTest() : url_(FreshDatabase()), zombie_(url_), successor_(url_), judge_(url_) {
    judge_.Run("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT i FROM generate_series(1, 20) i");
    judge_.Run("CREATE TABLE fence (epoch int, cursor int); INSERT INTO fence VALUES (1, 0)");
  }
  std::string MostOften() { return judge_.Value("SELECT max(n) FROM t"); }

  const std::string url_;
  Sql zombie_;
  Sql successor_;
  Sql judge_;
};

constexpr char kWork[] = "UPDATE t SET n = n + 1 WHERE id > 0 AND id <= 10";

// A lease and a cursor elsewhere: the zombie is paused between its lease check and its work.
TEST_F(VariantsTest, ALeaseAloneDoublesRows) {
  const bool lease_is_mine = judge_.Value("SELECT epoch = 1 FROM fence") == "t";
  // ... the zombie is stopped here; another takes the lease, reads the cursor (0) and works.
  successor_.Run("UPDATE fence SET epoch = 2");
  successor_.Run(kWork);
  if (lease_is_mine) zombie_.Run(kWork);
  EXPECT_EQ(MostOften(), "2");
}

// The epoch read by a plain SELECT inside the transaction: the takeover slips in before COMMIT.
TEST_F(VariantsTest, APlainEpochCheckInTheTransactionDoublesRows) {
  for (const char* isolation : {"READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"}) {
    judge_.Run("UPDATE t SET n = 0; UPDATE fence SET epoch = 1, cursor = 0");
    zombie_.Run(absl::StrCat("BEGIN ISOLATION LEVEL ", isolation));
    EXPECT_EQ(zombie_.Value("SELECT epoch FROM fence"), "1");
    successor_.Run("UPDATE fence SET epoch = 2");
    // The successor reads cursor 0 and will do rows 1 to 10 after the zombie has committed them.
    EXPECT_EQ(successor_.Value("SELECT cursor FROM fence"), "0");
    zombie_.Run(kWork);
    // It does not write the fence row, so nothing makes it fail.
    EXPECT_EQ(zombie_.State("COMMIT"), "00000") << isolation;
    successor_.Run(kWork);
    EXPECT_EQ(MostOften(), "2") << isolation;
  }
}

// A cursor that is set without being compared: after a failover that lost a commit, rows are skipped.
TEST_F(VariantsTest, ABlindCursorSkipsRowsAfterARewind) {
  const auto advance = [&](int from, int to) {
    zombie_.Run(absl::StrCat("BEGIN; UPDATE t SET n = n + 1 WHERE id > ", from, " AND id <= ", to, "; UPDATE fence SET cursor = ", to, " WHERE epoch = 1; COMMIT"));
  };
  advance(0, 10);
  // The new primary never saw that commit.
  judge_.Run("UPDATE t SET n = 0; UPDATE fence SET cursor = 0");
  advance(10, 20);
  EXPECT_EQ(judge_.Value("SELECT cursor FROM fence"), "20");
  EXPECT_EQ(judge_.Value("SELECT count(*) FROM t WHERE n = 0"), "10");
}

// A commit whose answer was lost and that is sent again.
TEST_F(VariantsTest, SendingALostCommitAgainDoublesRows) {
  const std::string batch = absl::StrCat("BEGIN; ", kWork, "; UPDATE fence SET cursor = 10 WHERE epoch = 1; COMMIT");
  zombie_.Run(batch);
  // The connection broke before the answer: "it failed, so again".
  successor_.Run(batch);
  EXPECT_EQ(MostOften(), "2");
}

// The same schedule as APlainEpochCheck..., with the check-and-set: the zombie is rolled back.
TEST_F(VariantsTest, TheCheckAndSetSurvivesTheSameSchedules) {
  zombie_.Run("BEGIN");
  zombie_.Run(kWork);
  successor_.Run("UPDATE fence SET epoch = 2");
  EXPECT_EQ(zombie_.Value("WITH moved AS (UPDATE fence SET cursor = 10 WHERE epoch = 1 AND cursor = 0 RETURNING 1) SELECT count(*) FROM moved"), "0");
  zombie_.Run("ROLLBACK");
  successor_.Run(kWork);
  EXPECT_EQ(MostOften(), "1");
}

}  // namespace
}  // namespace migrationd
