// Rows for which the statement fails: found, left out, reported, done again.
#include <set>

#include "absl/strings/str_cat.h"
#include "migrations/model/failure.h"
#include "tests/server/scheduler/scheduler_world.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

class BadRows : public ::testing::Test {
 protected:
  void Poison(const std::set<int>& rows) {
    for (const int row : rows) world_.database->Poison(row);
  }
  void Cure(const std::set<int>& rows) {
    for (const int row : rows) world_.database->Cure(row);
  }
  void HaltsWith(const char* code) {
    ASSERT_TRUE(world_.Reaches("it", State::kHalted));
    ASSERT_EQ(world_.HaltOf("it"), code);
    ASSERT_TRUE(world_.PumpUntil([&] { return world_.scheduler.run_count() == 0; }));
  }
  void Completes() {
    ASSERT_TRUE(world_.Reaches("it", State::kCompleted));
    ASSERT_TRUE(world_.PumpUntil([&] { return world_.scheduler.run_count() == 0; }));
  }
  void Retry() { MD_ASSERT_OK(world_.controller.Retry("it", std::nullopt, false, ByAlice())); }
  // Each row but these was done once, and these never.
  void OnceBut(const std::set<int>& rows) {
    const std::vector<int> times = world_.database->Times();
    for (std::size_t i = 0; i < times.size(); ++i) {
      const int key = static_cast<int>(i) + 1;
      EXPECT_EQ(times[i], rows.count(key) == 0 ? 1 : 0) << "row " << key;
    }
  }

  SchedulerWorld world_{1000};
  // The first and the last one, neighbours, and both sides of a sub-batch's end.
  const std::set<int> five_{1, 500, 501, 640, 1000};
};

TEST_F(BadRows, AreLeftOutReportedAndDoneByRetryOnceTheyAreRepaired) {
  Poison(five_);
  world_.Add("it", EveryRowYaml());
  HaltsWith(kHaltFailedRanges);
  EXPECT_EQ(world_.database->Failed("it"), five_);
  OnceBut(five_);
  const Migration halted = world_.Get("it");
  EXPECT_EQ(halted.progress.failed_ranges, 5);
  EXPECT_EQ(halted.progress.rows_done, 995);
  EXPECT_EQ(halted.progress.attempts, 0) << "a bad row uses no attempt";
  EXPECT_EQ(halted.progress.last_error->sqlstate, "22012");
  EXPECT_FALSE(world_.database->Completed("it"));

  Cure(five_);
  const int sub_batches = world_.database->Calls("RunSubBatch");
  Retry();
  Completes();
  OnceBut({});
  EXPECT_EQ(world_.database->Calls("RetryRow"), 5) << "just those";
  EXPECT_EQ(world_.database->Calls("RunSubBatch"), sub_batches);
  EXPECT_EQ(world_.Get("it").progress.failed_ranges, 0);
  EXPECT_EQ(world_.Get("it").progress.rows_done, 1000);
}

TEST_F(BadRows, AreFoundByHalves) {
  Poison({7});
  world_.Add("it", EveryRowYaml());
  HaltsWith(kHaltFailedRanges);
  // 100 sub-batches of 10 rows; to find one of ten takes four that fail, and some that do not.
  EXPECT_LE(world_.database->Calls("RunSubBatch"), 100 + 12);
  EXPECT_EQ(world_.database->Calls("SkipRow"), 1);
}

TEST_F(BadRows, ThatFailAgainStayAndTheOthersAreDone) {
  Poison(five_);
  world_.Add("it", EveryRowYaml());
  HaltsWith(kHaltFailedRanges);
  Cure({1, 640});
  Retry();
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.StateOf("it") == State::kHalted && world_.database->Calls("RetryRow") == 5; }));
  HaltsWith(kHaltFailedRanges);
  const std::set<int> left{500, 501, 1000};
  EXPECT_EQ(world_.database->Failed("it"), left);
  OnceBut(left);
  EXPECT_EQ(world_.Get("it").progress.failed_ranges, 3);
  Cure(left);
  Retry();
  Completes();
  OnceBut({});
}

TEST_F(BadRows, WithWhereAreLeftOutOfVerifyToo) {
  Poison(five_);
  world_.Add("it", WhereYaml());
  HaltsWith(kHaltFailedRanges);
  EXPECT_EQ(world_.database->Failed("it"), five_);
  OnceBut(five_);
  // VERIFY found nothing else; it met none of them again.
  EXPECT_EQ(world_.database->Calls("SkipRow"), 5);
  Cure(five_);
  Retry();
  Completes();
  OnceBut({});
}

TEST_F(BadRows, AllOfThemEndItWithinItsBudget) {
  std::set<int> all;
  for (int row = 1; row <= 1000; ++row) all.insert(row);
  Poison(all);
  world_.Add("it", EveryRowYaml());
  HaltsWith(kHaltErrorBudget);
  EXPECT_LE(world_.database->Failed("it").size(), 20u) << "after the first few, not at the end of the table";
  EXPECT_LE(world_.database->Calls("RunSubBatch"), 150);
  OnceBut(all);
  Cure(all);
  Retry();
  Completes();
  OnceBut({});
}

TEST_F(BadRows, MoreThanTheBudgetAllowsEndIt) {
  Poison(five_);
  world_.Add("it", EveryRowYaml("retry: {max_failed_ranges: 3}\n"));
  HaltsWith(kHaltErrorBudget);
  EXPECT_EQ(world_.database->Failed("it"), (std::set<int>{1, 500, 501, 640})) << "the last one too, for who wants to know which it was";
  EXPECT_EQ(world_.Get("it").progress.rows_done, 636) << "nothing after it";
  // Repaired, it goes on from where it was.
  Cure(five_);
  Retry();
  Completes();
  OnceBut({});
}

TEST_F(BadRows, NoneMayFailWhenTheBudgetIsNothing) {
  Poison({500});
  world_.Add("it", EveryRowYaml("retry: {max_failed_ranges: 0}\n"));
  HaltsWith(kHaltErrorBudget);
  EXPECT_EQ(world_.database->Failed("it"), (std::set<int>{500}));
  Cure({500});
  Retry();
  Completes();
  OnceBut({});
}

// What is not known to be committed is found out by taking over, whatever it was.
TEST_F(BadRows, AreRecordedOnceWhenTheAnswerIsLost) {
  Poison(five_);
  std::atomic<int> skips = 0;
  world_.database->after = [&](const std::string& call, const std::stop_token&) {
    return call == "SkipRow" && ++skips % 2 == 1 ? CommitUnknownError("the connection broke during COMMIT") : absl::OkStatus();
  };
  world_.Add("it", EveryRowYaml("", 2));
  HaltsWith(kHaltFailedRanges);
  EXPECT_EQ(world_.database->Failed("it"), five_);
  OnceBut(five_);
}

TEST_F(BadRows, AreDoneOnceWhenTheConnectionBreaksDuringRetry) {
  Poison(five_);
  world_.Add("it", EveryRowYaml());
  HaltsWith(kHaltFailedRanges);
  Cure(five_);
  std::atomic<int> before = 0;
  std::atomic<int> after = 0;
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    return call == "RetryRow" && ++before == 2 ? DatabaseError("", "the connection broke") : absl::OkStatus();
  };
  world_.database->after = [&](const std::string& call, const std::stop_token&) {
    return call == "RetryRow" && ++after == 3 ? CommitUnknownError("the connection broke during COMMIT") : absl::OkStatus();
  };
  Retry();
  Completes();
  OnceBut({});
  EXPECT_EQ(world_.Get("it").progress.rows_done, 1000);
}

TEST_F(BadRows, AreDoneOnceWhenAnotherProcessTakesOverDuringRetry) {
  Poison(five_);
  world_.Add("it", EveryRowYaml());
  HaltsWith(kHaltFailedRanges);
  Cure(five_);
  std::atomic<bool> taken = false;
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    if (call == "RetryRow" && !taken.exchange(true)) EXPECT_TRUE(world_.OtherProcessBrings("it", State::kCompleted));
    return absl::OkStatus();
  };
  Retry();
  Completes();
  ASSERT_TRUE(taken);
  OnceBut({});
}

TEST_F(BadRows, OfAnEarlierRetryAreDoneBeforeTheRest) {
  Poison({5});
  world_.database->before = [&](const std::string& call, const std::stop_token&) {
    return call == "RunSubBatch" && world_.database->Calls("SkipRow") > 0 ? DatabaseError("42501", "no right to") : absl::OkStatus();
  };
  world_.Add("it", EveryRowYaml());
  HaltsWith(kHaltStatementRefused);
  world_.database->before = [](const std::string&, const std::stop_token&) { return absl::OkStatus(); };
  Cure({5});
  Retry();
  Completes();
  OnceBut({});
}

// An event trigger that raises, say, when the session makes its functions: nothing that leaving out a row could help.
TEST_F(BadRows, AreNotWhatASessionFailsFor) {
  world_.database->before = [](const std::string& call, const std::stop_token&) {
    return call == "OpenLane" ? DatabaseError("P0001", "no functions here") : absl::OkStatus();
  };
  world_.Add("it", EveryRowYaml("retry: {max_attempts: 3, backoff: 10ms, max_backoff: 100ms}\n"));
  HaltsWith(kHaltAttemptsExhausted);
  EXPECT_LE(world_.database->Calls("OpenLane"), 3);
}

TEST_F(BadRows, ThatCannotBeRecordedUseAttempts) {
  Poison({5});
  world_.database->before = [](const std::string& call, const std::stop_token&) {
    return call == "SkipRow" ? DatabaseError("54000", "index row size exceeds maximum") : absl::OkStatus();
  };
  world_.Add("it", EveryRowYaml("retry: {max_attempts: 3, backoff: 10ms, max_backoff: 100ms}\n"));
  HaltsWith(kHaltAttemptsExhausted);
  EXPECT_EQ(world_.database->Calls("SkipRow"), 3);
  EXPECT_LE(world_.database->Calls("RunSubBatch"), 40);
}

TEST_F(BadRows, WhoseErrorIsATriggersAreToldAboutWithoutItsText) {
  world_.database->before = [](const std::string& call, const std::stop_token&) {
    return call == "RunSubBatch" ? DatabaseError("P0001", "bad email bob@example.org") : absl::OkStatus();
  };
  world_.Add("it", EveryRowYaml());
  HaltsWith(kHaltErrorBudget);
  const Migration halted = world_.Get("it");
  EXPECT_EQ(halted.progress.last_error->message.find("bob"), std::string::npos);
  EXPECT_EQ(halted.halt->message.find("bob"), std::string::npos);
}

// A statement of prepare has no rows that could be left out.
TEST_F(BadRows, AreNotWhatAStepFailsFor) {
  world_.database->before = [](const std::string& call, const std::stop_token&) {
    return call == "RunStep" ? DatabaseError("23505", "duplicate key") : absl::OkStatus();
  };
  world_.Add("it", EveryRowYaml("prepare: [CREATE UNIQUE INDEX i ON t (n)]\nretry: {max_attempts: 2, backoff: 10ms, max_backoff: 100ms}\n"));
  HaltsWith(kHaltAttemptsExhausted);
}

}  // namespace
}  // namespace migrationd
