// The sampler's threads, on a target in memory; in real time, with intervals of a few milliseconds.
#include "server/health/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "migrations/model/failure.h"
#include "tests/support/in_memory_target.h"
#include "tests/support/manual_clock.h"
#include "tests/support/wait_until.h"

namespace migrationd {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

class SamplerTest : public ::testing::Test {
 protected:
  SamplerTest() {
    limits_.interval = absl::Milliseconds(10);
    limits_.minimum_hold = absl::ZeroDuration();
  }
  HealthSampler& Sampler() {
    if (!sampler_.has_value()) sampler_.emplace(targets_, std::map<std::string, HealthLimits>{{"main", limits_}}, Clock::Real());
    return *sampler_;
  }
  static std::map<std::string, TargetWork> AtWork() {
    TargetWork work;
    work.tables = {"public.t"};
    work.claims = {{"a", 1, "token"}};
    return {{"main", work}};
  }
  std::shared_ptr<const HealthVerdict> Verdict() {
    const HealthVerdicts verdicts = Sampler().Verdicts();
    const auto found = verdicts.find("main");
    return found == verdicts.end() ? nullptr : found->second;
  }
  int Looks() { return database_->Calls("ReadHealth"); }

  HealthLimits limits_;
  std::shared_ptr<InMemoryDatabase> database_ = std::make_shared<InMemoryDatabase>(10);
  TargetVitals vitals_;
  std::map<std::string, std::shared_ptr<Target>> targets_{{"main", std::make_shared<InMemoryTarget>("main", database_)}};
  std::optional<HealthSampler> sampler_;
};

TEST_F(SamplerTest, LooksOnlyWhileSomethingWorksThere) {
  Sampler().Watch({});
  EXPECT_TRUE(StaysTrue([&] { return database_->TotalCalls() == 0; }, absl::Milliseconds(50)));
  Sampler().Watch(AtWork());
  EXPECT_TRUE(WaitUntil([&] { return Looks() > 3; }));
  EXPECT_NE(Verdict(), nullptr);
  EXPECT_EQ(database_->Calls("OpenHealth"), 1) << "one connection";
  Sampler().Watch({});
  EXPECT_EQ(Verdict(), nullptr) << "what is not watched is not known";
  int looks = Looks();
  EXPECT_TRUE(WaitUntil([&] {
    absl::SleepFor(absl::Milliseconds(50));
    return std::exchange(looks, Looks()) == Looks();
  }));
  Sampler().Watch(AtWork());
  EXPECT_TRUE(WaitUntil([&] { return Looks() > looks; })) << "and again";
}

TEST_F(SamplerTest, StopsWithinALookAndGoesOnByItself) {
  Sampler().Watch(AtWork());
  ASSERT_TRUE(WaitUntil([&] { return Verdict() != nullptr; }));
  EXPECT_FALSE(Verdict()->stop.has_value());
  vitals_.archive_backlog = 100;
  database_->SetVitals(vitals_);
  EXPECT_TRUE(WaitUntil([&] { return Verdict()->stop.has_value(); }));
  vitals_.archive_backlog = 0;
  database_->SetVitals(vitals_);
  EXPECT_TRUE(WaitUntil([&] { return !Verdict()->stop.has_value(); }));
}

TEST_F(SamplerTest, WhatWasUsedBetweenTwoLooksCounts) {
  ManualClock clock;
  HealthSampler sampler(targets_, {{"main", limits_}}, clock);
  const auto allowed = [&] { return sampler.Verdicts().count("main") == 0 ? -1 : sampler.Verdicts().at("main")->allowed; };
  vitals_.checkpoint_distance = 10;
  database_->SetVitals(vitals_);
  sampler.Watch(AtWork());
  ASSERT_TRUE(WaitUntil([&] { return allowed() == 0.5; }));
  vitals_.checkpoint_distance = 0;
  database_->SetVitals(vitals_);
  clock.Advance(absl::Minutes(1));
  EXPECT_TRUE(StaysTrue([&] { return allowed() == 0.5; }, absl::Milliseconds(50))) << "nothing works";
  auto work = AtWork();
  work.at("main").allowance_used = true;
  sampler.Watch(work);
  sampler.Watch(AtWork());
  EXPECT_TRUE(WaitUntil([&] { return allowed() > 0.5; })) << "told of it, and then of nothing, before it looked";
  const double grown = allowed();
  clock.Advance(absl::Minutes(1));
  EXPECT_TRUE(StaysTrue([&] { return allowed() == grown; }, absl::Milliseconds(50))) << "it counts once";
}

TEST_F(SamplerTest, ATargetThatFailsIsMissedAndTriedAgainOnANewConnection) {
  Sampler().Watch(AtWork());
  ASSERT_TRUE(WaitUntil([&] { return Verdict() != nullptr; }));
  std::atomic<bool> broken = true;
  Sampler().Watch({});
  sampler_.reset();
  database_->before = [&](const std::string& call, const std::stop_token&) {
    return broken && call == "ReadHealth" ? DatabaseError("", "the connection broke") : absl::OkStatus();
  };
  Sampler().Watch(AtWork());
  ASSERT_TRUE(WaitUntil([&] { return Verdict() != nullptr && Verdict()->stop.has_value(); }));
  EXPECT_TRUE(Verdict()->stop->stale);
  EXPECT_GE(database_->Calls("OpenHealth"), 3);
  broken = false;
  EXPECT_TRUE(WaitUntil([&] { return !Verdict()->stop.has_value(); }));
}

TEST_F(SamplerTest, ATargetThatHangsKeepsNobodyWaiting) {
  std::atomic<bool> hanging = false;
  database_->before = [&](const std::string& call, const std::stop_token& stop) -> absl::Status {
    if (call != "ReadHealth") return absl::OkStatus();
    hanging = true;
    WaitUntil([&] { return stop.stop_requested(); }, absl::Hours(1));
    return DatabaseError("", "told to stop");
  };
  Sampler().Watch(AtWork());
  ASSERT_TRUE(WaitUntil([&] { return hanging.load(); }));
  Sampler().Watch(AtWork());
  EXPECT_EQ(Verdict(), nullptr);
  Sampler().Watch({});
  Sampler().Watch(AtWork());
  sampler_.reset();  // ends, or the test does not
}

TEST_F(SamplerTest, TellsOfSubBatchesThatGaveWay) {
  database_->MakeSomebodyWait("a");
  Sampler().Watch(AtWork());
  std::vector<YieldNote> notes;
  ASSERT_TRUE(WaitUntil([&] {
    for (YieldNote& note : Sampler().TakeYields()) notes.push_back(std::move(note));
    return !notes.empty();
  }));
  ASSERT_THAT(notes, SizeIs(1));
  EXPECT_EQ(notes[0].target, "main");
  EXPECT_EQ(notes[0].yielded.migration, "a");
  EXPECT_THAT(Sampler().TakeYields(), IsEmpty());
}

TEST_F(SamplerTest, LooksForNobodyWhileNoLaneIsAtWork) {
  auto work = AtWork();
  work["main"].claims.clear();
  Sampler().Watch(work);
  ASSERT_TRUE(WaitUntil([&] { return Looks() > 5; }));
  EXPECT_EQ(database_->Calls("YieldToWaiters"), 0);
}

}  // namespace
}  // namespace migrationd
