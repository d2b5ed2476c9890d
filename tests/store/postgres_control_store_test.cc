// What only the control store in PostgreSQL promises: its schema, its queries, and how it lives with a database that
// goes away.
#include "store/postgres/postgres_control_store.h"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>

#include "absl/time/clock.h"
#include "migrations/model/failure.h"
#include "store/postgres/connection_string.h"
#include "store/postgres/queries.h"
#include "store/postgres/schema_steps.h"
#include "tests/store/commit_cutter.h"
#include "tests/store/control_store_conformance.h"
#include "tests/store/database.h"
#include "tests/support/next_schema.h"
#include "tests/support/temp_postgres.h"

namespace migrationd {
namespace {

using ::testing::_;
using ::testing::HasSubstr;
using ::testing::Not;

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(ControlStoreTest);  // the suite runs in a program of its own

std::unique_ptr<PostgresControlStore> StoreAt(const std::string& url, int max_connections = 4,
                                              absl::Duration statement_timeout = absl::Seconds(5),
                                              const SchemaSteps* steps = nullptr) {
  auto store = PostgresControlStore::Create({.url = [url] { return url; },
                                             .max_connections = max_connections,
                                             .statement_timeout = statement_timeout,
                                             .schema_steps = steps});
  EXPECT_THAT(store, IsOk());
  return *std::move(store);
}

class PostgresControlStoreTest : public ::testing::Test {
 protected:
  PostgresControlStoreTest() : database_(FreshDatabase()), store_(StoreAt(database_.url())) {}

  MigrationId Registered(ControlStore& store, const std::string& name = "backfill") {
    const auto result = store.Register(SomeRegistration(name));
    EXPECT_THAT(result, IsOk());
    return result.ok() ? result->migration.migration.id : MigrationId{};
  }
  int SchemaVersion() { return std::stoi(database_.Ask("SELECT coalesce(max(version), 0) FROM migrationd.version")); }

  const TestDatabase database_;
  const std::unique_ptr<PostgresControlStore> store_;
};

constexpr int kSteps = static_cast<int>(std::size(schema_steps::kSqlFiles));

TEST_F(PostgresControlStoreTest, EveryQueryIsPreparedOnAFreshSchema) {
  MD_ASSERT_OK(store_->Upgrade());
  for (const queries::SqlFile& query : queries::kSqlFiles) {
    const std::string text(query.text);
    EXPECT_TRUE(text.starts_with("-- ")) << query.name << " does not say what it returns";
    EXPECT_NO_THROW(database_.Run(absl::StrCat("PREPARE ", std::string(query.name), " AS ", text))) << query.name;
  }
}

TEST_F(PostgresControlStoreTest, StepsAreNumberedWithoutGapsAndRecorded) {
  int number = 0;
  for (const schema_steps::SqlFile& step : schema_steps::kSqlFiles)
    EXPECT_EQ(std::stoi(std::string(step.name)), ++number);
  MD_ASSERT_OK(store_->Upgrade());
  EXPECT_EQ(SchemaVersion(), kSteps);
  EXPECT_EQ(database_.Ask("SELECT count(*) FROM migrationd.version"), std::to_string(kSteps));
  EXPECT_EQ(database_.Ask("SELECT count(*) FROM migrationd.control"), "1");
}

TEST_F(PostgresControlStoreTest, AnEmptyDatabaseFailsTheCheckAndSaysWhatToDo) {
  EXPECT_THAT(store_->CheckSchema(), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("migrationd upgrade")));
  EXPECT_EQ(database_.Ask("SELECT to_regnamespace('migrationd')"), "");
}

TEST_F(PostgresControlStoreTest, ASchemaThatNeedsANewerProgramIsRefusedNamingBothVersions) {
  MD_ASSERT_OK(store_->Upgrade());
  // An additive step of a newer program is no obstacle ...
  database_.Run("INSERT INTO migrationd.version (version, name) VALUES (9998, 'additive')");
  MD_EXPECT_OK(store_->Upgrade());
  MD_EXPECT_OK(store_->CheckSchema());
  // ... one that takes something away is.
  database_.Run("UPDATE migrationd.control SET oldest_program = 9999");
  const auto refused =
      StatusIs(absl::StatusCode::kFailedPrecondition,
               ::testing::AllOf(HasSubstr("version 9999"), HasSubstr(absl::StrCat("knows version ", kSteps))));
  EXPECT_THAT(store_->Upgrade(), refused);
  EXPECT_THAT(store_->CheckSchema(), refused);
}

TEST_F(PostgresControlStoreTest, TheNextProgramAddsBesideThisOneAndTakesAwayOnlyWhenThisOneIsGone) {
  MD_ASSERT_OK(store_->Upgrade());
  const MigrationId id = Registered(*store_);
  const auto next = StoreAt(database_.url(), 4, absl::Seconds(5), &NextControlSchemaSteps());
  MD_ASSERT_OK(next->Upgrade());
  EXPECT_EQ(SchemaVersion(), NextControlSchemaSteps().program_version());

  // Both at once, and this one started again: `helm rollback`.
  for (int i = 0; i < 3; ++i) {
    MD_EXPECT_OK(store_->Mutate(id, By("Add"), AddOne));
    MD_EXPECT_OK(next->Mutate(id, By("Add"), AddOne));
  }
  const auto restarted = StoreAt(database_.url());
  MD_EXPECT_OK(restarted->Upgrade());
  MD_EXPECT_OK(restarted->CheckSchema());
  MD_ASSERT_OK_AND_ASSIGN(const StoredMigration stored, restarted->Get(id));
  EXPECT_EQ(stored.migration.accepted_rows, 6);
  EXPECT_EQ(SchemaVersion(), NextControlSchemaSteps().program_version());

  const std::string older = absl::StrCat("migrationd control schema ", kSteps, " at this host");
  EXPECT_THAT(next->UpgradeAndContract(), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(older)));
  EXPECT_EQ(database_.Ask("SELECT oldest_program FROM migrationd.control"), "1") << "nothing was taken away";
  EXPECT_EQ(database_.Ask("SELECT to_regclass('migrationd.request') IS NULL"), "f");
}

TEST_F(PostgresControlStoreTest, WhatIsTakenAwayLocksThisProgramOutAndNotTheNext) {
  // This program's store never connects: nobody older is there.
  const auto next = StoreAt(database_.url(), 4, absl::Seconds(5), &NextControlSchemaSteps());
  MD_ASSERT_OK(next->UpgradeAndContract());
  EXPECT_EQ(database_.Ask("SELECT to_regclass('migrationd.request') IS NULL"), "t");
  MD_EXPECT_OK(next->UpgradeAndContract()) << "it may be repeated";
  MD_EXPECT_OK(next->CheckSchema());
  const auto refused =
      StatusIs(absl::StatusCode::kFailedPrecondition,
               ::testing::AllOf(HasSubstr(absl::StrCat("knows version ", NextControlSchemaSteps().program_version())),
                                HasSubstr(absl::StrCat("knows version ", kSteps))));
  EXPECT_THAT(store_->Upgrade(), refused);
  EXPECT_THAT(store_->UpgradeAndContract(), refused);
  EXPECT_THAT(store_->CheckSchema(), refused);
}

class ConcurrentUpgrade : public ::testing::TestWithParam<int> {};

TEST_P(ConcurrentUpgrade, OfAnEmptyDatabaseSucceedsForAll) {
  for (int round = 0; round < 20; ++round) {
    const TestDatabase database(FreshDatabase());
    std::vector<std::unique_ptr<PostgresControlStore>> stores;
    for (int i = 0; i < GetParam(); ++i) stores.push_back(StoreAt(database.url()));
    InThreads(GetParam(), [&](int i) { EXPECT_THAT(stores[i]->Upgrade(), IsOk()); });
    EXPECT_EQ(database.Ask("SELECT count(*) FROM migrationd.version"), std::to_string(kSteps));
    EXPECT_EQ(database.Ask("SELECT count(*) FROM migrationd.control"), "1");
  }
}
INSTANTIATE_TEST_SUITE_P(Processes, ConcurrentUpgrade, ::testing::Values(2, 8));

TEST_F(PostgresControlStoreTest, AnUpgradeThatFailsHalfWayLeavesWholeSteps) {
  MD_ASSERT_OK(store_->Upgrade());
  for (int done = 0; done < kSteps; ++done) {
    const TestDatabase database(FreshDatabase());
    const auto store = StoreAt(database.url());
    // Half-way through step done + 1, something ends it: here, the row that records the step.
    database.Run("CREATE SCHEMA migrationd");
    database.Run(
        absl::StrCat("CREATE FUNCTION public.fail() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN "
                     "IF to_regclass('migrationd.version') IS NOT NULL THEN IF (SELECT coalesce(max(version), 0) FROM "
                     "migrationd.version) = ",
                     done, " THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; END IF; END $$"));
    database.Run("CREATE EVENT TRIGGER fail ON ddl_command_end EXECUTE FUNCTION public.fail()");
    EXPECT_THAT(store->Upgrade(), StatusIs(absl::StatusCode::kUnavailable, _)) << done;
    database.Run("DROP EVENT TRIGGER fail");
    if (done == 0) {
      EXPECT_EQ(database.Ask("SELECT to_regclass('migrationd.version')"), "");
    } else {
      EXPECT_EQ(database.Ask("SELECT max(version) FROM migrationd.version"), std::to_string(done));
    }
    MD_EXPECT_OK(StoreAt(database.url())->Upgrade());
    EXPECT_EQ(database.Ask("SELECT count(*) FROM migrationd.version"), std::to_string(kSteps));
    MD_EXPECT_OK(store->Load());
  }
}

TEST_F(PostgresControlStoreTest, AnUpgradeKilledWhileItWaitsForTheLockHurtsNobody) {
  const auto other = StoreAt(database_.url());
  pqxx::connection holder(database_.url());
  auto lock = std::make_unique<pqxx::work>(holder);
  lock->exec("SELECT pg_advisory_xact_lock(30796665482998884)");
  std::thread waiting([&] { EXPECT_THAT(store_->Upgrade(), StatusIs(absl::StatusCode::kUnavailable, _)); });
  while (database_.Ask(
             "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'") !=
         "1") {
  }
  database_.Run(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = "
      "'advisory'");
  waiting.join();
  lock.reset();
  MD_EXPECT_OK(other->Upgrade());
}

// The words in a CHECK constraint.
std::set<std::string> WordsOf(const TestDatabase& database, const std::string& constraint) {
  const std::string definition = database.Ask(
      absl::StrCat("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = '", constraint, "'"));
  const std::regex word("'([A-Z_]+)'");
  std::set<std::string> words;
  for (auto i = std::sregex_iterator(definition.begin(), definition.end(), word); i != std::sregex_iterator(); ++i) {
    words.insert((*i)[1]);
  }
  return words;
}

template <typename Words, typename Name>
std::set<std::string> NamesOf(const Words& words, Name name) {
  std::set<std::string> names;
  for (const auto word : words) names.insert(std::string(name(word)));
  return names;
}

TEST_F(PostgresControlStoreTest, TheWordsInSqlAreTheWordsInTheModel) {
  MD_ASSERT_OK(store_->Upgrade());
  EXPECT_EQ(WordsOf(database_, "migration_state_word"), NamesOf(kAllStates, StateName));
  EXPECT_EQ(WordsOf(database_, "migration_intent_state_word"), NamesOf(kAllStates, StateName));
  EXPECT_EQ(WordsOf(database_, "progress_phase_word"), NamesOf(kAllPhases, PhaseName));
  EXPECT_EQ(WordsOf(database_, "progress_hold_word"), NamesOf(kAllHoldKinds, HoldKindName));
  EXPECT_EQ(WordsOf(database_, "migration_fence_word"),
            NamesOf(std::vector{FenceState::kNone, FenceState::kCreating, FenceState::kCreated}, FenceStateName));
  EXPECT_EQ(WordsOf(database_, "job_outcome_word"), (std::set<std::string>{"DONE", "INTERRUPTED"}));
}

TEST_F(PostgresControlStoreTest, EachRestartFromIsKept) {
  MD_ASSERT_OK(store_->Upgrade());
  const MigrationId id = Registered(*store_);
  for (const RestartFrom from : {RestartFrom::kStart, RestartFrom::kAdopt, RestartFrom::kContinue}) {
    MD_ASSERT_OK_AND_ASSIGN(const StoredMigration stored,
                            store_->Mutate(id, By("Retry"), [from](const StoredMigration& current, absl::Time now) {
                              auto effect = AddOne(current, now);
                              effect->after.restart_from = from;
                              return effect;
                            }));
    EXPECT_EQ(stored.migration.restart_from, from);
  }
}

TEST_F(PostgresControlStoreTest, TheDatabaseItselfRefusesStatesWithoutWhatBelongsToThem) {
  MD_ASSERT_OK(store_->Upgrade());
  Registered(*store_);
  for (const std::string change :
       {"state = 'HALTED'", "halt_code = 'X', halt_message = '', halt_since = now()", "state = 'COMPLETED'",
        "state = 'DONE'", "deleted_at = now()", "override_batch_size = 5", "batch_size = 0"}) {
    EXPECT_THROW(database_.Run("UPDATE migrationd.migration SET " + change), pqxx::check_violation) << change;
  }
  EXPECT_THROW(database_.Run("UPDATE migrationd.heartbeat SET token = 'x'"), pqxx::check_violation);
}

TEST_F(PostgresControlStoreTest, OldRequestIdsArePrunedAFewAtATime) {
  MD_ASSERT_OK(store_->Upgrade());
  const MigrationId id = Registered(*store_);
  database_.Run(
      "INSERT INTO migrationd.request (request_id, call, subject, created_at) "
      "SELECT 'old' || i, 'Add', 'x', now() - interval '25 hours' FROM generate_series(1, 50) i");
  MD_ASSERT_OK(store_->Mutate(id, By("Add", "new1"), AddOne));
  EXPECT_EQ(database_.Ask("SELECT count(*) FROM migrationd.request"), "31");
  for (int i = 2; i < 5; ++i) MD_ASSERT_OK(store_->Mutate(id, By("Add", absl::StrCat("new", i)), AddOne));
  EXPECT_EQ(database_.Ask("SELECT string_agg(request_id, ',' ORDER BY request_id) FROM migrationd.request"),
            "new1,new2,new3,new4");
}

TEST_F(PostgresControlStoreTest, AConnectionClosedWhileIdleIsReplacedUnseen) {
  MD_ASSERT_OK(store_->Upgrade());
  const MigrationId id = Registered(*store_);
  for (int i = 0; i < 3; ++i) {
    database_.TerminateSessions();
    MD_EXPECT_OK(store_->Mutate(id, By("Add"), AddOne));
  }
  MD_ASSERT_OK_AND_ASSIGN(const StoredMigration stored, store_->Get(id));
  EXPECT_EQ(stored.migration.accepted_rows, 3);
}

TEST_F(PostgresControlStoreTest, AConnectionLostInEveryAttemptIsUnavailableAndNothingIsRecorded) {
  MD_ASSERT_OK(store_->Upgrade());
  const MigrationId id = Registered(*store_);
  const absl::Status status = store_
                                  ->Mutate(id, By("Add", "lost"),
                                           [&](const StoredMigration& current, absl::Time now) {
                                             database_.TerminateSessions();
                                             return AddOne(current, now);
                                           })
                                  .status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("Nothing was recorded")));
  EXPECT_FALSE(IsCommitUnknown(status));
  MD_ASSERT_OK_AND_ASSIGN(const StoredMigration stored, store_->Get(id));
  EXPECT_EQ(stored.migration.revision, 1);
  MD_EXPECT_OK(store_->Mutate(id, By("Add", "lost"), AddOne));
}

TEST_F(PostgresControlStoreTest, ATransactionEndedByTheServerAtItsCommitIsDoneAgainOnce) {
  MD_ASSERT_OK(store_->Upgrade());
  const MigrationId id = Registered(*store_);
  // A sequence is not rolled back, so the trigger ends only the first transaction.
  database_.Run("CREATE SEQUENCE public.tries");
  database_.Run(
      "CREATE FUNCTION public.end_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
      "IF nextval('public.tries') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; RETURN NULL; END "
      "$$");
  database_.Run(
      "CREATE CONSTRAINT TRIGGER end_once AFTER INSERT ON migrationd.event DEFERRABLE INITIALLY DEFERRED "
      "FOR EACH ROW EXECUTE FUNCTION public.end_once()");
  MD_ASSERT_OK_AND_ASSIGN(const StoredMigration stored, store_->Mutate(id, By("Add"), AddOne));
  EXPECT_EQ(stored.migration.accepted_rows, 1);
  EXPECT_EQ(stored.migration.revision, 2);
  EXPECT_EQ(database_.Ask("SELECT last_value FROM public.tries"), "2");
}

// The commit took place, its answer was lost.
class CutCommitTest : public PostgresControlStoreTest {
 protected:
  CutCommitTest() : through_(StoreAt(cutter_.Url(database_.Ask("SELECT current_database()")))) {
    EXPECT_THAT(store_->Upgrade(), IsOk());
  }
  ~CutCommitTest() override { EXPECT_EQ(cutter_.fired(), cuts_); }
  ControlStore& WithCut() {
    cutter_.Arm();
    ++cuts_;
    return *through_;
  }
  std::string Count(const std::string& from) { return database_.Ask("SELECT count(*) FROM migrationd." + from); }

  CommitCutter cutter_;
  const std::unique_ptr<PostgresControlStore> through_;
  int cuts_ = 0;
};

TEST_F(CutCommitTest, AMutationIsDoneOnceAndAnswered) {
  const MigrationId id = Registered(*store_);
  int decided = 0;
  const MutationFn count = [&](const StoredMigration& current, absl::Time now) {
    ++decided;
    return AddOne(current, now);
  };
  MD_ASSERT_OK_AND_ASSIGN(const StoredMigration plain, WithCut().Mutate(id, By("Add"), count));
  EXPECT_EQ(plain.migration.accepted_rows, 1);
  MutationContext context = By("Add", "with id");
  context.expected_revision = 2;
  MD_ASSERT_OK_AND_ASSIGN(const StoredMigration with_id, WithCut().Mutate(id, context, count));
  EXPECT_EQ(with_id.migration.accepted_rows, 2);
  EXPECT_EQ(decided, 2);
  EXPECT_EQ(Count("event WHERE kind = 'SETTING'"), "2");
}

TEST_F(CutCommitTest, AnOwnersMutationThatGaveItsClaimUpIsNotTakenForLost) {
  const MigrationId id = Registered(*store_);
  MD_ASSERT_OK_AND_ASSIGN(const std::optional<Lease> lease, store_->Claim(id, "me", absl::Minutes(1)));
  ASSERT_TRUE(lease.has_value());
  MutationContext context = By("Complete");
  context.lease_token = lease->token;
  MD_ASSERT_OK_AND_ASSIGN(const StoredMigration stored, WithCut().Mutate(id, context, MoveTo(State::kCompleted)));
  EXPECT_EQ(stored.migration.state, State::kCompleted);
  EXPECT_EQ(stored.migration.revision, 2);
}

TEST_F(CutCommitTest, ARegistrationSaysThatItCreated) {
  MD_ASSERT_OK_AND_ASSIGN(const RegisterResult result, WithCut().Register(SomeRegistration()));
  EXPECT_TRUE(result.created);
  EXPECT_EQ(Count("migration"), "1");
  EXPECT_EQ(Count("event"), "1");
}

TEST_F(CutCommitTest, ADeletionAnswers) {
  const MigrationId id = Registered(*store_);
  MD_ASSERT_OK(store_->Mutate(id, By("Cancel"), MoveTo(State::kCancelled)));
  MD_ASSERT_OK_AND_ASSIGN(const StoredMigration stored, WithCut().Delete(id, By("Delete")));
  EXPECT_EQ(stored.migration.name, "backfill");
  EXPECT_EQ(Count("event WHERE to_word = 'DELETED'"), "1");
}

TEST_F(CutCommitTest, AClaimIsObtained) {
  const MigrationId id = Registered(*store_);
  MD_ASSERT_OK_AND_ASSIGN(const std::optional<Lease> lease, WithCut().Claim(id, "me", absl::Minutes(1)));
  ASSERT_TRUE(lease.has_value());
  MD_ASSERT_OK_AND_ASSIGN(const StoredMigration stored, store_->Get(id));
  EXPECT_EQ(stored.lease->token, lease->token);
  EXPECT_EQ(stored.lease->epoch, lease->epoch);
}

TEST_F(CutCommitTest, JobsAndEventsAndFreezesAreWrittenOnce) {
  const MigrationId id = Registered(*store_);
  MD_ASSERT_OK_AND_ASSIGN(const std::optional<Lease> lease, store_->Claim(id, "me", absl::Minutes(1)));
  MD_ASSERT_OK(WithCut().RecordProgress(
      {{.id = id, .lease_token = lease->token, .counters = {}, .hold = {}, .jobs = {SomeJob(1), SomeJob(2)}}}));
  EXPECT_EQ(Count("job"), "2");
  EventRecord event;
  event.kind = "NOTE";
  MD_ASSERT_OK(WithCut().AppendEvent(event));
  EXPECT_EQ(Count("event WHERE kind = 'NOTE'"), "1");
  FreezeRecord freeze;
  freeze.reason = "release";
  MD_ASSERT_OK(WithCut().Freeze(freeze, By("Freeze")));
  EXPECT_EQ(Count("event WHERE kind = 'FREEZE'"), "1");
  MD_ASSERT_OK_AND_ASSIGN(const FreezeRecord removed, WithCut().Unfreeze("", By("Unfreeze")));
  EXPECT_EQ(removed.reason, "release");
  EXPECT_EQ(Count("event WHERE kind = 'FREEZE'"), "2");
}

TEST_F(CutCommitTest, AnOutcomeThatCannotBeFoundOutIsSaidToBeUnknown) {
  const MigrationId id = Registered(*store_);
  const MutationFn bar_the_way_back = [&](const StoredMigration& current, absl::Time now) {
    database_.RefuseNewSessions();
    return AddOne(current, now);
  };
  const absl::Status status = WithCut().Mutate(id, By("Add", "unknown"), bar_the_way_back).status();
  database_.SetReachable(true);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("could not be found out")));
  EXPECT_TRUE(IsCommitUnknown(status));
  // The same request id tells.
  MD_ASSERT_OK_AND_ASSIGN(const StoredMigration stored, store_->Mutate(id, By("Add", "unknown"), AddOne));
  EXPECT_EQ(stored.migration.accepted_rows, 1);
}

TEST(UnreachableControlStore, IsUnavailableSoonWithoutTellingItsUrl) {
  for (const std::string url :
       {"postgresql://secretuser:hunter2@127.0.0.1:1/secretdb", "host=127.0.0.1 port=1 password=hunter2",
        "postgresql://secretuser:hunter2@secrethost.invalid/x", "postgresql://secretuser:hunter2@[bad",
        "hunter2 is no url"}) {
    const auto store = StoreAt(url);
    const absl::Time before = absl::Now();
    const absl::Status status = store->Load().status();
    EXPECT_LT(absl::Now() - before, absl::Seconds(8)) << url;
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable, _));
    for (const std::string secret : {"hunter2", "secretuser", "secretdb", "secrethost"}) {
      EXPECT_THAT(status.ToString(), Not(HasSubstr(secret)));
    }
  }
}

TEST_F(PostgresControlStoreTest, TheUrlIsAskedAtEveryNewConnection) {
  int asked = 0;
  std::string url = "postgresql://127.0.0.1:1/nowhere";
  auto store = PostgresControlStore::Create({.url = [&]() -> absl::StatusOr<std::string> {
    if (++asked == 1) return absl::UnavailableError("the file with the URL cannot be read");
    return url;
  }});
  MD_ASSERT_OK(store);
  EXPECT_THAT((*store)->Upgrade(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("file with the URL")));
  EXPECT_THAT((*store)->Upgrade(), StatusIs(absl::StatusCode::kUnavailable, _));
  url = database_.url();
  MD_EXPECT_OK((*store)->Upgrade());
  MD_EXPECT_OK((*store)->Load());
  EXPECT_EQ(asked, 3);
}

TEST_F(PostgresControlStoreTest, ItsOptionsAreChecked) {
  EXPECT_THAT(PostgresControlStore::Create({}), StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_THAT(PostgresControlStore::Create({.url = [] { return std::string(); }, .max_connections = 0}),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
}

TEST_F(PostgresControlStoreTest, ABusyPoolAndALockedRowAreUnavailableAfterTheTimeout) {
  MD_ASSERT_OK(store_->Upgrade());
  const MigrationId id = Registered(*store_);
  const auto store = StoreAt(database_.url(), /*max_connections=*/1, /*statement_timeout=*/absl::Milliseconds(500));
  pqxx::connection holder(database_.url());
  auto lock = std::make_unique<pqxx::work>(holder);
  lock->exec("SELECT 1 FROM migrationd.migration FOR UPDATE");
  InThreads(2, [&](int) {
    EXPECT_THAT(store->Mutate(id, By("Add"), AddOne),
                StatusIs(absl::StatusCode::kUnavailable, HasSubstr("Nothing was recorded")));
  });
  lock.reset();
  MD_EXPECT_OK(store->Mutate(id, By("Add"), AddOne));
}

TEST_F(PostgresControlStoreTest, AServerThatDoesNotAnswerDoesNotHoldTheCallerForEver) {
  MD_ASSERT_OK(store_->Upgrade());
  const MigrationId id = Registered(*store_);
  const auto store = StoreAt(database_.url(), /*max_connections=*/1, /*statement_timeout=*/absl::Milliseconds(500));
  pid_t stopped = 0;
  const absl::Time before = absl::Now();
  const auto result = store->Mutate(id, By("Add"), [&](const StoredMigration& current, absl::Time now) {
    stopped = std::stoi(database_.Ask(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"));
    EXPECT_EQ(kill(stopped, SIGSTOP), 0);
    return AddOne(current, now);
  });
  EXPECT_THAT(result, StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_LT(absl::Now() - before, absl::Seconds(10));
  kill(stopped, SIGCONT);
  MD_EXPECT_OK(store_->Mutate(id, By("Add"), AddOne));
}

TEST_F(PostgresControlStoreTest, AReadOnlyDatabaseIsUnavailable) {
  MD_ASSERT_OK(store_->Upgrade());
  const MigrationId id = Registered(*store_);
  // As on a standby, for which READ WRITE is an error too.
  database_.Run(
      "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
      "RAISE EXCEPTION 'read-only' USING ERRCODE = '25006'; END $$");
  database_.Run(
      "CREATE TRIGGER refuse BEFORE UPDATE ON migrationd.migration FOR EACH ROW EXECUTE FUNCTION public.refuse()");
  EXPECT_THAT(store_->Mutate(id, By("Add"), AddOne), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("25006")));
}

TEST_F(PostgresControlStoreTest, SettingsOfARoleDoNotDisturb) {
  database_.Run(absl::StrCat("ALTER DATABASE ", database_.Ask("SELECT current_database()"),
                             " SET timezone = 'Asia/Kathmandu'; ALTER DATABASE ",
                             database_.Ask("SELECT current_database()"), " SET datestyle = 'German'; ALTER DATABASE ",
                             database_.Ask("SELECT current_database()"),
                             " SET default_transaction_isolation = 'serializable'; ALTER DATABASE ",
                             database_.Ask("SELECT current_database()"), " SET search_path = 'nowhere'"));
  MD_ASSERT_OK(store_->Upgrade());
  const MigrationId id = Registered(*store_);
  MD_ASSERT_OK_AND_ASSIGN(const StoredMigration stored, store_->Get(id));
  EXPECT_LT(absl::Now() - stored.migration.created_at, absl::Minutes(5));
  EXPECT_GT(absl::Now() - stored.migration.created_at, -absl::Minutes(5));
  InThreads(4, [&](int) { MD_EXPECT_OK(store_->Mutate(id, By("Add"), AddOne)); });
}

// Transaction pooling with one server connection: whatever stays in a session meets the next transaction, of whoever.
TEST_F(PostgresControlStoreTest, ItWorksThroughAPoolerInTransactionMode) {
  const std::string pgbouncer = "/usr/sbin/pgbouncer";
  if (!std::filesystem::exists(pgbouncer)) GTEST_SKIP() << "pgbouncer is not installed";
  const std::string name = database_.Ask("SELECT current_database()");
  char pattern[] = "/tmp/migrationd-pooler-XXXXXX";
  ASSERT_NE(mkdtemp(pattern), nullptr);
  const std::string directory = pattern;
  std::filesystem::permissions(directory, std::filesystem::perms::all);
  std::ofstream(directory + "/pgbouncer.ini")
      << "[databases]\n* = host=" << TestCluster().socket_directory()
      << " user=postgres\n[pgbouncer]\nlisten_addr =\nlisten_port = 6432\nunix_socket_dir = " << directory
      << "\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 1\n"
      << "user = postgres\nlogfile = " << directory << "/log\npidfile = " << directory
      << "/pid\nserver_reset_query =\nignore_startup_parameters = extra_float_digits\n";
  ASSERT_EQ(std::system(absl::StrCat(pgbouncer, " -d ", geteuid() == 0 ? "-u postgres " : "", directory,
                                     "/pgbouncer.ini >", directory, "/out 2>&1")
                            .c_str()),
            0);
  const auto store = StoreAt(absl::StrCat("postgresql:///", name, "?host=", directory, "&port=6432&user=postgres"));
  absl::Status upgraded = store->Upgrade();
  for (int i = 0; i < 100 && !upgraded.ok(); ++i) {
    absl::SleepFor(absl::Milliseconds(50));  // until it listens
    upgraded = store->Upgrade();
  }
  MD_EXPECT_OK(upgraded);
  if (upgraded.ok()) {
    const MigrationId id = Registered(*store);
    InThreads(4, [&](int) {
      for (int i = 0; i < 5; ++i) {
        MD_EXPECT_OK(store->Mutate(id, By("Add"), AddOne));
        MD_EXPECT_OK(store->Load());
      }
    });
    MD_ASSERT_OK_AND_ASSIGN(const StoredMigration stored, store->Get(id));
    EXPECT_EQ(stored.migration.accepted_rows, 20);
  }
  std::ifstream pid_file(directory + "/pid");
  pid_t pid = 0;
  if (pid_file >> pid) kill(pid, SIGTERM);
  // It removes its own files as it ends.
  std::error_code ignored;
  std::filesystem::remove_all(directory, ignored);
}

TEST(CompleteConnectionString, AddsWhatTheUrlLeavesOpenAndKeepsTheRest) {
  MD_ASSERT_OK_AND_ASSIGN(const std::string text,
                          CompleteConnectionString("postgresql://u:it%27s%5C@h:5/d?connect_timeout=9",
                                                   {.connect_timeout = absl::Milliseconds(500)}));
  EXPECT_THAT(text, HasSubstr("connect_timeout='9'"));
  EXPECT_THAT(text, HasSubstr("password='it\\'s\\\\'"));
  EXPECT_THAT(text, HasSubstr("host='h'"));
  EXPECT_THAT(text, HasSubstr("application_name='migrationd'"));
  MD_ASSERT_OK_AND_ASSIGN(const std::string again, CompleteConnectionString(text, {}));
  EXPECT_EQ(again, text);
  MD_ASSERT_OK_AND_ASSIGN(const std::string quick,
                          CompleteConnectionString("dbname=d", {.connect_timeout = absl::Milliseconds(500)}));
  EXPECT_THAT(quick, HasSubstr("connect_timeout='2'"));
}

}  // namespace
}  // namespace migrationd
