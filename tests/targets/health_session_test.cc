// The signals of a target's health, read from a real one: what is there, what may not be seen, and who is in whose way.
#include <algorithm>
#include <functional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "migrations/model/failure.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_postgres.h"
#include "tests/support/wait_until.h"
#include "tests/targets/target_fixture.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class Health : public ItemsTest, public ::testing::WithParamInterface<Path> {
 protected:
  void BeginHealth(int rows) {
    Begin(rows, /*lanes=*/1, IncrementDefinition(), GetParam());
    auto session = target_->OpenHealth();
    MD_ASSERT_OK(session.status());
    session_ = *std::move(session);
  }
  TargetVitals Read(const VitalsRequest& request = {}) {
    auto vitals = session_->Read(request);
    EXPECT_THAT(vitals, IsOk());
    return vitals.ok() ? *vitals : TargetVitals();
  }
  // The one table's.
  TableVitals Debt(const std::string& table = "public.items") {
    const TargetVitals vitals = Read({.tables = {table}});
    EXPECT_THAT(vitals.tables, SizeIs(1));
    return vitals.tables.empty() ? TableVitals() : vitals.tables[0];
  }
  // The counts of rows reach the statistics when their session ends, or about a second later.
  bool DebtComes(const std::function<bool(double dead)>& as_expected) {
    return WaitUntil([&] { return as_expected(Debt().dead_rows.value_or(-1)); });
  }

  std::vector<Yielded> Yield(const std::vector<FenceClaim>& claims, absl::Duration patience) {
    auto yielded = session_->YieldToWaiters(claims, patience);
    EXPECT_THAT(yielded, IsOk());
    return yielded.ok() ? *std::move(yielded) : std::vector<Yielded>();
  }

  std::unique_ptr<HealthSession> session_;
};

TEST_P(Health, ReadsAllThatAppliesToAServerOnItsOwn) {
  BeginHealth(10);
  const TargetVitals vitals = Read({.tables = {"public.items"}, .measure_commit = true});
  EXPECT_THAT(vitals.unreadable, IsEmpty());
  EXPECT_GT(vitals.log_position, 0);
  EXPECT_THAT(vitals.replicas, IsEmpty());
  EXPECT_THAT(vitals.slots, IsEmpty());
  EXPECT_FALSE(vitals.archive_backlog.has_value()) << "archiving is off";
  ASSERT_TRUE(vitals.xid_age.has_value());
  EXPECT_GT(*vitals.xid_age, 0);
  EXPECT_LT(*vitals.xid_age, 1);
  EXPECT_NE(vitals.oldest_database, "");
  ASSERT_TRUE(vitals.checkpoint_distance.has_value());
  EXPECT_GE(*vitals.checkpoint_distance, 0);
  EXPECT_TRUE(vitals.active_backends.has_value());
  ASSERT_TRUE(vitals.commit_latency.has_value());
  EXPECT_GT(*vitals.commit_latency, absl::ZeroDuration());
  EXPECT_THAT(vitals.tables, SizeIs(1));
  const TargetVitals later = Read();
  EXPECT_GT(later.at, vitals.at);
  EXPECT_FALSE(later.commit_latency.has_value()) << "measured only when asked for, since it writes";
}

TEST_P(Health, LeavesNothingOpenAndNothingSet) {
  BeginHealth(10);
  Read({.tables = {"public.items"}, .measure_commit = true});
  EXPECT_EQ(Ask(url_, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"), "0");
  EXPECT_EQ(Ask(url_, "SELECT count(*) FROM pg_locks WHERE relation = 'migration_control.identity'::regclass"), "0");
}

TEST_P(Health, CountsDeadRowsAgainstWhatMakesAutovacuumBegin) {
  BeginHealth(20000);
  EXPECT_TRUE(DebtComes([](double dead) { return dead == 0; }));
  Sql(url_, "UPDATE items SET n = n + 1");
  EXPECT_TRUE(DebtComes([](double dead) { return dead >= 20000; }));
  EXPECT_EQ(Debt().detail, "table items");
  EXPECT_EQ(Debt("items").detail, "table items") << "found in the search_path";
  EXPECT_THAT(Read({.tables = {"public.no_such"}}).tables, IsEmpty());
  // 50 + 0.2 for each row.
  EXPECT_EQ(Debt().trigger, 20000) << "a few rows are no debt";
  Sql(url_, "ALTER TABLE items SET (autovacuum_vacuum_threshold = 100000, autovacuum_vacuum_scale_factor = 0.5)");
  EXPECT_TRUE(WaitUntil([&] { return Debt().trigger == 110000; })) << Debt().trigger << ": never analysed, so by the rows counted";
  Sql(url_, "VACUUM items");
  EXPECT_TRUE(DebtComes([](double dead) { return dead == 0; }));
}

TEST_P(Health, ASmallTableIsNeverInDebtForAFewRows) {
  BeginHealth(10);
  EXPECT_EQ(Debt().trigger, 20000);
}

TEST_P(Health, OfAPartitionedTableTheWorstPartitionCounts) {
  BeginHealth(10);
  Sql(url_, R"(CREATE TABLE parts (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
    CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (100) TO (10000);
    INSERT INTO parts SELECT g, 0 FROM generate_series(0, 5000) AS g;
    UPDATE parts SET n = 1 WHERE id >= 100)");
  EXPECT_TRUE(WaitUntil([&] { return Debt("parts").dead_rows.value_or(0) > 4000; }));
  EXPECT_EQ(Debt("parts").detail, "table parts_2");
}

TEST_P(Health, ASlotThatKeepsTheLogIsSeen) {
  BeginHealth(10);
  Sql(url_, "SELECT pg_create_physical_replication_slot('kept', true)");
  TargetVitals vitals = Read();
  ASSERT_THAT(vitals.slots, SizeIs(1));
  EXPECT_EQ(vitals.slots[0].name, "kept");
  EXPECT_EQ(vitals.slots[0].status, "reserved");
  Sql(url_, "INSERT INTO items SELECT g, 0 FROM generate_series(1000000, 1010000) AS g");
  EXPECT_GT(Read().slots[0].retained, vitals.slots[0].retained + 100'000);
  Sql(url_, "SELECT pg_drop_replication_slot('kept')");
}

TEST_P(Health, CountsOthersAndNotItself) {
  BeginHealth(10);
  const double before = Read().active_backends.value_or(-1);
  std::thread busy([&] { Sql(url_, "SELECT pg_sleep(3)"); });
  EXPECT_TRUE(WaitUntil([&] { return Read().active_backends.value_or(-1) >= before + 1; }));
  busy.join();
}

// A session that waits for a row that a sub-batch of ours has changed.
TEST_P(Health, CancelsASubBatchThatSomebodyWaitsFor) {
  BeginHealth(100);
  InstallRoadblocks(url_);
  const auto lane = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  Roadblock roadblock(url_, kAfterWork);
  absl::Status done;
  std::thread worker([&] { done = RunNext(*lane, range, 10).status(); });
  ASSERT_TRUE(roadblock.WaitForSomebody());
  const std::string in_the_way = Ask(url_, "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted");
  EXPECT_THAT(Yield({checkpoint_.claim}, absl::Milliseconds(10)), IsEmpty()) << "nobody waits for it";

  std::thread waiter([&] { Sql(url_ + "&application_name=shop", "UPDATE items SET n = n + 100 WHERE id = 1"); });
  ASSERT_TRUE(WaitForTrue(url_, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid')"));
  EXPECT_THAT(Yield({checkpoint_.claim}, absl::Hours(1)), IsEmpty()) << "not for long";
  FenceClaim other = checkpoint_.claim;
  other.token = "01234567-0000-4000-8000-000000000000";
  EXPECT_THAT(Yield({other}, absl::ZeroDuration()), IsEmpty()) << "not for that one";
  std::vector<Yielded> yielded;
  EXPECT_TRUE(WaitUntil([&] {
    yielded = Yield({other, checkpoint_.claim}, absl::Milliseconds(200));
    return !yielded.empty();
  }));
  worker.join();
  roadblock.Open();  // it would stand at it, too
  waiter.join();
  EXPECT_EQ(SqlStateOf(done), "57014") << done;
  EXPECT_EQ(ClassifyFailure(SqlStateOf(done)), FailureClass::kRetrySmaller);
  ASSERT_THAT(yielded, SizeIs(1));
  EXPECT_EQ(yielded[0].migration, kMigration);
  EXPECT_EQ(absl::StrCat(yielded[0].backend_pid), in_the_way);
  EXPECT_EQ(yielded[0].waiter, "shop");
  EXPECT_GE(yielded[0].waited, absl::Milliseconds(200));
  EXPECT_EQ(Counts(), "0:99 100:1") << "nothing of the sub-batch was committed";
}

INSTANTIATE_TEST_SUITE_P(Paths, Health, ::testing::Values(Path::kDirect, Path::kPgBouncer),
                         [](const auto& info) { return PathName(info.param); });

// Without pg_monitor: what cannot be seen is unknown, and the rest is read.
class UnprivilegedHealth : public ItemsTest {
 protected:
  TargetVitals ReadAs(const std::string& role) {
    const auto target = TargetAt(absl::StrReplaceAll(url_, {{"user=postgres", "user=" + role}}));
    auto session = target->OpenHealth();
    EXPECT_THAT(session, IsOk());
    auto vitals = (*session)->Read({.tables = {"public.items"}, .measure_commit = true});
    EXPECT_THAT(vitals, IsOk());
    return *vitals;
  }
};

TEST_F(UnprivilegedHealth, WhatMayNotBeSeenIsUnknown) {
  Begin(10);
  Sql(url_, "DROP ROLE IF EXISTS health_plain");
  Sql(url_, "CREATE ROLE health_plain LOGIN");
  const TargetVitals vitals = ReadAs("health_plain");
  EXPECT_FALSE(vitals.active_backends.has_value());
  EXPECT_THAT(vitals.unreadable.at(Signal::kActiveBackends), HasSubstr("pg_monitor"));
  EXPECT_FALSE(vitals.commit_latency.has_value());
  EXPECT_THAT(vitals.unreadable.at(Signal::kCommitLatency), HasSubstr("migration_control"));
  EXPECT_EQ(vitals.unreadable.count(Signal::kReplicaLag), 0u) << "there are no replicas, which everybody may see";
  EXPECT_TRUE(vitals.xid_age.has_value());
  EXPECT_TRUE(vitals.checkpoint_distance.has_value());
  EXPECT_THAT(vitals.tables, SizeIs(1)) << "one signal that is refused keeps no other from being read";

  Sql(url_, "GRANT pg_monitor TO health_plain");
  EXPECT_TRUE(ReadAs("health_plain").active_backends.has_value());
  Sql(url_, "DROP ROLE health_plain");
}

TEST(HealthOfATargetThatIsAway, IsAnError) {
  const auto target = TargetAt("postgresql:///x?host=/nonexistent");
  EXPECT_THAT(target->OpenHealth(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("connect")));
}

}  // namespace
}  // namespace migrationd
