#include "migrations/pacing/sub_batch_servo.h"

#include <algorithm>
#include <functional>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace migrationd {
namespace {

constexpr absl::Duration kTarget = absl::Milliseconds(100);

SubBatchServo Servo(std::int32_t initial, std::int32_t ceiling) {
  return SubBatchServo({.initial = initial, .ceiling = ceiling, .target = kTarget});
}

// Feeds `count` full samples of that time; the last decision.
ServoDecision Feed(SubBatchServo& servo, absl::Duration execution, std::size_t count = SubBatchServo::kWindow) {
  ServoDecision decision;
  for (std::size_t i = 0; i < count; ++i) decision = servo.Record({servo.size(), execution});
  return decision;
}

// A synthetic target: the time of a sub-batch of so many rows, the `step`-th.
using Trace = std::function<absl::Duration(int step, std::int32_t rows)>;

struct Ride {
  std::vector<std::int32_t> sizes;    // after each sub-batch
  std::vector<absl::Duration> times;  // of each
  int changes_after(std::size_t step) const {
    int changes = 0;
    for (std::size_t i = std::max<std::size_t>(step, 1); i < sizes.size(); ++i) changes += sizes[i] != sizes[i - 1];
    return changes;
  }
};

Ride Drive(SubBatchServo& servo, int steps, const Trace& trace) {
  Ride ride;
  for (int step = 0; step < steps; ++step) {
    const std::int32_t before = servo.size();
    const absl::Duration time = trace(step, before);
    const ServoDecision decision = servo.Record({before, time});
    EXPECT_GE(servo.size(), 1);
    EXPECT_LE(servo.size(), servo.ceiling());
    EXPECT_LE(servo.size(), std::max(before + 1, before * 3 / 2)) << "grew by more than half";
    EXPECT_EQ(decision.from, before);
    EXPECT_EQ(decision.to, servo.size());
    EXPECT_EQ(decision.change == ServoChange::kNone, decision.from == decision.to);
    ride.sizes.push_back(servo.size());
    ride.times.push_back(time);
  }
  return ride;
}

TEST(SubBatchServo, BeginsWithinItsLimits) {
  EXPECT_EQ(Servo(100, 1000).size(), 100);
  EXPECT_EQ(Servo(100, 30).size(), 30);
  EXPECT_EQ(Servo(0, 30).size(), 1);
  EXPECT_EQ(Servo(5, 0).size(), 1);
}

TEST(SubBatchServo, DecidesAfterElevenSamplesOnly) {
  SubBatchServo servo = Servo(100, 1000);
  EXPECT_EQ(Feed(servo, absl::Milliseconds(1), 10).change, ServoChange::kNone);
  EXPECT_EQ(Feed(servo, absl::Milliseconds(1), 1).change, ServoChange::kGrown);
  EXPECT_EQ(servo.size(), 150);
  EXPECT_EQ(Feed(servo, absl::Milliseconds(1), 10).change, ServoChange::kNone) << "a new window begins";
}

TEST(SubBatchServo, OneSlowSampleOfElevenDoesNotCount) {
  SubBatchServo servo = Servo(100, 1000);
  servo.Record({100, absl::Milliseconds(450)});
  const ServoDecision decision = Feed(servo, absl::Milliseconds(80), 10);
  EXPECT_EQ(decision.change, ServoChange::kNone);
  EXPECT_EQ(decision.reading, absl::Milliseconds(80));
}

TEST(SubBatchServo, TwoSlowSamplesOfElevenDo) {
  SubBatchServo servo = Servo(100, 1000);
  Feed(servo, absl::Milliseconds(200), 2);
  const ServoDecision decision = Feed(servo, absl::Milliseconds(80), 9);
  EXPECT_EQ(decision.change, ServoChange::kShrunk);
  EXPECT_EQ(decision.reading, absl::Milliseconds(200));
  EXPECT_EQ(decision.to, 42);  // 85 % of half
}

TEST(SubBatchServo, GrowsOnlyWhenItsSamplesWereFull) {
  SubBatchServo servo = Servo(100, 1000);
  servo.Record({60, absl::Milliseconds(1)});  // the end of a range
  EXPECT_EQ(Feed(servo, absl::Milliseconds(1), 10).change, ServoChange::kNone);
  EXPECT_EQ(Feed(servo, absl::Milliseconds(1), 1).change, ServoChange::kGrown)
      << "by now the short one is out of the window";
  EXPECT_EQ(servo.size(), 150);
}

TEST(SubBatchServo, ShrinksAlsoByShortSamples) {
  SubBatchServo servo = Servo(100, 1000);
  ServoDecision decision;
  for (std::size_t i = 0; i < SubBatchServo::kWindow; ++i) decision = servo.Record({60, absl::Milliseconds(200)});
  EXPECT_EQ(decision.change, ServoChange::kShrunk);
}

TEST(SubBatchServo, FiveTimesOverDividesAtOnce) {
  SubBatchServo servo = Servo(500, 1000);
  EXPECT_EQ(servo.Record({500, absl::Milliseconds(500)}).change, ServoChange::kNone) << "not above five times";
  const ServoDecision decision = servo.Record({500, absl::Milliseconds(501)});
  EXPECT_EQ(decision.change, ServoChange::kDivided);
  EXPECT_EQ(servo.size(), 50);
}

TEST(SubBatchServo, DividesToWhatFitsWhenATenthWouldNot) {
  SubBatchServo servo = Servo(1000, 1000);
  servo.Record({1000, absl::Seconds(5)});  // fifty times over
  EXPECT_EQ(servo.size(), 20);
  SubBatchServo huge = Servo(1000, 1000);
  huge.Record({1000, absl::Hours(10)});
  EXPECT_EQ(huge.size(), 1);
}

TEST(SubBatchServo, SamplesOfTheTimeBeforeItShrankDoNotDivideTwice) {
  SubBatchServo servo = Servo(500, 1000);
  servo.Record({500, absl::Milliseconds(600)});
  ASSERT_EQ(servo.size(), 50);
  // Three more lanes had begun theirs with 500 rows.
  for (int lane = 0; lane < 3; ++lane) {
    EXPECT_EQ(servo.Record({500, absl::Milliseconds(600)}).change, ServoChange::kNone);
  }
  EXPECT_EQ(servo.size(), 50);
}

TEST(SubBatchServo, TellsTheLowerLimitOnceUntilItCouldGrow) {
  SubBatchServo servo = Servo(1, 1000);
  EXPECT_TRUE(Feed(servo, absl::Milliseconds(150)).reached_lower_limit);
  EXPECT_FALSE(Feed(servo, absl::Milliseconds(150)).reached_lower_limit);
  EXPECT_FALSE(servo.Record({1, absl::Seconds(2)}).reached_lower_limit);
  EXPECT_EQ(servo.size(), 1);
  Feed(servo, absl::Milliseconds(10));
  EXPECT_GT(servo.size(), 1);
  while (servo.size() > 1) servo.Record({servo.size(), absl::Seconds(2)});
  EXPECT_TRUE(servo.Record({1, absl::Seconds(2)}).reached_lower_limit);
}

TEST(SubBatchServo, ComesBackFromASizeOfOne) {
  SubBatchServo servo = Servo(1, 1000);
  Drive(servo, 11 * 30, [](int, std::int32_t rows) { return absl::Microseconds(200) * rows; });
  EXPECT_GE(servo.size(), 350);  // 70 ms
}

TEST(SubBatchServo, APinnedSizeStays) {
  SubBatchServo servo = Servo(100, 1000);
  servo.Pin(400);
  EXPECT_TRUE(servo.pinned());
  EXPECT_EQ(Feed(servo, absl::Seconds(10)).change, ServoChange::kNone);
  EXPECT_EQ(servo.size(), 400);
  servo.Pin(5000);
  EXPECT_EQ(servo.size(), 1000);
  servo.SetCeiling(200);
  EXPECT_EQ(servo.size(), 200);
  servo.Unpin();
  EXPECT_EQ(Feed(servo, absl::Milliseconds(200)).change, ServoChange::kShrunk);
}

TEST(SubBatchServo, IsLoweredAtOnceToWhatWouldHaveFitted) {
  SubBatchServo servo = Servo(1000, 1000);
  EXPECT_EQ(servo.LowerToFit({250, absl::Milliseconds(100)}).change, ServoChange::kNone) << "not above the target";
  EXPECT_EQ(servo.LowerToFit({1000, absl::Seconds(5)}).change, ServoChange::kShrunk);
  EXPECT_EQ(servo.size(), 17);  // 85 % of a fiftieth
  EXPECT_EQ(servo.LowerToFit({1000, absl::Seconds(1)}).change, ServoChange::kNone) << "it is below that already";
  EXPECT_EQ(servo.LowerToFit({1, absl::Hours(1)}).to, 1);
  servo.Pin(100);
  EXPECT_EQ(servo.LowerToFit({100, absl::Seconds(5)}).change, ServoChange::kNone);
}

TEST(SubBatchServo, TheCeilingHoldsAtOnce) {
  SubBatchServo servo = Servo(100, 1000);
  Feed(servo, absl::Milliseconds(1), 10);
  servo.SetCeiling(40);
  EXPECT_EQ(servo.size(), 40);
  Feed(servo, absl::Milliseconds(1), 40);
  EXPECT_EQ(servo.size(), 40);
  servo.SetCeiling(1000);
  EXPECT_EQ(servo.size(), 40) << "a higher ceiling is room, not an order";
  Feed(servo, absl::Milliseconds(1), 11);
  EXPECT_EQ(servo.size(), 60);
  servo.SetCeiling(0);
  EXPECT_EQ(servo.size(), 1);
}

TEST(SubBatchServoTrace, ConvergesFromBelowAndFromAboveAndThenStays) {
  const Trace steady = [](int, std::int32_t rows) { return absl::Milliseconds(2) + absl::Microseconds(100) * rows; };
  for (const std::int32_t initial : {1, 100, 10'000}) {
    SubBatchServo servo = Servo(initial, 10'000);
    const Ride ride = Drive(servo, 600, steady);
    EXPECT_GE(ride.times.back(), 0.7 * kTarget) << initial;
    EXPECT_LE(ride.times.back(), kTarget) << initial;
    EXPECT_EQ(ride.changes_after(400), 0) << initial;
  }
}

TEST(SubBatchServoTrace, AStepInTheLoadIsFollowedDownAndUpAgain) {
  SubBatchServo servo = Servo(100, 10'000);
  const Ride ride = Drive(servo, 1500, [](int step, std::int32_t rows) {
    return absl::Microseconds(step >= 500 && step < 1000 ? 400 : 100) * rows;
  });
  EXPECT_GE(ride.sizes[499], 700);
  EXPECT_LE(ride.sizes[540], 250) << "down within a few windows";
  EXPECT_GE(ride.sizes[999], 170);
  EXPECT_GE(ride.sizes[1200], 700);
  EXPECT_EQ(ride.changes_after(1300), 0);
}

TEST(SubBatchServoTrace, NoiseDoesNotMakeItGoToAndFro) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<double> noise(0.9, 1.1);
    SubBatchServo servo = Servo(100, 10'000);
    const Ride ride =
        Drive(servo, 3000, [&](int, std::int32_t rows) { return absl::Microseconds(100) * rows * noise(random); });
    EXPECT_EQ(ride.changes_after(400), 0) << "seed " << seed;
  }
}

TEST(SubBatchServoTrace, HeavyTailsKeepItCautiousButWorking) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    std::mt19937 random(seed);
    std::lognormal_distribution<double> tail(0, 0.4);
    SubBatchServo servo = Servo(100, 10'000);
    const Ride ride =
        Drive(servo, 5000, [&](int, std::int32_t rows) { return absl::Microseconds(100) * rows * tail(random); });
    std::vector<absl::Duration> times(ride.times.begin() + 500, ride.times.end());
    std::sort(times.begin(), times.end());
    EXPECT_LE(times[times.size() * 9 / 10], 1.1 * kTarget) << "seed " << seed;
    EXPECT_GE(times[times.size() / 2], 0.3 * kTarget) << "seed " << seed;
  }
}

TEST(SubBatchServoTrace, ASlowRegionCostsOneSlowTransactionAndIsLeftBehind) {
  // Fifty times slower rows, as where a trigger or a wide toast value begins.
  SubBatchServo servo = Servo(100, 10'000);
  const Ride ride = Drive(servo, 2000, [](int step, std::int32_t rows) {
    return absl::Microseconds(step >= 500 && step < 900 ? 5000 : 100) * rows;
  });
  int over_five = 0;
  for (const absl::Duration time : ride.times) over_five += time > 5 * kTarget;
  EXPECT_EQ(over_five, 1);
  EXPECT_LE(ride.sizes[500], 20);
  EXPECT_GE(ride.sizes[1999], 700);
}

TEST(SubBatchServoTrace, AFixedCostAboveTheTargetEndsAtOneRow) {
  SubBatchServo servo = Servo(100, 10'000);
  const Ride ride = Drive(servo, 1000, [](int, std::int32_t) { return absl::Milliseconds(150); });
  EXPECT_EQ(ride.sizes.back(), 1);
}

}  // namespace
}  // namespace migrationd
