// Whatever stops a migration: nothing commits after it was answered, and the answer comes soon.
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "migrations/model/failure.h"
#include "tests/server/scheduler/scheduler_world.h"
#include "tests/support/status_matchers.h"
#include "tests/support/wait_until.h"

namespace migrationd {
namespace {

constexpr auto kPlain = false;
constexpr auto kImmediate = true;

TEST(Stopping, AnOwnerThatTakesTheFenceAfterAnImmediatePauseAnsweredCommitsNothing) {
  SchedulerWorld world;
  std::atomic<bool> paused = false;
  world.database->before = [&](const std::string& call, const std::stop_token&) {
    // RUNNING is recorded, the fence is not taken yet. By another process: the owner's hears of it with its next look at the store.
    if (call == "TakeOver" && !paused.exchange(true)) {
      MD_EXPECT_OK(world.elsewhere.Pause("count", std::nullopt, kImmediate, ByAlice()));
      EXPECT_EQ(world.StateOf("count"), State::kPaused);
    }
    return absl::OkStatus();
  };
  world.Add("count", EveryRowYaml());
  ASSERT_TRUE(world.PumpUntil([&] { return paused && world.scheduler.run_count() == 0; }));
  EXPECT_EQ(world.StateOf("count"), State::kPaused);
  EXPECT_TRUE(world.EachRow(0));
  EXPECT_EQ(world.database->Calls("OpenLane"), 0);

  MD_ASSERT_OK(world.controller.Resume("count", ByAlice()));
  ASSERT_TRUE(world.Reaches("count", State::kCompleted));
  EXPECT_TRUE(world.EachRow(1));
}

// A sub-batch whose commit is not known may still commit, until the fence is taken anew.
class StoppingWithAnOrphan : public ::testing::Test {
 protected:
  // Some sub-batches are done, then one is lost sight of.
  void MakeOrphan(const std::string& yaml) {
    world_.Add("count", yaml);
    ASSERT_TRUE(world_.PumpUntil([&] { return world_.database->Calls("RunSubBatch") > 2; }));
    world_.database->OrphanNextSubBatch();
    ASSERT_TRUE(world_.PumpUntil([&] { return world_.database->HasOrphan(); }));
  }

  SchedulerWorld world_{1000};
};

TEST_F(StoppingWithAnOrphan, APauseFencesItFirst) {
  MakeOrphan(EveryRowYaml());
  MD_ASSERT_OK(world_.controller.Pause("count", std::nullopt, kPlain, ByAlice()));
  ASSERT_TRUE(world_.Reaches("count", State::kPaused));
  EXPECT_FALSE(world_.database->LetOrphanCommit()) << "something committed after PAUSED";

  MD_ASSERT_OK(world_.controller.Resume("count", ByAlice()));
  ASSERT_TRUE(world_.Reaches("count", State::kCompleted));
  EXPECT_TRUE(world_.EachRow(1));
}

TEST_F(StoppingWithAnOrphan, ACancelFencesItFirst) {
  MakeOrphan(EveryRowYaml());
  MD_ASSERT_OK(world_.controller.Cancel("count", ByAlice()));
  ASSERT_TRUE(world_.Reaches("count", State::kCancelled));
  EXPECT_FALSE(world_.database->LetOrphanCommit());
}

TEST_F(StoppingWithAnOrphan, AHaltFencesItFirst) {
  // The other lane is refused while this one's commit is unknown.
  std::atomic<bool> refuse = false;
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    if (call == "RunSubBatch" && refuse && world_.database->HasOrphan()) return DatabaseError("42703", "no such column");
    return absl::OkStatus();
  };
  refuse = true;
  MakeOrphan(absl::StrCat("sql_batch:\n  table: public.t\n  statement: UPDATE t SET n = n + 1 WHERE {{batch}}\n",
                          "pace: {batch_size: 20, sub_batch_size: 10, lanes: 2}\norder: INDEPENDENT\n"));
  ASSERT_TRUE(world_.Reaches("count", State::kHalted));
  EXPECT_EQ(world_.HaltOf("count"), kHaltStatementRefused);
  EXPECT_FALSE(world_.database->LetOrphanCommit());
}

TEST_F(StoppingWithAnOrphan, OneThatCommittedBeforeTheFenceIsNotDoneAgain) {
  MakeOrphan(EveryRowYaml());
  ASSERT_TRUE(world_.database->LetOrphanCommit());
  ASSERT_TRUE(world_.Reaches("count", State::kCompleted));
  EXPECT_TRUE(world_.EachRow(1));
}

class StoppingWithoutACheckpoint : public ::testing::Test {
 protected:
  void Run() {
    world_.Add("count", EveryRowYaml());
    ASSERT_TRUE(world_.PumpUntil([&] { return world_.database->Calls("RunSubBatch") > 2; }));
  }

  SchedulerWorld world_{1000};
};

TEST_F(StoppingWithoutACheckpoint, APauseOfOneWhoseCheckpointIsLostHaltsIt) {
  Run();
  world_.database->DropOwner("count");
  MD_ASSERT_OK(world_.controller.Pause("count", std::nullopt, kPlain, ByAlice()));
  ASSERT_TRUE(world_.Reaches("count", State::kHalted));
  EXPECT_EQ(world_.HaltOf("count"), kHaltCheckpointLost);
}

TEST_F(StoppingWithoutACheckpoint, APauseOfOneThatBelongsToAnotherStoreHaltsIt) {
  Run();
  world_.database->GiveTo("count", "another control store");
  MD_ASSERT_OK(world_.controller.Pause("count", std::nullopt, kPlain, ByAlice()));
  // Our claim on the row still holds, so the pause needs no new one.
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.scheduler.run_count() == 0; }));
  EXPECT_EQ(world_.StateOf("count"), State::kPaused);
  MD_ASSERT_OK(world_.controller.Resume("count", ByAlice()));
  ASSERT_TRUE(world_.Reaches("count", State::kHalted));
  EXPECT_EQ(world_.HaltOf("count"), kHaltForeignControl);
}

TEST_F(StoppingWithoutACheckpoint, ACancelOfOneWhoseCheckpointIsLostIsDone) {
  Run();
  world_.database->DropOwner("count");
  MD_ASSERT_OK(world_.controller.Cancel("count", ByAlice()));
  ASSERT_TRUE(world_.Reaches("count", State::kCancelled));
}

TEST_F(StoppingWithoutACheckpoint, ATargetThatRefusesIsAskedAgainWithoutABusyLoopUntilItDoesNot) {
  std::atomic<bool> refuse = false;
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    if (refuse && (call == "Barrier" || call == "Revoke")) return DatabaseError("42501", "no right to do that");
    return absl::OkStatus();
  };
  Run();
  refuse = true;
  MD_ASSERT_OK(world_.controller.Pause("count", std::nullopt, kPlain, ByAlice()));
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.database->Calls("Revoke") > 2; }));
  ASSERT_EQ(world_.scheduler.run_count(), 1U) << "the claim is kept";
  const int asked = world_.database->TotalCalls();
  world_.RoundsAtOnce(200);
  EXPECT_LE(world_.database->TotalCalls(), asked + 2) << "it waits before it asks again";
  EXPECT_EQ(world_.StateOf("count"), State::kPausing);
  refuse = false;
  ASSERT_TRUE(world_.Reaches("count", State::kPaused));
}

TEST(Stopping, DoesNotWaitForTheBackOffOfAFailedStep) {
  SchedulerWorld world;
  std::atomic<bool> away = true;
  world.database->before = [&](const std::string& call, const std::stop_token&) {
    if (away && call == "TakeOver") return DatabaseError("", "no route to host");
    return absl::OkStatus();
  };
  world.Add("count", EveryRowYaml("retry: {backoff: 30s, max_backoff: 300s}\n"));
  ASSERT_TRUE(world.PumpUntil([&] { return world.database->Calls("TakeOver") > 6; }));
  away = false;
  MD_ASSERT_OK(world.controller.Pause("count", std::nullopt, kPlain, ByAlice()));
  // By now the back-off is many seconds; none of them goes by.
  EXPECT_TRUE(WaitUntil([&] {
    world.scheduler.RunOnce();
    return world.StateOf("count") == State::kPaused;
  }));
}

// Waits for ever, as a statement on a database that does not answer.
InMemoryDatabase::Hook WaitsForeverIn(const std::string& what, absl::Notification& begun) {
  return [what, &begun](const std::string& call, const std::stop_token& stop) {
    if (call != what) return absl::OkStatus();
    if (!begun.HasBeenNotified()) begun.Notify();
    absl::Notification stopped;
    const std::stop_callback wake(stop, [&] { stopped.Notify(); });
    stopped.WaitForNotification();
    return DatabaseError("", "told to stop");
  };
}

TEST(Stopping, TheServiceDoesNotWaitForASubBatchThatDoesNotEnd) {
  absl::Notification begun;
  SchedulerWorld world;
  world.database->before = WaitsForeverIn("RunSubBatch", begun);
  world.Add("count", EveryRowYaml());
  ASSERT_TRUE(world.PumpUntil([&] { return begun.HasBeenNotified(); }));
  world.scheduler.Stop(absl::ZeroDuration());
}

TEST(Stopping, TheServiceDoesNotWaitForAStepThatTakesADay) {
  absl::Notification begun;
  SchedulerWorld world;
  world.database->before = WaitsForeverIn("RunStep", begun);
  world.Add("count", EveryRowYaml("prepare: [CREATE INDEX i ON t (n)]\n"));
  ASSERT_TRUE(world.PumpUntil([&] { return begun.HasBeenNotified(); }));
  world.scheduler.Stop(absl::ZeroDuration());
}

TEST(Stopping, AStepThatTakesADayKeepsNoOtherOperatorWaiting) {
  absl::Notification begun;
  SchedulerWorld world(1000);
  world.database->before = WaitsForeverIn("RunStep", begun);
  world.Add("slow", "sql_batch:\n  table: public.slow\n  statement: UPDATE slow SET n = n + 1 WHERE {{batch}}\n"
                    "order: INDEPENDENT\nprepare: [CREATE INDEX i ON slow (n)]\n");
  ASSERT_TRUE(world.PumpUntil([&] { return begun.HasBeenNotified(); }));
  world.Add("count", EveryRowYaml());
  ASSERT_TRUE(world.PumpUntil([&] { return world.database->Calls("RunSubBatch") > 2; }));
  MD_ASSERT_OK(world.controller.Pause("count", std::nullopt, kPlain, ByAlice()));
  ASSERT_TRUE(world.Reaches("count", State::kPaused));
  world.scheduler.Stop(absl::ZeroDuration());
}

}  // namespace
}  // namespace migrationd
