// Verify on demand: what it finds, that it writes nothing on the target, and that neither stops nor failures make it say something wrong.
#include "absl/strings/str_cat.h"
#include "migrations/model/failure.h"
#include "migrations/model/time_account.h"
#include "server/execution/verification.h"
#include "tests/server/scheduler/scheduler_world.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;

class Verifying : public ::testing::Test {
 protected:
  void Complete(const std::string& yaml = WhereYaml()) {
    world_.Add("fill", yaml);
    ASSERT_TRUE(world_.Reaches("fill", State::kCompleted));
    ASSERT_TRUE(world_.PumpUntil([&] { return world_.scheduler.run_count() == 0; }));
  }
  bool Verify() {
    const auto asked = world_.controller.Verify("fill", ByAlice());
    EXPECT_TRUE(asked.ok()) << asked.status();
    return world_.PumpUntil([&] { return !world_.Get("fill").verifying(); });
  }
  std::vector<EventRecord> Verified() {
    return world_.controller.ListEvents("fill", {"VERIFIED"}, 0, 100)->events;
  }
  // What writes on the target, or takes a fence there.
  int Writes() {
    int writes = 0;
    for (const char* call : {"TakeOver", "Reset", "RecordTable", "BeginPass", "OpenLane", "RunStep", "RetryRow", "Barrier",
                             "Barrier(completed)", "Revoke"}) {
      writes += world_.database->Calls(call);
    }
    return writes;
  }

  SchedulerWorld world_;
};

TEST_F(Verifying, FindsNothingWhereNothingRegressed) {
  Complete();
  const int writes = Writes();
  ASSERT_TRUE(Verify());
  const Migration verified = world_.Get("fill");
  EXPECT_EQ(verified.state, State::kCompleted);
  EXPECT_EQ(verified.regressed_rows, 0);
  ASSERT_TRUE(verified.verification.has_value());
  EXPECT_TRUE(verified.verification->finished_at.has_value());
  EXPECT_EQ(verified.verification->actor, "alice");
  EXPECT_GT(world_.database->Calls("CountLeft"), 5) << "in small steps";
  EXPECT_EQ(Writes(), writes) << "nothing is written, and nobody is fenced";
  ASSERT_EQ(Verified().size(), 1u);
  EXPECT_EQ(Verified()[0].to, "0 rows regressed");
}

TEST_F(Verifying, LeavesTheTimeOfTheMigrationAsItWas) {
  Complete();
  const Migration completed = world_.Get("fill");
  ASSERT_TRUE(completed.finished_at.has_value());
  const absl::Time now = *completed.finished_at + absl::Hours(2);
  const TimeShares before = TimeAccountAt(completed, now);
  ASSERT_TRUE(Verify());
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.scheduler.run_count() == 0; }));
  const Migration verified = world_.Get("fill");
  EXPECT_EQ(TimeAccountAt(verified, now), before);
  // The end may have been recorded a moment before the owner's last look, but not the whole verification.
  EXPECT_EQ(verified.progress.accounted_until, completed.progress.accounted_until);
}

TEST_F(Verifying, RowsThatRegressedAreCountedAndRetryDoesThemOnce) {
  Complete();
  for (const int key : {3, 50, 100}) world_.database->Undo(key);
  ASSERT_TRUE(Verify());
  EXPECT_EQ(world_.Get("fill").regressed_rows, 3);
  EXPECT_EQ(world_.Get("fill").state, State::kCompleted);
  EXPECT_EQ(Verified()[0].to, "3 rows regressed");
  MD_ASSERT_OK(world_.controller.Retry("fill", std::nullopt, false, ByAlice()).status());
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.StateOf("fill") == State::kCompleted; }));
  EXPECT_EQ(world_.Get("fill").regressed_rows, 0);
  EXPECT_FALSE(world_.Get("fill").verification.has_value());
  const std::vector<int> times = world_.database->Times();
  for (int key = 1; key <= 100; ++key) {
    const bool regressed = key == 3 || key == 50 || key == 100;
    EXPECT_EQ(times[static_cast<std::size_t>(key - 1)], regressed ? 2 : 1) << key;
  }
  ASSERT_TRUE(Verify());
  EXPECT_EQ(world_.Get("fill").regressed_rows, 0);
}

TEST_F(Verifying, CanBeEnded) {
  Complete();
  world_.database->Undo(3);
  world_.database->before = [](const std::string& call, const std::stop_token&) {
    return call == "CountLeft" ? DatabaseError("08006", "away for now") : absl::OkStatus();
  };
  MD_ASSERT_OK(world_.controller.Verify("fill", ByAlice()).status());
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.scheduler.run_count() == 1; }));
  MD_ASSERT_OK(world_.controller.StopVerification("fill", ByAlice()).status());
  EXPECT_TRUE(world_.PumpUntil([&] { return world_.scheduler.run_count() == 0; }));
  EXPECT_FALSE(world_.Get("fill").verification.has_value());
  ASSERT_EQ(Verified().size(), 1u);
  EXPECT_EQ(Verified()[0].to, "no result");
  EXPECT_EQ(Verified()[0].actor, "alice");
  MD_EXPECT_OK(world_.controller.StopVerification("fill", ByAlice()).status()) << "twice is as good as once";
  EXPECT_EQ(Verified().size(), 1u);
  EXPECT_EQ(world_.Get("fill").state, State::kCompleted);
}

TEST_F(Verifying, KeepsToTheRateOfThePaceAndToWhatGaugesAllow) {
  Complete(absl::StrCat("sql_batch:\n  table: public.t\n  where: NOT t.done\n  statement: UPDATE t SET done = true WHERE {{batch}}\n",
                        "pace: {batch_size: 20, sub_batch_size: 10, interval: 0s, max_rows_per_second: 20}\norder: INDEPENDENT\n"));
  const absl::Time begun = world_.clock.Now();
  ASSERT_TRUE(Verify());
  // Ten steps of ten rows; the target says that each takes 0.2 s of the half second that there is for it.
  EXPECT_GE(world_.clock.Now() - begun, 9 * absl::Milliseconds(300));
}

TEST_F(Verifying, RowsThatWereLeftAsTheyAreDoNotCount) {
  world_.database->MakeStubborn(7);
  Complete(absl::StrCat("sql_batch:\n  table: public.t\n  where: NOT t.done\n  on_unchanged: ACCEPT\n",
                        "  statement: UPDATE t SET done = true WHERE {{batch}}\npace: {batch_size: 20, sub_batch_size: 10}\norder: "
                        "INDEPENDENT\n"));
  EXPECT_EQ(world_.Get("fill").accepted_rows, 1);
  ASSERT_TRUE(Verify());
  EXPECT_EQ(world_.Get("fill").regressed_rows, 0);
}

TEST_F(Verifying, IsRefusedWithoutWhereAndBeforeTheEnd) {
  world_.Add("count", EveryRowYaml());
  EXPECT_THAT(world_.controller.Verify("count", ByAlice()), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("PENDING")));
  ASSERT_TRUE(world_.Reaches("count", State::kCompleted));
  EXPECT_THAT(world_.controller.Verify("count", ByAlice()), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("`where`")));
}

TEST_F(Verifying, ShowsHowFarItIs) {
  Complete();
  world_.database->Undo(1);
  std::atomic<bool> go_on = false;
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    return call != "CountLeft" || world_.database->Calls("CountLeft") < 5 || go_on ? absl::OkStatus()
        : DatabaseError("08006", "away for now");
  };
  MD_ASSERT_OK(world_.controller.Verify("fill", ByAlice()).status());
  EXPECT_TRUE(world_.PumpUntil([&] {
    const Migration shown = Resolve(*world_.board.Get(), "fill")->stored.migration;
    return shown.verifying() && shown.progress.verify_fraction > 0.3 && shown.progress.verify_regressed == 1
        && shown.hold.kind == HoldKind::kBackoff;
  }));
  go_on = true;
  EXPECT_TRUE(world_.PumpUntil([&] { return !world_.Get("fill").verifying(); }));
  EXPECT_EQ(world_.Get("fill").regressed_rows, 1) << "it went on where it was";
}

TEST_F(Verifying, ATargetThatStaysAwayGetsTheClaimBackAndIsTriedAgain) {
  Complete();
  world_.database->Undo(1);
  std::atomic<bool> away = true;
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    return call == "Open" && away ? DatabaseError("08006", "away") : absl::OkStatus();
  };
  MD_ASSERT_OK(world_.controller.Verify("fill", ByAlice()).status());
  ASSERT_TRUE(world_.PumpUntil([&] {
    const Migration m = world_.Get("fill");
    return world_.scheduler.run_count() == 0 && m.hold.kind == HoldKind::kBackoff && m.hold.until.has_value();
  }));
  EXPECT_FALSE(world_.Spins());
  away = false;
  EXPECT_TRUE(world_.PumpUntil([&] { return !world_.Get("fill").verifying(); }));
  EXPECT_EQ(world_.Get("fill").regressed_rows, 1);
}

TEST_F(Verifying, ATableThatIsGoneEndsItWithTheReason) {
  Complete();
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    return call == "Inspect" ? absl::NotFoundError("There is no table \"t\"") : absl::OkStatus();
  };
  ASSERT_TRUE(Verify());
  EXPECT_FALSE(world_.Get("fill").verification.has_value());
  EXPECT_EQ(world_.Get("fill").state, State::kCompleted);
  ASSERT_EQ(Verified().size(), 1u);
  EXPECT_EQ(Verified()[0].to, "no result");
  EXPECT_THAT(Verified()[0].reason, HasSubstr("no table"));
}

TEST_F(Verifying, AnotherDatabaseBehindTheNameIsNotTakenForIt) {
  Complete();
  world_.database->Replace();
  ASSERT_TRUE(Verify());
  EXPECT_FALSE(world_.Get("fill").verification.has_value());
  EXPECT_THAT(Verified()[0].reason, HasSubstr("not the database"));
}

TEST_F(Verifying, AnotherProcessBeginsItAnew) {
  Complete();
  world_.database->Undo(1);
  std::atomic<bool> slept = false;
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    if (call != "CountLeft" || world_.database->Calls("CountLeft") < 4 || slept.exchange(true)) return absl::OkStatus();
    // All of it is done elsewhere, while this process believes that it owns it.
    world_.store.Advance(absl::Hours(48));
    const bool done = [&] {
      for (int i = 0; i < 10'000; ++i) {
        world_.other_scheduler.RunOnce();
        if (!world_.Get("fill").verifying()) return true;
        world_.clock.Advance(absl::Milliseconds(20));
        world_.store.Advance(absl::Milliseconds(20));
        absl::SleepFor(absl::Microseconds(200));
      }
      return false;
    }();
    EXPECT_TRUE(done);
    return absl::OkStatus();
  };
  ASSERT_TRUE(Verify());
  EXPECT_EQ(world_.Get("fill").regressed_rows, 1);
  world_.PumpUntil([&] { return world_.scheduler.run_count() == 0; });
  EXPECT_EQ(Verified().size(), 1u) << "who lost its claim records nothing";
}

TEST_F(Verifying, RetryTakesItsPlace) {
  Complete();
  world_.database->Undo(1);
  ASSERT_TRUE(Verify());
  std::atomic<bool> retried = false;
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    if (call == "CountLeft" && !retried.exchange(true)) {
      EXPECT_TRUE(world_.elsewhere.Retry("fill", std::nullopt, false, ByAlice()).ok());
    }
    return absl::OkStatus();
  };
  MD_ASSERT_OK(world_.controller.Verify("fill", ByAlice()).status());
  ASSERT_TRUE(world_.PumpUntil([&] { return retried && world_.StateOf("fill") == State::kCompleted; }));
  EXPECT_EQ(world_.Get("fill").regressed_rows, 0);
  EXPECT_EQ(Verified().size(), 1u);
}

TEST(VerificationSize, FollowsTheTimeOfAStep) {
  EXPECT_EQ(NextVerificationSize(100, absl::Milliseconds(10)), 200);
  EXPECT_EQ(NextVerificationSize(100, absl::Milliseconds(200)), 100);
  EXPECT_EQ(NextVerificationSize(100, absl::Milliseconds(900)), 50);
  EXPECT_EQ(NextVerificationSize(1, absl::Seconds(9)), 1);
  EXPECT_EQ(NextVerificationSize(100'000, absl::ZeroDuration()), 100'000);
}

TEST(VerificationFailure, IsTriedAgainWithFewerRowsAndGivesUpTheClaimInTheEnd) {
  VerificationWalk walk;
  walk.size = 100;
  VerificationNext next = AfterFailure(DatabaseError("57014", "timeout"), 1, 0.5, walk);
  EXPECT_EQ(next.action, VerificationNext::Action::kGoOn);
  EXPECT_EQ(next.hold.kind, HoldKind::kBackoff);
  EXPECT_EQ(walk.size, 25);
  next = AfterFailure(DatabaseError("", "lost"), 7, 0.5, walk);
  EXPECT_EQ(walk.size, 25);
  EXPECT_EQ(next.action, VerificationNext::Action::kGoOn);
  EXPECT_EQ(AfterFailure(DatabaseError("", "lost"), 8, 0.5, walk).action, VerificationNext::Action::kPart);
}

class Estimating : public ::testing::Test {
 protected:
  SchedulerWorld world_;
};

TEST_F(Estimating, RowsToDoAreCountedOnceBeforeTheFirstOne) {
  std::atomic<bool> lost = false;
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    return call == "RunSubBatch" && !lost.exchange(true) ? DatabaseError(kSqlStateFenced, "fenced") : absl::OkStatus();
  };
  world_.Add("fill", WhereYaml());
  ASSERT_TRUE(world_.Reaches("fill", State::kCompleted));
  EXPECT_GT(world_.database->Calls("TakeOver"), 1);
  EXPECT_EQ(world_.database->Calls("EstimateRows"), 1);
  EXPECT_EQ(world_.Get("fill").progress.rows_estimated, 100);
  EXPECT_EQ(world_.Get("fill").progress.estimate_method, "COUNT");
}

TEST_F(Estimating, AnEstimateThatCannotBeHadKeepsNothingWaiting) {
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    return call == "EstimateRows" ? DatabaseError("22012", "division by zero") : absl::OkStatus();
  };
  world_.Add("fill", WhereYaml());
  ASSERT_TRUE(world_.Reaches("fill", State::kCompleted));
  EXPECT_EQ(world_.Get("fill").progress.rows_estimated, 0);
}

}  // namespace
}  // namespace migrationd
