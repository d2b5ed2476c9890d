// kill -9, twenty times at random moments of a migration that shows every row done twice or left out: UPDATE t SET n =
// n + 1, without `where`.
#include <csignal>
#include <ostream>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/e2e/end_to_end.h"

namespace migrationd {
namespace {

struct CrashCase {
  bool same_database = false;  // control store and target
  bool uuid_key = false;
  int lanes = 1;
};

// Short, since test programs list it.
std::ostream& operator<<(std::ostream& out, const CrashCase& c) {
  return out << c.lanes << (c.lanes == 1 ? " lane" : " lanes");
}

std::string CaseName(const ::testing::TestParamInfo<CrashCase>& info) {
  return absl::StrCat(info.param.same_database ? "SameDatabase" : "TwoDatabases",
                      info.param.uuid_key ? "UuidKey" : "IntegerKey", info.param.lanes == 1 ? "OneLane" : "TwoLanes");
}

class Crash : public EndToEnd, public ::testing::WithParamInterface<CrashCase> {
 protected:
  static constexpr int kKills = 20;
  static constexpr int kRowsPerLane = 60000;
};

TEST_P(Crash, AfterTwentyKillsEveryRowIsDoneExactlyOnce) {
  const CrashCase& c = GetParam();
  const int rows = kRowsPerLane * c.lanes;
  target().Run(absl::StrCat("CREATE TABLE counter (id ", c.uuid_key ? "uuid" : "bigint",
                            " PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO counter (id) SELECT ",
                            c.uuid_key ? "gen_random_uuid()" : "i", " FROM generate_series(1, ", rows,
                            ") i; ANALYZE counter"));
  ServerFixtureOptions options = Options();
  if (c.same_database) options.control_url = target_url_;
  options.lease_ttl = absl::Seconds(1);
  MakeServer(options);
  Define("count_rows", CounterYaml({.batch_size = 100, .sub_batch_size = 10, .interval = "5ms", .lanes = c.lanes}));

  std::random_device seed_source;
  const unsigned seed = seed_source();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  std::int64_t before = 0;
  int counted = 0;
  for (int kill = 1; counted < kKills; ++kill) {
    SCOPED_TRACE(absl::StrCat("kill ", kill));
    ASSERT_LE(kill, kKills * 3) << "most kills found nothing done";
    ASSERT_THAT(server().Launch(), IsOk());
    if (kill % 5 == 0) {
      // At any moment: also while it starts, or takes over.
      absl::SleepFor(absl::Milliseconds(std::uniform_int_distribution<>(1, 1500)(random)));
    } else {
      // At any moment of the work: somewhere inside the next sub-batches, their commits and the rest between two
      // batches.
      ASSERT_TRUE(PassesRows("count_rows", before)) << server().Log();
      absl::SleepFor(absl::Microseconds(std::uniform_int_distribution<>(0, 150000)(random)));
    }
    server().Kill();
    const std::int64_t done = RowsDone("count_rows");
    if (done > before) ++counted;
    before = done;
    ASSERT_LT(done, rows) << "it was over after " << counted << " kills: the table is too small";
  }
  // What the target remembers and what is in the table are the same at any moment.
  ASSERT_TRUE(WaitUntil([&] { return LaneBackends() == 0; }, absl::Seconds(30)));
  EXPECT_EQ(target().Number("SELECT sum(n) FROM counter"), RowsDone("count_rows"));

  ASSERT_THAT(server().Start(), IsOk());
  ASSERT_TRUE(WaitUntil([&] { return SetBatchSize("count_rows", 20000, 5000).ok(); }, absl::Seconds(30)));
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(rows));
  EXPECT_EQ(Get("count_rows").progress().rows_done(), rows);
  EXPECT_TRUE(target().True("SELECT migration_control.is_completed('count_rows')"));
  EXPECT_GT(target().Number("SELECT epoch FROM migration_control.migration WHERE name = 'count_rows'"), kKills)
      << "each life takes over with an epoch of its own";
}

INSTANTIATE_TEST_SUITE_P(AllVariants, Crash,
                         ::testing::Values(CrashCase{false, false, 1}, CrashCase{false, false, 2},
                                           CrashCase{false, true, 1}, CrashCase{false, true, 2},
                                           CrashCase{true, false, 1}, CrashCase{true, false, 2},
                                           CrashCase{true, true, 1}, CrashCase{true, true, 2}),
                         CaseName);

}  // namespace
}  // namespace migrationd
