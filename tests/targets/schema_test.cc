// The schema on the target: made by racing processes, by a DBA, and refused where it must be.
#include <atomic>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "migrations/model/failure.h"
#include "server/targets/postgres/lane_session.h"
#include "server/targets/postgres/schema_sql.h"
#include "tests/targets/target_fixture.h"

namespace migrationd {
namespace {

std::unique_ptr<PostgresTarget> TargetAt(const std::string& url) {
  PostgresTargetOptions options;
  options.name = "main";
  options.url = [url]() -> absl::StatusOr<std::string> { return url; };
  return std::make_unique<PostgresTarget>(std::move(options));
}

TEST(Schema, RacingProcessesMakeItOnceAndAgreeOnTheIdentity) {
  for (int round = 0; round < 10; ++round) {
    const std::string url = FreshDatabase();
    std::vector<std::thread> threads;
    std::vector<absl::StatusOr<TargetIdentity>> identities(6, absl::UnknownError(""));
    for (std::size_t i = 0; i < identities.size(); ++i) threads.emplace_back([&, i] { identities[i] = TargetAt(url)->Open(true); });
    for (std::thread& thread : threads) thread.join();
    for (const auto& identity : identities) {
      MD_ASSERT_OK(identity);
      EXPECT_EQ(identity->uuid, identities[0]->uuid);
      EXPECT_FALSE(identity->uuid.empty());
    }
  }
}

TEST(Schema, LookingDoesNotMakeAnything) {
  const std::string url = FreshDatabase();
  MD_ASSERT_OK_AND_ASSIGN(const TargetIdentity identity, TargetAt(url)->Open(false));
  EXPECT_EQ(identity.uuid, "");
  EXPECT_FALSE(identity.system_identifier.empty());
  EXPECT_EQ(Sql(url).Value("SELECT to_regnamespace('migration_control') IS NULL"), "t");
}

TEST(Schema, MayBeAppliedAgainAndAgain) {
  Sql sql(FreshDatabase());
  sql.Run(TargetSchemaSql());
  sql.Run(TargetSchemaSql());
  EXPECT_EQ(sql.Value("SELECT version FROM migration_control.schema_version"), absl::StrCat(kTargetSchemaVersion));
}

TEST(Schema, WorksForARoleWithLittleRightsOnceADbaHasMadeIt) {
  const std::string url = FreshDatabase();
  Sql dba(url);
  dba.Run(TargetSchemaSql());
  dba.Run("DO $$ BEGIN CREATE ROLE runner LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$");
  dba.Run("GRANT USAGE ON SCHEMA migration_control TO runner; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA migration_control TO runner");
  dba.Run("DO $$ BEGIN EXECUTE format('REVOKE CREATE, TEMP ON DATABASE %I FROM PUBLIC', current_database()); END $$");
  dba.Run("CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT i FROM generate_series(1, 50) i; GRANT SELECT, UPDATE ON t TO runner");
  const std::string runner = absl::StrReplaceAll(url, {{"user=postgres", "user=runner"}});
  auto target = TargetAt(runner);
  MD_ASSERT_OK(target->Open(true));
  MD_ASSERT_OK_AND_ASSIGN(const TableFacts facts, target->Inspect({"public", "t"}));
  EXPECT_EQ(facts.primary_key, std::vector<std::string>{"id"});
  MigrationPlan plan;
  plan.schema = "public";
  plan.table = "t";
  plan.table_oid = facts.oid;
  plan.key = {"id"};
  plan.key_types = {KeyType::kBigint};
  plan.key_casts = {"bigint"};
  plan.search_path = "pg_catalog, public, pg_temp";
  plan.work = "UPDATE t SET n = n + 1 WHERE id > $1::bigint AND id <= $2::bigint";
  plan.work_first = "UPDATE t SET n = n + 1 WHERE id >= $1::bigint AND id <= $2::bigint";
  plan.next_bound = "SELECT id::text FROM t WHERE id > $1::bigint AND id <= $2::bigint ORDER BY t.id OFFSET $3::bigint - 1 LIMIT 1";
  plan.next_bound_first = "SELECT id::text FROM t WHERE id >= $1::bigint AND id <= $2::bigint ORDER BY t.id OFFSET $3::bigint - 1 LIMIT 1";
  TakeOverRequest request{.migration = "m", .control_id = kControl, .definition_digest = "d", .may_create = true};
  MD_ASSERT_OK_AND_ASSIGN(Checkpoint checkpoint, target->TakeOver(request));
  MD_ASSERT_OK_AND_ASSIGN(const auto ranges, target->PlanLanes(plan, 1));
  MD_ASSERT_OK_AND_ASSIGN(checkpoint, target->BeginPass(checkpoint.claim, 1, ranges));
  LaneOptions options{.claim = checkpoint.claim, .range = checkpoint.lanes[0], .pass = 1, .plan = &plan};
  // Without the right to make temporary functions the other form is used.
  MD_ASSERT_OK_AND_ASSIGN(const auto session, target->OpenLane(options));
  MD_ASSERT_OK_AND_ASSIGN(const Key bound, session->FindBound(checkpoint.lanes[0], 50));
  MD_ASSERT_OK(session->RunSubBatch({.old_cursor = {}, .new_cursor = bound, .lane_upper = checkpoint.lanes[0].upper}));
  EXPECT_EQ(dba.Value("SELECT count(*) FROM t WHERE n = 1"), "50");
}

TEST(Schema, SaysWhatADbaHasToDoWhenItMayNotBeMade) {
  const std::string url = FreshDatabase();
  Sql dba(url);
  dba.Run("DO $$ BEGIN CREATE ROLE nobody_much LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$");
  const auto opened = TargetAt(absl::StrReplaceAll(url, {{"user=postgres", "user=nobody_much"}}))->Open(true);
  EXPECT_THAT(opened, StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::HasSubstr("migrationctl target-sql")));
}

TEST(Schema, IsRefusedWhenItNeedsANewerProgram) {
  const std::string url = FreshDatabase();
  Sql sql(url);
  sql.Run(TargetSchemaSql());
  sql.Run("UPDATE migration_control.schema_version SET version = 9, oldest_program = 9");
  EXPECT_THAT(TargetAt(url)->Open(true), StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::HasSubstr("Upgrade migrationd")));
  // A newer one that still serves this program is used as it is.
  sql.Run("UPDATE migration_control.schema_version SET oldest_program = 1");
  MD_EXPECT_OK(TargetAt(url)->Open(true));
}

TEST(Schema, AReadOnlyTargetIsHeldAndNotWrittenTo) {
  const std::string url = FreshDatabase();
  Sql(url).Run("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$");
  const auto opened = TargetAt(url)->Open(true);
  EXPECT_EQ(ClassifyFailure(SqlStateOf(opened.status())), FailureClass::kBackOff);
}

TEST(Connecting, AnUnreachableTargetIsUnavailableAndTheUrlIsNotTold) {
  const auto opened = TargetAt("postgresql://someone:secret@127.0.0.1:1/db")->Open(true);
  EXPECT_THAT(opened, StatusIs(absl::StatusCode::kUnavailable, ::testing::Not(::testing::HasSubstr("secret"))));
  EXPECT_EQ(SqlStateOf(opened.status()), "");
}

TEST(Inspecting, FindsKeysThatCanBeWalkedAndLeavesOutTheOthers) {
  const std::string url = FreshDatabase();
  Sql sql(url);
  sql.Run(
      "CREATE TABLE t (a int NOT NULL, b int, c text NOT NULL, d int NOT NULL, e int NOT NULL, f int GENERATED ALWAYS AS (a + 1) STORED, g int DEFAULT 5, PRIMARY KEY (c, a));"
      "CREATE UNIQUE INDEX ON t (b); CREATE UNIQUE INDEX ON t (d) WHERE a > 0; CREATE UNIQUE INDEX ON t ((d + 1)); CREATE UNIQUE INDEX ON t (e) INCLUDE (b); "
      "ALTER TABLE t ADD UNIQUE (d) DEFERRABLE; CREATE VIEW v AS SELECT 1 AS x");
  MD_ASSERT_OK_AND_ASSIGN(const TableFacts facts, TargetAt(url)->Inspect({"", "t"}));
  EXPECT_EQ(facts.primary_key, (std::vector<std::string>{"c", "a"}));
  EXPECT_EQ(facts.unique_keys, (std::vector<std::vector<std::string>>{{"c", "a"}, {"e"}}));
  ASSERT_EQ(facts.columns.size(), 7u);
  EXPECT_TRUE(facts.columns[5].generated);
  EXPECT_EQ(facts.columns[6].default_expression, "5");
  EXPECT_FALSE(facts.columns[1].not_null);
  EXPECT_THAT(TargetAt(url)->Inspect({"", "nothing"}), StatusIs(absl::StatusCode::kNotFound, ::testing::HasSubstr("nothing")));
  EXPECT_THAT(TargetAt(url)->Inspect({"", "v"}), StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::HasSubstr("not a table")));
}

TEST(Asking, TakesOneBooleanAndWritesNothing) {
  const std::string url = FreshDatabase();
  auto target = TargetAt(url);
  Sql(url).Run("CREATE TABLE t (n int)");
  MD_ASSERT_OK_AND_ASSIGN(const bool yes, target->AskBoolean("SELECT count(*) = 0 FROM t", "public"));
  EXPECT_TRUE(yes);
  EXPECT_FALSE(target->AskBoolean("SELECT 1 FROM t", "public").ok());
  EXPECT_FALSE(target->AskBoolean("SELECT NULL::boolean", "public").ok());
  EXPECT_EQ(SqlStateOf(target->AskBoolean("INSERT INTO t VALUES (1) RETURNING true", "public").status()), "25006");
}

TEST(CheckingStatements, RefusesSecondStatementsUnknownColumnsAndWrongTypes) {
  const std::string url = FreshDatabase();
  auto target = TargetAt(url);
  Sql(url).Run("CREATE TABLE t (id bigint, n int)");
  MD_EXPECT_OK(target->CheckStatement("UPDATE t SET n = $3 WHERE id > $1 AND id <= $2", {"bigint", "bigint", "integer"}, "public"));
  EXPECT_EQ(SqlStateOf(target->CheckStatement("UPDATE t SET n = 1; DROP TABLE t", {}, "public")), "42601");
  EXPECT_EQ(SqlStateOf(target->CheckStatement("UPDATE t SET m = 1", {}, "public")), "42703");
  EXPECT_EQ(Sql(url).Value("SELECT count(*) FROM t"), "0");
}

TEST(ApplicationNames, FitIntoWhatPostgresKeepsAndBeginWithTokenAndEpoch) {
  const FenceClaim claim{std::string(63, 'x'), 123456, "abcdef01-2345-6789-abcd-ef0123456789"};
  const std::string name = ApplicationName(claim);
  EXPECT_EQ(name.size(), 63u);
  EXPECT_TRUE(name.starts_with("migrationd/abcdef01/123456/xxx"));
}

}  // namespace
}  // namespace migrationd
