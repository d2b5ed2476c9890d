// What GET /metrics shows, and the pages beside it.
#include "server/observability/metrics.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>
#include <sys/socket.h>
#include <unistd.h>

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/observability/admin_server.h"
#include "server/observability/board_metrics.h"
#include "server/observability/metric_table.h"
#include "server/observability/process_metrics.h"
#include "server/observability/service_metrics.h"
#include "tests/support/manual_clock.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

std::string Text(const std::vector<prometheus::MetricFamily>& families) { return prometheus::TextSerializer().Serialize(families); }

// The value of one sample, by its whole name with labels in the order of the text; "" when it is not there.
std::string Sample(const std::string& text, const std::string& name) {
  for (const auto line : absl::StrSplit(text, '\n')) {
    const std::vector<std::string> parts = absl::StrSplit(line, ' ');
    if (parts.size() == 2 && parts[0] == name) return parts[1];
  }
  return "";
}

StoredMigration Stored(std::int64_t id, const std::string& name, State state) {
  StoredMigration stored;
  stored.migration.id = {id};
  stored.migration.target = "main";
  stored.migration.name = name;
  stored.migration.version = absl::StrCat(20260101000000 + id);
  stored.migration.state = state;
  stored.migration.progress.rows_done = 100 * id;
  stored.definition = std::make_shared<migrationcontrol::v1::MigrationDefinition>();
  return stored;
}

BoardSnapshot Snapshot(std::vector<StoredMigration> migrations) {
  BoardSnapshot snapshot;
  snapshot.loaded = true;
  snapshot.store_reachable = true;
  snapshot.as_of = kNow;
  snapshot.read_at = kNow;
  snapshot.targets["main"].reachable = true;
  snapshot.targets["main"].readings = {{.signal = "replica_lag", .value = 31.5, .limit = 30, .unit = "s"},
                                       {.signal = "vacuum_debt", .value = 1, .limit = 5, .detail = "table a"},
                                       {.signal = "vacuum_debt", .value = 3, .limit = 5, .detail = "table b"},
                                       {.signal = "wal_rate", .value = 7, .unit = "bytes/s"},
                                       {.signal = "active_backends", .limit = 50, .detail = "needs pg_monitor"}};
  snapshot.targets["main"].read_at = kNow - absl::Seconds(2);
  snapshot.targets["main"].allowed = 0.5;
  snapshot.targets["billing"].error = "away";
  for (StoredMigration& stored : migrations) snapshot.migrations[stored.migration.id.value].stored = std::move(stored);
  return snapshot;
}

TEST(MetricTable, FollowsTheRulesForNames) {
  std::set<std::string_view> names;
  for (const MetricInfo& metric : AllMetrics()) {
    const std::string name(metric.name);
    EXPECT_TRUE(names.insert(metric.name).second) << name << " stands there twice";
    EXPECT_EQ(metric.kind == MetricKind::kCounter, name.ends_with("_total")) << name;
    EXPECT_EQ(name.find("_ms"), std::string::npos) << name;
    EXPECT_FALSE(metric.help.empty()) << name;
  }
}

TEST(BoardMetrics, SignalsAreThoseOfTargetsThatAreLookedAt) {
  BoardSnapshot snapshot = Snapshot({});
  const std::string text = Text(BoardMetrics(snapshot, kNow));
  EXPECT_EQ(Sample(text, R"(migrationd_signal_value{target="main",signal="replica_lag"})"), "31.5");
  EXPECT_EQ(Sample(text, R"(migrationd_signal_limit{target="main",signal="replica_lag"})"), "30");
  EXPECT_EQ(Sample(text, R"(migrationd_signal_age_seconds{target="main",signal="replica_lag"})"), "2");
  EXPECT_EQ(Sample(text, R"(migrationd_signal_value{target="main",signal="vacuum_debt"})"), "3") << "the worst table";
  EXPECT_EQ(Sample(text, R"(migrationd_signal_limit{target="main",signal="wal_rate"})"), "") << "it has none";
  EXPECT_EQ(Sample(text, R"(migrationd_signal_value{target="main",signal="active_backends"})"), "") << "unknown is no value";
  EXPECT_EQ(Sample(text, R"(migrationd_signal_unreadable{target="main",signal="active_backends"})"), "1");
  EXPECT_EQ(Sample(text, R"(migrationd_signal_unreadable{target="main",signal="replica_lag"})"), "0");
  EXPECT_EQ(Sample(text, R"(migrationd_pace_allowed{target="main"})"), "0.5");
  EXPECT_EQ(Sample(text, R"(migrationd_pace_allowed{target="billing"})"), "") << "nothing of this process works there";
  snapshot.targets["main"].hold.kind = HoldKind::kThrottled;
  EXPECT_EQ(Sample(Text(BoardMetrics(snapshot, kNow)), R"(migrationd_pace_allowed{target="main"})"), "0");
}

TEST(BoardMetrics, CountsByStateAlsoWhereThereIsNone) {
  StoredMigration held = Stored(1, "a", State::kRunning);
  held.migration.hold.kind = HoldKind::kBackoff;
  const std::string text = Text(BoardMetrics(Snapshot({held, Stored(2, "b", State::kHalted)}), kNow));
  EXPECT_EQ(Sample(text, R"(migrationd_migrations{target="main",state="RUNNING"})"), "1");
  EXPECT_EQ(Sample(text, R"(migrationd_migrations{target="main",state="HALTED"})"), "1");
  EXPECT_EQ(Sample(text, R"(migrationd_migrations{target="billing",state="PAUSED"})"), "0");
  EXPECT_EQ(Sample(text, R"(migrationd_migrations_held{target="main",hold="BACKOFF"})"), "1");
  EXPECT_EQ(Sample(text, R"(migrationd_migration_state{target="main",migration="b",state="HALTED"})"), "1");
  EXPECT_EQ(Sample(text, R"(migrationd_migration_hold{target="main",migration="a",hold="BACKOFF"})"), "1");
  EXPECT_EQ(Sample(text, R"(migrationd_migration_rows_done{target="main",migration="b"})"), "200");
  EXPECT_EQ(Sample(text, R"(migrationd_target_up{target="billing"})"), "0");
  EXPECT_EQ(Sample(text, "migrationd_control_store_up"), "1");
}

TEST(BoardMetrics, GivesSeriesToABoundedNumberOfMigrations) {
  std::vector<StoredMigration> many;
  for (int i = 1; i <= kMigrationSeriesMax + 7; ++i) many.push_back(Stored(i, absl::StrCat("m", i), State::kPending));
  StoredMigration old = Stored(1000, "old", State::kCompleted);
  old.migration.finished_at = kNow - absl::Hours(2);
  many.push_back(old);
  const std::string text = Text(BoardMetrics(Snapshot(std::move(many)), kNow));
  EXPECT_EQ(Sample(text, "migrationd_migration_series_dropped"), "7");
  EXPECT_EQ(Sample(text, R"(migrationd_migration_rows_done{target="main",migration="m1"})"), "100");
  EXPECT_THAT(text, Not(HasSubstr("\"m201\"")));
  EXPECT_THAT(text, Not(HasSubstr("\"old\""))) << "over for more than an hour";
}

TEST(BoardMetrics, TellsOfADeadlineThatWillBeMissed) {
  StoredMigration late = Stored(1, "late", State::kRunning);
  late.migration.started_at = kNow - absl::Hours(3);
  auto definition = std::make_shared<migrationcontrol::v1::MigrationDefinition>();
  definition->mutable_pace()->mutable_finish_within()->set_seconds(3600);
  late.definition = definition;
  const std::string text = Text(BoardMetrics(Snapshot({late, Stored(2, "free", State::kRunning)}), kNow));
  EXPECT_EQ(Sample(text, R"(migrationd_migration_at_risk{target="main",migration="late"})"), "1");
  EXPECT_THAT(text, Not(HasSubstr(R"(migrationd_migration_at_risk{target="main",migration="free"})")));
}

TEST(Metrics, CountWhatHappens) {
  Metrics metrics;
  metrics.SubBatchDone("main", "a", 100, absl::Milliseconds(20));
  metrics.SubBatchDone("main", "a", 50, absl::Milliseconds(20));
  metrics.BatchDone("main", "a", "DONE");
  metrics.SubBatchFailed("main", "BACK_OFF");
  metrics.Fenced("main");
  metrics.TookOver("main");
  metrics.Held("main", "FROZEN", absl::Milliseconds(1500));
  const Metrics::Call call{false, "migrationcontrol.v1.MigrationControl", "Pause"};
  metrics.ExpectCall(call);
  metrics.CallStarted(call);
  metrics.CallHandled(call, 5, absl::Milliseconds(3));
  const std::string text = Text(metrics.Collect());
  EXPECT_EQ(Sample(text, R"(migrationd_rows_total{migration="a",target="main"})"), "150");
  EXPECT_EQ(Sample(text, R"(migrationd_sub_batches_total{migration="a",target="main"})"), "2");
  EXPECT_EQ(Sample(text, R"(migrationd_sub_batch_duration_seconds_bucket{target="main",le="0.025"})"), "2");
  EXPECT_EQ(Sample(text, R"(migrationd_hold_seconds_total{hold="FROZEN",target="main"})"), "1.5");
  EXPECT_THAT(text, HasSubstr(R"(grpc_server_handled_total{grpc_code="NotFound",grpc_method="Pause",grpc_service="migrationcontrol.v1.MigrationControl",grpc_type="unary"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(grpc_code="OK",grpc_method="Pause",grpc_service="migrationcontrol.v1.MigrationControl",grpc_type="unary"} 0)"));
}

TEST(Metrics, BoundTheirSeries) {
  Metrics metrics;
  for (int i = 0; i < kMigrationSeriesMax + 5; ++i) metrics.SubBatchDone("main", absl::StrCat("m", i), 1, absl::ZeroDuration());
  const std::string text = Text(metrics.Collect());
  EXPECT_EQ(Sample(text, R"x(migrationd_rows_total{migration="(others)",target="main"})x"), "5");
}

TEST(Metrics, GiveThePlaceOfAMigrationThatWasOverToOneThatRuns) {
  ManualClock clock;
  Metrics metrics(clock);
  for (int i = 0; i < kMigrationSeriesMax; ++i) metrics.SubBatchDone("main", absl::StrCat("m", i), 1, absl::ZeroDuration());
  metrics.BatchDone("main", "m0", "DONE");
  clock.Advance(absl::Minutes(61));
  // The others are over, and this one is not.
  metrics.SubBatchDone("main", "m1", 1, absl::ZeroDuration());
  metrics.SubBatchDone("main", "new", 7, absl::ZeroDuration());
  const std::string text = Text(metrics.Collect());
  EXPECT_EQ(Sample(text, R"(migrationd_rows_total{migration="new",target="main"})"), "7");
  EXPECT_EQ(Sample(text, R"(migrationd_rows_total{migration="m1",target="main"})"), "2");
  EXPECT_THAT(text, ::testing::Not(HasSubstr(R"x(migration="(others)")x")));
  EXPECT_THAT(text, ::testing::Not(HasSubstr(R"x(migration="m0")x"))) << "the one of which nothing was heard for longest";
  for (int i = 2; i < kMigrationSeriesMax + 20; ++i) metrics.SubBatchDone("main", absl::StrCat("later", i), 1, absl::ZeroDuration());
  EXPECT_THAT(Text(metrics.Collect()), HasSubstr(R"x(migration="new")x")) << "in use";
}

ServiceFacts Facts(const CertificateFacts& certificate, std::optional<bool> credentials_refused) {
  ServiceFacts facts;
  facts.version = "1";
  facts.certificate = certificate;
  facts.credentials_refused = credentials_refused;
  return facts;
}

TEST(Metrics, AllStandInTheTableAndAllOfTheTableAreMade) {
  Metrics metrics;
  StoredMigration running = Stored(1, "a", State::kRunning);
  running.migration.hold.kind = HoldKind::kFrozen;
  std::set<std::string> made;
  for (const auto& families : {metrics.Collect(), BoardMetrics(Snapshot({running}), kNow), ProcessMetrics(),
                               ServiceMetrics(Facts({.not_after = kNow}, false))}) {
    for (const auto& family : families) made.insert(family.name);
  }
  std::set<std::string> table;
  for (const MetricInfo& metric : AllMetrics()) table.insert(std::string(metric.name));
  // Families without a sample yet are not collected by the library.
  for (const std::string& name : made) EXPECT_EQ(table.count(name), 1U) << name;
  for (const std::string& name : table) {
    const bool counted_when_it_happens = MetricNamed(name).kind != MetricKind::kGauge && !name.starts_with("process_");
    if (!counted_when_it_happens) {
      EXPECT_EQ(made.count(name), 1U) << name << " is promised and not made";
    }
  }
}

TEST(ServiceMetrics, SayWhetherTheFilesOfIdentityCanBeUsedNow) {
  const std::string refused = Text(ServiceMetrics(Facts({.not_after = kNow, .refusals = 1, .refused = true}, true)));
  EXPECT_EQ(Sample(refused, "migrationd_certificate_refused"), "1");
  EXPECT_EQ(Sample(refused, "migrationd_credentials_refused"), "1");
  const std::string right = Text(ServiceMetrics(Facts({.not_after = kNow, .refusals = 1}, false)));
  EXPECT_EQ(Sample(right, "migrationd_certificate_refused"), "0") << "it can be used again, whatever was counted";
  EXPECT_EQ(Sample(right, "migrationd_credentials_refused"), "0");
  const std::string plain = Text(ServiceMetrics(Facts({}, std::nullopt)));
  EXPECT_THAT(plain, ::testing::Not(::testing::ContainsRegex("\nmigrationd_[a-z]*_refused ")));
}

TEST(ProcessMetrics, AreOfThisProcess) {
  const std::string text = Text(ProcessMetrics());
  EXPECT_GT(std::stod(Sample(text, "process_resident_memory_bytes")), 1e6);
  EXPECT_GE(std::stod(Sample(text, "process_threads")), 1);
  EXPECT_GE(std::stod(Sample(text, "process_open_fds")), 3);
  EXPECT_GT(std::stod(Sample(text, "process_start_time_seconds")), 1.7e9);
}

// One request over a connection of its own; the whole answer.
std::string Get(int port, const std::string& path) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
  std::string answer;
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
    const std::string request = absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    send(fd, request.data(), request.size(), 0);
    char buffer[4096];
    for (ssize_t n = 0; (n = recv(fd, buffer, sizeof buffer, 0)) > 0;) answer.append(buffer, static_cast<std::size_t>(n));
  }
  close(fd);
  return answer;
}

TEST(AdminServer, ServesMetricsAndProbesAndNothingElse) {
  std::atomic<bool> ready = false;
  AdminPages pages;
  pages.metrics = [] { return ProcessMetrics(); };
  pages.healthy = [] { return absl::OkStatus(); };
  pages.ready = [&] { return ready ? absl::OkStatus() : absl::UnavailableError("the control store cannot be reached"); };
  const auto server = AdminServer::Start("127.0.0.1:0", std::move(pages));
  ASSERT_TRUE(server.ok()) << server.status();
  const int port = (*server)->port();
  ASSERT_GT(port, 0);
  EXPECT_THAT(Get(port, "/metrics"), HasSubstr("process_threads"));
  EXPECT_THAT(Get(port, "/healthz"), ::testing::StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(Get(port, "/readyz"), ::testing::AllOf(::testing::StartsWith("HTTP/1.1 503"), HasSubstr("control store")));
  ready = true;
  EXPECT_THAT(Get(port, "/readyz"), ::testing::StartsWith("HTTP/1.1 200"));
  for (const char* path : {"/", "/etc/passwd", "/../etc/passwd", "/metricsx"}) EXPECT_THAT(Get(port, path), Not(::testing::StartsWith("HTTP/1.1 200"))) << path;
  EXPECT_THAT(AdminServer::Start(absl::StrCat("127.0.0.1:", port), {}).status(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("--http-listen")));
}

}  // namespace
}  // namespace migrationd
