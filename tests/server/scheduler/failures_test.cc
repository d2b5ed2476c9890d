// Failures are not forgotten, and nothing spins.
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "migrations/model/failure.h"
#include "tests/server/scheduler/scheduler_world.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

TEST(Failures, TheBackOffGrowsAlthoughEachFailureOpensEverythingAnew) {
  SchedulerWorld world;
  world.database->before = [](const std::string& call, const std::stop_token&) {
    return call == "RunSubBatch" ? DatabaseError("", "the connection broke") : absl::OkStatus();
  };
  world.Add("count", EveryRowYaml());
  ASSERT_TRUE(world.PumpUntil([&] { return world.database->Calls("RunSubBatch") > 0; }));
  const absl::Time begun = world.clock.Now();
  ASSERT_TRUE(world.PumpUntil([&] { return world.clock.Now() - begun > absl::Seconds(60); }));
  // 0.2 s, doubling, at most 15 s, with jitter of a half.
  EXPECT_GT(world.database->Calls("RunSubBatch"), 1);
  EXPECT_LT(world.database->Calls("RunSubBatch"), 25);
  EXPECT_EQ(world.StateOf("count"), State::kRunning) << "a target that is away is no failure of the migration";
}

TEST(Failures, AttemptsAreCountedAcrossLostConnections) {
  SchedulerWorld world;
  std::atomic<int> calls = 0;
  world.database->before = [&](const std::string& call, const std::stop_token&) {
    if (call != "RunSubBatch") return absl::OkStatus();
    return ++calls % 2 == 0 ? DatabaseError("", "the connection broke") : DatabaseError("XX001", "data corrupted");
  };
  world.Add("count", EveryRowYaml("retry: {max_attempts: 3, backoff: 10ms, max_backoff: 100ms}\n"));
  ASSERT_TRUE(world.Reaches("count", State::kHalted));
  EXPECT_EQ(world.HaltOf("count"), kHaltAttemptsExhausted);
  EXPECT_EQ(calls, 5);
}

TEST(Failures, TwoOwnersThatFenceEachOtherDoNotSpin) {
  SchedulerWorld world;
  world.database->before = [](const std::string& call, const std::stop_token&) {
    return call == "RunSubBatch" ? DatabaseError(kSqlStateFenced, "fenced") : absl::OkStatus();
  };
  world.Add("count", EveryRowYaml());
  ASSERT_TRUE(world.PumpUntil([&] { return world.database->Calls("RunSubBatch") > 0; }));
  const absl::Time begun = world.clock.Now();
  ASSERT_TRUE(world.PumpUntil([&] { return world.clock.Now() - begun > absl::Seconds(60); }));
  EXPECT_LT(world.database->Calls("TakeOver"), 40);
}

TEST(Spinning, NotWhileALaneIsWaitedForBeforeEverythingIsOpenedAnew) {
  absl::Notification waiting;
  absl::Notification release;
  std::atomic<bool> lost = false;
  std::atomic<bool> first_is_in = false;
  SchedulerWorld world(1000);
  world.database->before = [&](const std::string& call, const std::stop_token&) {
    if (call != "RunSubBatch") return absl::OkStatus();
    if (!first_is_in.exchange(true)) {
      waiting.Notify();
      release.WaitForNotification();
      return absl::OkStatus();
    }
    if (release.HasBeenNotified()) return absl::OkStatus();
    lost = true;
    return DatabaseError("", "the connection broke");
  };
  world.Add("count", EveryRowYaml("", /*lanes=*/2));
  ASSERT_TRUE(world.PumpUntil([&] { return lost.load(); }));
  ASSERT_TRUE(world.PumpUntil([&] { return !world.Spins(); })) << "the scheduler spins";
  release.Notify();
  ASSERT_TRUE(world.Reaches("count", State::kCompleted));
  EXPECT_TRUE(world.EachRow(1));
}

TEST(Spinning, NotWhenACanaryIsAtItsEndAndTheStoreIsAway) {
  SchedulerWorld world(1000);
  world.database->after = [&](const std::string& call, const std::stop_token&) {
    if (call == "RunSubBatch" && world.database->Calls("RunSubBatch") == 4) world.store.set_available(false);
    return absl::OkStatus();
  };
  MD_ASSERT_OK(world.controller.Freeze({.target = "", .actor = "alice", .reason = "", .since = absl::InfinitePast(), .until = std::nullopt}, ByAlice()));
  world.Add("count", EveryRowYaml());
  MutationContext context = ByAlice();
  context.call = "Test";
  MD_ASSERT_OK(world.store.Mutate(world.Get("count").id, context, [](const StoredMigration& current, absl::Time) -> absl::StatusOr<VerbEffect> {
    VerbEffect effect;
    effect.after = current.migration;
    effect.after.pause_after_rows = 40;
    effect.event_kind = "SETTING";
    return effect;
  }));
  MD_ASSERT_OK(world.controller.Unfreeze("", ByAlice()));
  ASSERT_TRUE(world.PumpUntil([&] { return world.database->Calls("RunSubBatch") == 4; }));
  ASSERT_TRUE(world.PumpUntil([&] { return !world.Spins(); })) << "the scheduler spins";
  EXPECT_EQ(world.database->Calls("RunSubBatch"), 4);
  world.store.set_available(true);
  ASSERT_TRUE(world.Reaches("count", State::kPaused));
}

TEST(Spinning, NotWhileAnInterruptedLaneWaitsForTheNextLookAtTheStore) {
  SchedulerWorld world(1000);
  world.Add("count", EveryRowYaml());
  ASSERT_TRUE(world.PumpUntil([&] { return world.database->Calls("RunSubBatch") > 2; }));
  const MigrationId id = world.Get("count").id;
  world.store.set_available(false);
  world.scheduler.Interrupt(id);
  // What was sent before ends; then nothing begins, since nothing newer than the interruption was read.
  ASSERT_TRUE(world.PumpUntil([&] { return !world.Spins(); })) << "the scheduler spins";
  const int done = world.database->Calls("RunSubBatch");
  EXPECT_FALSE(world.Spins());
  EXPECT_EQ(world.database->Calls("RunSubBatch"), done);
  world.store.set_available(true);
  ASSERT_TRUE(world.Reaches("count", State::kCompleted));
  EXPECT_TRUE(world.EachRow(1));
}

}  // namespace
}  // namespace migrationd
