#include "migrations/model/time_account.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace migrationd {
namespace {

using ::testing::DoubleEq;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

const absl::Time kStart = absl::FromUnixSeconds(1'800'000'000);

double Sum(const TimeShares& account) {
  double sum = 0;
  for (const auto& [word, seconds] : account) sum += seconds;
  return sum;
}

Migration Started(State state) {
  Migration m;
  m.state = state;
  m.started_at = kStart;
  return m;
}

TEST(ChargeTime, SplitsWhatPassedInProportionAndGoesOnFromThere) {
  ProgressCounters counters;
  // The owner's clock measured 8 s where the database's went on by 10 s.
  ChargeTime(counters, kStart, kStart + absl::Seconds(10), {{kTimeWorking, 6}, {kTimeInterval, 2}}, kTimeSteps);
  EXPECT_THAT(counters.time_seconds, UnorderedElementsAre(Pair(kTimeWorking, DoubleEq(7.5)), Pair(kTimeInterval, DoubleEq(2.5))));
  ChargeTime(counters, kStart, kStart + absl::Seconds(14), {}, "THROTTLED");
  EXPECT_DOUBLE_EQ(counters.time_seconds["THROTTLED"], 4);
  EXPECT_EQ(counters.accounted_until, kStart + absl::Seconds(14));
}

TEST(ChargeTime, NothingTwiceNothingBackwardsAndNothingBeforeTheStart) {
  ProgressCounters counters;
  ChargeTime(counters, absl::InfinitePast(), kStart, {{kTimeWorking, 1}}, kTimeSteps);
  EXPECT_TRUE(counters.time_seconds.empty());
  ChargeTime(counters, kStart, kStart + absl::Seconds(5), {}, kTimeSteps);
  ChargeTime(counters, kStart, kStart + absl::Seconds(5), {}, kTimeSteps);
  ChargeTime(counters, kStart, kStart + absl::Seconds(3), {{kTimeWorking, 1}}, kTimeSteps);
  EXPECT_THAT(counters.time_seconds, UnorderedElementsAre(Pair(kTimeSteps, DoubleEq(5))));
}

TEST(TimeAccount, SumsToTheWallTimeWhateverTheState) {
  const absl::Time now = kStart + absl::Seconds(100);
  for (const State state : kAllStates) {
    Migration m = Started(state);
    ChargeTime(m.progress, kStart, kStart + absl::Seconds(60), {{kTimeWorking, 3}, {"BLOCKED", 1}}, kTimeSteps);
    EXPECT_DOUBLE_EQ(Sum(TimeAccountAt(m, now)), 100) << StateName(state);
  }
}

TEST(TimeAccount, TimeThatNobodyChargedGoesToTheStateOrTheHold) {
  Migration m = Started(State::kPaused);
  EXPECT_THAT(TimeAccountAt(m, kStart + absl::Seconds(7)), UnorderedElementsAre(Pair("PAUSED", DoubleEq(7))));
  m.state = State::kRunning;
  EXPECT_THAT(TimeAccountAt(m, kStart + absl::Seconds(7)), UnorderedElementsAre(Pair("NO_OWNER", DoubleEq(7))));
  m.hold.kind = HoldKind::kOutOfWindow;
  EXPECT_THAT(TimeAccountAt(m, kStart + absl::Seconds(7)), UnorderedElementsAre(Pair("OUT_OF_WINDOW", DoubleEq(7))));
}

TEST(TimeAccount, EndsWithTheMigration) {
  Migration m = Started(State::kCompleted);
  m.finished_at = kStart + absl::Seconds(10);
  // The owner charged its last second a little beyond the end.
  ChargeTime(m.progress, kStart, kStart + absl::Seconds(10.2), {{kTimeWorking, 9}, {kTimeSteps, 1}}, kTimeSteps);
  EXPECT_DOUBLE_EQ(Sum(TimeAccountAt(m, kStart + absl::Hours(5))), 10);
  EXPECT_TRUE(TimeAccountAt(Migration{}, kStart).empty()) << "it never started";
}

TEST(TimeAccount, WhatCameAfterTheEndIsTakenFromItsOwnWord) {
  Migration m = Started(State::kCompleted);
  m.finished_at = kStart + absl::Seconds(10);
  ChargeTime(m.progress, kStart, *m.finished_at, {{kTimeWorking, 9}, {kTimeSteps, 1}}, kTimeSteps);
  // As recorded by versions that charged a later cleanup to the migration.
  ChargeTime(m.progress, kStart, kStart + absl::Seconds(14), {}, IdleTimeWord(m));
  EXPECT_THAT(TimeAccountAt(m, kStart + absl::Hours(5)), UnorderedElementsAre(Pair(kTimeWorking, DoubleEq(9)), Pair(kTimeSteps, DoubleEq(1))));
}

}  // namespace
}  // namespace migrationd
