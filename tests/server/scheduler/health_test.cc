// What the health of a target does to the migrations there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "absl/strings/str_cat.h"
#include "migrations/model/failure.h"
#include "tests/server/scheduler/scheduler_world.h"

namespace migrationd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

Reading Lag() {
  return {.signal = "replica_lag", .value = 31, .limit = 30, .unit = "s", .at = absl::FromUnixSeconds(1'800'000'000), .detail = "replica standby"};
}

HealthVerdict Stopped(bool stale = false) {
  HealthVerdict verdict;
  verdict.read_at = absl::FromUnixSeconds(1'000'000);
  verdict.stop = HealthStop{.reason = "replica_lag 31 s, limit 30 s (replica standby)", .readings = {Lag()}, .stale = stale};
  return verdict;
}

class SchedulerHealth : public ::testing::Test {
 protected:
  void Say(const HealthVerdict& verdict) { world_.health.verdicts["main"] = std::make_shared<const HealthVerdict>(verdict); }
  BoardEntry Shown(const std::string& name) { return *Resolve(*world_.board.Get(), name); }
  Hold HoldOf(const std::string& name) { return Shown(name).stored.migration.hold; }
  int RowsDone() {
    int done = 0;
    for (const int times : world_.database->Times()) done += times > 0 ? 1 : 0;
    return done;
  }
  // Until the first rows are done, of many.
  bool Begins(const std::string& name, const std::string& extra = "") {
    world_.Add(name, EveryRowYaml(extra));
    return world_.PumpUntil([&] { return RowsDone() > 0; });
  }
  std::vector<EventRecord> PaceEvents(const std::string& name) {
    return world_.store.ListEvents(Shown(name).stored.migration.id, {"PACE"}, 0, 100)->events;
  }
  void Rounds(int rounds) {
    world_.PumpUntil([&, left = rounds]() mutable { return --left <= 0; });
  }

  SchedulerWorld world_{2000};
};

TEST_F(SchedulerHealth, ABudgetThatIsUsedUpHoldsWorkWithItsReadingAndLetsItGoOn) {
  ASSERT_TRUE(Begins("a"));
  Say(Stopped());
  ASSERT_TRUE(world_.PumpUntil([&] { return HoldOf("a").kind == HoldKind::kThrottled; }));
  EXPECT_EQ(HoldOf("a").reason, "replica_lag 31 s, limit 30 s (replica standby)");
  ASSERT_THAT(HoldOf("a").readings, SizeIs(1));
  EXPECT_EQ(HoldOf("a").readings[0].value, 31);
  EXPECT_TRUE(HoldOf("a").since.has_value());
  EXPECT_EQ(Shown("a").stored.migration.state, State::kRunning);
  Rounds(50);
  const int done = RowsDone();
  Rounds(300);
  EXPECT_EQ(RowsDone(), done) << "nothing begins";
  EXPECT_EQ(world_.board.Get()->targets.at("main").hold.kind, HoldKind::kThrottled);
  EXPECT_THAT(world_.health.watched.at("main").tables, ElementsAre("public.t")) << "it is looked at all the while";

  Say(HealthVerdict());
  EXPECT_TRUE(world_.Reaches("a", State::kCompleted));
  EXPECT_TRUE(world_.EachRow(1));
  // COMPLETED is recorded before the run ends.
  EXPECT_TRUE(world_.PumpUntil([&] { return world_.health.watched.empty(); })) << "nothing works there any more";
}

// Else one process shows THROTTLED and the other WAITING_TURN, in turns.
TEST_F(SchedulerHealth, ATargetWhereAnotherProcessWorksIsLookedAtToo) {
  ASSERT_TRUE(Begins("a"));
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.health.watched.count("main") != 0 && !world_.health.watched.at("main").claims.empty(); }));
  // The other process, which only sees the store.
  FakeHealth health;
  SchedulerOptions options;
  options.owner = "test:3:3";
  options.health = &health;
  Board board;
  Scheduler other(options, world_.store, world_.heartbeat_store, world_.targets, board, world_.workers, world_.steps, world_.metrics, world_.clock);
  other.RunOnce();
  ASSERT_EQ(health.watched.count("main"), 1u);
  EXPECT_THAT(health.watched.at("main").tables, ElementsAre("public.t"));
  EXPECT_THAT(health.watched.at("main").claims, SizeIs(0)) << "so it writes nothing there";
  EXPECT_FALSE(board.Get()->targets.at("main").known);
  health.verdicts["main"] = std::make_shared<const HealthVerdict>(Stopped());
  other.RunOnce();
  world_.clock.Advance(absl::Seconds(1));
  other.RunOnce();
  EXPECT_TRUE(board.Get()->targets.at("main").known);
  EXPECT_EQ(board.Get()->targets.at("main").hold.kind, HoldKind::kThrottled);
}

// Between the scheduler's read of the store and what it then shows, other threads register and delete.
class MeddlingHealth final : public HealthSource {
 public:
  explicit MeddlingHealth(std::function<void()> meddle) : meddle_(std::move(meddle)) {}
  void Watch(const std::map<std::string, TargetWork>&) override { meddle_(); }
  HealthVerdicts Verdicts() override { return {}; }
  std::vector<YieldNote> TakeYields() override { return {}; }

 private:
  const std::function<void()> meddle_;
};

TEST(SchedulerBoard, WhatWasRegisteredOrDeletedWhileTheStoreWasReadIsShownAtOnce) {
  SchedulerWorld world;
  world.Add("old", EveryRowYaml());
  ASSERT_TRUE(world.Reaches("old", State::kCompleted));
  ASSERT_TRUE(world.PumpUntil([&] { return world.scheduler.run_count() == 0; }));
  bool meddled = false;
  MeddlingHealth health([&] {
    if (std::exchange(meddled, true)) return;
    world.Add("new", EveryRowYaml("start: MANUAL\n"));
    EXPECT_TRUE(world.controller.Delete("old", ByAlice(), /*acknowledge_leftovers=*/true).ok());
  });
  SchedulerOptions options;
  options.owner = "test:3:3";
  options.health = &health;
  Scheduler other(options, world.store, world.heartbeat_store, world.targets, world.board, world.workers, world.steps, world.metrics, world.clock);
  // Not the time of what the board shows already.
  world.clock.Advance(absl::Seconds(1));
  other.RunOnce();
  ASSERT_TRUE(meddled);
  EXPECT_TRUE(Resolve(*world.board.Get(), "new").ok());
  EXPECT_FALSE(Resolve(*world.board.Get(), "old").ok());
  world.clock.Advance(absl::Seconds(2));
  other.RunOnce();
  EXPECT_TRUE(Resolve(*world.board.Get(), "new").ok());
  EXPECT_FALSE(Resolve(*world.board.Get(), "old").ok());
}

TEST_F(SchedulerHealth, OnlyMigrationsOfTheTableInDebtAreHeld) {
  ASSERT_TRUE(Begins("a"));
  HealthVerdict verdict;
  verdict.table_stops["public.other"] = *Stopped().stop;
  Say(verdict);
  Rounds(100);
  EXPECT_EQ(HoldOf("a").kind, HoldKind::kNone);
  verdict.table_stops["public.t"] = *Stopped().stop;
  Say(verdict);
  EXPECT_TRUE(world_.PumpUntil([&] { return HoldOf("a").kind == HoldKind::kThrottled; }));
}

TEST_F(SchedulerHealth, AFreezeOutranksABudget) {
  ASSERT_TRUE(Begins("a"));
  Say(Stopped());
  FreezeRecord freeze;
  freeze.actor = "alice";
  freeze.reason = "incident";
  ASSERT_TRUE(world_.store.Freeze(freeze, ByAlice()).ok());
  EXPECT_TRUE(world_.PumpUntil([&] { return HoldOf("a").kind == HoldKind::kFrozen; }));
}

TEST_F(SchedulerHealth, WhatIsHeldCanBePaused) {
  ASSERT_TRUE(Begins("a"));
  Say(Stopped());
  ASSERT_TRUE(world_.PumpUntil([&] { return HoldOf("a").kind == HoldKind::kThrottled; }));
  ASSERT_TRUE(world_.controller.Pause("a", std::nullopt, /*immediate=*/false, ByAlice()).ok());
  EXPECT_TRUE(world_.Reaches("a", State::kPaused));
}

TEST_F(SchedulerHealth, WhatIsAllowedIsShownAndSlowsDown) {
  ASSERT_TRUE(Begins("a"));
  HealthVerdict verdict;
  verdict.allowed = 0.25;
  verdict.limited_by = Lag();
  Say(verdict);
  EXPECT_TRUE(world_.PumpUntil([&] { return Shown("a").live.allowed == 0.25; }));
  EXPECT_EQ(Shown("a").live.limited_by->signal, "replica_lag");
  EXPECT_EQ(world_.board.Get()->targets.at("main").allowed, 0.25);
  EXPECT_TRUE(world_.Reaches("a", State::kCompleted));
}

TEST_F(SchedulerHealth, StopsAndStepsAreHistory) {
  ASSERT_TRUE(Begins("a"));
  Say(Stopped());
  ASSERT_TRUE(world_.PumpUntil([&] { return !PaceEvents("a").empty(); }));
  EXPECT_EQ(PaceEvents("a")[0].from, "1.00");
  EXPECT_EQ(PaceEvents("a")[0].to, "STOPPED");
  EXPECT_THAT(PaceEvents("a")[0].reason, HasSubstr("replica_lag 31 s"));
  EXPECT_THAT(PaceEvents("a")[0].actor, HasSubstr("migrationd test:1:1"));
  HealthVerdict slower;
  slower.allowed = 0.5;
  slower.limited_by = Lag();
  Say(slower);
  ASSERT_TRUE(world_.PumpUntil([&] { return PaceEvents("a").size() == 2; }));
  EXPECT_EQ(PaceEvents("a")[0].from, "STOPPED");
  EXPECT_EQ(PaceEvents("a")[0].to, "0.50");
  EXPECT_THAT(PaceEvents("a")[0].reason, HasSubstr("over: replica_lag"));
}

TEST_F(SchedulerHealth, AYieldIsHistoryAndCounted) {
  ASSERT_TRUE(Begins("a"));
  world_.health.yields.push_back({"main", {.migration = "a", .backend_pid = 7, .waiter_pid = 99, .waiter = "shop", .waited = absl::Milliseconds(700)}});
  ASSERT_TRUE(world_.PumpUntil([&] { return !PaceEvents("a").empty(); }));
  EXPECT_THAT(PaceEvents("a")[0].reason, HasSubstr("pid 99 (shop) had waited 700ms for our sub-batch (pid 7)"));
}

TEST_F(SchedulerHealth, ATargetThatIsAwayIsABackOffAndNotAMissedSignal) {
  std::atomic<bool> away = false;
  world_.database->before = [&](const std::string&, const std::stop_token&) {
    return away ? DatabaseError("57P01", "shutting down") : absl::OkStatus();
  };
  ASSERT_TRUE(Begins("a"));
  away = true;
  ASSERT_TRUE(world_.PumpUntil([&] { return HoldOf("a").kind == HoldKind::kBackoff; }));
  Say(Stopped(/*stale=*/true));
  for (int i = 0; i < 20; ++i) {
    Rounds(20);
    EXPECT_EQ(HoldOf("a").kind, HoldKind::kBackoff);
  }
  EXPECT_FALSE(world_.board.Get()->targets.at("main").reachable);
  away = false;
  Say(HealthVerdict());
  EXPECT_TRUE(world_.Reaches("a", State::kCompleted));
}

TEST_F(SchedulerHealth, ATargetWhoseHealthCannotBeAskedForIsShownAsAway) {
  ASSERT_TRUE(Begins("a"));
  HealthVerdict verdict;
  verdict.stop = HealthStop{.reason = "SIGNAL_STALE: the health of the target cannot be read: no route to host", .stale = true};
  Say(verdict);
  ASSERT_TRUE(world_.PumpUntil([&] { return HoldOf("a").kind == HoldKind::kThrottled; }));
  EXPECT_FALSE(world_.board.Get()->targets.at("main").reachable);
  EXPECT_THAT(world_.board.Get()->targets.at("main").error, HasSubstr("no route to host"));
}

TEST(RunControls, RestsInProportionToWhatIsAllowed) {
  ManualClock clock;
  RunControls controls(clock);
  controls.NoteWork();
  EXPECT_EQ(controls.RestAfter(absl::Seconds(1), absl::Milliseconds(100)), absl::Milliseconds(100));
  EXPECT_FALSE(controls.TakeAllowanceUsed());
  controls.SetAllowed(0.25);
  controls.NoteWork();
  EXPECT_EQ(controls.RestAfter(absl::Seconds(1), absl::Milliseconds(100)), absl::Seconds(3));
  EXPECT_TRUE(controls.TakeAllowanceUsed());
  EXPECT_FALSE(controls.TakeAllowanceUsed()) << "nothing has worked since";
  controls.NoteWork();
  EXPECT_TRUE(controls.TakeAllowanceUsed());
  controls.NoteWork();
  EXPECT_EQ(controls.RestAfter(absl::Milliseconds(10), absl::Milliseconds(100)), absl::Milliseconds(100));
  EXPECT_FALSE(controls.TakeAllowanceUsed()) << "the interval is what it waits for";
}

}  // namespace
}  // namespace migrationd
