// Whatever stops a migration: nothing commits after it was answered, and the answer comes soon.
#include <mutex>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "migrations/model/failure.h"
#include "tests/server/scheduler/scheduler_world.h"
#include "tests/support/status_matchers.h"
#include "tests/support/wait_until.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;

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

  // Both lanes are in a sub-batch; the one is lost sight of, and the other is refused before anything else happens. `then` answers all
  // other calls.
  void LoseOneLaneWhileTheOtherIsRefused(std::function<absl::Status(const std::string&)> then) {
    world_.database->before = [this, then = std::move(then)](const std::string& call, const std::stop_token&) {
      if (call != "RunSubBatch") return then(call);
      switch (++arrived_) {
        case 1:
          both_in_.WaitForNotification();
          return absl::OkStatus();
        case 2:
          world_.database->OrphanNextSubBatch();
          both_in_.Notify();
          EXPECT_TRUE(WaitUntil([this] { return world_.database->HasOrphan(); }));
          return DatabaseError("42703", "no such column");
        default: return absl::OkStatus();
      }
    };
    world_.Add("count", EveryRowYaml("", /*lanes=*/2));
    ASSERT_TRUE(world_.PumpUntil([&] { return world_.database->HasOrphan(); }));
  }

  std::atomic<int> arrived_ = 0;
  absl::Notification both_in_;
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
  LoseOneLaneWhileTheOtherIsRefused([](const std::string&) { return absl::OkStatus(); });
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

TEST_F(StoppingWithAnOrphan, ARefusalBeforeTheFenceIsTakenAnewFencesItFirst) {
  std::atomic<bool> refuse = false;
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    return refuse && call == "CheckStatement" ? DatabaseError("42703", "no such column") : absl::OkStatus();
  };
  MakeOrphan(EveryRowYaml());
  refuse = true;
  ASSERT_TRUE(world_.Reaches("count", State::kHalted));
  EXPECT_EQ(world_.HaltOf("count"), kHaltStatementRefused);
  EXPECT_FALSE(world_.database->LetOrphanCommit()) << "something committed after HALTED";
}

TEST_F(StoppingWithAnOrphan, AHaltWaitsForATargetThatCannotBeFenced) {
  std::atomic<bool> away = true;
  LoseOneLaneWhileTheOtherIsRefused([&](const std::string& call) {
    return call == "Revoke" && away ? DatabaseError("", "no route to host") : absl::OkStatus();
  });
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.database->Calls("Revoke") > 3; }));
  EXPECT_EQ(world_.StateOf("count"), State::kRunning) << "what is not known to have ended may still commit";
  EXPECT_FALSE(world_.Spins());
  const BoardEntry shown = *Resolve(*world_.board.Get(), "count");
  EXPECT_EQ(shown.stored.migration.hold.kind, HoldKind::kBackoff);
  EXPECT_THAT(shown.stored.migration.hold.reason, HasSubstr(kHaltStatementRefused));
  away = false;
  ASSERT_TRUE(world_.Reaches("count", State::kHalted));
  EXPECT_EQ(world_.HaltOf("count"), kHaltStatementRefused);
  EXPECT_FALSE(world_.database->LetOrphanCommit());
}

TEST(Stopping, AnImmediatePauseSpeaksForTheRunThatItFencedOnly) {
  SchedulerWorld world(1000);
  std::atomic<bool> fenced = false;
  world.database->after = [&](const std::string& call, const std::stop_token&) {
    if (call != "Revoke" || fenced.exchange(true)) return absl::OkStatus();
    // Fenced, not recorded yet: it is resumed, works, and somebody else pauses it plainly. Its owner has not stopped yet.
    const int done = world.database->Calls("RunSubBatch");
    MD_EXPECT_OK(world.controller.Resume("count", ByAlice()));
    EXPECT_TRUE(world.PumpUntil([&] { return world.database->Calls("RunSubBatch") > done; }));
    world.store.Advance(absl::Seconds(1));
    MD_EXPECT_OK(world.controller.Pause("count", std::nullopt, kPlain, ByAlice()));
    return absl::OkStatus();
  };
  world.Add("count", EveryRowYaml());
  ASSERT_TRUE(world.PumpUntil([&] { return world.database->Calls("RunSubBatch") > 2; }));
  EXPECT_THAT(world.elsewhere.Pause("count", std::nullopt, kImmediate, ByAlice()), StatusIs(absl::StatusCode::kAborted, HasSubstr("again")));
  EXPECT_TRUE(fenced);
  EXPECT_EQ(world.StateOf("count"), State::kPausing) << "PAUSED was answered for a run that was not fenced";
  ASSERT_TRUE(world.Reaches("count", State::kPaused));
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

TEST_F(StoppingWithoutACheckpoint, ACancelBeforeAnythingIsThereIsDone) {
  std::atomic<bool> away = true;
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    return away && call == "TakeOver" ? DatabaseError("", "no route to host") : absl::OkStatus();
  };
  // The store expects a row of it; neither that nor its schema is there.
  world_.Add("count", EveryRowYaml());
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.database->Calls("TakeOver") > 1; }));
  world_.database->DropControlSchema();
  MD_ASSERT_OK(world_.controller.Cancel("count", ByAlice()));
  ASSERT_TRUE(world_.Reaches("count", State::kCancelled));
  EXPECT_TRUE(world_.EachRow(0));
}

TEST_F(StoppingWithoutACheckpoint, APauseOfOneThatIsToAdoptAForeignCheckpointPausesIt) {
  Run();
  world_.database->GiveTo("count", "another control store");
  MD_ASSERT_OK(world_.controller.Pause("count", std::nullopt, kPlain, ByAlice()));
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.scheduler.run_count() == 0; }));
  MD_ASSERT_OK(world_.controller.Resume("count", ByAlice()));
  ASSERT_TRUE(world_.Reaches("count", State::kHalted));
  ASSERT_EQ(world_.HaltOf("count"), kHaltForeignControl);

  std::atomic<bool> away = true;
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    return away && call == "TakeOver" ? DatabaseError("", "no route to host") : absl::OkStatus();
  };
  const int asked = world_.database->Calls("TakeOver");
  MD_ASSERT_OK(world_.controller.Retry("count", RestartFrom::kAdopt, false, ByAlice()));
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.database->Calls("TakeOver") > asked; }));
  MD_ASSERT_OK(world_.controller.Pause("count", std::nullopt, kPlain, ByAlice()));
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.StateOf("count") != State::kPausing; }));
  EXPECT_EQ(world_.StateOf("count"), State::kPaused) << world_.HaltOf("count");
  away = false;
  MD_ASSERT_OK(world_.controller.Resume("count", ByAlice()));
  ASSERT_TRUE(world_.Reaches("count", State::kCompleted));
  EXPECT_TRUE(world_.EachRow(1));
}

// A checkpoint that is found to be another store's while the pause is under way.
TEST_F(StoppingWithoutACheckpoint, APauseThatFindsAForeignCheckpointHaltsIt) {
  Run();
  world_.database->OrphanNextSubBatch();
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.database->HasOrphan(); }));
  world_.database->GiveTo("count", "another control store");
  MD_ASSERT_OK(world_.controller.Pause("count", std::nullopt, kPlain, ByAlice()));
  ASSERT_TRUE(world_.Reaches("count", State::kHalted));
  EXPECT_EQ(world_.HaltOf("count"), kHaltForeignControl);
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
  const auto first = std::make_shared<std::once_flag>();
  return [what, &begun, first](const std::string& call, const std::stop_token& stop) {
    if (call != what) return absl::OkStatus();
    std::call_once(*first, [&] { begun.Notify(); });
    absl::Notification stopped;
    const std::stop_callback wake(stop, [&] { stopped.Notify(); });
    stopped.WaitForNotification();
    return DatabaseError("", "told to stop");
  };
}

// A run that was to stop and goes on after all: what was stopped then must not be taken for stopped later.
class StoppingAndGoingOn : public ::testing::Test {
 protected:
  // Pauses while a sub-batch is in flight, and resumes before it ends.
  void PauseAndResumeWhileASubBatchIsInFlight() {
    world_.Add("fill", WhereYaml());
    ASSERT_TRUE(world_.PumpUntil([&] { return held_.HasBeenNotified(); }));
    MD_ASSERT_OK(world_.controller.Pause("fill", std::nullopt, kPlain, ByAlice()));
    world_.RoundsAtOnce(3);
    world_.store.Advance(absl::Seconds(1));
    MD_ASSERT_OK(world_.controller.Resume("fill", ByAlice()));
    world_.RoundsAtOnce(3);
    release_.Notify();
  }

  // Waits in the first sub-batch; afterwards what `then` says.
  void Hook(std::function<absl::Status(const std::string&)> then) {
    world_.database->before = [this, then = std::move(then)](const std::string& call, const std::stop_token&) {
      if (call == "RunSubBatch" && !held_.HasBeenNotified()) {
        held_.Notify();
        release_.WaitForNotification();
        return absl::OkStatus();
      }
      return then(call);
    };
  }

  absl::Notification held_;
  absl::Notification release_;
  SchedulerWorld world_{1000};
};

TEST_F(StoppingAndGoingOn, TheEndOfAPassThatWasFencedIsOpenedAnew) {
  std::atomic<bool> fenced = false;
  Hook([&](const std::string& call) {
    // The pass that follows EXECUTE.
    const bool second_pass = call == "BeginPass" && world_.database->Calls("BeginPass") > 1;
    return second_pass && !fenced.exchange(true) ? DatabaseError(kSqlStateFenced, "fenced") : absl::OkStatus();
  });
  PauseAndResumeWhileASubBatchIsInFlight();
  const int before = world_.database->Calls("TakeOver");
  ASSERT_TRUE(world_.Reaches("fill", State::kCompleted));
  EXPECT_TRUE(fenced);
  EXPECT_GT(world_.database->Calls("TakeOver"), before);
}

TEST_F(StoppingAndGoingOn, TheEndOfAPassOnATargetThatIsAwayIsTriedAgainWithABackOff) {
  std::atomic<bool> away = true;
  Hook([&](const std::string& call) {
    const bool second_pass = call == "BeginPass" && world_.database->Calls("BeginPass") > 1;
    return second_pass && away ? DatabaseError("", "no route to host") : absl::OkStatus();
  });
  PauseAndResumeWhileASubBatchIsInFlight();
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.database->Calls("BeginPass") > 2; }));
  ASSERT_TRUE(world_.PumpUntil([&] { return !world_.Spins(); }));
  const int asked = world_.database->Calls("BeginPass");
  world_.RoundsAtOnce(200);
  EXPECT_LE(world_.database->Calls("BeginPass"), asked + 1) << "it does not wait before it asks again";
  EXPECT_EQ(world_.Get("fill").state, State::kRunning);
  away = false;
  ASSERT_TRUE(world_.Reaches("fill", State::kCompleted));
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

TEST(Stopping, APlainPauseEndsAStepThatTakesADay) {
  absl::Notification begun;
  SchedulerWorld world;
  std::atomic<bool> wait = true;
  const InMemoryDatabase::Hook waits = WaitsForeverIn("RunStep", begun);
  world.database->before = [&](const std::string& call, const std::stop_token& stop) {
    return wait ? waits(call, stop) : absl::OkStatus();
  };
  world.Add("count", EveryRowYaml("prepare: [CREATE INDEX i ON t (n)]\n"));
  ASSERT_TRUE(world.PumpUntil([&] { return begun.HasBeenNotified(); }));
  MD_ASSERT_OK(world.controller.Pause("count", std::nullopt, kPlain, ByAlice()));
  ASSERT_TRUE(world.Reaches("count", State::kPaused));
  // The counters are recorded after the state.
  ASSERT_TRUE(world.PumpUntil([&] { return world.scheduler.run_count() == 0; }));
  EXPECT_FALSE(world.Get("count").progress.last_error.has_value()) << "being told to stop is no failure";

  wait = false;
  MD_ASSERT_OK(world.controller.Resume("count", ByAlice()));
  ASSERT_TRUE(world.Reaches("count", State::kCompleted));
  EXPECT_TRUE(world.EachRow(1));
}

TEST(Stopping, ARetryEndsACleanupThatTakesADay) {
  absl::Notification begun;
  SchedulerWorld world(1000);
  std::atomic<bool> wait = true;
  const InMemoryDatabase::Hook waits = WaitsForeverIn("RunStep", begun);
  world.database->before = [&](const std::string& call, const std::stop_token& stop) {
    return wait ? waits(call, stop) : absl::OkStatus();
  };
  world.Add("count", EveryRowYaml("cleanup: {statements: [DROP INDEX i]}\n"));
  ASSERT_TRUE(world.PumpUntil([&] { return world.database->Calls("RunSubBatch") > 2; }));
  MD_ASSERT_OK(world.controller.Cancel("count", ByAlice()));
  ASSERT_TRUE(world.Reaches("count", State::kCancelled));
  MD_ASSERT_OK(world.controller.Cleanup("count", ByAlice()));
  ASSERT_TRUE(world.PumpUntil([&] { return begun.HasBeenNotified(); }));
  wait = false;
  MD_ASSERT_OK(world.controller.Retry("count", RestartFrom::kContinue, false, ByAlice()));
  ASSERT_TRUE(world.Reaches("count", State::kCompleted));
  EXPECT_TRUE(world.EachRow(1));
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
