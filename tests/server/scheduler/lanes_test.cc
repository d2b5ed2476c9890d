// Lanes that change while they run, and what the time is spent on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "migrations/model/failure.h"
#include "migrations/model/time_account.h"
#include "tests/server/scheduler/scheduler_world.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

class Lanes : public ::testing::Test {
 protected:
  BoardEntry Shown(const std::string& name) { return *Resolve(*world_.board.Get(), name); }
  std::size_t LanesOf(const std::string& name) { return Shown(name).stored.migration.progress.lanes.size(); }
  int RowsDone() {
    const std::vector<int> times = world_.database->Times();
    return static_cast<int>(std::count_if(times.begin(), times.end(), [](int n) { return n > 0; }));
  }
  void SetPace(const std::string& name, std::int32_t lanes) {
    PaceRequest request;
    request.settings.lanes = lanes;
    MD_ASSERT_OK(world_.controller.SetPace(name, request, ByAlice()));
  }
  // COMPLETED is recorded first, the run's last counters with the end of its claim.
  bool LastWordsAreRecorded(const std::string& name) {
    return world_.PumpUntil([&] { return world_.Get(name).progress.rows_done == 4000; });
  }
  // Slow enough to be met under way.
  void Begin(int lanes) {
    world_.Add("a", EveryRowYaml("", lanes));
    ASSERT_TRUE(world_.PumpUntil([&] { return RowsDone() > 0; }));
  }

  SchedulerWorld world_{4000};
};

TEST_F(Lanes, MoreOfThemCutWhatIsLeftAndEachRowIsDoneOnce) {
  Begin(1);
  SetPace("a", 4);
  ASSERT_TRUE(world_.PumpUntil([&] { return LanesOf("a") >= 4 || world_.StateOf("a") == State::kCompleted; }));
  ASSERT_EQ(world_.StateOf("a"), State::kRunning) << "over before they were cut";
  EXPECT_LT(RowsDone(), 4000);
  ASSERT_TRUE(world_.Reaches("a", State::kCompleted));
  EXPECT_TRUE(world_.EachRow(1));
  EXPECT_TRUE(LastWordsAreRecorded("a"));
}

TEST_F(Lanes, FewerOfThemLeaveTheOthersForLater) {
  Begin(4);
  SetPace("a", 1);
  ASSERT_TRUE(world_.PumpUntil([&] { return Shown("a").stored.migration.pace_override.has_value(); }));
  ASSERT_TRUE(world_.Reaches("a", State::kCompleted));
  EXPECT_TRUE(world_.EachRow(1));
}

TEST_F(Lanes, ACutThatIsLostOnTheWayIsFoundOutByTakingOver) {
  world_.database->after = [&, lost = std::make_shared<std::atomic<bool>>(false)](const std::string& call, const std::stop_token&) -> absl::Status {
    if (call != "SplitLanes" || lost->exchange(true)) return absl::OkStatus();
    return DatabaseError("", "the connection broke");
  };
  Begin(1);
  SetPace("a", 4);
  ASSERT_TRUE(world_.Reaches("a", State::kCompleted));
  EXPECT_TRUE(world_.EachRow(1));
  EXPECT_EQ(world_.database->Calls("TakeOver"), 2);
}

TEST_F(Lanes, WhereThereIsNothingToCutTheyDoNotSpin) {
  world_.database->before = [](const std::string& call, const std::stop_token&) -> absl::Status {
    return call == "SplitLanes" ? DatabaseError("55P03", "lock not available") : absl::OkStatus();
  };
  Begin(1);
  SetPace("a", 8);
  ASSERT_TRUE(world_.Reaches("a", State::kCompleted));
  EXPECT_TRUE(world_.EachRow(1));
  EXPECT_LE(world_.database->Calls("SplitLanes"), 20);
}

TEST_F(Lanes, VerifyShowsHowFarItsOwnPassIs) {
  world_.Add("a", WhereYaml());
  std::vector<double> shown;
  ASSERT_TRUE(world_.PumpUntil([&] {
    const Migration now = Shown("a").stored.migration;
    if (now.state == State::kRunning && now.progress.pass == 2) shown.push_back(now.progress.fraction);
    return now.state == State::kCompleted;
  }));
  ASSERT_FALSE(shown.empty());
  EXPECT_LT(shown.front(), 0.5) << "not what EXECUTE left";
}

TEST_F(Lanes, TheTimeSumsToTheWallTimeThroughPausesAndRests) {
  Begin(2);
  MD_ASSERT_OK(world_.controller.Pause("a", std::nullopt, /*immediate=*/false, ByAlice()));
  ASSERT_TRUE(world_.Reaches("a", State::kPaused));
  // The owner's last words come a moment after the state.
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.scheduler.run_count() == 0; }));
  world_.clock.Advance(absl::Seconds(30));
  world_.store.Advance(absl::Seconds(30));
  MD_ASSERT_OK(world_.controller.Resume("a", ByAlice()));
  ASSERT_TRUE(world_.Reaches("a", State::kCompleted));
  ASSERT_TRUE(LastWordsAreRecorded("a"));
  const Migration done = world_.Get("a");
  const TimeShares account = TimeAccountAt(done, *done.finished_at + absl::Hours(1));
  double sum = 0;
  for (const auto& [word, seconds] : account) sum += seconds;
  const double wall = absl::ToDoubleSeconds(*done.finished_at - *done.started_at);
  EXPECT_NEAR(sum, wall, wall / 100);
  ASSERT_EQ(account.count("PAUSED"), 1);
  EXPECT_GE(account.at("PAUSED"), 29);
}

}  // namespace
}  // namespace migrationd
