#include "migrations/pacing/bands.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>
#include <vector>

namespace migrationd {
namespace {

// A target that is loaded by others and by what is allowed to us, looked at once a second.
std::vector<double> AllowedOver(int seconds, const std::function<double(int second, double allowed)>& utilisation, bool used = true) {
  Bands bands;
  std::vector<double> allowed;
  for (int second = 0; second < seconds; ++second) {
    allowed.push_back(bands.Record(absl::FromUnixSeconds(1000 + second), utilisation(second, bands.allowed()), used));
  }
  return allowed;
}

int Changes(const std::vector<double>& allowed, int from) {
  int changes = 0;
  for (std::size_t i = static_cast<std::size_t>(from) + 1; i < allowed.size(); ++i) changes += allowed[i] != allowed[i - 1] ? 1 : 0;
  return changes;
}

TEST(BandsTest, AnIdleTargetAllowsAll) {
  for (const double allowed : AllowedOver(100, [](int, double) { return 0.1; })) EXPECT_EQ(allowed, 1);
}

TEST(BandsTest, AStepInLoadIsMetWithinSecondsAndGivenBackWhenItIsOver) {
  // Others take 0.2, then 0.9 of the target from second 50 to 150; we take 0.3 of it at full pace.
  const auto allowed = AllowedOver(400, [](int second, double share) { return (second >= 50 && second < 150 ? 0.9 : 0.05) + 0.3 * share; });
  EXPECT_EQ(allowed[49], 1);
  EXPECT_LE(allowed[51], 0.5) << "above 1 it is halved at once";
  EXPECT_LE(allowed[100], 0.25);
  EXPECT_EQ(allowed[399], 1) << "and grows back";
}

TEST(BandsTest, ASteadyLoadFindsItsPaceAndStaysThere) {
  // 0.2 by others and up to 0.8 by us: at full pace it is shed, and rests between the bands.
  const auto allowed = AllowedOver(300, [](int, double share) { return 0.2 + 0.8 * share; });
  EXPECT_GT(allowed.back(), 0.2);
  EXPECT_LT(allowed.back(), 0.7);
  EXPECT_EQ(Changes(allowed, 60), 0) << "it does not swing";
}

TEST(BandsTest, NoiseAboutAThresholdDoesNotSwing) {
  std::mt19937 random(4711);
  std::normal_distribution<double> noise(0, 0.08);
  const auto allowed = AllowedOver(3000, [&](int, double share) { return std::max(0.0, 0.1 + 0.7 * share + noise(random)); });
  double lowest = 1;
  double highest = 0;
  for (std::size_t i = 300; i < allowed.size(); ++i) {
    lowest = std::min(lowest, allowed[i]);
    highest = std::max(highest, allowed[i]);
  }
  EXPECT_LT(highest - lowest, 0.35) << "from " << lowest << " to " << highest;
}

TEST(BandsTest, NeverOutsideItsLimits) {
  std::mt19937 random(1);
  std::uniform_real_distribution<double> any(0, 3);
  for (const double allowed : AllowedOver(5000, [&](int, double) { return any(random); })) {
    EXPECT_GE(allowed, kLeastAllowed);
    EXPECT_LE(allowed, 1);
  }
  EXPECT_EQ(AllowedOver(100, [](int, double) { return 5.0; }).back(), kLeastAllowed) << "a gauge never stops work";
}

TEST(BandsTest, OneStepAtATime) {
  const auto shed = AllowedOver(10, [](int, double) { return 0.9; });
  EXPECT_DOUBLE_EQ(shed[0], 0.8);
  EXPECT_DOUBLE_EQ(shed[2], 0.8) << "the step before has to show first";
  EXPECT_DOUBLE_EQ(shed[3], 0.64);
}

TEST(BandsTest, WithoutAReadingNothingChanges) {
  Bands bands;
  bands.Record(absl::FromUnixSeconds(1), 2, true);
  EXPECT_EQ(bands.allowed(), 0.5);
  for (int second = 2; second < 100; ++second) EXPECT_EQ(bands.Record(absl::FromUnixSeconds(second), std::nullopt, true), 0.5);
}

TEST(BandsTest, WhatIsNotUsedIsNotRaised) {
  Bands bands;
  bands.Record(absl::FromUnixSeconds(1), 2, true);
  for (int second = 2; second < 100; ++second) EXPECT_EQ(bands.Record(absl::FromUnixSeconds(second), 0, false), 0.5);
  EXPECT_GT(bands.Record(absl::FromUnixSeconds(100), 0, true), 0.5);
}

TEST(BandsTest, UtilisationMeetsTheBandsWhereTheGaugeSays) {
  EXPECT_DOUBLE_EQ(UtilisationOf(70, 100, 0.7), 0.7);
  EXPECT_DOUBLE_EQ(UtilisationOf(100, 100, 0.7), 1);
  EXPECT_DOUBLE_EQ(UtilisationOf(2, 5, 0.4), 0.7) << "twice the trigger of autovacuum, with a limit of five times";
  EXPECT_DOUBLE_EQ(UtilisationOf(5, 5, 0.4), 1);
  EXPECT_GT(UtilisationOf(6, 5, 0.4), 1);
  EXPECT_EQ(UtilisationOf(0, 100, 0.7), 0);
}

}  // namespace
}  // namespace migrationd
