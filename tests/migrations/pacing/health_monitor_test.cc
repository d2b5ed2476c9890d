#include "migrations/pacing/health_monitor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace migrationd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

constexpr std::int64_t kMiB = 1024 * 1024;

// A target that writes 1 MiB of log a second and is well otherwise, looked at once a second.
class HealthMonitorTest : public ::testing::Test {
 protected:
  const HealthVerdict& Look(const std::function<void(TargetVitals&)>& change = [](TargetVitals&) {}) {
    ++second_;
    TargetVitals vitals;
    vitals.at = absl::FromUnixSeconds(1'000'000 + second_);
    vitals.log_position = Position(second_);
    change(vitals);
    return monitor_->Record(Now(), vitals, /*used=*/true);
  }
  const HealthVerdict& Miss() {
    ++second_;
    return monitor_->Miss(Now(), "the database did not answer in time");
  }
  // `seconds` looks alike; the last verdict.
  const HealthVerdict& Looks(int seconds, const std::function<void(TargetVitals&)>& change) {
    for (int i = 1; i < seconds; ++i) Look(change);
    return Look(change);
  }
  void Configure(const HealthLimits& limits) { monitor_.emplace(limits); }

  static std::int64_t Position(int second) { return kMiB * second; }
  absl::Time Now() const { return absl::FromUnixSeconds(50 + second_); }
  // A replica that has stood still since that second.
  static std::function<void(TargetVitals&)> Standing(int since) {
    return [since](TargetVitals& vitals) { vitals.replicas = {{"standby", Position(since), std::nullopt}}; };
  }
  static void Following(TargetVitals& vitals) { vitals.replicas = {{"standby", vitals.log_position, std::nullopt}}; }

  int second_ = 0;
  std::optional<HealthMonitor> monitor_{HealthLimits()};
};

const Reading* Find(const std::vector<Reading>& readings, const std::string& signal) {
  for (const Reading& reading : readings) {
    if (reading.signal == signal) return &reading;
  }
  return nullptr;
}

TEST_F(HealthMonitorTest, ATargetOfWhichNothingAppliesAllowsAll) {
  const HealthVerdict& verdict = Looks(10, [](TargetVitals&) {});
  EXPECT_FALSE(verdict.stop.has_value());
  EXPECT_EQ(verdict.allowed, 1);
  EXPECT_THAT(verdict.readings, ElementsAre(::testing::Field(&Reading::signal, "wal_rate")));
}

TEST_F(HealthMonitorTest, AReplicaThatStandsStillStopsWorkByTimeAndLetsItGoOnWhenItHasCaughtUp) {
  Looks(10, Following);
  for (int behind = 1; behind <= 3; ++behind) {
    EXPECT_FALSE(Look(Standing(10)).stop.has_value()) << behind << " s";
  }
  const HealthVerdict& stopped = Look(Standing(10));
  ASSERT_TRUE(stopped.stop.has_value());
  EXPECT_FALSE(stopped.stop->stale);
  EXPECT_EQ(stopped.stop->reason, "replica_lag 3 s, limit 3 s (replica standby)");
  ASSERT_EQ(stopped.stop->readings.size(), 1u);
  EXPECT_EQ(stopped.stop->readings[0].value, 3);
  EXPECT_EQ(stopped.stop->readings[0].unit, "s");
  EXPECT_EQ(stopped.stop->readings[0].detail, "replica standby");
  // It catches up by five seconds each second.
  int replayed = 10;
  int looks = 0;
  const auto catching_up = [&](TargetVitals& vitals) { vitals.replicas = {{"standby", Position(replayed += 5), std::nullopt}}; };
  while (Look(catching_up).stop.has_value() && looks < 100) ++looks;
  EXPECT_GE(looks, 1) << "not at the limit but at four fifths of it";
  EXPECT_LT(looks, 5);
}

TEST_F(HealthMonitorTest, TheLagOfReplicasThatAreDelayedOnPurposeDoesNotCount) {
  HealthLimits limits;
  limits.ignored_replicas = {"standby"};
  Configure(limits);
  Looks(10, Following);
  const HealthVerdict& verdict = Looks(40, Standing(10));
  EXPECT_FALSE(verdict.stop.has_value());
  EXPECT_EQ(Find(verdict.readings, "replica_lag"), nullptr) << "there is no other one";
  const HealthVerdict& other = Looks(10, [](TargetVitals& vitals) {
    vitals.replicas = {{"standby", 10, std::nullopt}, {"other", Position(20), std::nullopt}};
  });
  ASSERT_TRUE(other.stop.has_value());
  EXPECT_THAT(other.stop->reason, ::testing::HasSubstr("replica other"));
}

TEST_F(HealthMonitorTest, BytesStopWorkOnAFastServer) {
  const HealthVerdict& verdict = Look([](TargetVitals& vitals) {
    vitals.log_position = 1000 * kMiB;
    vitals.replicas = {{"near", 990 * kMiB, std::nullopt}, {"far", 700 * kMiB, std::nullopt}};
  });
  ASSERT_TRUE(verdict.stop.has_value());
  EXPECT_EQ(verdict.stop->reason, "replica_lag_bytes 300 MiB, limit 256 MiB (replica far)");
}

TEST_F(HealthMonitorTest, WhatTheServerSaysOfTheLagCountsWhenItIsMore) {
  const auto lagging = [](TargetVitals& vitals) { vitals.replicas = {{"standby", vitals.log_position - 100, absl::Seconds(40)}}; };
  EXPECT_TRUE(Look(lagging).stop.has_value());
  Configure(HealthLimits());
  const auto idle = [](TargetVitals& vitals) { vitals.replicas = {{"standby", vitals.log_position, absl::Seconds(40)}}; };
  EXPECT_FALSE(Look(idle).stop.has_value()) << "one that has replayed all is not behind, whatever was measured last";
}

TEST_F(HealthMonitorTest, AReplicaThatIsExpectedAndNotThereStopsWork) {
  HealthLimits limits;
  limits.replicas = {"standby", "other"};
  Configure(limits);
  const HealthVerdict& stopped = Look(Following);
  ASSERT_TRUE(stopped.stop.has_value());
  EXPECT_EQ(stopped.stop->reason, "replicas_missing 1 replicas, limit 1 replicas (other)");
  const HealthVerdict& there = Looks(3, [](TargetVitals& vitals) {
    vitals.replicas = {{"standby", vitals.log_position, std::nullopt}, {"other", vitals.log_position, std::nullopt}};
  });
  EXPECT_FALSE(there.stop.has_value());
}

TEST_F(HealthMonitorTest, SlotsStopWorkWhileTheyCanBeSaved) {
  EXPECT_THAT(Look([](TargetVitals& v) { v.slots = {{"a", 11LL * 1024 * kMiB, "extended"}}; }).stop->reason,
              "slot_retention 11 GiB, limit 10 GiB (slot a)");
  Configure(HealthLimits());
  EXPECT_THAT(Look([](TargetVitals& v) { v.slots = {{"b", 5, "unreserved"}}; }).stop->reason, HasSubstr("slots_unreserved 1 slots"));
  Configure(HealthLimits());
  EXPECT_FALSE(Look([](TargetVitals& v) { v.slots = {{"c", 99LL * 1024 * kMiB, "lost"}}; }).stop.has_value()) << "stopping does not bring it back";
}

TEST_F(HealthMonitorTest, ArchiveAndTransactionIdsAreBudgets) {
  EXPECT_THAT(Look([](TargetVitals& v) { v.archive_backlog = 41; }).stop->reason, "archive_backlog 41 files, limit 40 files");
  Configure(HealthLimits());
  const auto& old = Look([](TargetVitals& v) {
    v.xid_age = 1.6;
    v.oldest_database = "crm";
  });
  EXPECT_EQ(old.stop->reason, "xid_age 1.6, limit 1.5 (database crm)");
}

TEST_F(HealthMonitorTest, TheRateOfTheLogHasNoLimitUnlessOneIsGiven) {
  EXPECT_FALSE(Looks(10, [](TargetVitals& v) { v.log_position *= 1000; }).stop.has_value());
  HealthLimits limits;
  limits.configured[Signal::kWalRate] = 100.0 * kMiB;
  Configure(limits);
  EXPECT_THAT(Looks(10, [](TargetVitals& v) { v.log_position *= 1000; }).stop->reason, "wal_rate 1000 MiB/s, limit 100 MiB/s");
}

TEST_F(HealthMonitorTest, ALimitCanBeSetAndTakenAway) {
  HealthLimits limits;
  limits.configured[Signal::kArchiveBacklog] = std::nullopt;
  Configure(limits);
  const HealthVerdict& off = Look([](TargetVitals& v) { v.archive_backlog = 4000; });
  EXPECT_FALSE(off.stop.has_value());
  ASSERT_NE(Find(off.readings, "archive_backlog"), nullptr) << "shown all the same";
  limits.configured[Signal::kArchiveBacklog] = 5;
  Configure(limits);
  EXPECT_TRUE(Look([](TargetVitals& v) { v.archive_backlog = 6; }).stop.has_value());
}

TEST_F(HealthMonitorTest, VacuumDebtStopsOnlyWhoWorksOnThatTableAndSlowsDownAll) {
  const auto debt = [](double ratio) {
    return [ratio](TargetVitals& v) { v.tables = {{"public.hot", ratio * 1000, 1000, "table hot"}, {"public.cold", 0, 1000, "table cold"}}; };
  };
  EXPECT_EQ(Looks(60, debt(5)).allowed, 1) << "what one pass over a table makes";
  EXPECT_LT(Looks(5, debt(5.5)).allowed, 1) << "more than that";
  const HealthVerdict& verdict = Look(debt(6));
  EXPECT_FALSE(verdict.stop.has_value());
  ASSERT_NE(verdict.StopOf("public.hot"), nullptr);
  EXPECT_EQ(verdict.StopOf("public.hot")->reason, "vacuum_debt 6, limit 6 (table hot)");
  EXPECT_EQ(verdict.StopOf("public.cold"), nullptr);
  ASSERT_TRUE(verdict.limited_by.has_value());
  EXPECT_EQ(verdict.limited_by->signal, "vacuum_debt");
  EXPECT_EQ(verdict.limited_by->value, 6);
  EXPECT_EQ(Looks(3, debt(0.1)).StopOf("public.hot"), nullptr) << "vacuumed";
  EXPECT_EQ(Looks(120, debt(0.1)).allowed, 1);
  EXPECT_FALSE(monitor_->verdict().limited_by.has_value());
}

TEST_F(HealthMonitorTest, GaugesSlowDownAndNeverStop) {
  const HealthVerdict& verdict = Looks(60, [](TargetVitals& v) {
    v.commit_latency = absl::Seconds(2);
    v.active_backends = 500;
    v.checkpoint_distance = 3;
  });
  EXPECT_FALSE(verdict.stop.has_value());
  EXPECT_EQ(verdict.allowed, kLeastAllowed);
  EXPECT_EQ(verdict.limited_by->signal, "commit_latency");
}

TEST_F(HealthMonitorTest, OneSlowCommitIsNotALoad) {
  Looks(20, [](TargetVitals& v) { v.commit_latency = absl::Milliseconds(2); });
  EXPECT_EQ(Look([](TargetVitals& v) { v.commit_latency = absl::Milliseconds(150); }).allowed, 1);
}

TEST_F(HealthMonitorTest, AGaugeThatCannotBeReadHolds) {
  Looks(10, [](TargetVitals& v) { v.active_backends = 1000; });
  const double allowed = monitor_->verdict().allowed;
  const HealthVerdict& unknown = Looks(60, [](TargetVitals& v) { v.unreadable[Signal::kActiveBackends] = "needs pg_monitor"; });
  EXPECT_EQ(unknown.allowed, allowed);
  const Reading* reading = Find(unknown.readings, "active_backends");
  ASSERT_NE(reading, nullptr);
  EXPECT_FALSE(reading->value.has_value());
  EXPECT_EQ(reading->detail, "needs pg_monitor");
}

TEST_F(HealthMonitorTest, AGaugeThatCannotBeReadAnyMoreForbidsToGrowWhateverTheOthersSay) {
  Looks(60, [](TargetVitals& v) { v.active_backends = 1000; });
  ASSERT_EQ(monitor_->verdict().allowed, kLeastAllowed);
  const auto silent = [](TargetVitals& v) {
    v.unreadable[Signal::kActiveBackends] = "statement timeout";
    v.checkpoint_distance = 0.1;
  };
  EXPECT_EQ(Looks(60, silent).allowed, kLeastAllowed);
  const auto calm = [](TargetVitals& v) {
    v.active_backends = 1;
    v.checkpoint_distance = 0.1;
  };
  EXPECT_EQ(Looks(200, calm).allowed, 1);
  EXPECT_EQ(Looks(10, silent).allowed, 1) << "it is no reason to shed either";
}

TEST_F(HealthMonitorTest, CheckpointsInTheirNormalCourseSlowNothingDown) {
  double distance = 0.5;
  for (int second = 0; second < 600; ++second) {
    distance += 0.02;
    if (distance > 1.05) distance = 0.5;
    ASSERT_EQ(Look([&](TargetVitals& v) { v.checkpoint_distance = distance; }).allowed, 1) << distance;
  }
  EXPECT_LT(Looks(60, [](TargetVitals& v) { v.checkpoint_distance = 1.4; }).allowed, 1) << "one that is late";
}

TEST_F(HealthMonitorTest, ATableWhoseDebtCannotBeReadStaysHeldAndStopsWhenNobodyKnows) {
  const auto debt = [](double ratio) { return [ratio](TargetVitals& v) { v.tables = {{"public.hot", ratio * 1000, 1000, "table hot"}}; }; };
  const auto failed = [](TargetVitals& v) { v.unreadable[Signal::kVacuumDebt] = "statement timeout"; };
  const auto locked = [](TargetVitals& v) { v.tables = {{"public.hot", std::nullopt, 1000, "locked"}}; };
  ASSERT_NE(Looks(5, debt(11)).StopOf("public.hot"), nullptr);
  EXPECT_NE(Look(failed).StopOf("public.hot"), nullptr);
  EXPECT_NE(Look(locked).StopOf("public.hot"), nullptr);
  EXPECT_NE(Look(debt(5)).StopOf("public.hot"), nullptr) << "it goes on below 4.8, and did not forget that";
  EXPECT_EQ(Looks(3, debt(1)).StopOf("public.hot"), nullptr);
  EXPECT_EQ(Looks(2, locked).StopOf("public.hot"), nullptr);
  const HealthVerdict& stale = Look(failed);
  ASSERT_NE(stale.StopOf("public.hot"), nullptr) << "three looks in a row";
  EXPECT_THAT(stale.StopOf("public.hot")->reason, StartsWith("SIGNAL_STALE: vacuum_debt"));
  EXPECT_EQ(Looks(3, debt(1)).StopOf("public.hot"), nullptr);
}

TEST_F(HealthMonitorTest, TheRateOfTheLogIsMeasuredHoweverFarApartTheLooksAre) {
  HealthLimits limits;
  limits.configured[Signal::kWalRate] = 100.0 * kMiB;
  Configure(limits);
  const auto much = [](TargetVitals& v) { v.log_position *= 1000; };
  Look(much);
  second_ += 60;
  EXPECT_TRUE(Look(much).stop.has_value());
}

TEST_F(HealthMonitorTest, AMissingPrivilegeIsUnknownAndNeverHealth) {
  const auto unprivileged = [](TargetVitals& v) {
    v.unreadable[Signal::kReplicaLag] = "needs pg_monitor";
    v.unreadable[Signal::kReplicasMissing] = "needs pg_monitor";
  };
  const HealthVerdict& verdict = Looks(10, unprivileged);
  EXPECT_FALSE(verdict.stop.has_value()) << "never readable, and nobody asked for it";
  ASSERT_NE(Find(verdict.readings, "replica_lag"), nullptr);
  EXPECT_FALSE(Find(verdict.readings, "replica_lag")->value.has_value());
  EXPECT_EQ(Find(verdict.readings, "replicas_missing"), nullptr) << "none is expected";

  HealthLimits limits;
  limits.configured[Signal::kReplicaLag] = 10;
  Configure(limits);
  const HealthVerdict& asked = Looks(3, unprivileged);
  ASSERT_TRUE(asked.stop.has_value()) << "somebody relies on it";
  EXPECT_EQ(asked.stop->reason, "SIGNAL_STALE: replica_lag cannot be read: needs pg_monitor");
  limits = HealthLimits();
  limits.replicas = {"standby"};
  Configure(limits);
  EXPECT_TRUE(Looks(3, unprivileged).stop.has_value());
}

TEST_F(HealthMonitorTest, ABudgetThatCouldBeReadAndCannotAnyMoreStops) {
  Looks(10, Following);
  const auto gone = [](TargetVitals& v) { v.unreadable[Signal::kReplicaLag] = "statement timeout"; };
  EXPECT_FALSE(Looks(2, gone).stop.has_value());
  EXPECT_THAT(Look(gone).stop->reason, StartsWith("SIGNAL_STALE: replica_lag"));
  EXPECT_TRUE(monitor_->verdict().stop->stale);
  EXPECT_FALSE(Looks(3, Following).stop.has_value());
}

TEST_F(HealthMonitorTest, ATargetThatDoesNotAnswerStopsAfterThreeMissedLooks) {
  Looks(10, Following);
  EXPECT_FALSE(Miss().stop.has_value());
  EXPECT_FALSE(Miss().stop.has_value());
  const HealthVerdict& missed = Miss();
  ASSERT_TRUE(missed.stop.has_value());
  EXPECT_EQ(missed.stop->reason, "SIGNAL_STALE: the health of the target cannot be read: the database did not answer in time");
  EXPECT_TRUE(missed.stop->stale);
  EXPECT_FALSE(Look(Following).stop.has_value());
}

TEST_F(HealthMonitorTest, ADisconnectedReplicaThatNobodyExpectsStopsNothing) {
  Looks(10, Following);
  EXPECT_TRUE(Looks(40, Standing(10)).stop.has_value());
  const HealthVerdict& gone = Look([](TargetVitals&) {});
  EXPECT_FALSE(gone.stop.has_value());
  EXPECT_EQ(Find(gone.readings, "replica_lag"), nullptr);
}

TEST(SignalsTest, TheTableIsInTheOrderOfTheSignals) {
  for (const Signal signal : kAllSignals) {
    EXPECT_EQ(InfoOf(signal).signal, signal);
    EXPECT_EQ(ParseSignal(SignalName(signal)), signal);
    EXPECT_TRUE(InfoOf(signal).budget || InfoOf(signal).gauge);
    EXPECT_FALSE(InfoOf(signal).help.empty());
  }
  EXPECT_FALSE(ParseSignal("replica").has_value());
}

}  // namespace
}  // namespace migrationd
