// Orderly stops, and several processes on one control store.
#include <csignal>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/e2e/end_to_end.h"

namespace migrationd {
namespace {

class OrderlyStop : public EndToEnd, public ::testing::WithParamInterface<int> {};

TEST_P(OrderlyStop, ItExitsInTimeReleasesItsClaimAndAnotherGoesOnAtOnce) {
  constexpr int kRows = 20000;
  MakeCounter(kRows);
  // Long: whoever had to wait for its end would show it.
  ServerFixtureOptions options = Options();
  options.lease_ttl = absl::Minutes(2);
  StartServer(options);
  Define("count_rows", CounterYaml({.interval = "30ms"}));
  ASSERT_TRUE(PassesRows("count_rows", 100));
  ServerFixtureOptions beside = options;
  beside.migrations = server().migrations();
  ServerFixture second(beside);
  ASSERT_THAT(second.Start(), IsOk());
  const std::string owner = Get("count_rows").owner();

  const auto exit_status = server().Stop(GetParam(), absl::Seconds(10));
  ASSERT_THAT(exit_status, IsOk());
  EXPECT_EQ(*exit_status, 0) << server().Log();
  const std::int64_t rows = RowsDone("count_rows");
  ASSERT_LT(rows, kRows);
  ASSERT_TRUE(PassesRows("count_rows", rows, absl::Seconds(60))) << "the claim was not released";
  ASSERT_TRUE(WaitUntil([&] { return !Get(second, "count_rows").owner().empty(); }));
  EXPECT_NE(Get(second, "count_rows").owner(), owner);

  v1::SetBatchSizeRequest faster;
  faster.set_migration("count_rows");
  faster.set_batch_size(20000);
  faster.set_sub_batch_size(5000);
  ASSERT_THAT(Call(second, &v1::MigrationControl::Stub::SetBatchSize, faster), IsOk());
  ASSERT_TRUE(Reaches(second, "count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(kRows));
  EXPECT_EQ(Get(second, "count_rows").attempts(), 0) << "a stop uses no attempt";
}

TEST_P(OrderlyStop, ItDoesNotWaitForAStepThatTakesAnHourAndNeitherDoesTheDatabase) {
  MakeCounter(100);
  StartServer();
  Define("count_rows", CounterYaml() + "prepare: [SELECT pg_sleep(3600)]\n");
  const std::string sleepers =
      "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
  ASSERT_TRUE(WaitUntil([&] { return target().Number(sleepers) == 1; }));
  const auto exit_status = server().Stop(GetParam(), absl::Seconds(10));
  ASSERT_THAT(exit_status, IsOk());
  EXPECT_EQ(*exit_status, 0) << server().Log();
  EXPECT_TRUE(WaitUntil([&] { return target().Number(sleepers) == 0; }));
  EXPECT_EQ(target().Number("SELECT sum(n) FROM counter"), 0);
}

INSTANTIATE_TEST_SUITE_P(Signals, OrderlyStop, ::testing::Values(SIGTERM, SIGINT),
                         [](const ::testing::TestParamInfo<int>& info) {
                           return info.param == SIGTERM ? "SigTerm" : "SigInt";
                         });

class Replicas : public EndToEnd {};

TEST_F(Replicas, TwoProcessesShareTheWorkAndNoRowIsDoneTwice) {
  constexpr int kRows = 20000;
  constexpr int kMigrations = 4;
  for (int i = 1; i <= kMigrations; ++i) MakeCounter(kRows, absl::StrCat("counter_", i));
  ServerFixtureOptions options = Options();
  options.more_flags = {"--max-running-per-target", "4"};
  MakeServer(options);
  ServerFixtureOptions beside = options;
  beside.migrations = server().migrations();
  ServerFixture second(beside);
  // Both at once, also while the schema is made.
  ASSERT_THAT(server().Launch(), IsOk());
  ASSERT_THAT(second.Start(), IsOk());
  ASSERT_THAT(server().AwaitServing(), IsOk());
  for (int i = 1; i <= kMigrations; ++i) {
    server().WriteDefinition(absl::StrCat("2026010100000", i, "_count_", i, ".yaml"),
                             CounterYaml({.interval = "50ms"}, absl::StrCat("counter_", i)));
  }
  for (int i = 1; i <= kMigrations; ++i)
    ASSERT_TRUE(WaitUntil([&] { return RowsDone(absl::StrCat("count_", i)) > 0; }, kPatience)) << i;
  // A replica answers for the other one's work too, and takes verbs for it.
  for (ServerFixture* any : {&server(), &second}) {
    for (int i = 1; i <= kMigrations; ++i) {
      v1::PauseRequest pause;
      pause.set_migration(absl::StrCat("count_", i));
      pause.set_immediate(any == &second);
      const auto paused = Call(*any, &v1::MigrationControl::Stub::Pause, pause);
      ASSERT_THAT(paused, IsOk()) << "the table is too small: it was over";
      ASSERT_TRUE(WaitUntil([&] { return Get(*any, pause.migration()).state() == v1::STATE_PAUSED; }))
          << Get(*any, pause.migration()).ShortDebugString();
      v1::ResumeRequest resume;
      resume.set_migration(pause.migration());
      ASSERT_THAT(Call(any == &second ? server() : second, &v1::MigrationControl::Stub::Resume, resume), IsOk());
    }
  }
  for (int i = 1; i <= kMigrations; ++i) {
    ASSERT_TRUE(
        WaitUntil([&] { return target().True(absl::StrCat("SELECT migration_control.is_completed('count_", i, "')")); },
                  kPatience));
    EXPECT_TRUE(EachOnce(kRows, absl::StrCat("counter_", i)));
  }
}

TEST_F(Replicas, OneThatIsStoppedLikeAFrozenMachineNeverDoublesARowWhenItWakes) {
  constexpr int kRows = 60000;
  MakeCounter(kRows);
  StartServer();
  Define("count_rows", CounterYaml({.interval = "20ms"}));
  ASSERT_TRUE(PassesRows("count_rows", 100));
  const auto second = SecondServer();
  for (int i = 0; i < 3; ++i) {
    // The one that works sleeps through its lease; the other takes over; then it wakes in the middle of what it did.
    // One that has just woken up may still believe that it is the owner, so both are asked.
    std::string owner;
    ASSERT_TRUE(WaitUntil([&] {
      owner = Get(*second, "count_rows").owner();
      return !owner.empty() && owner == Get(server(), "count_rows").owner();
    }));
    const bool first_works = absl::StrContains(owner, absl::StrCat(":", server().process().pid(), ":"));
    ServerFixture& sleeper = first_works ? server() : *second;
    const std::int64_t rows = RowsDone("count_rows");
    const std::int64_t epoch = target().Number("SELECT epoch FROM migration_control.owner");
    sleeper.process().Signal(SIGSTOP);
    const bool taken_over = WaitUntil(
        [&] {
          return target().Number("SELECT epoch FROM migration_control.owner") > epoch && RowsDone("count_rows") > rows;
        },
        absl::Seconds(60));
    sleeper.process().Signal(SIGCONT);
    ASSERT_TRUE(taken_over) << owner << " slept and nobody took over; the second one logged:\n" << second->Log();
    ASSERT_LT(RowsDone("count_rows"), kRows) << "the table is too small: it was over";
  }
  v1::SetBatchSizeRequest faster;
  faster.set_migration("count_rows");
  faster.set_batch_size(20000);
  faster.set_sub_batch_size(5000);
  ASSERT_THAT(Call(*second, &v1::MigrationControl::Stub::SetBatchSize, faster), IsOk());
  ASSERT_TRUE(Reaches(*second, "count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(kRows));
}

}  // namespace
}  // namespace migrationd
