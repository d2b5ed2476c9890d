// One lane, pumped by hand on a target in memory, whose statements take the time that the test says.
#include "server/execution/lane_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

#include "migrations/kinds/plan.h"
#include "migrations/model/failure.h"
#include "tests/support/in_memory_target.h"
#include "tests/support/manual_clock.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::Each;
using ::testing::Ge;
using ::testing::Le;

constexpr absl::Duration kTarget = absl::Milliseconds(100);
constexpr absl::Duration kTimeout = absl::Seconds(5);

class LaneRunnerTest : public ::testing::Test {
 protected:
  // `per_row`: of the rows that match; those that do not are only read.
  void Open(int rows, std::int32_t pass, LaneRunner::Options options, std::function<absl::Duration()> per_row) {
    database_ = std::make_shared<InMemoryDatabase>(rows);
    per_row_ = std::move(per_row);
    target_ = std::make_unique<InMemoryTarget>("main", database_);
    database_->statement = [this](int keys, int matching) { return Run(keys, matching); };
    MD_ASSERT_OK(target_->Open(/*may_create_identity=*/true));
    TakeOverRequest request;
    request.migration = "a";
    request.control_id = "store";
    request.may_create = true;
    MD_ASSERT_OK_AND_ASSIGN(checkpoint_, target_->TakeOver(request));
    plan_.has_where = true;
    controls_.TrustUntil(absl::InfiniteFuture());
    controls_.SetTargetTime(kTarget);
    while (checkpoint_.pass < pass) BeginPass(options);
  }
  void BeginPass(LaneRunner::Options options) {
    MD_ASSERT_OK_AND_ASSIGN(const auto lanes, target_->PlanLanes(plan_, 1));
    MD_ASSERT_OK_AND_ASSIGN(checkpoint_, target_->BeginPass(checkpoint_.claim, checkpoint_.pass + 1, lanes));
    options.has_where = true;
    options.lane.plan = &plan_;
    options.lane.pass = checkpoint_.pass;
    options.lane.claim = checkpoint_.claim;
    options.lane.range = checkpoint_.lanes.at(0);
    options.lane.statement_timeout = kTimeout;
    runner_ = std::make_unique<LaneRunner>(std::move(options), *target_, controls_, clock_);
  }
  void Sizes(std::int32_t batch, std::int32_t sub_batch, bool pinned = false) {
    controls_.SetSizes({.batch_size = batch, .sub_batch_size = sub_batch, .max_batch_size = 50000}, pinned);
  }
  // As the scheduler does after a failure of class kRetrySmaller.
  BatchOutcome Batch() {
    BatchOutcome outcome = runner_->RunBatch();
    if (outcome.kind != BatchOutcome::Kind::kFailed) return outcome;
    EXPECT_EQ(SqlStateOf(outcome.error), "57014") << outcome.error;
    runner_->ShrinkTo(outcome.failed_sub_batch_size / 4);
    return outcome;
  }
  void Batches(int count) {
    for (int i = 0; i < count && !runner_->done(); ++i) Batch();
  }
  absl::Status Run(int keys, int matching) {
    const absl::Duration takes = matching * per_row_() + (keys - matching) * per_row_read_;
    clock_.Advance(std::min(takes, kTimeout));
    if (takes >= kTimeout) {
      ++timeouts_;
      return DatabaseError("57014", "canceling statement due to statement timeout");
    }
    sizes_.push_back(keys);
    times_.push_back(takes);
    return absl::OkStatus();
  }
  static LaneRunner::Options Adaptive(std::int32_t first) {
    LaneRunner::Options options;
    options.first_sub_batch_size = first;
    return options;
  }

  ManualClock clock_;
  RunControls controls_{clock_};
  MigrationPlan plan_;
  Checkpoint checkpoint_;
  std::shared_ptr<InMemoryDatabase> database_;
  std::unique_ptr<InMemoryTarget> target_;
  std::unique_ptr<LaneRunner> runner_;
  std::function<absl::Duration()> per_row_;
  absl::Duration per_row_read_;
  int timeouts_ = 0;
  std::vector<int> sizes_;               // of the sub-batches that were committed
  std::vector<absl::Duration> times_;
};

TEST_F(LaneRunnerTest, ATimeoutIsNotForgotten) {
  Sizes(1000, 1000);
  absl::Duration cost = absl::Microseconds(50);
  Open(200'000, 1, Adaptive(1000), [&] { return cost; });
  Batches(20);
  ASSERT_EQ(sizes_.back(), 1000);
  cost = absl::Milliseconds(5);
  times_.clear();
  Batches(20);
  EXPECT_EQ(timeouts_, 1) << "what took too long once is not tried again";
  EXPECT_THAT(times_, Each(Le(kTarget)));
  EXPECT_EQ(runner_->failure_cap(), 0) << "it is the servo that keeps it small";
  cost = absl::Microseconds(50);
  Batches(100);
  EXPECT_EQ(sizes_.back(), 1000) << "rows are cheap again";
  EXPECT_EQ(timeouts_, 1);
}

// A lock that was not to be had says nothing about rows; what is tried with fewer of them does.
TEST_F(LaneRunnerTest, WhatIsSlowAlthoughAFailureMadeItSmallTeachesTheSize) {
  Sizes(1000, 1000);
  Open(100'000, 1, Adaptive(1000), [] { return absl::Milliseconds(2); });
  runner_->ShrinkTo(250);
  Batches(1);
  EXPECT_EQ(sizes_.front(), 250);
  times_.erase(times_.begin());
  EXPECT_THAT(times_, Each(Le(kTarget)));
}

TEST_F(LaneRunnerTest, ASizeThatWasSetIsNotTriedAgainWhileItWouldTakeTooLong) {
  Sizes(1000, 1000, /*pinned=*/true);
  absl::Duration cost = absl::Milliseconds(5);
  Open(200'000, 1, Adaptive(100), [&] { return cost; });
  Batches(30);
  EXPECT_EQ(timeouts_, 1);
  cost = absl::Microseconds(50);
  Batches(5);
  EXPECT_EQ(sizes_.back(), 1000);
}

TEST_F(LaneRunnerTest, VerifyThatDoesTheWorkKeepsToTheTargetTime) {
  Sizes(1000, 1000);
  Open(20'000, 2, Adaptive(100), [] { return absl::Milliseconds(1); });
  Batches(1000);
  ASSERT_TRUE(runner_->done());
  EXPECT_THAT(times_, Each(Le(kTarget)));
}

TEST_F(LaneRunnerTest, VerifyThatDoesTheWorkKeepsToTheCeiling) {
  Sizes(1000, 50);
  Open(20'000, 2, Adaptive(50), [] { return absl::Microseconds(10); });
  Batches(1000);
  ASSERT_TRUE(runner_->done());
  EXPECT_THAT(sizes_, Each(Le(50)));
}

TEST_F(LaneRunnerTest, VerifyThatFindsNothingLooksAtMoreRowsAtOnce) {
  Sizes(1000, 50);
  per_row_read_ = absl::Microseconds(1);
  Open(20'000, 1, Adaptive(50), [] { return absl::Milliseconds(1); });
  Batches(1000);
  ASSERT_TRUE(runner_->done());
  for (int key = 10'001; key <= 12'000; ++key) database_->Undo(key);
  BeginPass(Adaptive(50));
  sizes_.clear();
  times_.clear();
  Batches(1);
  EXPECT_EQ(sizes_.front(), 50) << "it is not known yet";
  sizes_.clear();
  Batches(5);
  EXPECT_THAT(sizes_, Each(Ge(950)));
  Batches(1000);
  ASSERT_TRUE(runner_->done());
  // Those that were under way already where rows match again.
  EXPECT_LE(std::count_if(times_.begin(), times_.end(), [](absl::Duration took) { return took > kTarget; }), 2);
}

TEST_F(LaneRunnerTest, ReadingThatIsSlowIsNotTriedAgainAtTheSameSize) {
  Sizes(1000, 1000);
  Open(20'000, 1, Adaptive(1000), [] { return absl::ZeroDuration(); });
  Batches(1000);
  ASSERT_TRUE(runner_->done());
  per_row_read_ = absl::Milliseconds(6);
  BeginPass(Adaptive(10));
  Batches(3000);
  ASSERT_TRUE(runner_->done());
  EXPECT_EQ(timeouts_, 1);
}

TEST_F(LaneRunnerTest, ASubBatchSizeThatIsSetUnderWayHoldsInVerifyToo) {
  Sizes(1000, 1000);
  Open(20'000, 2, Adaptive(100), [] { return absl::Microseconds(10); });
  Batches(2);
  Sizes(1000, 30, /*pinned=*/true);
  sizes_.clear();
  Batches(2);
  EXPECT_THAT(sizes_, Each(Le(30)));
}

TEST_F(LaneRunnerTest, ACeilingIsNoSize) {
  Sizes(1000, 1000);
  Open(50'000, 1, Adaptive(20), [] { return absl::Milliseconds(4); });
  Batches(1);
  Sizes(500, 500);
  Batches(2);
  EXPECT_THAT(sizes_, Each(Le(25)));
}

TEST_F(LaneRunnerTest, AfterASizeThatWasSetTheServoGoesOnFromThere) {
  Sizes(1000, 1000);
  Open(50'000, 1, Adaptive(100), [] { return absl::Milliseconds(1); });
  Sizes(500, 300, /*pinned=*/true);
  Batches(2);
  EXPECT_EQ(sizes_.front(), 300);
  Sizes(1000, 1000);
  Batches(20);
  sizes_.clear();
  Batches(1);
  EXPECT_THAT(sizes_, Each(Le(100))) << "300 rows take three times what they should";
}

TEST_F(LaneRunnerTest, AFixedSizeIsTheDefinitionsAgainAfterAnOverride) {
  Sizes(20, 10, /*pinned=*/true);
  LaneRunner::Options options = Adaptive(50);
  options.adaptive = false;
  Open(5'000, 1, options, [] { return absl::Microseconds(1); });
  Batches(1);
  EXPECT_THAT(sizes_, Each(10));
  sizes_.clear();
  Sizes(1000, 1000);
  Batches(1);
  EXPECT_THAT(sizes_, Each(50));
}

TEST_F(LaneRunnerTest, WhereOnlyAShareIsAllowedABatchEndsEarlyAndWhole) {
  Sizes(10'000, 100, /*pinned=*/true);
  Open(100'000, 1, Adaptive(100), [] { return absl::Milliseconds(1); });
  controls_.SetAllowed(0.1);
  const absl::Time begun = clock_.Now();
  const BatchOutcome outcome = Batch();
  EXPECT_EQ(outcome.kind, BatchOutcome::Kind::kBatchDone);
  ASSERT_TRUE(outcome.job.has_value());
  EXPECT_EQ(outcome.job->outcome, "DONE");
  EXPECT_LE(clock_.Now() - begun, absl::Milliseconds(1300));
  EXPECT_GE(outcome.rows, 1000);
  controls_.SetAllowed(1);
  EXPECT_EQ(Batch().rows, 10'000);
}

TEST_F(LaneRunnerTest, ASlowSubBatchIsABatchWhereOnlyAShareIsAllowed) {
  Sizes(1000, 1000, /*pinned=*/true);
  Open(10'000, 1, Adaptive(1000), [] { return absl::Milliseconds(2); });
  controls_.SetAllowed(0.1);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Batch().rows, 1000);
}

TEST_F(LaneRunnerTest, WhereIsNotCheckedAnyMoreOnceRowsHaveStoppedMatching) {
  Sizes(100, 10);
  Open(1000, 1, Adaptive(10), [] { return absl::ZeroDuration(); });
  for (int key = 1; key <= 10; ++key) database_->MakeStubborn(key);
  controls_.NoteWhereSatisfied();
  EXPECT_EQ(Batch().kind, BatchOutcome::Kind::kBatchDone);
}

TEST_F(LaneRunnerTest, WhereIsCheckedUntilRowsHaveStoppedMatching) {
  Sizes(100, 10);
  Open(1000, 1, Adaptive(10), [] { return absl::ZeroDuration(); });
  for (int key = 1; key <= 10; ++key) database_->MakeStubborn(key);
  EXPECT_EQ(SqlStateOf(runner_->RunBatch().error), kSqlStateWhereNotSatisfied);
}

}  // namespace
}  // namespace migrationd
