#include "migrations/pacing/log_history.h"

#include <gtest/gtest.h>

namespace migrationd {
namespace {

absl::Time At(double second) { return absl::FromUnixSeconds(100'000) + absl::Seconds(second); }

TEST(LogHistoryTest, AReplicaIsBehindSinceTheLogWentBeyondIt) {
  LogHistory log;
  for (int second = 0; second <= 10; ++second) log.Add(At(second), 1000 * second);
  EXPECT_EQ(log.Behind(10'000), absl::ZeroDuration());
  EXPECT_EQ(log.Behind(9'000), absl::ZeroDuration()) << "less than one look";
  EXPECT_EQ(log.Behind(4'000), absl::Seconds(5));
  EXPECT_EQ(log.Behind(-1), absl::Seconds(10)) << "as far back as is known";
}

TEST(LogHistoryTest, AReplicaOfAnIdleServerIsNotBehind) {
  LogHistory log;
  for (int second = 0; second <= 100; ++second) log.Add(At(second), 5000);
  EXPECT_EQ(log.Behind(5000), absl::ZeroDuration());
  log.Add(At(101), 5100);
  EXPECT_EQ(log.Behind(5000), absl::ZeroDuration()) << "what was written just now";
  log.Add(At(102), 5100);
  EXPECT_EQ(log.Behind(5000), absl::Seconds(1));
}

TEST(LogHistoryTest, RateIsThatOfTheLastSeconds) {
  LogHistory log;
  EXPECT_FALSE(log.Rate().has_value());
  log.Add(At(0), 0);
  EXPECT_FALSE(log.Rate().has_value());
  for (int second = 1; second <= 60; ++second) log.Add(At(second), 1000 * second);
  EXPECT_DOUBLE_EQ(log.Rate().value_or(0), 1000);
  for (int second = 61; second <= 70; ++second) log.Add(At(second), 60'000);
  EXPECT_DOUBLE_EQ(log.Rate().value_or(-1), 0);
}

TEST(LogHistoryTest, IsBoundedAndKeepsWhatIsLongAgo) {
  LogHistory log;
  for (int second = 0; second <= 3000; ++second) log.Add(At(second), 1000 * second);
  EXPECT_LE(log.size(), 600u);
  EXPECT_NEAR(absl::ToDoubleSeconds(log.Behind(500'000)), 2500, 70);
  for (int second = 3001; second <= 20'000; ++second) log.Add(At(second), 1000 * second);
  EXPECT_LE(log.size(), 600u);
  EXPECT_LE(log.Behind(0), absl::Hours(1));
}

TEST(LogHistoryTest, AFailoverBeginsANewHistory) {
  LogHistory log;
  for (int second = 0; second <= 10; ++second) log.Add(At(second), 1000 * second);
  log.Add(At(11), 500);
  EXPECT_EQ(log.size(), 1u);
  EXPECT_EQ(log.Behind(0), absl::ZeroDuration());
  log.Add(At(5), 600);
  EXPECT_EQ(log.size(), 1u) << "its clock went back";
}

}  // namespace
}  // namespace migrationd
