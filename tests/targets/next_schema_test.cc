// This program and the next one on one target: before, beside and after each other.
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "server/targets/postgres/schema_sql.h"
#include "tests/support/next_schema.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_postgres.h"
#include "tests/targets/target_fixture.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;

constexpr char kVersions[] = "SELECT version || ' ' || oldest_program FROM migration_control.schema_version";
int This() { return TargetSchemaSteps().program_version(); }
int Next() { return NextTargetSchemaSteps().program_version(); }

std::unique_ptr<PostgresTarget> NextAt(const std::string& url) {
  return std::make_unique<PostgresTarget>(
      PostgresTargetOptions{.name = "main", .url = [url] { return url; }, .schema_steps = &NextTargetSchemaSteps()});
}

class NextSchema : public ItemsTest, public ::testing::WithParamInterface<Path> {};

TEST_P(NextSchema, IsMadeUnderARunningLaneWhichGoesOn) {
  Begin(100, 1, IncrementDefinition(), GetParam());
  const auto session = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  MD_ASSERT_OK(RunNext(*session, range, 7));
  const auto next = NextAt(url_);
  MD_ASSERT_OK(next->Open(true));
  EXPECT_EQ(Ask(url_, kVersions), absl::StrCat(Next(), " 1"));
  // Statements prepared before the tables got another column.
  while (Ask(url_, "SELECT count(*) FROM items WHERE n = 0") != "0") MD_ASSERT_OK(RunNext(*session, range, 7));
  EXPECT_EQ(Counts(), "1:100");
}

TEST_P(NextSchema, LetsThisProgramTakeOverFromTheNextAndBack) {
  Begin(40, 1, IncrementDefinition(), GetParam());
  const auto next = NextAt(url_);
  MD_ASSERT_OK(next->Open(true));
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint theirs, next->TakeOver(Claiming()));
  LaneRange range = theirs.lanes[0];
  MD_ASSERT_OK_AND_ASSIGN(const auto session, next->OpenLane(LaneOf(theirs, plan_)));
  MD_ASSERT_OK(RunNext(*session, range, 10));
  MD_ASSERT_OK(target_->Open(true));
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint ours, target_->TakeOver(Claiming()));
  EXPECT_EQ(ours.lanes[0].cursor, range.cursor);
  EXPECT_EQ(ours.lanes[0].rows, 10);
  EXPECT_FALSE(RunNext(*session, range, 10).ok()) << "the next program is fenced by this one";
  MD_ASSERT_OK(RunLane(*target_, ours, plan_, 0, 10));
  MD_ASSERT_OK(target_->Barrier(ours.claim, /*completed=*/true));
  EXPECT_EQ(Counts(), "1:40");
  EXPECT_EQ(Ask(url_, "SELECT migration_control.is_completed('fill_items')"), "t");
}

INSTANTIATE_TEST_SUITE_P(Paths, NextSchema, ::testing::Values(Path::kDirect, Path::kPooled),
                         [](const auto& info) { return PathName(info.param); });

TEST(ContractedSchema, LocksThisProgramOutAndIsLeftWhereThereIsNone) {
  const std::string url = FreshDatabase();
  const auto next = NextAt(url);
  MD_ASSERT_OK_AND_ASSIGN(bool there, next->ContractSchema());
  EXPECT_FALSE(there);
  EXPECT_EQ(Ask(url, "SELECT to_regnamespace('migration_control')"), "NULL");

  MD_ASSERT_OK(TargetAt(url)->Open(true));
  MD_ASSERT_OK_AND_ASSIGN(there, next->ContractSchema());
  EXPECT_TRUE(there);
  EXPECT_EQ(Ask(url, kVersions), absl::StrCat(Next(), " ", Next()));
  MD_EXPECT_OK(next->ContractSchema()) << "it may be repeated";
  MD_EXPECT_OK(next->Open(true));
  const auto refused = StatusIs(
      absl::StatusCode::kFailedPrecondition,
      HasSubstr(absl::StrCat("needs a program that knows version ", Next(), " at least; this program knows version ", This())));
  EXPECT_THAT(TargetAt(url)->Open(true), refused);
  EXPECT_THAT(TargetAt(url)->FrozenReason(), refused);
  EXPECT_THAT(TargetAt(url)->ContractSchema(), refused);
}

TEST(ContractedSchema, NeedsTheRightTo) {
  const std::string url = FreshDatabase();
  MD_ASSERT_OK(TargetAt(url)->Open(true));
  Sql(url, "CREATE ROLE guest LOGIN; GRANT USAGE ON SCHEMA migration_control TO guest; "
           "GRANT SELECT ON ALL TABLES IN SCHEMA migration_control TO guest");
  EXPECT_THAT(NextAt(url + "&user=guest")->ContractSchema(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("migrationctl target-sql")));
  EXPECT_EQ(Ask(url, kVersions), absl::StrCat(This(), " 1"));
}

TEST(OlderSchema, IsAskedByTheNextProgramAsItIsAndUpgradedBeforeItIsWritten) {
  const std::string url = FreshDatabase();
  MD_ASSERT_OK(TargetAt(url)->Open(true));
  MD_ASSERT_OK(TargetAt(url)->TakeOver(Claiming()));
  Sql(url, "SELECT migration_control.freeze('incident')");
  const auto next = NextAt(url);
  MD_ASSERT_OK_AND_ASSIGN(const auto reason, next->FrozenReason());
  EXPECT_EQ(reason, "incident") << "not overlooked because the schema is an older one";
  MD_ASSERT_OK_AND_ASSIGN(const TargetIdentity identity, next->Open(false));
  EXPECT_EQ(identity.uuid.size(), 36u);
  EXPECT_EQ(Ask(url, kVersions), absl::StrCat(This(), " 1")) << "looking changes nothing";
  MD_ASSERT_OK(next->Forget(kMigration, kControlId));
  EXPECT_EQ(Ask(url, kVersions), absl::StrCat(Next(), " 1"));
}

TEST(TargetSql, OfTheDifferenceMakesTheNextSchemaOfThisOne) {
  const std::string url = FreshDatabase();
  Sql(url, TargetSchemaSql());
  const SchemaVersion there{.version = This(), .oldest_program = 1};
  const std::string difference = TargetSchemaSql(NextTargetSchemaSteps(), there);
  EXPECT_THAT(difference, ::testing::Not(HasSubstr("CREATE SCHEMA")));
  Sql(url, difference);
  Sql(url, difference);
  EXPECT_EQ(Ask(url, kVersions), absl::StrCat(Next(), " 1"));
  Sql(url, TargetSchemaSql());
  EXPECT_EQ(Ask(url, kVersions), absl::StrCat(Next(), " 1")) << "an old program's output takes nothing back";
  Sql(url, TargetSchemaSql(NextTargetSchemaSteps(), {.version = Next(), .oldest_program = 1}, Contracting::kApply));
  EXPECT_EQ(Ask(url, kVersions), absl::StrCat(Next(), " ", Next()));
  EXPECT_EQ(TargetSchemaSql(NextTargetSchemaSteps(), {.version = Next(), .oldest_program = Next()}, Contracting::kApply), "");
}

}  // namespace
}  // namespace migrationd
