// The schema migration_control: made once however many come at once, or by a DBA; and what it answers without us.
#include <algorithm>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "migrations/model/failure.h"
#include "server/targets/postgres/schema_sql.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_postgres.h"
#include "tests/targets/target_fixture.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;

TEST(Schema, IsMadeOnceWhenEightComeAtOnce) {
  for (int round = 0; round < 20; ++round) {
    const std::string url = FreshDatabase();
    std::vector<absl::StatusOr<TargetIdentity>> identities(8, absl::UnknownError("not run"));
    std::vector<std::thread> comers;
    for (auto& identity : identities) {
      comers.emplace_back([&url, &identity] { identity = TargetAt(url)->Open(true); });
    }
    for (std::thread& comer : comers) comer.join();
    for (const auto& identity : identities) {
      ASSERT_THAT(identity, IsOk());
      EXPECT_EQ(*identity, *identities[0]);
    }
    EXPECT_EQ(identities[0]->uuid.size(), 36u);
    EXPECT_EQ(identities[0]->system_identifier, Ask(url, "SELECT system_identifier FROM pg_control_system()"));
  }
}

TEST(Schema, IsOnlyLookedAtWhenNothingMayBeMade) {
  const std::string url = FreshDatabase();
  auto target = TargetAt(url);
  MD_ASSERT_OK_AND_ASSIGN(TargetIdentity identity, target->Open(false));
  EXPECT_EQ(identity.uuid, "");
  EXPECT_NE(identity.database_oid, 0);
  EXPECT_EQ(Ask(url, "SELECT to_regnamespace('migration_control')"), "NULL");
  MD_ASSERT_OK_AND_ASSIGN(const auto reason, target->FrozenReason());
  EXPECT_EQ(reason, std::nullopt);
  MD_ASSERT_OK(target->Forget(kMigration, kControlId));
  MD_ASSERT_OK_AND_ASSIGN(const TargetIdentity made, target->Open(true));
  MD_ASSERT_OK_AND_ASSIGN(identity, target->Open(false));
  EXPECT_EQ(identity, made);
}

TEST(Schema, MayBeAppliedAgainAndAgain) {
  const std::string url = FreshDatabase();
  Sql(url, TargetSchemaSql());
  MakeItems(url, 1);
  auto target = TargetAt(url);
  MD_ASSERT_OK(target->Open(true));
  MD_ASSERT_OK(target->TakeOver(Claiming()));
  Sql(url, TargetSchemaSql());
  EXPECT_EQ(Ask(url, "SELECT count(*) FROM migration_control.owner"), "1");
}

TEST(Schema, IsLoggedAndExplainsEveryTableAndColumn) {
  const std::string url = FreshDatabase();
  Sql(url, TargetSchemaSql());
  EXPECT_EQ(Ask(url,
                "SELECT count(*) FROM pg_class WHERE relnamespace = 'migration_control'::regnamespace AND "
                "relpersistence <> 'p'"),
            "0");
  EXPECT_EQ(
      Ask(url,
          "SELECT string_agg(c.relname || '.' || a.attname, ' ') FROM pg_class AS c JOIN pg_attribute AS a ON "
          "a.attrelid = "
          "c.oid AND a.attnum > 0 WHERE c.relnamespace = 'migration_control'::regnamespace AND c.relkind = 'r' AND "
          "col_description(c.oid, a.attnum) IS NULL"),
      "NULL");
  EXPECT_EQ(Ask(url,
                "SELECT string_agg(relname, ' ') FROM pg_class WHERE relnamespace = 'migration_control'::regnamespace "
                "AND relkind "
                "IN ('r', 'v') AND obj_description(oid, 'pg_class') IS NULL"),
            "NULL");
}

TEST(Schema, MadeByADbaServesARoleWithoutTheRightToMakeOne) {
  const std::string url = FreshDatabase();
  MakeItems(url, 30);
  Sql(url, "CREATE ROLE least LOGIN; REVOKE ALL ON DATABASE " + Ask(url, "SELECT current_database()") +
               " FROM PUBLIC; GRANT CONNECT, TEMPORARY ON DATABASE " + Ask(url, "SELECT current_database()") +
               " TO least; GRANT SELECT, UPDATE ON items TO least");
  auto target = TargetAt(url + "&user=least");
  const auto refused = target->Open(true);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("migrationctl target-sql")));
  Sql(url, TargetSchemaSql());
  EXPECT_THAT(target->Open(true), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("GRANT")));
  // What the last lines of target-sql say.
  Sql(url,
      "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA migration_control TO least; GRANT EXECUTE ON ALL "
      "FUNCTIONS IN SCHEMA migration_control TO least");
  MD_ASSERT_OK(target->Open(true));
  const MigrationPlan plan = PlanOf(*target, IncrementDefinition());
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint taken, target->TakeOver(Claiming()));
  MD_ASSERT_OK_AND_ASSIGN(const auto ranges, target->PlanLanes(plan, 1));
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint checkpoint, target->BeginPass(taken.claim, 1, ranges));
  MD_ASSERT_OK(target->RunStep(checkpoint.claim, "prepare/0", "SELECT 1", "pg_catalog", absl::Seconds(1)));
  MD_ASSERT_OK(RunLane(*target, checkpoint, plan, 0, 7));
  MD_ASSERT_OK(target->Revoke(Claiming(false), absl::Seconds(5)));
  MD_ASSERT_OK(target->FrozenReason());
  MD_ASSERT_OK(target->Forget(kMigration, kControlId));
  EXPECT_EQ(Ask(url, "SELECT count(*) FROM items WHERE n = 1"), "30");
}

TEST(Schema, OfANewerProgramIsRefusedWhenThatSaysSo) {
  const std::string url = FreshDatabase();
  auto target = TargetAt(url);
  MD_ASSERT_OK(target->Open(true));
  const int newer = TargetSchemaSteps().program_version() + 1;
  Sql(url, absl::StrCat("UPDATE migration_control.schema_version SET version = ", newer));
  MD_EXPECT_OK(target->Open(true)) << "an additive step does not lock out this program";
  Sql(url, absl::StrCat("UPDATE migration_control.schema_version SET oldest_program = ", newer));
  EXPECT_THAT(target->Open(true), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("Run a newer migrationd")));
}

TEST(Schema, IsNotMadeWhereNothingMayBeWritten) {
  const std::string url = FreshDatabase();
  Sql(url, "ALTER DATABASE " + Ask(url, "SELECT current_database()") + " SET default_transaction_read_only = on");
  const auto refused = TargetAt(url)->Open(true);
  EXPECT_EQ(SqlStateOf(refused.status()), "25006");
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable);
}

class Answers : public ItemsTest {};

TEST_F(Answers, TellAnyRoleWhetherItIsCompletedAndHowFarItIs) {
  Begin(30);
  Sql(url_, "CREATE ROLE stranger LOGIN");
  const std::string stranger = url_ + "&user=stranger";
  EXPECT_EQ(Ask(stranger, "SELECT migration_control.is_completed('fill_items')"), "f");
  EXPECT_EQ(Ask(stranger, "SELECT migration_control.is_completed('unknown')"), "f");
  EXPECT_EQ(SqlStateFrom(stranger, "SELECT migration_control.require_completed('unknown')"), "MD005");
  EXPECT_EQ(SqlStateFrom(stranger, "SELECT * FROM migration_control.lane"), "42501") << "cursors are row values";
  EXPECT_EQ(SqlStateFrom(stranger, "SELECT migration_control.freeze('mine')"), "42501");
  MD_ASSERT_OK(RunLane(*target_, checkpoint_, plan_, 0, 10));
  try {
    pqxx::connection connection(stranger);
    pqxx::nontransaction(connection).exec("SELECT migration_control.require_completed('fill_items')");
    FAIL() << "not refused";
  } catch (const pqxx::sql_error& error) {
    EXPECT_EQ(error.sqlstate(), "MD005");
    EXPECT_THAT(error.what(), HasSubstr("30 rows done so far, in EXECUTE"));
  }
  MD_ASSERT_OK(target_->Barrier(checkpoint_.claim, true));
  EXPECT_EQ(SqlStateFrom(stranger, "SELECT migration_control.require_completed('fill_items')"), "");
  EXPECT_EQ(Ask(stranger, "SELECT migration_control.is_completed('fill_items')"), "t");
}

TEST_F(Answers, DoNotDependOnTheSearchPath) {
  Begin(3);
  Sql(url_,
      "CREATE SCHEMA evil; CREATE FUNCTION evil.eq(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'; "
      "CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.eq)");
  MD_ASSERT_OK(target_->Barrier(checkpoint_.claim, true));
  EXPECT_EQ(Ask(url_ + "&options=-csearch_path%3Devil,pg_catalog", "SELECT migration_control.is_completed('another')"),
            "f");
}

TEST_F(Answers, TheViewShowsEachMigration) {
  Begin(30, 2);
  MD_ASSERT_OK(RunLane(*target_, checkpoint_, plan_, 0, 10));
  EXPECT_EQ(
      Ask(url_, "SELECT name FROM migration_control.migration WHERE completed_at IS NULL AND pass = 1 AND NOT frozen"),
      kMigration);
  EXPECT_EQ(Ask(url_, "SELECT (cursors -> '0')::text FROM migration_control.migration"), "[\"15\"]");
  MD_ASSERT_OK(target_->Forget(kMigration, kControlId));
  EXPECT_EQ(Ask(url_, "SELECT count(*) FROM migration_control.migration"), "0");
}

}  // namespace
}  // namespace migrationd
