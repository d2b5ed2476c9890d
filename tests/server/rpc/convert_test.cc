#include <set>

#include "server/rpc/proto_convert.h"
#include "tests/server/rpc/rpc_world.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);
const ConvertTimes kTimes{kNow - absl::Seconds(1), kNow};

// Everything is set.
StoredMigration Full() {
  StoredMigration stored;
  auto definition = DefinitionOf(DefinitionYaml(R"(
prepare: ["SELECT 1"]
cleanup: {statements: ["SELECT 2"]}
pace: {interval: 250ms, max_rows_per_second: 5000, lanes: 2, windows: ["Mon-Fri 22:00-06:00 UTC"]}
labels: {team: ci}
)"));
  definition.mutable_pace()->mutable_finish_within()->set_seconds(3600);
  stored.definition = std::make_shared<const v1::MigrationDefinition>(definition);
  Migration& m = stored.migration;
  m.id = {1};
  m.target = "main";
  m.name = "one";
  m.version = "20261120093000";
  m.created_at = kNow - absl::Hours(3);
  m.revision = 17;
  m.state = State::kRunning;
  m.intent = {.state = State::kRunning,
              .actor = "alice",
              .reason = "why",
              .since = kNow - absl::Hours(2),
              .until = kNow + absl::Hours(1)};
  m.halt = Halt{kHaltRowsLeft, "rows are left", kNow - absl::Minutes(1)};
  m.sizes = {.batch_size = 1000, .sub_batch_size = 100, .max_batch_size = 50000};
  m.size_override =
      SizeOverride{.batch_size = 700, .sub_batch_size = 70, .author = "bob", .until = kNow + absl::Minutes(5)};
  m.accepted_rows = 3;
  m.regressed_rows = 4;
  m.verification = Verification{.requested_at = kNow - absl::Minutes(3), .actor = "eve", .finished_at = kNow - absl::Minutes(2)};
  m.progress.estimate_method = kEstimatedByCount;
  m.started_at = kNow - absl::Minutes(30);
  m.finished_at = kNow;
  m.definition_digest = "abc";
  m.catalog_digest = "abd";
  m.labels = {{"team", "ci"}};
  m.hold = {.kind = HoldKind::kBlocked,
            .reason = "pid 5",
            .since = kNow - absl::Seconds(5),
            .until = kNow + absl::Seconds(5)};
  m.progress.phase = Phase::kVerify;
  m.progress.pass = 2;
  m.progress.rows_done = 400;
  m.progress.rows_estimated = 1000;
  m.progress.batches_done = 4;
  m.progress.sub_batches_done = 40;
  m.progress.unchanged_rows = 5;
  m.progress.failed_ranges = 6;
  m.progress.rows_per_second = 10;
  m.progress.attempts = 2;
  m.progress.last_error = LastError{"55P03", "lock", kNow - absl::Seconds(9)};
  m.progress.sub_batch_size = 42;
  m.progress.working = absl::Milliseconds(1500);
  m.progress.time_seconds = {{"working", 1.5}, {"lock_wait", 2.5}, {"interval", 0.5}, {"steps", 0.25}, {"PAUSED", 60}};
  m.progress.accounted_until = kNow;
  m.progress.lanes = {{.lane = 0, .cursor = {"400"}, .upper_bound = {"1000"}, .rows = 400}};
  stored.lease =
      Lease{.owner = "host:1:x", .token = "t", .epoch = 9, .expires_at = kNow + absl::Seconds(10), .live = true};
  return stored;
}

TEST(ConvertTest, FillsEveryFieldOfTheMessage) {
  StoredMigration stored = Full();
  stored.migration.state = State::kHalted;  // so that there is something to hint at
  const v1::Migration out = ToProto(stored, {.backends = {{.pid = 100, .lane = 0}}}, kTimes);
  const auto& reflection = *out.GetReflection();
  for (int i = 0; i < v1::Migration::descriptor()->field_count(); ++i) {
    const auto* field = v1::Migration::descriptor()->field(i);
    const bool set = field->is_repeated() ? reflection.FieldSize(out, field) > 0 : reflection.HasField(out, field);
    EXPECT_TRUE(set) << field->name();
  }
}

TEST(ConvertTest, TheFieldsHoldWhatTheModelSays) {
  const v1::Migration out = ToProto(Full(), {.backends = {{.pid = 100, .lane = 0}}}, kTimes);
  EXPECT_EQ(out.batch_size(), 700);
  EXPECT_EQ(out.sub_batch_size(), 42) << "the one in use";
  EXPECT_EQ(out.batch_size_override().author(), "bob");
  EXPECT_EQ(out.pace().interval().nanos(), 250'000'000);
  EXPECT_EQ(out.pace().lanes(), 2);
  EXPECT_EQ(out.epoch(), 9);
  EXPECT_EQ(out.owner(), "host:1:x");
  EXPECT_EQ(out.time().working().seconds(), 1);
  EXPECT_EQ(out.time().working().nanos(), 500'000'000);
  EXPECT_EQ(out.time().lock_wait().seconds(), 2);
  EXPECT_EQ(out.time().interval().nanos(), 500'000'000);
  EXPECT_EQ(out.time().steps().nanos(), 250'000'000);
  EXPECT_EQ(out.time().holds().at("PAUSED"), 60);
  EXPECT_EQ(out.max_attempts(), 3);
  EXPECT_TRUE(out.definition_changed());
  EXPECT_EQ(out.guarantee(), v1::GUARANTEE_EXACTLY_ONCE);
  EXPECT_EQ(out.as_of().seconds(), absl::ToUnixSeconds(kTimes.as_of));
  EXPECT_THAT(out.lanes(0).cursor(), ElementsAre("400"));
  ASSERT_THAT(out.steps(), SizeIs(2));
  EXPECT_EQ(out.steps(0).name(), "prepare[0]");
  EXPECT_TRUE(out.steps(0).done());
  EXPECT_EQ(out.steps(1).name(), "cleanup.statements[0]");
  EXPECT_FALSE(out.steps(1).done());
  EXPECT_EQ(out.hold().kind(), v1::HOLD_KIND_BLOCKED);
  EXPECT_EQ(out.progress().deadline().seconds(), absl::ToUnixSeconds(kNow + absl::Minutes(30)));
}

TEST(ConvertTest, ReadingsKeepWhatIsUnknownApartFromZero) {
  StoredMigration stored = Full();
  stored.migration.hold.kind = HoldKind::kThrottled;
  stored.migration.hold.readings = {{.signal = "replica_lag", .value = 31, .limit = 30, .unit = "s", .at = kNow, .detail = "replica standby"},
                                    {.signal = "archive_backlog", .limit = 40, .unit = "files", .detail = "needs pg_monitor"}};
  LiveWork live;
  live.allowed = 0.25;
  live.limited_by = Reading{.signal = "commit_latency", .value = 0.2, .limit = 0.1, .unit = "s"};
  const v1::Migration out = ToProto(stored, live, kTimes);
  EXPECT_EQ(out.hold().kind(), v1::HOLD_KIND_THROTTLED);
  ASSERT_THAT(out.hold().readings(), SizeIs(2));
  EXPECT_EQ(out.hold().readings(0).signal(), "replica_lag");
  EXPECT_EQ(out.hold().readings(0).value(), 31);
  EXPECT_EQ(out.hold().readings(0).limit(), 30);
  EXPECT_EQ(out.hold().readings(0).unit(), "s");
  EXPECT_EQ(out.hold().readings(0).at().seconds(), absl::ToUnixSeconds(kNow));
  EXPECT_EQ(out.hold().readings(0).detail(), "replica standby");
  EXPECT_FALSE(out.hold().readings(1).has_value());
  EXPECT_EQ(out.pace().allowed(), 0.25);
  EXPECT_EQ(out.pace().limited_by().signal(), "commit_latency");
  EXPECT_EQ(ToProto(stored, {}, kTimes).pace().allowed(), 1) << "nothing is measured, nothing is taken away";
}

TEST(ConvertTest, AnOverrideThatIsOverIsNotShown) {
  StoredMigration stored = Full();
  stored.migration.size_override->until = kNow;
  const v1::Migration out = ToProto(stored, {}, kTimes);
  EXPECT_FALSE(out.has_batch_size_override());
  EXPECT_EQ(out.batch_size(), 1000);
}

TEST(ConvertTest, ADeadClaimShowsNoOwner) {
  StoredMigration stored = Full();
  stored.lease->live = false;
  EXPECT_EQ(ToProto(stored, {}, kTimes).owner(), "");
  EXPECT_EQ(ToProto(stored, {}, kTimes).epoch(), 9);
}

TEST(ConvertTest, AHoldIsOnlyOfWaitingAndRunningOnes) {
  StoredMigration stored = Full();
  stored.migration.state = State::kPaused;
  EXPECT_EQ(ToProto(stored, {}, kTimes).hold().kind(), v1::HOLD_KIND_NONE);
  EXPECT_EQ(ToProto(stored, {}, kTimes).hold().reason(), "");
}

TEST(ConvertTest, TheOutlookComparesTheEndWithTheDeadline) {
  StoredMigration stored = Full();
  stored.migration.hold = Hold{};
  stored.migration.progress.phase = Phase::kExecute;
  stored.migration.progress.pass = 1;
  EXPECT_EQ(ToProto(stored, {}, kTimes).progress().outlook(), v1::OUTLOOK_ON_TRACK);
  stored.migration.started_at = kNow - absl::Hours(2);
  EXPECT_EQ(ToProto(stored, {}, kTimes).progress().outlook(), v1::OUTLOOK_MISSED);
  auto none = DefinitionOf(DefinitionYaml());
  stored.definition = std::make_shared<const v1::MigrationDefinition>(none);
  EXPECT_EQ(ToProto(stored, {}, kTimes).progress().outlook(), v1::OUTLOOK_NONE);
}

TEST(ConvertTest, EnumsAreTheSameWordsWithAPrefix) {
  for (const State state : kAllStates) {
    EXPECT_EQ(v1::State_Name(ToProto(state)), "STATE_" + std::string(StateName(state)));
    EXPECT_EQ(*FromProto(ToProto(state)), state);
  }
  for (const Phase phase : kAllPhases)
    EXPECT_EQ(v1::Phase_Name(ToProto(phase)), "PHASE_" + std::string(PhaseName(phase)));
  for (const HoldKind kind : kAllHoldKinds) {
    EXPECT_EQ(v1::HoldKind_Name(ToProto(kind)), "HOLD_KIND_" + std::string(HoldKindName(kind)));
  }
  EXPECT_THAT(FromProto(v1::STATE_UNSPECIFIED), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("states")));
}

TEST(ConvertTest, TimestampsGoBothWaysAlsoBeforeTheEpoch) {
  for (const absl::Time time : {kNow, absl::FromUnixNanos(-1), absl::FromUnixNanos(1'500'000'000)}) {
    const auto stamp = ToTimestamp(time);
    ASSERT_TRUE(stamp.has_value());
    EXPECT_GE(stamp->nanos(), 0);
    EXPECT_EQ(*FromTimestamp(*stamp, "x"), time);
  }
  EXPECT_FALSE(ToTimestamp(absl::InfinitePast()).has_value());
}

TEST(ConvertTest, EventsJobsAndFreezesKeepTheirFields) {
  EventRecord event;
  event.sequence = 5;
  event.kind = "TRANSITION";
  event.from = "RUNNING";
  event.to = "PAUSED";
  event.at = kNow;
  EXPECT_EQ(ToProto(event).to(), "PAUSED");
  EXPECT_EQ(ToProto(event).at().seconds(), absl::ToUnixSeconds(kNow));
  JobRecord job;
  job.lower = {"1", "a"};
  job.working = absl::Milliseconds(20);
  job.outcome = "DONE";
  EXPECT_THAT(ToProto(job).lower(), ElementsAre("1", "a"));
  EXPECT_EQ(ToProto(job).working().nanos(), 20'000'000);
  EXPECT_FALSE(ToProto(job).has_started_at());
  FreezeRecord freeze;
  freeze.target = "main";
  freeze.until = kNow;
  EXPECT_EQ(ToProto(freeze).until().seconds(), absl::ToUnixSeconds(kNow));
}

}  // namespace
}  // namespace migrationd
