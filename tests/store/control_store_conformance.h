// What every ControlStore promises, as one suite. An implementation passes it by giving a StoreUnderTest.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "store/control_store.h"
#include "tests/support/status_matchers.h"

namespace migrationd {

// A fresh, upgraded store, and what a test does to it from outside.
class StoreUnderTest {
 public:
  virtual ~StoreUnderTest() = default;
  virtual ControlStore& store() = 0;
  // As if so much time had passed on the database's clock.
  virtual void LetTimePass(absl::Duration duration) = 0;
  // False: cuts all connections and refuses new ones.
  virtual void SetReachable(bool reachable) = 0;
};

struct StoreKind {
  std::string name;
  std::function<std::unique_ptr<StoreUnderTest>()> make;
};

inline Registration SomeRegistration(const std::string& name = "backfill", const std::string& target = "main") {
  Registration registration;
  registration.target = target;
  registration.name = name;
  registration.version = "20261120093000";
  registration.definition.set_description("of " + name);
  registration.definition.mutable_sql_batch()->set_table("public.accounts");
  registration.definition.set_start(migrationcontrol::v1::START_MODE_AUTO);
  registration.digest = "digest of " + name;
  registration.start_requested = true;
  registration.enqueued = true;
  registration.caller = {"ann", "needed"};
  return registration;
}

// A mutation that raises accepted_rows by one.
inline absl::StatusOr<VerbEffect> AddOne(const StoredMigration& current, absl::Time) {
  VerbEffect effect;
  effect.after = current.migration;
  effect.after.accepted_rows += 1;
  effect.event_kind = "SETTING";
  effect.event_from = std::to_string(current.migration.accepted_rows);
  effect.event_to = std::to_string(effect.after.accepted_rows);
  effect.event_reason = "counted";
  return effect;
}

// A mutation to a state, with what belongs to that state.
inline MutationFn MoveTo(State state) {
  return [state](const StoredMigration& current, absl::Time now) -> absl::StatusOr<VerbEffect> {
    VerbEffect effect;
    effect.after = current.migration;
    effect.after.state = state;
    effect.after.halt.reset();
    if (state == State::kHalted) effect.after.halt = Halt{.code = kHaltRowsLeft, .message = "three rows", .since = now};
    if (state != State::kPending && !effect.after.started_at.has_value()) effect.after.started_at = now;
    if (state == State::kCompleted) effect.after.finished_at = now;
    effect.event_kind = "TRANSITION";
    effect.event_from = std::string(StateName(current.migration.state));
    effect.event_to = std::string(StateName(state));
    return effect;
  };
}

inline MutationContext By(const std::string& call, const std::string& request_id = "") {
  MutationContext context;
  context.caller = {"bob", "because"};
  context.call = call;
  context.request_id = request_id;
  return context;
}

inline JobRecord SomeJob(std::int64_t rows) {
  JobRecord job;
  job.lane = 1;
  job.pass = 2;
  job.lower = {"1", "a \"b\", {c}"};
  job.upper = {"9", ""};
  job.rows = rows;
  job.sub_batches = 3;
  job.batch_size = 1000;
  job.sub_batch_size = 100;
  job.started_at = absl::FromUnixMicros(1'700'000'000'000'001);
  job.finished_at = absl::FromUnixMicros(1'700'000'001'000'002);
  job.working = absl::Microseconds(900'003);
  job.outcome = "INTERRUPTED";
  job.sqlstate = "57014";
  job.message = "canceled";
  job.epoch = 7;
  return job;
}

class ControlStoreTest : public ::testing::TestWithParam<StoreKind> {
 protected:
  ControlStoreTest() : under_test_(GetParam().make()) {}

  ControlStore& store() { return under_test_->store(); }
  void LetTimePass(absl::Duration duration) { under_test_->LetTimePass(duration); }
  void SetReachable(bool reachable) { under_test_->SetReachable(reachable); }

  MigrationId Registered(const std::string& name = "backfill", const std::string& target = "main") {
    auto result = store().Register(SomeRegistration(name, target));
    EXPECT_THAT(result, IsOk());
    return result.ok() ? result->migration.migration.id : MigrationId{};
  }
  Migration Read(MigrationId id) {
    auto stored = store().Get(id);
    EXPECT_THAT(stored, IsOk());
    return stored.ok() ? stored->migration : Migration{};
  }
  std::vector<EventRecord> Events(std::optional<MigrationId> id = std::nullopt,
                                  const std::vector<std::string>& kinds = {}) {
    auto page = store().ListEvents(id, kinds, 0, 1000);
    EXPECT_THAT(page, IsOk());
    return page.ok() ? page->events : std::vector<EventRecord>();
  }
  Lease Claimed(MigrationId id, absl::Duration ttl = absl::Minutes(1), const std::string& owner = "host:1:x") {
    auto lease = store().Claim(id, owner, ttl);
    EXPECT_THAT(lease, IsOk());
    EXPECT_TRUE(lease.ok() && lease->has_value());
    return lease.ok() && lease->has_value() ? **lease : Lease{};
  }

  const std::unique_ptr<StoreUnderTest> under_test_;
};

template <typename Function>
void InThreads(int threads, Function function) {
  std::vector<std::thread> running;
  for (int i = 0; i < threads; ++i) running.emplace_back([&function, i] { function(i); });
  for (std::thread& thread : running) thread.join();
}

TEST_P(ControlStoreTest, UpgradingAgainChangesNothingAndTheIdentityStays) {
  MD_ASSERT_OK_AND_ASSIGN(const std::string id, store().ControlId());
  EXPECT_EQ(id.size(), 36u);
  MD_ASSERT_OK(store().Upgrade());
  MD_ASSERT_OK(store().CheckSchema());
  MD_ASSERT_OK_AND_ASSIGN(const std::string again, store().ControlId());
  EXPECT_EQ(again, id);
}

TEST_P(ControlStoreTest, RegisterCreatesOnceWithOneEvent) {
  MD_ASSERT_OK_AND_ASSIGN(const RegisterResult first, store().Register(SomeRegistration()));
  MD_ASSERT_OK_AND_ASSIGN(const RegisterResult second, store().Register(SomeRegistration()));
  EXPECT_TRUE(first.created);
  EXPECT_FALSE(second.created);
  EXPECT_EQ(second.migration.migration.id, first.migration.migration.id);
  EXPECT_EQ(second.migration.migration.revision, 1);
  const std::vector<EventRecord> events = Events(first.migration.migration.id);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, "DEFINITION");
  EXPECT_EQ(events[0].actor, "ann");
  EXPECT_EQ(events[0].to, "digest of backfill");
}

TEST_P(ControlStoreTest, RegisterKeepsWhatItWasGiven) {
  Registration registration = SomeRegistration();
  registration.catalog_file = "20261120093000_backfill.yaml";
  registration.parameters = {{"tenant", "1"}};
  registration.labels = {{"team", "ci"}};
  registration.sizes = {.batch_size = 2000, .sub_batch_size = 200, .max_batch_size = 60000};
  registration.pause_after_rows = 12;
  MD_ASSERT_OK_AND_ASSIGN(const RegisterResult result, store().Register(registration));
  MD_ASSERT_OK_AND_ASSIGN(const StoredMigration stored, store().Get(result.migration.migration.id));
  const Migration& migration = stored.migration;
  EXPECT_EQ(migration.target, "main");
  EXPECT_EQ(migration.name, "backfill");
  EXPECT_EQ(migration.version, "20261120093000");
  EXPECT_EQ(migration.state, State::kPending);
  EXPECT_EQ(migration.intent.actor, "ann");
  EXPECT_EQ(migration.intent.since, migration.created_at);
  EXPECT_TRUE(migration.start_requested);
  EXPECT_TRUE(migration.enqueued);
  EXPECT_EQ(migration.parameters, registration.parameters);
  EXPECT_EQ(migration.labels, registration.labels);
  EXPECT_EQ(migration.sizes, registration.sizes);
  EXPECT_EQ(migration.pause_after_rows, 12);
  EXPECT_EQ(migration.definition_digest, registration.digest);
  EXPECT_EQ(migration.catalog_digest, registration.digest);
  EXPECT_EQ(migration.catalog_file, registration.catalog_file);
  EXPECT_FALSE(migration.definition_changed());
  EXPECT_FALSE(stored.lease.has_value());
  EXPECT_EQ(stored.definition->SerializeAsString(), registration.definition.SerializeAsString());
}

TEST_P(ControlStoreTest, OneOfManyConcurrentRegistrationsCreates) {
  std::atomic<int> created = 0;
  InThreads(8, [&](int) {
    const auto result = store().Register(SomeRegistration());
    EXPECT_THAT(result, IsOk());
    if (result.ok() && result->created) ++created;
  });
  EXPECT_EQ(created, 1);
  EXPECT_EQ(Events().size(), 1u);
}

TEST_P(ControlStoreTest, AChangedFileIsTakenWhileItNeverBegan) {
  Registration registration = SomeRegistration();
  registration.catalog_file = "file.yaml";
  MD_ASSERT_OK(store().Register(registration));
  registration.definition.set_description("changed");
  registration.digest = "changed";
  registration.sizes.batch_size = 77;
  registration.labels = {{"a", "b"}};
  MD_ASSERT_OK_AND_ASSIGN(const RegisterResult result, store().Register(registration));
  EXPECT_FALSE(result.created);
  EXPECT_EQ(result.migration.migration.definition_digest, "changed");
  EXPECT_EQ(result.migration.migration.sizes.batch_size, 77);
  EXPECT_EQ(result.migration.migration.labels, registration.labels);
  EXPECT_EQ(result.migration.migration.revision, 2);
  EXPECT_EQ(result.migration.definition->description(), "changed");
  const auto events = Events(result.migration.migration.id, {"DEFINITION"});
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].from, "digest of backfill");
  EXPECT_EQ(events[0].to, "changed");
  // Nothing changed since: polling the catalogue writes nothing.
  MD_ASSERT_OK_AND_ASSIGN(const RegisterResult again, store().Register(registration));
  EXPECT_EQ(again.migration.migration.revision, 2);
}

TEST_P(ControlStoreTest, AChangedFileIsOnlyReportedOnceItBegan) {
  Registration registration = SomeRegistration();
  registration.catalog_file = "file.yaml";
  MD_ASSERT_OK_AND_ASSIGN(const RegisterResult first, store().Register(registration));
  MD_ASSERT_OK(store().Mutate(first.migration.migration.id, By("Begin"), MoveTo(State::kRunning)));
  registration.definition.set_description("changed");
  registration.digest = "changed";
  MD_ASSERT_OK_AND_ASSIGN(const RegisterResult result, store().Register(registration));
  EXPECT_EQ(result.migration.migration.definition_digest, "digest of backfill");
  EXPECT_TRUE(result.migration.migration.definition_changed());
  EXPECT_EQ(result.migration.definition->description(), "of backfill");
}

TEST_P(ControlStoreTest, AChangedFileIsOnlyReportedWhenItWasEnqueuedWithParameters) {
  Registration registration = SomeRegistration();
  registration.parameters = {{"tenant", "5"}};
  registration.catalog_file = "file.yaml";
  MD_ASSERT_OK(store().Register(registration));
  registration.digest = "changed";
  MD_ASSERT_OK_AND_ASSIGN(const RegisterResult result, store().Register(registration));
  EXPECT_EQ(result.migration.migration.definition_digest, "digest of backfill");
  EXPECT_TRUE(result.migration.migration.definition_changed());
}

TEST_P(ControlStoreTest, AChangedFileIsTakenWhenItsParametersAreTheDefaults) {
  Registration registration = SomeRegistration();
  auto* parameter = registration.definition.add_parameters();
  parameter->set_name("tenant");
  parameter->set_default_("1");
  registration.parameters = {{"tenant", "1"}};
  registration.catalog_file = "file.yaml";
  MD_ASSERT_OK(store().Register(registration));
  registration.digest = "changed";
  registration.parameters = {{"tenant", "2"}};
  MD_ASSERT_OK_AND_ASSIGN(const RegisterResult result, store().Register(registration));
  EXPECT_EQ(result.migration.migration.definition_digest, "changed");
  EXPECT_EQ(result.migration.migration.parameters, registration.parameters);
}

TEST_P(ControlStoreTest, AFileMadeManualWhilePendingStopsItFromBeginning) {
  Registration registration = SomeRegistration();
  registration.catalog_file = "file.yaml";
  MD_ASSERT_OK(store().Register(registration));
  registration.definition.set_start(migrationcontrol::v1::START_MODE_MANUAL);
  registration.digest = "manual";
  registration.start_requested = false;
  MD_ASSERT_OK_AND_ASSIGN(RegisterResult result, store().Register(registration));
  EXPECT_FALSE(result.migration.migration.start_requested);
  // But what a person started stays started when the file changes again.
  MD_ASSERT_OK(
      store().Mutate(result.migration.migration.id, By("Start"), [](const StoredMigration& current, absl::Time now) {
        auto effect = AddOne(current, now);
        effect->after.start_requested = true;
        return effect;
      }));
  registration.digest = "manual 2";
  MD_ASSERT_OK_AND_ASSIGN(result, store().Register(registration));
  EXPECT_TRUE(result.migration.migration.start_requested);
}

TEST_P(ControlStoreTest, MissingFilesAreMarkedAndUnmarkedOnce) {
  Registration registration = SomeRegistration();
  registration.catalog_file = "file.yaml";
  MD_ASSERT_OK_AND_ASSIGN(const RegisterResult result, store().Register(registration));
  const MigrationId id = result.migration.migration.id;
  const MigrationId by_rpc = Registered("by_rpc");
  for (int i = 0; i < 2; ++i) MD_ASSERT_OK(store().SetCatalogMissing({id, by_rpc}, {}));
  EXPECT_TRUE(Read(id).catalog_missing);
  EXPECT_EQ(Read(id).revision, 2);
  EXPECT_FALSE(Read(by_rpc).catalog_missing);
  for (int i = 0; i < 2; ++i) MD_ASSERT_OK(store().SetCatalogMissing({}, {id}));
  EXPECT_FALSE(Read(id).catalog_missing);
  EXPECT_EQ(Events(id, {"DEFINITION"}).size(), 3u);
}

TEST_P(ControlStoreTest, UnknownMigrationsAreNotFound) {
  for (const MigrationId id : {MigrationId{0}, MigrationId{-1}, MigrationId{99}}) {
    EXPECT_THAT(store().Get(id), StatusIs(absl::StatusCode::kNotFound, ::testing::HasSubstr(std::to_string(id.value))));
    EXPECT_THAT(store().Mutate(id, By("Pause"), AddOne), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
    EXPECT_THAT(store().Delete(id, By("Delete")), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
    EXPECT_THAT(store().Claim(id, "me", absl::Minutes(1)), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
    MD_ASSERT_OK_AND_ASSIGN(const JobPage jobs, store().ListJobs(id, 0, 10));
    EXPECT_TRUE(jobs.jobs.empty());
    MD_ASSERT_OK_AND_ASSIGN(const EventPage events, store().ListEvents(id, {}, 0, 10));
    EXPECT_TRUE(events.events.empty());
  }
}

TEST_P(ControlStoreTest, MutateWritesEveryFieldAndItsEvent) {
  const MigrationId id = Registered();
  const absl::Time at = absl::FromUnixMicros(1'700'000'000'123'456);
  Migration wanted;
  absl::Time told_time;
  const MutationFn change = [&](const StoredMigration& current, absl::Time now) -> absl::StatusOr<VerbEffect> {
    told_time = now;
    VerbEffect effect = *AddOne(current, now);
    Migration& after = effect.after;
    after.state = State::kHalted;
    after.intent = {
        .state = State::kPaused, .actor = "eve", .reason = "it's \"slow\"", .since = at, .until = at + absl::Hours(1)};
    after.halt = Halt{.code = kHaltAttemptsExhausted, .message = "line 1\nline 2 \\ $1", .since = at};
    after.start_requested = false;
    after.enqueued = false;
    after.parameters = {{"p", "x'y"}};
    after.sizes = {.batch_size = 5, .sub_batch_size = 4, .max_batch_size = 6};
    after.size_override = SizeOverride{.batch_size = 3, .sub_batch_size = 2, .author = "eve", .until = at};
    after.pace_override = PaceOverride{.settings = {.interval = absl::Milliseconds(250),
                                                    .max_rows_per_second = 0,
                                                    .lanes = 3,
                                                    .windows = std::vector<std::string>{},
                                                    .target_sub_batch_time = absl::Milliseconds(20),
                                                    .lock_timeout = absl::Milliseconds(5),
                                                    .statement_timeout = absl::Seconds(7)},
                                       .author = "eve",
                                       .until = at};
    after.fence = FenceState::kCreated;
    after.restart_from = RestartFrom::kAdopt;
    after.pause_after_rows = 9;
    after.cleanup_requested = true;
    after.cleaned_up = true;
    after.regressed_rows = 8;
    after.verification = Verification{.requested_at = at, .actor = "eve", .finished_at = at + absl::Minutes(1)};
    after.started_at = at;
    after.finished_at = absl::InfiniteFuture();
    after.catalog_digest = "c";
    after.catalog_file = "f";
    after.catalog_missing = true;
    after.labels = {{"l", "\xC3\xA4"}};
    after.hold = {.kind = HoldKind::kBackoff, .reason = "r", .since = at, .until = absl::InfinitePast()};
    after.progress.attempts = 2;
    wanted = after;
    return effect;
  };
  MutationContext context = By("Halt", "request-1");
  MD_ASSERT_OK_AND_ASSIGN(const StoredMigration answer, store().Mutate(id, context, change));
  const Migration read = Read(id);
  for (const Migration& migration : {answer.migration, read}) {
    EXPECT_EQ(migration.revision, 2);
    EXPECT_EQ(migration.state, State::kHalted);
    EXPECT_EQ(migration.intent.state, State::kPaused);
    EXPECT_EQ(migration.intent.actor, "eve");
    EXPECT_EQ(migration.intent.reason, wanted.intent.reason);
    EXPECT_EQ(migration.intent.since, at);
    EXPECT_EQ(migration.intent.until, wanted.intent.until);
    ASSERT_TRUE(migration.halt.has_value());
    EXPECT_EQ(migration.halt->code, wanted.halt->code);
    EXPECT_EQ(migration.halt->message, wanted.halt->message);
    EXPECT_EQ(migration.halt->since, at);
    EXPECT_FALSE(migration.start_requested);
    EXPECT_FALSE(migration.enqueued);
    EXPECT_EQ(migration.parameters, wanted.parameters);
    EXPECT_EQ(migration.sizes, wanted.sizes);
    ASSERT_TRUE(migration.size_override.has_value());
    EXPECT_EQ(migration.size_override->batch_size, 3);
    EXPECT_EQ(migration.size_override->sub_batch_size, 2);
    EXPECT_EQ(migration.size_override->author, "eve");
    ASSERT_TRUE(migration.pace_override.has_value());
    EXPECT_EQ(migration.pace_override->settings, wanted.pace_override->settings);
    EXPECT_EQ(migration.pace_override->author, "eve");
    EXPECT_EQ(migration.pace_override->until, wanted.pace_override->until);
    EXPECT_EQ(migration.size_override->until, wanted.size_override->until);
    EXPECT_EQ(migration.fence, FenceState::kCreated);
    EXPECT_EQ(migration.restart_from, RestartFrom::kAdopt);
    EXPECT_EQ(migration.pause_after_rows, 9);
    EXPECT_TRUE(migration.cleanup_requested);
    EXPECT_TRUE(migration.cleaned_up);
    EXPECT_EQ(migration.accepted_rows, 1);
    EXPECT_EQ(migration.regressed_rows, 8);
    ASSERT_TRUE(migration.verification.has_value());
    EXPECT_EQ(migration.verification->requested_at, at);
    EXPECT_EQ(migration.verification->actor, "eve");
    EXPECT_EQ(migration.verification->finished_at, wanted.verification->finished_at);
    EXPECT_EQ(migration.started_at, wanted.started_at);
    EXPECT_EQ(migration.finished_at, wanted.finished_at);
    EXPECT_EQ(migration.catalog_digest, "c");
    EXPECT_EQ(migration.catalog_file, "f");
    EXPECT_TRUE(migration.catalog_missing);
    EXPECT_EQ(migration.labels, wanted.labels);
    EXPECT_EQ(migration.hold.kind, HoldKind::kBackoff);
    EXPECT_EQ(migration.hold.since, wanted.hold.since);
    EXPECT_EQ(migration.hold.until, wanted.hold.until);
    EXPECT_EQ(migration.progress.attempts, 2);
    EXPECT_EQ(migration.name, "backfill");
  }
  const std::vector<EventRecord> events = Events(id, {"SETTING"});
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].target, "main");
  EXPECT_EQ(events[0].migration, "backfill");
  EXPECT_EQ(events[0].actor, "bob");
  EXPECT_EQ(events[0].request_id, "request-1");
  EXPECT_EQ(events[0].from, "0");
  EXPECT_EQ(events[0].to, "1");
  EXPECT_EQ(events[0].reason, "counted");
  EXPECT_GE(events[0].at, told_time);
  EXPECT_LT(events[0].at - told_time, absl::Minutes(1));
}

TEST_P(ControlStoreTest, AVerificationThatIsTakenBackIsGone) {
  const MigrationId id = Registered();
  const auto change = [&](std::optional<Verification> verification) {
    return store().Mutate(id, By("Verify"), [&](const StoredMigration& current, absl::Time now) {
      auto effect = AddOne(current, now);
      effect->after.verification = verification;
      return effect;
    });
  };
  MD_ASSERT_OK(change(Verification{.requested_at = absl::FromUnixSeconds(1), .actor = "eve"}));
  ASSERT_TRUE(Read(id).verification.has_value());
  EXPECT_FALSE(Read(id).verification->finished_at.has_value());
  MD_ASSERT_OK(change(std::nullopt));
  EXPECT_FALSE(Read(id).verification.has_value());
}

TEST_P(ControlStoreTest, AMutationThatChangesNothingWritesNothing) {
  const MigrationId id = Registered();
  MD_ASSERT_OK(store().Mutate(id, By("Pause"), [](const StoredMigration& current, absl::Time now) {
    auto effect = AddOne(current, now);
    effect->changed = false;
    return effect;
  }));
  EXPECT_EQ(Read(id).revision, 1);
  EXPECT_EQ(Read(id).accepted_rows, 0);
  EXPECT_EQ(Events(id).size(), 1u);
}

TEST_P(ControlStoreTest, ValidateOnlyDecidesAndWritesNothing) {
  const MigrationId id = Registered();
  MutationContext context = By("Add", "validated");
  context.validate_only = true;
  int decided = 0;
  const MutationFn count = [&](const StoredMigration& current, absl::Time now) {
    ++decided;
    return AddOne(current, now);
  };
  MD_ASSERT_OK(store().Mutate(id, context, count));
  EXPECT_EQ(decided, 1);
  EXPECT_EQ(Read(id).revision, 1);
  EXPECT_EQ(Events(id).size(), 1u);
  // The request id is still free.
  context.validate_only = false;
  MD_ASSERT_OK(store().Mutate(id, context, AddOne));
  EXPECT_EQ(Read(id).accepted_rows, 1);
}

TEST_P(ControlStoreTest, ARefusalIsReturnedAndKeepsNothing) {
  const MigrationId id = Registered();
  const MutationFn refuse = [](const StoredMigration&, absl::Time) -> absl::StatusOr<VerbEffect> {
    return absl::FailedPreconditionError("it is PAUSED");
  };
  EXPECT_THAT(store().Mutate(id, By("Add", "r"), refuse),
              StatusIs(absl::StatusCode::kFailedPrecondition, "it is PAUSED"));
  EXPECT_EQ(Read(id).revision, 1);
  // The same request may be made again when the cause is gone.
  MD_ASSERT_OK(store().Mutate(id, By("Add", "r"), AddOne));
  EXPECT_EQ(Read(id).accepted_rows, 1);
}

TEST_P(ControlStoreTest, AnExpectedRevisionMustMatch) {
  const MigrationId id = Registered();
  MD_ASSERT_OK(store().Mutate(id, By("Add"), AddOne));
  MutationContext context = By("Add");
  context.expected_revision = 1;
  EXPECT_THAT(store().Mutate(id, context, AddOne),
              StatusIs(absl::StatusCode::kAborted,
                       ::testing::AllOf(::testing::HasSubstr("revision 2"), ::testing::HasSubstr("revision 1"))));
  context.expected_revision = 2;
  MD_ASSERT_OK(store().Mutate(id, context, AddOne));
  EXPECT_EQ(Read(id).revision, 3);
}

TEST_P(ControlStoreTest, ARepeatedRequestDoesNothing) {
  const MigrationId id = Registered();
  MD_ASSERT_OK(store().Mutate(id, By("Add", "once"), AddOne));
  MD_ASSERT_OK(store().Mutate(id, By("Add"), AddOne));
  MutationContext repeated = By("Add", "once");
  repeated.expected_revision = 1;  // as the first time
  MD_ASSERT_OK_AND_ASSIGN(const StoredMigration answer, store().Mutate(id, repeated, AddOne));
  EXPECT_EQ(answer.migration.accepted_rows, 2);
  EXPECT_EQ(Read(id).accepted_rows, 2);
}

TEST_P(ControlStoreTest, ARepeatedRequestThatHadNothingToDoDoesNothingLaterEither) {
  const MigrationId id = Registered();
  MD_ASSERT_OK(store().Mutate(id, By("Add", "same"), [](const StoredMigration& current, absl::Time now) {
    auto effect = AddOne(current, now);
    effect->changed = false;
    return effect;
  }));
  MD_ASSERT_OK(store().Mutate(id, By("Add", "same"), AddOne));
  EXPECT_EQ(Read(id).accepted_rows, 0);
}

TEST_P(ControlStoreTest, ARequestIdBelongsToOneCall) {
  const MigrationId id = Registered();
  const MigrationId other = Registered("other");
  MD_ASSERT_OK(store().Mutate(id, By("Add", "mine"), AddOne));
  EXPECT_THAT(store().Mutate(id, By("Pause", "mine"), AddOne),
              StatusIs(absl::StatusCode::kAlreadyExists, ::testing::HasSubstr("Add")));
  EXPECT_THAT(store().Mutate(other, By("Add", "mine"), AddOne),
              StatusIs(absl::StatusCode::kAlreadyExists, ::testing::_));
  EXPECT_THAT(store().Delete(id, By("Delete", "mine")), StatusIs(absl::StatusCode::kAlreadyExists, ::testing::_));
  EXPECT_EQ(Read(id).accepted_rows, 1);
  EXPECT_EQ(Read(other).accepted_rows, 0);
}

TEST_P(ControlStoreTest, ARequestIdIsForgottenAfterADay) {
  const MigrationId id = Registered();
  MD_ASSERT_OK(store().Mutate(id, By("Add", "daily"), AddOne));
  LetTimePass(absl::Hours(23));
  MD_ASSERT_OK(store().Mutate(id, By("Add", "daily"), AddOne));
  EXPECT_EQ(Read(id).accepted_rows, 1);
  LetTimePass(absl::Hours(2));
  MD_ASSERT_OK(store().Mutate(id, By("Other", "daily"), AddOne));
  EXPECT_EQ(Read(id).accepted_rows, 2);
}

TEST_P(ControlStoreTest, RacingWritersAllCountOnce) {
  const MigrationId id = Registered();
  InThreads(8, [&](int) {
    for (int i = 0; i < 10; ++i) EXPECT_THAT(store().Mutate(id, By("Add"), AddOne), IsOk());
  });
  EXPECT_EQ(Read(id).accepted_rows, 80);
  EXPECT_EQ(Read(id).revision, 81);
  const std::vector<EventRecord> events = Events(id, {"SETTING"});
  ASSERT_EQ(events.size(), 80u);
  for (std::size_t i = 0; i < events.size(); ++i) EXPECT_EQ(events[i].to, std::to_string(80 - i));
}

TEST_P(ControlStoreTest, OfRacingWritersWithOneExpectedRevisionOneWins) {
  const MigrationId id = Registered();
  std::atomic<int> won = 0;
  InThreads(8, [&](int) {
    MutationContext context = By("Add");
    context.expected_revision = 1;
    const auto result = store().Mutate(id, context, AddOne);
    if (result.ok()) {
      ++won;
    } else {
      EXPECT_THAT(result, StatusIs(absl::StatusCode::kAborted, ::testing::_));
    }
  });
  EXPECT_EQ(won, 1);
  EXPECT_EQ(Read(id).accepted_rows, 1);
}

TEST_P(ControlStoreTest, RacingCallsWithOneRequestIdActOnce) {
  const MigrationId id = Registered();
  InThreads(8, [&](int) { EXPECT_THAT(store().Mutate(id, By("Add", "raced"), AddOne), IsOk()); });
  EXPECT_EQ(Read(id).accepted_rows, 1);
}

TEST_P(ControlStoreTest, AStateWithoutWhatBelongsToItIsRefused) {
  const MigrationId id = Registered();
  for (const State state : {State::kHalted, State::kCompleted}) {
    const MutationFn half = [state](const StoredMigration& current, absl::Time now) {
      auto effect = AddOne(current, now);
      effect->after.state = state;
      return effect;
    };
    EXPECT_THAT(store().Mutate(id, By("Break"), half), StatusIs(absl::StatusCode::kInternal, ::testing::_));
  }
  const MutationFn silent = [](const StoredMigration& current, absl::Time now) {
    auto effect = AddOne(current, now);
    effect->event_kind.clear();
    return effect;
  };
  EXPECT_THAT(store().Mutate(id, By("Break"), silent), StatusIs(absl::StatusCode::kInternal, ::testing::_));
  EXPECT_EQ(Read(id).revision, 1);
}

TEST_P(ControlStoreTest, AnOwnerWritesOnlyWhileItsClaimHolds) {
  const MigrationId id = Registered();
  const Lease lease = Claimed(id);
  MutationContext context = By("Report");
  context.lease_token = lease.token;
  MD_ASSERT_OK(store().Mutate(id, context, AddOne));
  context.lease_token = "another";
  EXPECT_THAT(store().Mutate(id, context, AddOne), StatusIs(absl::StatusCode::kAborted, ::testing::HasSubstr("claim")));

  LetTimePass(absl::Minutes(2));
  context.lease_token = lease.token;
  EXPECT_THAT(store().Mutate(id, context, AddOne), StatusIs(absl::StatusCode::kAborted, ::testing::_));
  const Lease next = Claimed(id);
  EXPECT_THAT(store().Mutate(id, context, AddOne), StatusIs(absl::StatusCode::kAborted, ::testing::_));
  MD_ASSERT_OK(store().Release({{id, next.token}}));
  context.lease_token = next.token;
  EXPECT_THAT(store().Mutate(id, context, AddOne), StatusIs(absl::StatusCode::kAborted, ::testing::_));
  EXPECT_EQ(Read(id).accepted_rows, 1);
}

TEST_P(ControlStoreTest, DeleteRemovesTheMigrationAndKeepsItsEventsAndName) {
  const MigrationId id = Registered();
  const Lease lease = Claimed(id);
  MD_ASSERT_OK(store().RecordProgress(
      {{.id = id, .lease_token = lease.token, .counters = {}, .hold = {}, .jobs = {SomeJob(1)}}}));
  MD_ASSERT_OK(store().Mutate(id, By("Complete"), MoveTo(State::kCompleted)));
  MD_ASSERT_OK_AND_ASSIGN(const StoredMigration before, store().Delete(id, By("Delete", "gone")));
  EXPECT_EQ(before.migration.state, State::kCompleted);
  EXPECT_THAT(store().Get(id), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
  EXPECT_THAT(store().Mutate(id, By("Add"), AddOne), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
  EXPECT_THAT(store().Delete(id, By("Delete")), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
  EXPECT_THAT(store().Claim(id, "me", absl::Minutes(1)), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
  EXPECT_THAT(store().Register(SomeRegistration()),
              StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::HasSubstr("main/backfill")));
  // With its request id it answers again.
  MD_ASSERT_OK_AND_ASSIGN(const StoredMigration again, store().Delete(id, By("Delete", "gone")));
  EXPECT_EQ(again.migration.name, "backfill");

  MD_ASSERT_OK_AND_ASSIGN(const JobPage jobs, store().ListJobs(id, 0, 10));
  EXPECT_TRUE(jobs.jobs.empty());
  const std::vector<EventRecord> events = Events(id);
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].from, "COMPLETED");
  EXPECT_EQ(events[0].to, "DELETED");
  MD_ASSERT_OK_AND_ASSIGN(const StoreSnapshot snapshot, store().Load());
  EXPECT_TRUE(snapshot.migrations.empty());
  // The same name on another target is another migration.
  EXPECT_NE(Registered("backfill", "second"), id);
}

TEST_P(ControlStoreTest, DeleteIsRefusedUnlessItIsOver) {
  const MigrationId id = Registered();
  MD_ASSERT_OK(store().Mutate(id, By("Begin"), MoveTo(State::kRunning)));
  EXPECT_THAT(store().Delete(id, By("Delete")),
              StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::HasSubstr("RUNNING")));
  MD_ASSERT_OK(store().Mutate(id, By("Cancel"), MoveTo(State::kCancelled)));
  MutationContext context = By("Delete");
  context.expected_revision = 1;
  EXPECT_THAT(store().Delete(id, context), StatusIs(absl::StatusCode::kAborted, ::testing::HasSubstr("revision 3")));
  context.expected_revision = 3;
  context.validate_only = true;
  MD_ASSERT_OK(store().Delete(id, context));
  MD_ASSERT_OK(store().Get(id));
  context.validate_only = false;
  MD_ASSERT_OK(store().Delete(id, context));
}

TEST_P(ControlStoreTest, AClaimIsExclusiveUntilItExpires) {
  const MigrationId id = Registered();
  const Lease first = Claimed(id, absl::Minutes(1), "host:1:a");
  EXPECT_EQ(first.owner, "host:1:a");
  EXPECT_EQ(first.epoch, 1);
  EXPECT_TRUE(first.live);
  MD_ASSERT_OK_AND_ASSIGN(const std::optional<Lease> second, store().Claim(id, "host:2:b", absl::Minutes(1)));
  EXPECT_FALSE(second.has_value());
  MD_ASSERT_OK_AND_ASSIGN(StoredMigration stored, store().Get(id));
  ASSERT_TRUE(stored.lease.has_value());
  EXPECT_EQ(stored.lease->token, first.token);
  EXPECT_EQ(stored.lease->expires_at, first.expires_at);
  EXPECT_TRUE(stored.lease->live);

  LetTimePass(absl::Seconds(61));
  MD_ASSERT_OK_AND_ASSIGN(stored, store().Get(id));
  ASSERT_TRUE(stored.lease.has_value());
  EXPECT_FALSE(stored.lease->live);
  const Lease third = Claimed(id, absl::Minutes(1), "host:2:b");
  EXPECT_EQ(third.epoch, 2);
  EXPECT_NE(third.token, first.token);
}

TEST_P(ControlStoreTest, OfManyThreadsOneClaims) {
  std::vector<MigrationId> ids;
  for (int i = 0; i < 10; ++i) ids.push_back(Registered(absl::StrCat("m", i)));
  std::vector<std::atomic<int>> claims(ids.size());
  InThreads(8, [&](int thread) {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const auto lease = store().Claim(ids[i], absl::StrCat("owner", thread), absl::Minutes(1));
      EXPECT_THAT(lease, IsOk());
      if (lease.ok() && lease->has_value()) ++claims[i];
    }
  });
  for (const auto& count : claims) EXPECT_EQ(count, 1);
}

TEST_P(ControlStoreTest, TheEpochIsRaisedByItsHolderAndNeverLowered) {
  const MigrationId id = Registered();
  const Lease lease = Claimed(id);
  MD_ASSERT_OK(store().RaiseEpoch({id, lease.token}, 41));
  MD_ASSERT_OK(store().RaiseEpoch({id, lease.token}, 5));
  EXPECT_THAT(store().RaiseEpoch({id, "other"}, 99), StatusIs(absl::StatusCode::kAborted, ::testing::_));
  MD_ASSERT_OK_AND_ASSIGN(const StoredMigration stored, store().Get(id));
  EXPECT_EQ(stored.lease->epoch, 41);
  MD_ASSERT_OK(store().Release({{id, lease.token}}));
  EXPECT_THAT(store().RaiseEpoch({id, lease.token}, 99), StatusIs(absl::StatusCode::kAborted, ::testing::_));
  EXPECT_EQ(Claimed(id).epoch, 42);
}

TEST_P(ControlStoreTest, RenewExtendsWhatHoldsAndNothingElse) {
  const MigrationId held = Registered("held");
  const MigrationId expired = Registered("expired");
  const MigrationId foreign = Registered("foreign");
  const Lease held_lease = Claimed(held, absl::Minutes(10));
  const Lease expired_lease = Claimed(expired, absl::Minutes(1));
  const Lease foreign_lease = Claimed(foreign, absl::Minutes(10));
  LetTimePass(absl::Minutes(2));
  MD_ASSERT_OK_AND_ASSIGN(
      const std::vector<LeaseKey> renewed,
      store().Renew(
          {{foreign, "mine"}, {expired, expired_lease.token}, {held, held_lease.token}, {MigrationId{99}, "x"}},
          absl::Minutes(30)));
  ASSERT_EQ(renewed.size(), 1u);
  EXPECT_EQ(renewed[0].id, held);
  EXPECT_EQ(renewed[0].token, held_lease.token);
  LetTimePass(absl::Minutes(20));
  MD_ASSERT_OK_AND_ASSIGN(const StoredMigration stored, store().Get(held));
  EXPECT_TRUE(stored.lease->live);
  MD_ASSERT_OK_AND_ASSIGN(const StoredMigration other, store().Get(foreign));
  EXPECT_FALSE(other.lease->live);
  EXPECT_EQ(other.lease->token, foreign_lease.token);
  EXPECT_EQ(Claimed(expired).epoch, 2);
}

TEST_P(ControlStoreTest, ReleaseGivesUpOnesOwnClaimOnly) {
  const MigrationId id = Registered();
  const Lease lease = Claimed(id);
  MD_ASSERT_OK(store().Release({{id, "not mine"}}));
  MD_ASSERT_OK_AND_ASSIGN(StoredMigration stored, store().Get(id));
  EXPECT_TRUE(stored.lease.has_value());
  for (int i = 0; i < 2; ++i) MD_ASSERT_OK(store().Release({{id, lease.token}}));
  MD_ASSERT_OK_AND_ASSIGN(stored, store().Get(id));
  EXPECT_FALSE(stored.lease.has_value());
  const Lease next = Claimed(id);
  EXPECT_EQ(next.epoch, 2);
  MD_ASSERT_OK(store().Release({{id, lease.token}}));
  MD_ASSERT_OK_AND_ASSIGN(stored, store().Get(id));
  EXPECT_EQ(stored.lease->token, next.token);
}

TEST_P(ControlStoreTest, ProgressIsKeptWithoutRevisionOrEvent) {
  const MigrationId id = Registered();
  const Lease lease = Claimed(id);
  const absl::Time at = absl::FromUnixMicros(1'700'000'000'654'321);
  ProgressUpdate update;
  update.id = id;
  update.lease_token = lease.token;
  update.hold = {.kind = HoldKind::kThrottled, .reason = "slow", .since = at, .until = std::nullopt};
  ProgressCounters& counters = update.counters;
  counters.phase = Phase::kVerify;
  counters.pass = 2;
  counters.rows_done = 9'007'199'254'740'993;  // more than a double holds
  counters.rows_estimated = 5;
  counters.estimate_method = kEstimatedBySample;
  counters.rows_per_second_long = 0.5;
  counters.verify_fraction = 0.75;
  counters.verify_regressed = 13;
  counters.batches_done = 6;
  counters.sub_batches_done = 7;
  counters.unchanged_rows = 8;
  counters.failed_ranges = 9;
  counters.rows_per_second = 1234.5678901234567;
  counters.fraction = 0.1;
  counters.attempts = 3;
  counters.last_error = LastError{.sqlstate = "", .message = "lost", .at = at};
  counters.sub_batch_size = 10;
  counters.working = absl::Microseconds(11);
  counters.time_seconds = {{"THROTTLED", 0.25}, {"working", 12.5}};
  counters.accounted_until = absl::FromUnixMicros(1'700'000'000'123'456);
  counters.lanes = {{.lane = 1, .cursor = {"5", "x,\"y\""}, .upper_bound = {"9", ""}, .rows = 12},
                    {.lane = 2, .cursor = {}, .upper_bound = {}, .rows = 0}};
  update.jobs = {SomeJob(1), SomeJob(2)};
  MD_ASSERT_OK(store().RecordProgress({update}));

  const Migration migration = Read(id);
  EXPECT_EQ(migration.revision, 1);
  EXPECT_EQ(Events(id).size(), 1u);
  EXPECT_EQ(migration.hold.kind, HoldKind::kThrottled);
  EXPECT_EQ(migration.hold.reason, "slow");
  EXPECT_EQ(migration.hold.since, update.hold.since);
  EXPECT_FALSE(migration.hold.until.has_value());
  const ProgressCounters& read = migration.progress;
  EXPECT_EQ(read.phase, Phase::kVerify);
  EXPECT_EQ(read.pass, 2);
  EXPECT_EQ(read.rows_done, counters.rows_done);
  EXPECT_EQ(read.rows_estimated, 5);
  EXPECT_EQ(read.estimate_method, "SAMPLE");
  EXPECT_EQ(read.rows_per_second_long, 0.5);
  EXPECT_EQ(read.verify_fraction, 0.75);
  EXPECT_EQ(read.verify_regressed, 13);
  EXPECT_EQ(read.batches_done, 6);
  EXPECT_EQ(read.sub_batches_done, 7);
  EXPECT_EQ(read.unchanged_rows, 8);
  EXPECT_EQ(read.failed_ranges, 9);
  EXPECT_EQ(read.rows_per_second, counters.rows_per_second);
  EXPECT_EQ(read.fraction, 0.1);
  EXPECT_EQ(read.attempts, 3);
  ASSERT_TRUE(read.last_error.has_value());
  EXPECT_EQ(read.last_error->sqlstate, "");
  EXPECT_EQ(read.last_error->message, "lost");
  EXPECT_EQ(read.last_error->at, at);
  EXPECT_EQ(read.sub_batch_size, 10);
  EXPECT_EQ(read.working, absl::Microseconds(11));
  EXPECT_EQ(read.time_seconds, counters.time_seconds);
  EXPECT_EQ(read.accounted_until, counters.accounted_until);
  ASSERT_EQ(read.lanes.size(), 2u);
  EXPECT_EQ(read.lanes[0].lane, 1);
  EXPECT_EQ(read.lanes[0].cursor, counters.lanes[0].cursor);
  EXPECT_EQ(read.lanes[0].upper_bound, counters.lanes[0].upper_bound);
  EXPECT_EQ(read.lanes[0].rows, 12);
  EXPECT_TRUE(read.lanes[1].cursor.empty());

  MD_ASSERT_OK_AND_ASSIGN(const JobPage page, store().ListJobs(id, 0, 10));
  ASSERT_EQ(page.jobs.size(), 2u);
  EXPECT_EQ(page.next_before, 0);
  const JobRecord expected = SomeJob(2);
  const JobRecord& job = page.jobs[0];
  EXPECT_GT(job.id, page.jobs[1].id);
  EXPECT_EQ(job.lane, expected.lane);
  EXPECT_EQ(job.pass, expected.pass);
  EXPECT_EQ(job.lower, expected.lower);
  EXPECT_EQ(job.upper, expected.upper);
  EXPECT_EQ(job.rows, 2);
  EXPECT_EQ(job.sub_batches, expected.sub_batches);
  EXPECT_EQ(job.batch_size, expected.batch_size);
  EXPECT_EQ(job.sub_batch_size, expected.sub_batch_size);
  EXPECT_EQ(job.started_at, expected.started_at);
  EXPECT_EQ(job.finished_at, expected.finished_at);
  EXPECT_EQ(job.working, expected.working);
  EXPECT_EQ(job.outcome, expected.outcome);
  EXPECT_EQ(job.sqlstate, expected.sqlstate);
  EXPECT_EQ(job.message, expected.message);
  EXPECT_EQ(job.epoch, expected.epoch);
}

TEST_P(ControlStoreTest, ProgressOfALostClaimIsSkippedAndTheRestIsWritten) {
  const MigrationId held = Registered("held");
  const MigrationId lost = Registered("lost");
  const Lease held_lease = Claimed(held, absl::Minutes(10));
  const Lease lost_lease = Claimed(lost, absl::Minutes(1));
  LetTimePass(absl::Minutes(2));
  std::vector<ProgressUpdate> updates(4);
  updates[0] = {.id = lost, .lease_token = lost_lease.token, .counters = {}, .hold = {}, .jobs = {SomeJob(1)}};
  updates[1] = {.id = held, .lease_token = "not mine", .counters = {}, .hold = {}, .jobs = {SomeJob(1)}};
  updates[2] = {.id = MigrationId{99}, .lease_token = "x", .counters = {}, .hold = {}, .jobs = {SomeJob(1)}};
  updates[3] = {.id = held, .lease_token = held_lease.token, .counters = {}, .hold = {}, .jobs = {SomeJob(7)}};
  for (ProgressUpdate& update : updates) update.counters.rows_done = 5;
  MD_ASSERT_OK(store().RecordProgress(updates));
  EXPECT_EQ(Read(held).progress.rows_done, 5);
  EXPECT_EQ(Read(lost).progress.rows_done, 0);
  MD_ASSERT_OK_AND_ASSIGN(const JobPage held_jobs, store().ListJobs(held, 0, 10));
  ASSERT_EQ(held_jobs.jobs.size(), 1u);
  EXPECT_EQ(held_jobs.jobs[0].rows, 7);
  MD_ASSERT_OK_AND_ASSIGN(const JobPage lost_jobs, store().ListJobs(lost, 0, 10));
  EXPECT_TRUE(lost_jobs.jobs.empty());
}

TEST_P(ControlStoreTest, TwoUpdatesOfOneMigrationInACallKeepTheLastCountersAndAllJobs) {
  const MigrationId id = Registered();
  const Lease lease = Claimed(id);
  std::vector<ProgressUpdate> updates(2);
  updates[0] = {.id = id, .lease_token = lease.token, .counters = {}, .hold = {}, .jobs = {SomeJob(1)}};
  updates[1] = {.id = id, .lease_token = lease.token, .counters = {}, .hold = {}, .jobs = {SomeJob(2)}};
  updates[1].counters.rows_done = 3;
  MD_ASSERT_OK(store().RecordProgress(updates));
  EXPECT_EQ(Read(id).progress.rows_done, 3);
  MD_ASSERT_OK_AND_ASSIGN(const JobPage page, store().ListJobs(id, 0, 10));
  ASSERT_EQ(page.jobs.size(), 2u);
  EXPECT_EQ(page.jobs[0].rows, 2);
}

TEST_P(ControlStoreTest, JobsComeInPagesAndOnlyTheNewestAreKept) {
  const MigrationId id = Registered();
  const Lease lease = Claimed(id);
  std::int64_t rows = 0;
  for (int call = 0; call < 7; ++call) {
    ProgressUpdate update{.id = id, .lease_token = lease.token, .counters = {}, .hold = {}, .jobs = {}};
    for (int i = 0; i < 1500; ++i) update.jobs.push_back(SomeJob(++rows));
    MD_ASSERT_OK(store().RecordProgress({update}));
  }
  std::int64_t before = 0;
  std::int64_t expected = rows;
  std::int64_t seen = 0;
  do {
    MD_ASSERT_OK_AND_ASSIGN(const JobPage page, store().ListJobs(id, before, 900));
    ASSERT_LE(page.jobs.size(), 900u);
    for (const JobRecord& job : page.jobs) EXPECT_EQ(job.rows, expected--);
    seen += static_cast<std::int64_t>(page.jobs.size());
    before = page.next_before;
  } while (before != 0);
  EXPECT_EQ(seen, 10'000);
  EXPECT_THAT(store().ListJobs(id, 0, 0), StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
}

TEST_P(ControlStoreTest, HoldsOfUnownedMigrationsAreKeptWithoutRevisionOrEvent) {
  const MigrationId free = Registered("free");
  const MigrationId owned = Registered("owned");
  Claimed(owned);
  const Hold hold{
      .kind = HoldKind::kWaitingTurn, .reason = "after x", .since = absl::FromUnixSeconds(1), .until = std::nullopt};
  MD_ASSERT_OK(store().RecordHolds({{owned, hold}, {MigrationId{99}, hold}, {free, Hold{}}, {free, hold}}));
  EXPECT_EQ(Read(free).hold.kind, HoldKind::kWaitingTurn);
  EXPECT_EQ(Read(free).hold.reason, "after x");
  EXPECT_EQ(Read(free).hold.since, hold.since);
  EXPECT_EQ(Read(free).revision, 1);
  EXPECT_EQ(Events(free).size(), 1u);
  // Its owner knows better.
  EXPECT_EQ(Read(owned).hold.kind, HoldKind::kNone);
}

TEST_P(ControlStoreTest, EventsComeNewestFirstInPagesAndByKind) {
  const MigrationId id = Registered();
  Registered("other");
  for (int i = 0; i < 5; ++i) {
    EventRecord event;
    event.target = "main";
    event.migration = "backfill";
    event.kind = i % 2 == 0 ? "OWNER" : "NOTE";
    event.reason = std::to_string(i);
    MD_ASSERT_OK(store().AppendEvent(event));
  }
  EventRecord of_the_service;
  of_the_service.kind = "SERVICE";
  MD_ASSERT_OK(store().AppendEvent(of_the_service));

  EXPECT_EQ(Events().size(), 8u);
  EXPECT_EQ(Events()[0].kind, "SERVICE");
  EXPECT_EQ(Events(id).size(), 6u);
  EXPECT_EQ(Events(std::nullopt, {"SERVICE", "NOTE"}).size(), 3u);
  MD_ASSERT_OK_AND_ASSIGN(EventPage page, store().ListEvents(id, {"OWNER"}, 0, 2));
  ASSERT_EQ(page.events.size(), 2u);
  EXPECT_EQ(page.events[0].reason, "4");
  EXPECT_EQ(page.events[1].reason, "2");
  ASSERT_NE(page.next_before, 0);
  MD_ASSERT_OK_AND_ASSIGN(page, store().ListEvents(id, {"OWNER"}, page.next_before, 2));
  ASSERT_EQ(page.events.size(), 1u);
  EXPECT_EQ(page.events[0].reason, "0");
  EXPECT_EQ(page.next_before, 0);
  EXPECT_THAT(store().ListEvents(id, {}, 0, 0), StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
}

TEST_P(ControlStoreTest, AFreezeIsSetReplacedAndEnded) {
  MD_ASSERT_OK_AND_ASSIGN(const StoreSnapshot empty, store().Load());
  FreezeRecord freeze;
  freeze.target = "main";
  freeze.actor = "ann";
  freeze.reason = "release";
  freeze.until = empty.as_of + absl::Hours(1);
  MD_ASSERT_OK_AND_ASSIGN(const FreezeRecord first, store().Freeze(freeze, By("Freeze")));
  EXPECT_GE(first.since, empty.as_of);
  freeze.reason = "longer";
  freeze.until.reset();
  for (int i = 0; i < 2; ++i) MD_ASSERT_OK(store().Freeze(freeze, By("Freeze")));
  MD_ASSERT_OK_AND_ASSIGN(const StoreSnapshot frozen, store().Load());
  ASSERT_EQ(frozen.freezes.size(), 1u);
  EXPECT_EQ(frozen.freezes[0].target, "main");
  EXPECT_EQ(frozen.freezes[0].actor, "ann");
  EXPECT_EQ(frozen.freezes[0].reason, "longer");
  EXPECT_EQ(frozen.freezes[0].since, first.since);
  EXPECT_FALSE(frozen.freezes[0].until.has_value());
  EXPECT_EQ(Events(std::nullopt, {"FREEZE"}).size(), 2u);

  MD_ASSERT_OK_AND_ASSIGN(const FreezeRecord removed, store().Unfreeze("main", By("Unfreeze")));
  EXPECT_EQ(removed.reason, "longer");
  EXPECT_EQ(Events(std::nullopt, {"FREEZE"}).size(), 3u);
  EXPECT_THAT(store().Unfreeze("main", By("Unfreeze")),
              StatusIs(absl::StatusCode::kNotFound, ::testing::HasSubstr("main")));
  MD_ASSERT_OK_AND_ASSIGN(const StoreSnapshot after, store().Load());
  EXPECT_TRUE(after.freezes.empty());
}

TEST_P(ControlStoreTest, AFreezeEndsByItself) {
  MD_ASSERT_OK_AND_ASSIGN(const StoreSnapshot snapshot, store().Load());
  FreezeRecord freeze;  // of all targets
  freeze.until = snapshot.as_of - absl::Seconds(1);
  EXPECT_THAT(store().Freeze(freeze, By("Freeze")),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("all targets")));
  freeze.until = snapshot.as_of + absl::Hours(1);
  MD_ASSERT_OK(store().Freeze(freeze, By("Freeze")));
  LetTimePass(absl::Hours(2));
  MD_ASSERT_OK_AND_ASSIGN(const StoreSnapshot later, store().Load());
  EXPECT_TRUE(later.freezes.empty());
  EXPECT_THAT(store().Unfreeze("", By("Unfreeze")), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
}

TEST_P(ControlStoreTest, RepeatedFreezeRequestsAnswerAgain) {
  FreezeRecord freeze;
  freeze.target = "main";
  freeze.reason = "release";
  MutationContext context = By("Freeze", "f");
  context.validate_only = true;
  MD_ASSERT_OK(store().Freeze(freeze, context));
  EXPECT_TRUE(Events().empty());
  context.validate_only = false;
  MD_ASSERT_OK_AND_ASSIGN(const FreezeRecord first, store().Freeze(freeze, context));
  MD_ASSERT_OK(store().Unfreeze("main", By("Unfreeze", "u")));
  MD_ASSERT_OK_AND_ASSIGN(const FreezeRecord unfrozen, store().Unfreeze("main", By("Unfreeze", "u")));
  EXPECT_EQ(unfrozen.reason, "release");
  MD_ASSERT_OK_AND_ASSIGN(const FreezeRecord again, store().Freeze(freeze, context));
  EXPECT_EQ(again.since, first.since);
  MD_ASSERT_OK_AND_ASSIGN(const StoreSnapshot snapshot, store().Load());
  EXPECT_TRUE(snapshot.freezes.empty());
  EXPECT_THAT(store().Unfreeze("main", By("Unfreeze", "f")), StatusIs(absl::StatusCode::kAlreadyExists, ::testing::_));
}

TEST_P(ControlStoreTest, TheLastSeenDatabaseBehindATargetIsKept) {
  TargetIdentity identity{.uuid = "u1", .system_identifier = "7438924723984723947", .database_oid = 4'000'000'000};
  MD_ASSERT_OK(store().RecordTarget("main", identity));
  identity.uuid = "u2";
  MD_ASSERT_OK(store().RecordTarget("main", identity));
  MD_ASSERT_OK_AND_ASSIGN(const StoreSnapshot snapshot, store().Load());
  ASSERT_EQ(snapshot.targets.size(), 1u);
  EXPECT_EQ(snapshot.targets.at("main"), identity);
}

TEST_P(ControlStoreTest, LoadOrdersByTargetVersionAndName) {
  Registration early = SomeRegistration("zeta");
  early.version = "20200101000000";
  MD_ASSERT_OK(store().Register(early));
  Registered("beta");
  Registered("alpha");
  Registered("alpha", "Other");
  MD_ASSERT_OK_AND_ASSIGN(const StoreSnapshot snapshot, store().Load());
  std::vector<std::string> names;
  for (const StoredMigration& stored : snapshot.migrations) {
    names.push_back(absl::StrCat(stored.migration.target, "/", stored.migration.name));
    ASSERT_NE(stored.definition, nullptr);
    EXPECT_EQ(stored.definition->description(), absl::StrCat("of ", stored.migration.name));
  }
  EXPECT_EQ(names, (std::vector<std::string>{"Other/alpha", "main/zeta", "main/alpha", "main/beta"}));
}

TEST_P(ControlStoreTest, OneDigestIsParsedOnce) {
  Registered("a");
  MD_ASSERT_OK_AND_ASSIGN(const StoreSnapshot first, store().Load());
  MD_ASSERT_OK_AND_ASSIGN(const StoreSnapshot second, store().Load());
  EXPECT_EQ(first.migrations[0].definition, second.migrations[0].definition);
}

TEST_P(ControlStoreTest, AnyTextIsAccepted) {
  const MigrationId id = Registered();
  const std::string odd("a\0b\xFF\\u0000 '\"\\", 14);
  EventRecord event;
  event.kind = "NOTE";
  event.reason = odd;
  MD_ASSERT_OK(store().AppendEvent(event));
  MD_ASSERT_OK(store().Mutate(id, By("Add", odd), AddOne));
  MD_ASSERT_OK(store().Mutate(id, By("Add", odd), AddOne));
  EXPECT_EQ(Read(id).accepted_rows, 1);
  MD_ASSERT_OK(store().Claim(id, odd, absl::Minutes(1)));
  const std::string reason = Events(std::nullopt, {"NOTE"}).at(0).reason;
  EXPECT_THAT(reason, ::testing::HasSubstr("\\u0000 '\"\\"));
}

TEST_P(ControlStoreTest, EmptyBulksAreOk) {
  MD_EXPECT_OK(store().Release({}));
  MD_EXPECT_OK(store().Renew({}, absl::Minutes(1)));
  MD_EXPECT_OK(store().RecordProgress({}));
  MD_EXPECT_OK(store().RecordHolds({}));
  MD_EXPECT_OK(store().SetCatalogMissing({}, {}));
}

TEST_P(ControlStoreTest, AnUnreachableStoreIsUnavailableEverywhereAndComesBackAsItWas) {
  const MigrationId id = Registered();
  const Lease lease = Claimed(id);
  SetReachable(false);
  const auto unavailable = StatusIs(absl::StatusCode::kUnavailable, ::testing::_);
  EXPECT_THAT(store().Upgrade(), unavailable);
  EXPECT_THAT(store().CheckSchema(), unavailable);
  EXPECT_THAT(store().ControlId(), unavailable);
  EXPECT_THAT(store().Load(), unavailable);
  EXPECT_THAT(store().Get(id), unavailable);
  EXPECT_THAT(store().Register(SomeRegistration("other")), unavailable);
  EXPECT_THAT(store().SetCatalogMissing({id}, {}), unavailable);
  EXPECT_THAT(store().Mutate(id, By("Add"), AddOne), unavailable);
  EXPECT_THAT(store().Delete(id, By("Delete")), unavailable);
  EXPECT_THAT(store().Claim(id, "me", absl::Minutes(1)), unavailable);
  EXPECT_THAT(store().RaiseEpoch({id, lease.token}, 5), unavailable);
  EXPECT_THAT(store().Renew({{id, lease.token}}, absl::Minutes(1)), unavailable);
  EXPECT_THAT(store().Release({{id, lease.token}}), unavailable);
  EXPECT_THAT(store().RecordProgress({{.id = id, .lease_token = lease.token, .counters = {}, .hold = {}, .jobs = {}}}),
              unavailable);
  EXPECT_THAT(store().RecordHolds({{id, Hold{}}}), unavailable);
  EXPECT_THAT(store().AppendEvent({}), unavailable);
  EXPECT_THAT(store().ListJobs(id, 0, 1), unavailable);
  EXPECT_THAT(store().ListEvents(id, {}, 0, 1), unavailable);
  EXPECT_THAT(store().Freeze({}, By("Freeze")), unavailable);
  EXPECT_THAT(store().Unfreeze("", By("Unfreeze")), unavailable);
  EXPECT_THAT(store().RecordTarget("main", {}), unavailable);
  SetReachable(true);
  EXPECT_EQ(Read(id).revision, 1);
  EXPECT_EQ(Events().size(), 1u);
  MD_ASSERT_OK_AND_ASSIGN(const StoredMigration stored, store().Get(id));
  EXPECT_EQ(stored.lease->token, lease.token);
}

}  // namespace migrationd
