// Row-level security: a role to which it applies is refused on every path, since a row that it does not see would never be migrated.
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "migrations/model/failure.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_postgres.h"
#include "tests/targets/target_fixture.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;

constexpr int kRows = 30;
constexpr char kWhereDefinition[] = "sql_batch:\n  table: public.items\n  where: n = 0\n  statement: UPDATE items SET n = 1 WHERE {{batch}}\n";

// The table and the migration are those of a superuser, whom no policy hides anything from.
class RowSecurity : public ItemsTest, public ::testing::WithParamInterface<Path> {
 protected:
  void SetUp() override {
    Begin(kRows, 1, kWhereDefinition);
    Sql(url_, "DROP ROLE IF EXISTS filtered");
    Sql(url_, "CREATE ROLE filtered LOGIN");
    Sql(url_, "GRANT USAGE ON SCHEMA migration_control TO filtered; "
              "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA migration_control TO filtered; "
              "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA migration_control TO filtered; GRANT SELECT, UPDATE ON items TO filtered");
    PostgresTargetOptions options;
    options.name = "main";
    options.url = [url = url_ + "&user=filtered"]() -> absl::StatusOr<std::string> { return url; };
    options.allow_session_functions = GetParam() == Path::kDirect;
    as_filtered_ = std::make_unique<PostgresTarget>(options);
  }
  void TearDown() override {
    Sql(url_, "ALTER TABLE items OWNER TO CURRENT_USER; DROP OWNED BY filtered");
    Sql(url_, "DROP ROLE filtered");
  }
  absl::Status Checked() {
    std::vector<std::string> types = {"bigint", "bigint"};
    return as_filtered_->CheckStatement(plan_.work, types, plan_.search_path);
  }
  absl::Status Ran() { return RunLane(*as_filtered_, checkpoint_, plan_, 0, 7).status(); }

  // Each way to a row is refused with words that help, and nothing was done.
  void ExpectRefused() {
    const absl::Status ran = Ran();
    EXPECT_EQ(SqlStateOf(ran), "42501") << ran;
    EXPECT_TRUE(IsRowSecurityError(ran));
    EXPECT_EQ(ClassifyFailure(SqlStateOf(ran)), FailureClass::kHalt);
    for (const char* words : {"\"items\"", "BYPASSRLS", "FORCE ROW LEVEL SECURITY"}) EXPECT_THAT(std::string(ran.message()), HasSubstr(words));
    EXPECT_TRUE(IsRowSecurityError(Checked())) << Checked();
    EXPECT_TRUE(IsRowSecurityError(as_filtered_->PlanLanes(plan_, 1).status()));
    RangeCountRequest count;
    count.plan = &plan_;
    count.range = checkpoint_.lanes[0];
    EXPECT_TRUE(IsRowSecurityError(as_filtered_->CountLeft(count).status()));
    EXPECT_TRUE(IsRowSecurityError(as_filtered_->AskBoolean("SELECT count(*) = 0 FROM items", plan_.search_path).status()));
    EXPECT_EQ(Counts(), absl::StrCat("0:", kRows));
    EXPECT_TRUE(Rehearse().row_security);
    EXPECT_TRUE(IsRowSecurityError(Rehearse().sample_error));
  }
  Rehearsal Rehearse() {
    RehearsalRequest request;
    request.plan = &plan_;
    request.migration = kMigration;
    const auto rehearsal = as_filtered_->Rehearse(request);
    EXPECT_TRUE(rehearsal.ok()) << rehearsal.status();
    return rehearsal.value_or(Rehearsal{});
  }

  std::unique_ptr<PostgresTarget> as_filtered_;
};

TEST_P(RowSecurity, APolicyThatHidesRowsIsRefused) {
  Sql(url_, "CREATE POLICY even ON items USING (id % 2 = 0); ALTER TABLE items ENABLE ROW LEVEL SECURITY");
  ExpectRefused();
}

TEST_P(RowSecurity, WithoutAnyPolicyAllRowsAreHiddenAndItIsRefused) {
  Sql(url_, "ALTER TABLE items ENABLE ROW LEVEL SECURITY");
  ExpectRefused();
}

TEST_P(RowSecurity, TheOwnerWhoForcesItOnHimselfIsRefused) {
  Sql(url_, "ALTER TABLE items OWNER TO filtered; ALTER TABLE items ENABLE ROW LEVEL SECURITY; ALTER TABLE items FORCE ROW LEVEL SECURITY");
  ExpectRefused();
}

TEST_P(RowSecurity, ItIsRefusedAlsoWhenItBeginsInTheMiddle) {
  auto session = as_filtered_->OpenLane(LaneOf(checkpoint_, plan_));
  MD_ASSERT_OK(session.status());
  LaneRange range = checkpoint_.lanes[0];
  MD_ASSERT_OK(RunNext(**session, range, 10));
  Sql(url_, "ALTER TABLE items ENABLE ROW LEVEL SECURITY");
  SubBatchRequest next;
  next.old_cursor = range.cursor;
  next.new_cursor = {"20"};
  next.lane_upper = range.upper;
  EXPECT_TRUE(IsRowSecurityError((*session)->RunSubBatch(next).status()));
  EXPECT_EQ(Counts(), "0:20 1:10");
}

TEST_P(RowSecurity, OfAnotherTableThatTheStatementReadsIsRefused) {
  Sql(url_, "CREATE TABLE names (id bigint); ALTER TABLE names ENABLE ROW LEVEL SECURITY; GRANT SELECT ON names TO filtered");
  plan_ = PlanOf(*target_, "sql_batch:\n  table: public.items\n  statement: UPDATE items SET n = 1 WHERE NOT EXISTS (SELECT FROM names "
                           "WHERE names.id = items.id) AND {{batch}}\n");
  const absl::Status ran = Ran();
  EXPECT_TRUE(IsRowSecurityError(ran)) << ran;
  EXPECT_THAT(std::string(ran.message()), HasSubstr("\"names\""));
  EXPECT_FALSE(Rehearse().row_security);
  EXPECT_TRUE(IsRowSecurityError(Rehearse().sample_error));
}

TEST_P(RowSecurity, WhoBypassesItWorksOnAllRows) {
  Sql(url_, "ALTER TABLE items ENABLE ROW LEVEL SECURITY; ALTER ROLE filtered BYPASSRLS");
  EXPECT_FALSE(Rehearse().row_security);
  MD_EXPECT_OK(Ran());
  EXPECT_EQ(Counts(), absl::StrCat("1:", kRows));
}

TEST_P(RowSecurity, AMemberOfTheOwnerWorksOnAllRows) {
  Sql(url_, "DROP ROLE IF EXISTS items_owner");
  Sql(url_, "CREATE ROLE items_owner; GRANT items_owner TO filtered; ALTER TABLE items OWNER TO items_owner; "
            "ALTER TABLE items ENABLE ROW LEVEL SECURITY");
  EXPECT_FALSE(Rehearse().row_security);
  MD_EXPECT_OK(Ran());
  EXPECT_EQ(Counts(), absl::StrCat("1:", kRows));
  Sql(url_, "ALTER TABLE items OWNER TO CURRENT_USER; DROP OWNED BY items_owner; DROP ROLE items_owner");
}

INSTANTIATE_TEST_SUITE_P(Paths, RowSecurity, ::testing::Values(Path::kDirect, Path::kPooled),
                         [](const auto& test) { return PathName(test.param); });

}  // namespace
}  // namespace migrationd
