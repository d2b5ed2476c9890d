// How a migration ends: whoever records it, nothing of what the definition says about its end is forgotten.
#include <prometheus/metric_family.h>

#include <map>

#include "absl/strings/str_cat.h"
#include "migrations/model/failure.h"
#include "tests/server/scheduler/scheduler_world.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

constexpr char kCleansUp[] = "cleanup: {statements: [DROP INDEX i], when: AUTO}\n";

class Ending : public ::testing::Test {
 protected:
  bool CleanedUp(const std::string& name) {
    return world_.PumpUntil([&] { return world_.Get(name).cleaned_up; });
  }

  SchedulerWorld world_;
};

TEST_F(Ending, IsCounted) {
  std::atomic<bool> lost = false;
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    return call == "RunSubBatch" && !lost.exchange(true) ? DatabaseError(kSqlStateFenced, "fenced") : absl::OkStatus();
  };
  world_.Add("count", EveryRowYaml());
  ASSERT_TRUE(world_.Reaches("count", State::kCompleted));
  std::map<std::string, double> sums;
  for (const auto& family : world_.metrics.Collect()) {
    for (const auto& metric : family.metric) sums[family.name] += metric.counter.value;
  }
  EXPECT_EQ(sums["migrationd_rows_total"], 100);
  EXPECT_EQ(sums["migrationd_sub_batches_total"], 10);
  EXPECT_EQ(sums["migrationd_takeovers_total"], 2);
  EXPECT_EQ(sums["migrationd_fenced_commits_total"], 1);
  EXPECT_EQ(sums["migrationd_sub_batch_failures_total"], 1);
}

// Whoever waits for an end reads final numbers, not those of a second ago.
TEST_F(Ending, CompletedComesWithItsCounters) {
  world_.store.set_takes_progress(false);
  world_.Add("fill", WhereYaml());
  ASSERT_TRUE(world_.Reaches("fill", State::kCompleted));
  EXPECT_EQ(world_.Get("fill").progress.rows_done, 100);
  EXPECT_EQ(world_.Get("fill").progress.rows_estimated, 100);
  EXPECT_GT(world_.Get("fill").progress.sub_batches_done, 9);
}

TEST_F(Ending, PausedComesWithItsCounters) {
  world_.store.set_takes_progress(false);
  world_.Add("fill", "sql_batch: {table: public.t, where: NOT t.done, statement: 'UPDATE t SET done = true WHERE {{batch}}'}\n"
                     "pace: {batch_size: 10, sub_batch_size: 10, interval: 10s}\norder: INDEPENDENT\n");
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.database->Calls("RunSubBatch") > 0; }));
  MD_ASSERT_OK(world_.controller.Pause("fill", std::nullopt, /*immediate=*/false, ByAlice()));
  ASSERT_TRUE(world_.Reaches("fill", State::kPaused));
  EXPECT_GE(world_.Get("fill").progress.rows_done, 10);
}

TEST_F(Ending, HaltedComesWithItsCountersAndTheErrorsTime) {
  world_.store.set_takes_progress(false);
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    return call == "RunSubBatch" && world_.database->Calls("RunSubBatch") > 5 ? DatabaseError("42883", "no such function") : absl::OkStatus();
  };
  world_.Add("fill", WhereYaml());
  ASSERT_TRUE(world_.Reaches("fill", State::kHalted));
  const ProgressCounters progress = world_.Get("fill").progress;
  EXPECT_GE(progress.rows_done, 10);
  ASSERT_TRUE(progress.last_error.has_value());
  EXPECT_EQ(progress.last_error->sqlstate, "42883");
  EXPECT_GT(progress.last_error->at, absl::UnixEpoch());
}

TEST_F(Ending, CleansUpByItself) {
  world_.Add("fill", WhereYaml(kCleansUp));
  ASSERT_TRUE(world_.Reaches("fill", State::kCompleted));
  EXPECT_TRUE(CleanedUp("fill"));
  EXPECT_THAT(world_.database->StepsRun(), ::testing::ElementsAre("cleanup/0"));
}

TEST_F(Ending, ThatOnlyTheTargetRecordedIsRecordedInFullByTheNextOwner) {
  std::atomic<bool> lost = false;
  world_.database->after = [&](const std::string& call, const std::stop_token&) {
    // The target has it; its answer is that another owner took over, so everything is opened anew.
    if (call != "Barrier(completed)" || lost.exchange(true)) return absl::OkStatus();
    return DatabaseError(kSqlStateFenced, "fenced");
  };
  world_.database->MakeStubborn(7);
  world_.Add("fill", absl::StrCat("sql_batch:\n  table: public.t\n  where: NOT t.done\n  on_unchanged: ACCEPT\n",
                                  "  statement: UPDATE t SET done = true WHERE {{batch}}\norder: INDEPENDENT\n", kCleansUp));
  ASSERT_TRUE(world_.Reaches("fill", State::kCompleted));
  EXPECT_TRUE(lost);
  EXPECT_EQ(world_.database->Calls("Barrier(completed)"), 1) << "it was not found complete, but completed again";
  EXPECT_EQ(world_.Get("fill").accepted_rows, 1);
  EXPECT_TRUE(CleanedUp("fill"));
}

TEST_F(Ending, ByAnAcceptCleansUpByItself) {
  world_.database->MakeStubborn(7);
  world_.Add("fill", WhereYaml(kCleansUp));
  // Not later: the counters of the owner that halted it are recorded after the state.
  ASSERT_TRUE(world_.Reaches("fill", State::kHalted));
  MD_ASSERT_OK(world_.controller.Accept("fill", ByAlice()));
  EXPECT_EQ(world_.Get("fill").accepted_rows, 1);
  EXPECT_TRUE(CleanedUp("fill"));
}

TEST_F(Ending, ThatTheStoreRefusesIsNoFailureOfTheMigration) {
  // Cancelled when the target has it completed already.
  std::atomic<bool> cancelled = false;
  world_.database->after = [&](const std::string& call, const std::stop_token&) {
    if (call != "Barrier(completed)" || cancelled.exchange(true)) return absl::OkStatus();
    MD_EXPECT_OK(world_.elsewhere.Cancel("fill", ByAlice()));
    return absl::OkStatus();
  };
  world_.Add("fill", WhereYaml());
  ASSERT_TRUE(world_.Reaches("fill", State::kCancelled));
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.scheduler.run_count() == 0; }));
  EXPECT_EQ(world_.Get("fill").progress.attempts, 0);
  EXPECT_FALSE(world_.Get("fill").progress.last_error.has_value());
}

TEST_F(Ending, ACleanupThatCannotSucceedKeepsNoClaimAndSaysWhy) {
  std::atomic<bool> refuse = true;
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    return refuse && call == "RunStep" ? DatabaseError("42704", "index i does not exist") : absl::OkStatus();
  };
  world_.Add("fill", WhereYaml(kCleansUp));
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.database->Calls("RunStep") > 2 && world_.scheduler.run_count() == 0; }));
  const int tried = world_.database->Calls("RunStep");
  EXPECT_FALSE(world_.Spins());
  EXPECT_EQ(world_.database->Calls("RunStep"), tried);
  ASSERT_TRUE(world_.Get("fill").progress.last_error.has_value());
  EXPECT_EQ(world_.Get("fill").progress.last_error->sqlstate, "42704");
  EXPECT_GT(world_.Get("fill").progress.last_error->at, absl::UnixEpoch());
  refuse = false;
  EXPECT_TRUE(CleanedUp("fill"));
}

TEST_F(Ending, ACleanupWaitsForTheEndOfAFreeze) {
  world_.Add("fill", WhereYaml("cleanup: {statements: [DROP INDEX i]}\n"));
  ASSERT_TRUE(world_.Reaches("fill", State::kCompleted));
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.scheduler.run_count() == 0; }));
  MD_ASSERT_OK(world_.controller.Freeze({.target = "", .actor = "alice", .reason = "", .since = absl::InfinitePast(), .until = std::nullopt}, ByAlice()));
  MD_ASSERT_OK(world_.controller.Cleanup("fill", ByAlice()));
  world_.RoundsAtOnce(20);
  EXPECT_EQ(world_.scheduler.run_count(), 0U);
  MD_ASSERT_OK(world_.controller.Unfreeze("", ByAlice()));
  EXPECT_TRUE(CleanedUp("fill"));
}

}  // namespace
}  // namespace migrationd
