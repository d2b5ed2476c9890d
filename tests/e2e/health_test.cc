// Targets that are not well: real sensors, and what operators see.
#include <fstream>

#include "absl/strings/str_cat.h"
#include "tests/e2e/end_to_end.h"
#include "tests/e2e/own_cluster.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;
using Stub = v1::MigrationControl::Stub;

class HealthTest : public EndToEnd {
 protected:
  static constexpr int kRows = 20000;

  HealthTest() {
    control_url_ = cluster_.Database("control");
    target_url_ = cluster_.Database("main");
  }
  // Looks several times a second. `more`: of the target's health, in YAML.
  ServerFixtureOptions WithHealth(const std::string& more = "") {
    ServerFixtureOptions options = Options();
    const std::string file = folder_.path() + "/migrationd.yaml";
    // The URL is that of the flag.
    std::ofstream(file) << "targets: {main: {url_file: /dev/null, health: {interval: 200ms, minimum_hold: 200ms" << more << "}}}\n";
    options.more_flags = {"--config", file};
    return options;
  }
  v1::TargetInfo Target() {
    const auto response = Call(server(), &Stub::ListTargets, v1::ListTargetsRequest());
    EXPECT_THAT(response, IsOk());
    return response.ok() && response->targets_size() == 1 ? response->targets(0) : v1::TargetInfo();
  }
  std::optional<v1::Reading> ReadingOf(const std::string& signal) {
    const v1::TargetInfo target = Target();
    for (const v1::Reading& reading : target.readings()) {
      if (reading.signal() == signal) return reading;
    }
    return std::nullopt;
  }
  std::vector<v1::Event> PaceEvents(const std::string& name) {
    v1::ListEventsRequest request;
    request.set_migration(name);
    request.add_kinds("PACE");
    const auto response = Call(server(), &Stub::ListEvents, request);
    EXPECT_THAT(response, IsOk());
    return response.ok() ? std::vector<v1::Event>(response->events().begin(), response->events().end()) : std::vector<v1::Event>();
  }
  ::testing::AssertionResult HasPaceEvent(const std::string& name, const std::string& to, const std::string& reason) {
    std::string seen;
    const bool found = WaitUntil([&] {
      seen.clear();
      for (const v1::Event& event : PaceEvents(name)) {
        if (event.to() == to && event.reason().find(reason) != std::string::npos) return true;
        absl::StrAppend(&seen, event.from(), " -> ", event.to(), ": ", event.reason(), "\n");
      }
      return false;
    });
    return found ? ::testing::AssertionSuccess() : ::testing::AssertionFailure() << "only:\n" << seen;
  }
  // Held for this signal, and nothing is committed.
  void IsThrottledBy(const std::string& name, const std::string& signal) {
    ASSERT_TRUE(HeldBy(name, v1::HOLD_KIND_THROTTLED));
    const v1::Migration held = Get(name);
    EXPECT_EQ(held.state(), v1::STATE_RUNNING);
    EXPECT_THAT(held.hold().reason(), HasSubstr(signal));
    ASSERT_GT(held.hold().readings_size(), 0);
    EXPECT_THAT(held.hold().readings(0).signal(), StartsWith(signal));
    EXPECT_GE(held.hold().readings(0).value(), held.hold().readings(0).limit());
    ASSERT_TRUE(WaitUntil([&] { return Get(name).backends_size() == 0; })) << "what was under way may commit";
    EXPECT_TRUE(NothingCommits(name, absl::Seconds(1)));
  }
  void GoesOnToTheEnd(const std::string& name) {
    const std::int64_t rows = RowsDone(name);
    ASSERT_LT(rows, kRows) << "it was over before it was held: the test shows nothing";
    ASSERT_TRUE(PassesRows(name, rows)) << "it goes on by itself";
    Hurry(name);
    ASSERT_TRUE(Reaches(name, v1::STATE_COMPLETED));
    EXPECT_TRUE(EachOnce(kRows));
  }

  TempFolder folder_;
  OwnCluster cluster_;
};

TEST_F(HealthTest, AReplicaThatDoesNotReplayHoldsWorkUntilItHasCaughtUp) {
  MakeCounter(kRows);
  const auto standby = cluster_.MakeStandby("standby1");
  ASSERT_NE(standby, nullptr);
  ASSERT_TRUE(WaitUntil([&] { return target().True("SELECT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming')"); }));
  StartServer(WithHealth(", replicas: [standby1], limits: {replica_lag: 2s}"));
  Define("count_rows", CounterYaml({.interval = "20ms"}));
  ASSERT_TRUE(PassesRows("count_rows", 100));
  EXPECT_TRUE(WaitUntil([&] { return ReadingOf("replica_lag").has_value(); }));

  Sql replica(standby->Url("main"));
  replica.Run("SELECT pg_wal_replay_pause()");
  IsThrottledBy("count_rows", "replica_lag");
  EXPECT_EQ(Get("count_rows").hold().readings(0).detail(), "replica standby1");
  EXPECT_EQ(Target().hold().kind(), v1::HOLD_KIND_THROTTLED);
  EXPECT_THAT(Migrationctl({"targets"}).out, HasSubstr("THROTTLED: replica_lag"));
  EXPECT_THAT(Migrationctl({"status", "count_rows"}).out, HasSubstr("(replica standby1)"));
  EXPECT_TRUE(HasPaceEvent("count_rows", "STOPPED", "replica_lag"));

  replica.Run("SELECT pg_wal_replay_resume()");
  GoesOnToTheEnd("count_rows");
  v1::Event over;
  EXPECT_TRUE(WaitUntil([&] {
    for (const v1::Event& event : PaceEvents("count_rows")) {
      if (event.from() == "STOPPED") over = event;
    }
    return over.from() == "STOPPED";
  }));
  EXPECT_THAT(over.reason(), StartsWith("over: replica_lag"));
}

TEST_F(HealthTest, AReplicaThatIsExpectedAndGoneHoldsWork) {
  MakeCounter(kRows);
  auto standby = cluster_.MakeStandby("standby1");
  ASSERT_NE(standby, nullptr);
  StartServer(WithHealth(", replicas: [standby1]"));
  Define("count_rows", CounterYaml({.interval = "20ms"}));
  ASSERT_TRUE(PassesRows("count_rows", 100));
  MD_ASSERT_OK(standby->Stop());
  IsThrottledBy("count_rows", "replicas_missing");
  MD_ASSERT_OK(standby->Restart());
  GoesOnToTheEnd("count_rows");
}

TEST_F(HealthTest, DeadRowsWithoutAutovacuumHoldWorkUntilVacuum) {
  MakeCounter(kRows);  // in a cluster without autovacuum
  StartServer(WithHealth());
  Define("count_rows", CounterYaml({.interval = "20ms"}));
  ASSERT_TRUE(PassesRows("count_rows", 100));
  // On connections that end, so that their counts reach the statistics at once.
  Sql(target_url_).Run("INSERT INTO counter (id) SELECT generate_series(1000001, 1300000); DELETE FROM counter WHERE id > 1000000");
  IsThrottledBy("count_rows", "vacuum_debt");
  EXPECT_EQ(Get("count_rows").hold().readings(0).detail(), "table counter");
  Sql(target_url_).Run("VACUUM counter");
  GoesOnToTheEnd("count_rows");
}

TEST_F(HealthTest, ASubBatchGivesWayToASessionThatWaitsForIt) {
  MakeCounter(300);
  StartServer(WithHealth(", yield_after: 100ms"));
  // Ten seconds in sub-batches of a second and a half, during which each row is locked.
  Define("count_rows",
         "sql_batch:\n  table: counter\n  statement: UPDATE counter SET n = n + 1 + 0 * length(pg_sleep(0.03)::text) WHERE {{batch}}\n"
         "pace: {batch_size: 50, sub_batch_size: 50, interval: 10ms, adaptive: {enabled: false}}\n");
  ASSERT_TRUE(PassesRows("count_rows", 0));
  Sql shop(target_url_);
  bool yielded = false;
  v1::Migration shown;
  // A cancel may come when the sub-batch has just committed: then nobody waits any more, and there is another one.
  ASSERT_TRUE(WaitUntil([&] {
    // A row that a sub-batch has in hand, or soon will.
    shop.Run(absl::StrCat("UPDATE counter SET n = n WHERE id = ", RowsDone("count_rows") + 1));
    for (const v1::Event& event : PaceEvents("count_rows")) {
      yielded = yielded || event.reason().find("(end-to-end test) had waited") != std::string::npos;
    }
    shown = Get("count_rows");
    return (yielded && shown.last_error().sqlstate() == "57014") || shown.state() == v1::STATE_COMPLETED;
  }));
  EXPECT_TRUE(yielded);
  EXPECT_EQ(shown.last_error().sqlstate(), "57014");
  EXPECT_EQ(Get("count_rows").attempts(), 0) << "giving way is no failure";
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(300));
}

TEST_F(HealthTest, WithoutPgMonitorWhatCannotBeSeenIsUnknownAndWorkGoesOn) {
  MakeCounter(kRows);
  target().Run(
      "CREATE ROLE migrator LOGIN; GRANT CONNECT, CREATE, TEMPORARY ON DATABASE main TO migrator; "
      "GRANT SELECT, UPDATE ON counter TO migrator");
  ServerFixtureOptions options = WithHealth();
  options.targets = {{"main", cluster_.UrlAs("migrator", "main")}};
  StartServer(options);
  Define("count_rows", CounterYaml({.interval = "20ms"}));
  ASSERT_TRUE(PassesRows("count_rows", 100));
  ASSERT_TRUE(WaitUntil([&] { return ReadingOf("active_backends").has_value(); }));
  EXPECT_FALSE(ReadingOf("active_backends")->has_value());
  EXPECT_THAT(ReadingOf("active_backends")->detail(), HasSubstr("pg_monitor"));
  EXPECT_TRUE(WaitUntil([&] { return ReadingOf("commit_latency").has_value(); })) << "the schema is its own";
  EXPECT_THAT(Migrationctl({"targets", "-o", "wide"}).out, HasSubstr("active_backends unknown"));
  EXPECT_THAT(server().Log(), HasSubstr("signals_unreadable"));
  Hurry("count_rows");
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
}

}  // namespace
}  // namespace migrationd
