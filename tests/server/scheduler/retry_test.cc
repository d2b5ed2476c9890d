// What was over and goes on: nothing of its end is left behind.
#include "absl/strings/str_cat.h"
#include "migrations/model/failure.h"
#include "tests/server/scheduler/scheduler_world.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;

constexpr char kCopyYaml[] =
    "copy_columns:\n  table: public.t\n  columns: [{from: n, to: m}]\npace: {batch_size: 20, sub_batch_size: 10}\n"
    "order: INDEPENDENT\n";

int Times(const std::vector<std::string>& steps, const std::string& step) {
  return static_cast<int>(std::count(steps.begin(), steps.end(), step));
}

class Retrying : public ::testing::Test {
 protected:
  void CancelMidRunAndCleanUp() {
    world_.Add("copy", kCopyYaml);
    ASSERT_TRUE(world_.PumpUntil([&] { return world_.database->Calls("RunSubBatch") > 2; }));
    MD_ASSERT_OK(world_.controller.Cancel("copy", ByAlice()));
    ASSERT_TRUE(world_.Reaches("copy", State::kCancelled));
    MD_ASSERT_OK(world_.controller.Cleanup("copy", ByAlice()));
  }
  // VERIFY of `name` found a row that its statement leaves as it is.
  void HaltWithRowsLeft(const std::string& name) {
    world_.database->MakeStubborn(7);
    world_.Add(name, WhereYaml());
    ASSERT_TRUE(world_.Reaches(name, State::kHalted));
    ASSERT_EQ(world_.HaltOf(name), kHaltRowsLeft);
    ASSERT_TRUE(world_.PumpUntil([&] { return world_.scheduler.run_count() == 0; }));
  }

  SchedulerWorld world_{1000};
};

TEST_F(Retrying, PreparesAgainWhatCleanupTookAway) {
  CancelMidRunAndCleanUp();
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.Get("copy").cleaned_up; }));
  ASSERT_EQ(Times(world_.database->StepsRun(), "prepare/0"), 1);
  ASSERT_EQ(Times(world_.database->StepsRun(), "cleanup/0"), 1);

  MD_ASSERT_OK(world_.controller.Retry("copy", RestartFrom::kContinue, false, ByAlice()));
  ASSERT_TRUE(world_.Reaches("copy", State::kCompleted));
  EXPECT_EQ(Times(world_.database->StepsRun(), "prepare/0"), 2) << "the trigger is not there";
  EXPECT_TRUE(world_.EachRow(1));

  MD_ASSERT_OK(world_.controller.Cleanup("copy", ByAlice()));
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.Get("copy").cleaned_up; }));
  EXPECT_EQ(Times(world_.database->StepsRun(), "cleanup/0"), 2);
}

TEST_F(Retrying, LooksAtRowsThatWereWrittenWhileTheTriggerWasAwayAlsoBehindTheCursor) {
  // EXECUTE takes 100 sub-batches of 10 rows, so VERIFY is under way, and row 1 is behind its cursor.
  std::atomic<bool> cancelled = false;
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    if (call == "RunSubBatch" && world_.database->Calls(call) == 110 && !cancelled.exchange(true)) {
      MD_EXPECT_OK(world_.controller.Cancel("copy", ByAlice()));
    }
    return absl::OkStatus();
  };
  world_.Add("copy", kCopyYaml);
  ASSERT_TRUE(world_.Reaches("copy", State::kCancelled));
  // The counters are recorded after the state.
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.scheduler.run_count() == 0; }));
  ASSERT_EQ(world_.Get("copy").progress.pass, 2);
  MD_ASSERT_OK(world_.controller.Cleanup("copy", ByAlice()));
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.Get("copy").cleaned_up; }));
  world_.database->Undo(1);
  MD_ASSERT_OK(world_.controller.Retry("copy", RestartFrom::kContinue, false, ByAlice()));
  ASSERT_TRUE(world_.Reaches("copy", State::kCompleted));
  EXPECT_EQ(world_.database->Times()[0], 2) << "the row that was written meanwhile is not copied";
}

TEST_F(Retrying, DuringTheCleanupPreparesAgain) {
  std::atomic<bool> retried = false;
  world_.database->after = [&](const std::string& call, const std::stop_token&) {
    // The trigger is gone, and the cleanup is not recorded yet.
    const bool cleaned = Times(world_.database->StepsRun(), "cleanup/0") > 0;
    if (call == "RunStep" && cleaned && !retried.exchange(true)) {
      MD_EXPECT_OK(world_.controller.Retry("copy", RestartFrom::kContinue, false, ByAlice()));
    }
    return absl::OkStatus();
  };
  CancelMidRunAndCleanUp();
  ASSERT_TRUE(world_.Reaches("copy", State::kCompleted));
  EXPECT_TRUE(retried);
  EXPECT_EQ(Times(world_.database->StepsRun(), "prepare/0"), 2);
  EXPECT_FALSE(world_.Get("copy").cleaned_up);
}

TEST_F(Retrying, AfterHalfACleanupFinishesItBeforeItPreparesAgain) {
  std::atomic<bool> retried = false;
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    // prepare/0, cleanup/0, and then cleanup/1, which has to wait for a lock.
    if (call != "RunStep" || world_.database->Calls(call) != 3 || retried.exchange(true)) return absl::OkStatus();
    MD_EXPECT_OK(world_.controller.Retry("count", RestartFrom::kContinue, false, ByAlice()));
    return DatabaseError("55P03", "lock not available");
  };
  world_.Add("count", EveryRowYaml("prepare: [CREATE TABLE a ()]\ncleanup: {statements: [SELECT 1, DROP TABLE a]}\n"));
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.database->Calls("RunSubBatch") > 2; }));
  MD_ASSERT_OK(world_.controller.Cancel("count", ByAlice()));
  ASSERT_TRUE(world_.Reaches("count", State::kCancelled));
  MD_ASSERT_OK(world_.controller.Cleanup("count", ByAlice()));
  ASSERT_TRUE(world_.Reaches("count", State::kCompleted));
  EXPECT_TRUE(retried);
  EXPECT_THAT(world_.database->StepsRun(), ::testing::ElementsAre("prepare/0", "cleanup/0", "cleanup/1", "prepare/0"));
  EXPECT_TRUE(world_.EachRow(1));
}

TEST_F(Retrying, AfterACleanupThatCannotBeFinishedSaysWhichStatementItIs) {
  std::atomic<bool> refuse = false;
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    return refuse && call == "RunStep" ? DatabaseError("42704", "index i does not exist") : absl::OkStatus();
  };
  world_.database->after = [&](const std::string& call, const std::stop_token&) {
    if (call == "RunStep" && Times(world_.database->StepsRun(), "cleanup/0") > 0) refuse = true;
    return absl::OkStatus();
  };
  world_.Add("count", EveryRowYaml("cleanup: {statements: [SELECT 1, DROP INDEX i]}\n"));
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.database->Calls("RunSubBatch") > 2; }));
  MD_ASSERT_OK(world_.controller.Cancel("count", ByAlice()));
  ASSERT_TRUE(world_.Reaches("count", State::kCancelled));
  MD_ASSERT_OK(world_.controller.Cleanup("count", ByAlice()));
  ASSERT_TRUE(world_.PumpUntil([&] { return refuse && world_.scheduler.run_count() == 0; }));
  MD_ASSERT_OK(world_.controller.Retry("count", RestartFrom::kContinue, false, ByAlice()));
  ASSERT_TRUE(world_.Reaches("count", State::kHalted));
  EXPECT_THAT(world_.Get("count").halt->message, HasSubstr("cleanup/"));
}

TEST_F(Retrying, FromTheStartThatNeverBeganIsCleanedUpLikeAnyOther) {
  std::atomic<bool> refuse = false;
  std::atomic<bool> away = false;
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    if (refuse && call == "RunSubBatch") return DatabaseError("42703", "no such column");
    return away && call == "Open" ? absl::UnavailableError("no route to host") : absl::OkStatus();
  };
  world_.Add("copy", kCopyYaml);
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.database->Calls("RunSubBatch") > 2; }));
  refuse = true;
  ASSERT_TRUE(world_.Reaches("copy", State::kHalted));
  away = true;
  MD_ASSERT_OK(world_.controller.Retry("copy", RestartFrom::kStart, false, ByAlice()));
  MD_ASSERT_OK(world_.controller.Cancel("copy", ByAlice()));
  ASSERT_TRUE(world_.Reaches("copy", State::kCancelled));
  away = false;
  MD_ASSERT_OK(world_.controller.Cleanup("copy", ByAlice()));
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.Get("copy").cleaned_up; }));
  EXPECT_EQ(Times(world_.database->StepsRun(), "cleanup/0"), 1) << "the trigger is still there";
}

TEST_F(Retrying, OfATargetThatWasAwayBeginsWithTheDefinitionThatIsThenInForce) {
  std::atomic<bool> away = true;
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    return call == "Open" && away ? absl::UnavailableError("no route to host") : absl::OkStatus();
  };
  world_.Add("count", EveryRowYaml());
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.database->Calls("Open") > 1; }));
  world_.Change("count", EveryRowYaml("prepare: [SELECT 1]\n"));
  away = false;
  ASSERT_TRUE(world_.Reaches("count", State::kCompleted));
  EXPECT_EQ(Times(world_.database->StepsRun(), "prepare/0"), 1) << "the definition of before was run";
  EXPECT_TRUE(world_.EachRow(1));
}

TEST_F(Retrying, ThatOpensWhileTheFileChangesBeginsWithTheDefinitionThatIsThenInForce) {
  std::atomic<bool> changed = false;
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    // Planned with the one of before, not begun yet.
    if (call == "CheckStatement" && !changed.exchange(true)) world_.Change("count", EveryRowYaml("prepare: [SELECT 1]\n"));
    return absl::OkStatus();
  };
  world_.Add("count", EveryRowYaml());
  ASSERT_TRUE(world_.Reaches("count", State::kCompleted));
  EXPECT_EQ(Times(world_.database->StepsRun(), "prepare/0"), 1) << "the definition of before was run";
}

TEST_F(Retrying, OfRowsLeftLooksAtAllRowsAgain) {
  HaltWithRowsLeft("fill");
  world_.database->Undo(3);
  MD_ASSERT_OK(world_.controller.Retry("fill", RestartFrom::kContinue, false, ByAlice()));
  ASSERT_TRUE(world_.Reaches("fill", State::kHalted));
  EXPECT_EQ(world_.HaltOf("fill"), kHaltRowsLeft) << "the row still is as it was";
  EXPECT_EQ(world_.database->Times()[2], 2);
}

TEST_F(Retrying, ThatHaltsBeforeItLookedAgainStillLooksAgain) {
  HaltWithRowsLeft("fill");
  std::atomic<bool> refuse = true;
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    // After the rows recorded as unchanged were forgotten, before the new pass.
    if (refuse && call == "PlanLanes") return absl::Status(absl::StatusCode::kFailedPrecondition, "no");
    return absl::OkStatus();
  };
  MD_ASSERT_OK(world_.controller.Retry("fill", RestartFrom::kContinue, false, ByAlice()));
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.HaltOf("fill") == kHaltAttemptsExhausted; }));
  refuse = false;
  MD_ASSERT_OK(world_.controller.Retry("fill", RestartFrom::kContinue, false, ByAlice()));
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.StateOf("fill") != State::kRunning; }));
  EXPECT_EQ(world_.HaltOf("fill"), kHaltRowsLeft) << "it completed although a row is left";
}

TEST_F(Retrying, FromTheStartThatIsRefusedBeforeItBeganStillBeginsAtTheStart) {
  std::atomic<bool> refuse_rows = false;
  std::atomic<bool> refuse_plan = false;
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    const bool refused = (refuse_rows && call == "RunSubBatch") || (refuse_plan && call == "CheckStatement");
    return refused ? DatabaseError("42703", "no such column") : absl::OkStatus();
  };
  world_.Add("count", EveryRowYaml());
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.database->Times()[0] == 1; }));
  refuse_rows = true;
  ASSERT_TRUE(world_.Reaches("count", State::kHalted));
  refuse_rows = false;
  refuse_plan = true;
  MD_ASSERT_OK(world_.controller.Retry("count", RestartFrom::kStart, /*acknowledge_repeat=*/true, ByAlice()));
  ASSERT_TRUE(world_.Reaches("count", State::kHalted));
  refuse_plan = false;
  MD_ASSERT_OK(world_.controller.Retry("count", std::nullopt, /*acknowledge_repeat=*/true, ByAlice()));
  ASSERT_TRUE(world_.Reaches("count", State::kCompleted));
  EXPECT_EQ(world_.database->Times()[0], 2) << "it went on from the cursor";
}

// An owner that sleeps while it opens, and wakes up when another one has done everything.
class RetryingBesideAZombie : public Retrying {
 protected:
  // The first takeover from now on happens after another process brought the migration to `state`.
  void SleepBeforeTheTakeOver(const std::string& name, State state) {
    world_.database->before = [this, name, state](const std::string& call, const std::stop_token&) {
      if (call != "TakeOver" || slept_.exchange(true)) return absl::OkStatus();
      EXPECT_TRUE(world_.OtherProcessBrings(name, state));
      awake_ = true;
      return absl::OkStatus();
    };
  }
  // The sleeper has seen that it lost its claim.
  bool ZombieIsGone() {
    return world_.PumpUntil([&] {
      if (!awake_) return false;  // until then the hook's thread has the other scheduler
      world_.other_scheduler.RunOnce();
      return world_.scheduler.run_count() == 0 && world_.other_scheduler.run_count() == 0;
    });
  }
  std::atomic<bool> slept_ = false;
  std::atomic<bool> awake_ = false;
};

TEST_F(RetryingBesideAZombie, FromTheStartKeepsWhatAnotherOwnerHasDone) {
  std::atomic<bool> refuse = false;
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    return refuse && call == "RunSubBatch" ? DatabaseError("42703", "no such column") : absl::OkStatus();
  };
  world_.Add("count", EveryRowYaml());
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.database->Times()[0] == 1; }));
  refuse = true;
  ASSERT_TRUE(world_.Reaches("count", State::kHalted));
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.scheduler.run_count() == 0; }));
  SleepBeforeTheTakeOver("count", State::kCompleted);
  MD_ASSERT_OK(world_.controller.Retry("count", RestartFrom::kStart, /*acknowledge_repeat=*/true, ByAlice()));
  ASSERT_TRUE(ZombieIsGone());
  EXPECT_EQ(world_.StateOf("count"), State::kCompleted);
  EXPECT_TRUE(world_.database->Completed("count")) << "is_completed() is false although it is COMPLETED";
  EXPECT_EQ(world_.database->Times()[0], 2);
  EXPECT_EQ(world_.database->Times()[999], 1);
}

TEST_F(RetryingBesideAZombie, OfRowsLeftKeepsWhatAnotherOwnerFound) {
  HaltWithRowsLeft("fill");
  SleepBeforeTheTakeOver("fill", State::kHalted);
  MD_ASSERT_OK(world_.controller.Retry("fill", RestartFrom::kContinue, false, ByAlice()));
  ASSERT_TRUE(ZombieIsGone());
  EXPECT_EQ(world_.HaltOf("fill"), kHaltRowsLeft);
  EXPECT_EQ(world_.database->RowsLeft("fill"), 1) << "what the other owner wrote down is gone";
}

TEST_F(Retrying, ThatComesWhileAnEarlierOwnerOpensKeepsItsMeaning) {
  std::atomic<bool> armed = false;
  world_.database->after = [&](const std::string& call, const std::stop_token&) {
    if (call != "TakeOver" || !armed.exchange(false)) return absl::OkStatus();
    // The owner has the fence and has not yet written so into the store.
    MD_EXPECT_OK(world_.elsewhere.Pause("count", std::nullopt, /*immediate=*/true, ByAlice()));
    MD_EXPECT_OK(world_.elsewhere.Cancel("count", ByAlice()));
    world_.store.Advance(absl::Seconds(1));
    MD_EXPECT_OK(world_.elsewhere.Retry("count", RestartFrom::kStart, /*acknowledge_repeat=*/true, ByAlice()));
    return absl::OkStatus();
  };
  world_.Add("count", EveryRowYaml());
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.database->Times()[0] == 1; }));
  MD_ASSERT_OK(world_.controller.Pause("count", std::nullopt, /*immediate=*/false, ByAlice()));
  ASSERT_TRUE(world_.Reaches("count", State::kPaused));
  armed = true;
  MD_ASSERT_OK(world_.controller.Resume("count", ByAlice()));
  ASSERT_TRUE(world_.Reaches("count", State::kCompleted));
  EXPECT_EQ(world_.database->Times()[0], 2) << "FROM_START was forgotten";
}

TEST_F(Retrying, OfRowsLeftThatAreLeftAgainOvertakesAnAccept) {
  HaltWithRowsLeft("fill");
  bool retried = false;
  world_.database->after = [&](const std::string& call, const std::stop_token&) {
    if (call != "Barrier(completed)" || std::exchange(retried, true)) return absl::OkStatus();
    // Between the target's record and the store's: one more row is left when the next owner has looked.
    world_.database->MakeStubborn(8);
    world_.database->Undo(8);
    MD_EXPECT_OK(world_.controller.Retry("fill", RestartFrom::kContinue, false, ByAlice()));
    EXPECT_TRUE(world_.PumpUntil([&] { return world_.HaltOf("fill") == kHaltRowsLeft; }));
    return absl::OkStatus();
  };
  EXPECT_THAT(world_.controller.Accept("fill", ByAlice()), StatusIs(absl::StatusCode::kAborted, HasSubstr("again")));
  EXPECT_TRUE(retried);
  EXPECT_EQ(world_.StateOf("fill"), State::kHalted) << "rows were accepted that nobody had been shown";
}

TEST_F(Retrying, BeforeAnAcceptHasFencedTheTargetLeavesTheTargetAsItIs) {
  HaltWithRowsLeft("fill");
  bool retried = false;
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    if (call != "TakeOver" || std::exchange(retried, true)) return absl::OkStatus();
    MD_EXPECT_OK(world_.controller.Retry("fill", RestartFrom::kContinue, false, ByAlice()));
    return absl::OkStatus();
  };
  EXPECT_THAT(world_.controller.Accept("fill", ByAlice()), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("RUNNING")));
  EXPECT_TRUE(retried);
  EXPECT_EQ(world_.database->Calls("Barrier(completed)"), 0);
}

TEST_F(Retrying, OvertakesAnAcceptThatHasFencedTheTarget) {
  HaltWithRowsLeft("fill");
  bool retried = false;
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    if (call != "Barrier(completed)" || std::exchange(retried, true)) return absl::OkStatus();
    // The accept stops here until the next owner has taken the fence.
    MD_EXPECT_OK(world_.controller.Retry("fill", RestartFrom::kContinue, false, ByAlice()));
    EXPECT_TRUE(world_.PumpUntil([&] { return world_.HaltOf("fill") == kHaltRowsLeft; }));
    return absl::OkStatus();
  };
  EXPECT_FALSE(world_.controller.Accept("fill", ByAlice()).ok());
  EXPECT_TRUE(retried);
  EXPECT_FALSE(world_.database->Completed("fill")) << "is_completed() on the target is wrong";
  EXPECT_EQ(world_.StateOf("fill"), State::kHalted);
}

TEST_F(Retrying, AfterAnAcceptThatOnlyTheTargetRecordedDoesNotTakeItsWord) {
  HaltWithRowsLeft("fill");
  bool retried = false;
  world_.database->after = [&](const std::string& call, const std::stop_token&) {
    if (call != "Barrier(completed)" || std::exchange(retried, true)) return absl::OkStatus();
    MD_EXPECT_OK(world_.controller.Retry("fill", RestartFrom::kContinue, false, ByAlice()));
    return absl::OkStatus();
  };
  EXPECT_THAT(world_.controller.Accept("fill", ByAlice()), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("RUNNING")));
  EXPECT_TRUE(retried);
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.StateOf("fill") != State::kRunning; }));
  EXPECT_EQ(world_.HaltOf("fill"), kHaltRowsLeft) << "nobody accepted the row that is left";
  EXPECT_FALSE(world_.database->Completed("fill"));

  MD_ASSERT_OK(world_.controller.Accept("fill", ByAlice()));
  EXPECT_EQ(world_.StateOf("fill"), State::kCompleted);
  EXPECT_TRUE(world_.database->Completed("fill"));
}

TEST_F(Retrying, AfterACancelOfAHalfAcceptedOneLooksAgain) {
  HaltWithRowsLeft("fill");
  world_.database->after = [&](const std::string& call, const std::stop_token&) {
    if (call == "Barrier(completed)") world_.store.set_available(false);
    return absl::OkStatus();
  };
  EXPECT_THAT(world_.controller.Accept("fill", ByAlice()), StatusIs(absl::StatusCode::kUnavailable, ::testing::_));
  world_.store.set_available(true);
  MD_ASSERT_OK(world_.controller.Cancel("fill", ByAlice()));
  MD_ASSERT_OK(world_.controller.Retry("fill", RestartFrom::kContinue, false, ByAlice()));
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.StateOf("fill") != State::kRunning; }));
  EXPECT_EQ(world_.HaltOf("fill"), kHaltRowsLeft);
}

}  // namespace
}  // namespace migrationd
