#include "migrations/pacing/pace.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace migrationd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

migrationcontrol::v1::MigrationDefinition Definition() {
  migrationcontrol::v1::MigrationDefinition definition;
  definition.mutable_pace()->mutable_interval()->set_nanos(100'000'000);
  definition.mutable_pace()->set_lanes(2);
  definition.mutable_pace()->add_windows("daily 01:00-05:00");
  definition.mutable_lock_timeout()->set_seconds(1);
  return definition;
}

TEST(PaceOf, IsTheDefinitionsWithDefaultsWhereItSetsNone) {
  const PaceInForce pace = PaceOf(Definition(), std::nullopt, kNow);
  EXPECT_EQ(pace.interval, absl::Milliseconds(100));
  EXPECT_EQ(pace.max_rows_per_second, 0);
  EXPECT_EQ(pace.lanes, 2);
  EXPECT_THAT(pace.windows, ElementsAre("daily 01:00-05:00"));
  EXPECT_EQ(pace.target_sub_batch_time, absl::Milliseconds(100));
  EXPECT_EQ(pace.lock_timeout, absl::Seconds(1));
  EXPECT_EQ(pace.statement_timeout, absl::Seconds(5));
}

TEST(PaceOf, WhatWasSetStandsInItsPlaceAndTheRestStays) {
  PaceOverride pinned;
  pinned.settings.lanes = 4;
  pinned.settings.windows.emplace();
  pinned.until = kNow + absl::Seconds(1);
  const PaceInForce pace = PaceOf(Definition(), pinned, kNow);
  EXPECT_EQ(pace.lanes, 4);
  EXPECT_THAT(pace.windows, IsEmpty());
  EXPECT_EQ(pace.interval, absl::Milliseconds(100));
  EXPECT_EQ(PaceOf(Definition(), pinned, kNow + absl::Seconds(1)).lanes, 2) << "it is over";
}

TEST(RestAfterBatch, KeepsAllLanesTogetherWithinTheRate) {
  PaceInForce pace;
  pace.interval = absl::Milliseconds(10);
  EXPECT_EQ(RestAfterBatch(pace, 1000, absl::Milliseconds(5), 2), absl::Milliseconds(10));
  EXPECT_EQ(RestAfterBatch(pace, 0, absl::Milliseconds(5), 2), absl::ZeroDuration()) << "nothing was changed";
  pace.max_rows_per_second = 1000;
  // Two lanes, 500 rows a second each: 1,000 rows are for two seconds.
  EXPECT_EQ(RestAfterBatch(pace, 1000, absl::Milliseconds(500), 2), absl::Milliseconds(1500));
  EXPECT_EQ(RestAfterBatch(pace, 1000, absl::Seconds(3), 2), absl::Milliseconds(10)) << "slow enough by itself";
}

}  // namespace
}  // namespace migrationd
