#include "server/health/pace_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

namespace migrationd {
namespace {

using ::testing::HasSubstr;

class PaceLogTest : public ::testing::Test {
 protected:
  PaceLogTest() {
    migration_.id = {1};
    migration_.target = "main";
    migration_.name = "a";
    stop_.reason = "replica_lag 31 s, limit 30 s";
  }
  std::optional<EventRecord> Note(double second, double allowed, bool stopped = false) {
    verdict_.allowed = allowed;
    return log_.Note(migration_, &verdict_, stopped ? &stop_ : nullptr, absl::FromUnixSeconds(1000) + absl::Seconds(second));
  }

  Migration migration_;
  HealthVerdict verdict_;
  HealthStop stop_;
  PaceLog log_;
};

TEST_F(PaceLogTest, NothingNewIsNoRow) {
  EXPECT_FALSE(Note(0, 1).has_value());
  EXPECT_FALSE(Note(100, 1).has_value());
  EXPECT_FALSE(log_.Note(migration_, nullptr, nullptr, absl::FromUnixSeconds(2000)).has_value());
}

TEST_F(PaceLogTest, StepsAreCollapsedAndStopsAreNot) {
  const auto first = Note(0, 0.8);
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->kind, "PACE");
  EXPECT_EQ(first->from, "1.00");
  EXPECT_EQ(first->to, "0.80");
  EXPECT_FALSE(Note(3, 0.64).has_value());
  EXPECT_FALSE(Note(6, 0.51).has_value());
  const auto stop = Note(7, 0.51, /*stopped=*/true);
  ASSERT_TRUE(stop.has_value());
  EXPECT_EQ(stop->from, "0.80");
  EXPECT_EQ(stop->to, "STOPPED");
  EXPECT_EQ(stop->reason, "replica_lag 31 s, limit 30 s");
  EXPECT_FALSE(Note(8, 0.4, /*stopped=*/true).has_value());
  const auto go = Note(9, 0.4);
  ASSERT_TRUE(go.has_value());
  EXPECT_EQ(go->from, "STOPPED");
  EXPECT_EQ(go->to, "0.40");
  EXPECT_FALSE(Note(12, 0.3).has_value());
  const auto later = Note(19, 0.2);
  ASSERT_TRUE(later.has_value());
  EXPECT_EQ(later->from, "0.40");
  EXPECT_EQ(later->to, "0.20") << "what is true by then";
}

TEST_F(PaceLogTest, StopsAndGoesWithoutEndAreWrittenOnceAMinute) {
  // A budget that is used up every five seconds, for an hour.
  int rows = 0;
  int told = 0;
  std::string at = "1.00";
  for (int second = 0; second < 3600; second += 5) {
    const bool stopped = second % 10 == 0;
    const auto event = Note(second, 1, stopped);
    if (!event.has_value()) continue;
    ++rows;
    EXPECT_EQ(event->from, at) << "as the row before says";
    EXPECT_EQ(event->to, stopped ? "STOPPED" : "1.00") << "what is true by then";
    at = event->to;
    const std::size_t left_out = event->reason.find("; ");
    if (left_out != std::string::npos) told += std::atoi(event->reason.c_str() + left_out + 2);
  }
  EXPECT_GE(rows, 60);
  EXPECT_LE(rows, 70);
  EXPECT_LE(720 - rows - told, 14) << "all were told of, but those since the last row";
  EXPECT_GE(720 - rows - told, 0);
}

TEST_F(PaceLogTest, AStopThatWasNotWrittenIsWrittenWhenThereIsRoomAndItStillLasts) {
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(Note(i, 1, /*stopped=*/i % 2 == 0).has_value()) << i;
  EXPECT_FALSE(Note(10, 1, /*stopped=*/true).has_value());
  EXPECT_FALSE(Note(11, 1).has_value());
  EXPECT_FALSE(Note(12, 1, /*stopped=*/true).has_value());
  const auto late = Note(61, 1, /*stopped=*/true);
  ASSERT_TRUE(late.has_value());
  EXPECT_EQ(late->from, "1.00");
  EXPECT_EQ(late->to, "STOPPED");
  EXPECT_EQ(late->reason, "replica_lag 31 s, limit 30 s; 2 more stops and goes were not written");
  EXPECT_FALSE(Note(62, 1).has_value());
  EXPECT_FALSE(Note(63, 0.5).has_value()) << "it would be a go";
  const auto go = Note(122, 0.5);
  ASSERT_TRUE(go.has_value());
  EXPECT_EQ(go->from, "STOPPED");
  EXPECT_EQ(go->to, "0.50");
  EXPECT_EQ(go->reason, "over: replica_lag 31 s, limit 30 s");
}

TEST_F(PaceLogTest, StopsThatWereOverBeforeThereWasRoomAreToldByTheNextRow) {
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(Note(i, 1, /*stopped=*/i % 2 == 0).has_value()) << i;
  EXPECT_FALSE(Note(10, 1, /*stopped=*/true).has_value());
  const Yielded yielded{.migration = "a", .backend_pid = 1, .waiter_pid = 2, .waiter = "shop", .waited = absl::Seconds(1)};
  const auto yield = log_.NoteYield(migration_, yielded, absl::FromUnixSeconds(1011));
  ASSERT_TRUE(yield.has_value());
  EXPECT_EQ(yield->to, "STOPPED") << "that it stopped was not written, but it is so";
  EXPECT_THAT(yield->reason, HasSubstr("; 1 more stop or go was not written"));
  EXPECT_FALSE(Note(12, 1).has_value());
  const auto step = Note(120, 0.8);
  ASSERT_TRUE(step.has_value());
  EXPECT_EQ(step->from, "1.00");
  EXPECT_THAT(step->reason, HasSubstr("; 1 more stop or go was not written"));
}

TEST_F(PaceLogTest, SaysWhatLimits) {
  verdict_.limited_by = Reading{.signal = "commit_latency", .value = 0.2, .limit = 0.1, .unit = "s"};
  EXPECT_EQ(Note(0, 0.5)->reason, "commit_latency 0.2 s, limit 0.1 s");
  verdict_.limited_by.reset();
  EXPECT_EQ(Note(20, 1)->reason, "gauges are low again");
}

TEST_F(PaceLogTest, YieldsAreCollapsed) {
  const Yielded yielded{.migration = "a", .backend_pid = 1, .waiter_pid = 2, .waiter = "shop", .waited = absl::Seconds(1)};
  const absl::Time now = absl::FromUnixSeconds(1000);
  const auto event = log_.NoteYield(migration_, yielded, now);
  ASSERT_TRUE(event.has_value());
  EXPECT_THAT(event->reason, HasSubstr("pid 2 (shop) had waited 1s"));
  EXPECT_FALSE(log_.NoteYield(migration_, yielded, now + absl::Seconds(9)).has_value());
  EXPECT_TRUE(log_.NoteYield(migration_, yielded, now + absl::Seconds(10)).has_value());
}

}  // namespace
}  // namespace migrationd
