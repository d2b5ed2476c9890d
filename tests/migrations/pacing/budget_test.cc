#include "migrations/pacing/budget.h"

#include <gtest/gtest.h>

namespace migrationd {
namespace {

constexpr double kLimit = 100;

class BudgetTest : public ::testing::Test {
 protected:
  // One sample a second.
  bool Sample(double value) { return budget_.Record(now_ += absl::Seconds(1), value, kLimit); }
  bool Miss() { return budget_.Miss(now_ += absl::Seconds(1)); }

  absl::Time now_ = absl::FromUnixSeconds(1000);
  Budget budget_{absl::Seconds(2)};
};

TEST_F(BudgetTest, StopsAtTheLimitAndGoesOnAtFourFifthsOfIt) {
  EXPECT_FALSE(Sample(99.9));
  EXPECT_TRUE(Sample(100));
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(Sample(80.1)) << "between the two nothing changes";
  EXPECT_FALSE(Sample(80));
  EXPECT_FALSE(Sample(99)) << "between the two nothing changes";
}

TEST_F(BudgetTest, NoiseAboutTheLimitStopsOnce) {
  int changes = 0;
  bool before = false;
  for (int i = 0; i < 1000; ++i) {
    const bool stopped = Sample(i % 2 == 0 ? 101 : 85);
    changes += stopped != before ? 1 : 0;
    before = stopped;
  }
  EXPECT_EQ(changes, 1);
}

TEST_F(BudgetTest, AStopLastsItsMinimum) {
  EXPECT_TRUE(Sample(200));
  EXPECT_TRUE(Sample(0));
  EXPECT_FALSE(Sample(0));
}

TEST_F(BudgetTest, MissingSamplesStopItOnlyTogetherAndOnlyUntilTheNextReading) {
  EXPECT_FALSE(Sample(10));
  EXPECT_FALSE(Miss());
  EXPECT_FALSE(Miss());
  EXPECT_FALSE(Sample(10)) << "one reading, and the count begins anew";
  EXPECT_FALSE(Miss());
  EXPECT_FALSE(Miss());
  EXPECT_TRUE(Miss());
  EXPECT_TRUE(budget_.stale());
  EXPECT_TRUE(Sample(10)) << "the minimum of a stop";
  EXPECT_FALSE(budget_.stale());
  EXPECT_FALSE(Sample(10));
}

TEST_F(BudgetTest, MissingSamplesNeverLetItGoOn) {
  EXPECT_TRUE(Sample(150));
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(Miss());
  EXPECT_TRUE(Sample(90)) << "readable again, and still too much";
}

TEST_F(BudgetTest, WhatDoesNotApplyAnyMoreStopsNothing) {
  EXPECT_TRUE(Sample(150));
  budget_.Clear();
  EXPECT_FALSE(budget_.stopped());
  EXPECT_EQ(budget_.read_at(), absl::InfinitePast());
}

}  // namespace
}  // namespace migrationd
