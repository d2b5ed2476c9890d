#include "migrations/pacing/duration_estimate.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// A million rows, all to be done: 2 ms for a hundred of them, batches of a thousand, 100 ms of rest.
DurationInputs Million() {
  DurationInputs inputs;
  inputs.table_rows = 1'000'000;
  inputs.rows_to_do = 1'000'000;
  inputs.sample_rows = 100;
  inputs.sample_affected = 100;
  inputs.took = absl::Milliseconds(2);
  inputs.look = absl::Microseconds(500);
  inputs.batch_size = 1000;
  inputs.interval = absl::Milliseconds(100);
  return inputs;
}

TEST(DurationEstimate, IsWorkAndTheRestsBetweenBatches) {
  const auto estimate = EstimateDuration(Million());
  ASSERT_TRUE(estimate.has_value());
  // 10,000 sub-batches of 2 ms, 999 rests.
  EXPECT_EQ(estimate->duration, absl::Seconds(20) + absl::Milliseconds(99'900));
  EXPECT_EQ(estimate->explanation,
            "1000000 rows: 20s of work (2ms for 100 rows of 100), 0 of looking at the rest, 1m39s of rests (100ms after each batch of "
            "1000). "
            "Windows and waits for locks are not counted in.");
}

TEST(DurationEstimate, WithWhereAllRowsAreLookedAtOnceMore) {
  DurationInputs inputs = Million();
  inputs.has_where = true;
  EXPECT_EQ(EstimateDuration(inputs)->duration, EstimateDuration(Million())->duration + absl::Seconds(5));
}

TEST(DurationEstimate, RowsThatNeedNothingAreOnlyLookedAt) {
  DurationInputs inputs = Million();
  inputs.has_where = true;
  inputs.rows_to_do = 1000;
  // Ten ranges of work and nine rests at most, then 990,000 rows to look at, and all of them in VERIFY.
  inputs.sample_affected = 50;
  EXPECT_EQ(EstimateDuration(inputs)->duration,
            20 * absl::Milliseconds(2) + 1 * absl::Milliseconds(100) + (998'000 + 1'000'000) * absl::Microseconds(5));
}

TEST(DurationEstimate, LanesShareWorkAndRests) {
  DurationInputs inputs = Million();
  inputs.lanes = 4;
  const auto estimate = EstimateDuration(inputs);
  EXPECT_EQ(estimate->duration, EstimateDuration(Million())->duration / 4);
  EXPECT_THAT(estimate->explanation, HasSubstr("4 lanes"));
}

TEST(DurationEstimate, TheLimitOfRowsASecondHoldsForAllLanes) {
  DurationInputs inputs = Million();
  inputs.lanes = 4;
  inputs.max_rows_per_second = 1000;
  const auto slow = EstimateDuration(inputs);
  EXPECT_EQ(slow->duration, absl::Seconds(1000));
  EXPECT_THAT(slow->explanation, HasSubstr("at most 1000 rows/s"));
  inputs.max_rows_per_second = 1'000'000;
  EXPECT_THAT(EstimateDuration(inputs)->explanation, Not(HasSubstr("rows/s")));
}

TEST(DurationEstimate, ASampleThatChangedNothingTellsNothing) {
  for (auto field : {&DurationInputs::rows_to_do, &DurationInputs::sample_rows, &DurationInputs::sample_affected,
                     &DurationInputs::batch_size}) {
    DurationInputs inputs = Million();
    inputs.*field = 0;
    EXPECT_FALSE(EstimateDuration(inputs).has_value());
  }
}

TEST(DurationEstimate, IsFiniteWhateverWasMeasured) {
  DurationInputs inputs = Million();
  inputs.took = absl::InfiniteDuration();
  EXPECT_EQ(EstimateDuration(inputs)->duration, absl::Hours(24 * 365 * 10));
}

}  // namespace
}  // namespace migrationd
