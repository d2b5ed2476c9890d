// Lanes cut anew while a pass is under way.
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "migrations/model/failure.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_postgres.h"
#include "tests/targets/target_fixture.h"

namespace migrationd {
namespace {

using ::testing::SizeIs;

struct SplitCase {
  std::string name;
  std::string make;  // 2,000 rows with n = 0
  std::string more;  // of the definition
};

const SplitCase kSplitCases[] = {
    {"Integer", "CREATE TABLE things (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO things SELECT g * g FROM generate_series(1, 2000) AS g", ""},
    {"Uuid", "CREATE TABLE things (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), n int NOT NULL DEFAULT 0); INSERT INTO things (n) SELECT 0 FROM generate_series(1, 2000)", ""},
    {"Text", "CREATE TABLE things (id text PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO things SELECT 'k' || g FROM generate_series(1, 2000) AS g", ""},
    {"Composite",
     "CREATE TABLE things (a int, b text, n int NOT NULL DEFAULT 0, PRIMARY KEY (a, b)); INSERT INTO things SELECT g % 7, 'x' || g FROM generate_series(1, 2000) AS g", ""},
    {"Physical", "CREATE TABLE things (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0, pad text DEFAULT repeat('x', 200)); INSERT INTO things SELECT generate_series(1, 2000)",
     "  strategy: PHYSICAL\n  where: t.n = 0\n"},
};

class Split : public ::testing::TestWithParam<SplitCase> {
 protected:
  void SetUp() override {
    url_ = FreshDatabase();
    Sql(url_, GetParam().make + "; ANALYZE things");
    target_ = TargetAt(url_);
    MD_ASSERT_OK(target_->Open(/*may_create_identity=*/true));
    plan_ = PlanOf(*target_, absl::StrCat("sql_batch:\n  table: public.things\n  alias: t\n", GetParam().more,
                                          "  statement: UPDATE things AS t SET n = t.n + 1 WHERE {{batch}}\n"));
    MD_ASSERT_OK_AND_ASSIGN(Checkpoint taken, target_->TakeOver(Claiming()));
    MD_ASSERT_OK_AND_ASSIGN(const auto ranges, target_->PlanLanes(Walked(), 1));
    MD_ASSERT_OK_AND_ASSIGN(checkpoint_, target_->BeginPass(taken.claim, 1, ranges));
  }
  const MigrationPlan& Walked() const { return PlanOfPass(plan_, 1); }

  std::string url_;
  std::unique_ptr<PostgresTarget> target_;
  MigrationPlan plan_;
  Checkpoint checkpoint_;
};

TEST_P(Split, WhatIsLeftIsCutAndEachRowIsDoneOnce) {
  MD_ASSERT_OK_AND_ASSIGN(const auto session, target_->OpenLane(LaneOf(checkpoint_, plan_)));
  LaneRange range = checkpoint_.lanes[0];
  std::int64_t done = 0;
  for (int i = 0; i < 3; ++i) {
    MD_ASSERT_OK_AND_ASSIGN(const SubBatchResult result, RunNext(*session, range, 100));
    done += result.affected;
  }
  EXPECT_EQ(done, 300);
  MD_ASSERT_OK_AND_ASSIGN(Checkpoint split, target_->SplitLanes(checkpoint_.claim, Walked(), 4));
  ASSERT_THAT(split.lanes, SizeIs(4));
  EXPECT_EQ(split.rows_total, 300);
  EXPECT_EQ(split.pass_affected, 300);
  EXPECT_EQ(split.sub_batches_total, 3);
  EXPECT_EQ(split.lanes[0].cursor, range.cursor);
  EXPECT_EQ(split.lanes[3].upper, range.upper);
  for (std::size_t i = 1; i < 4; ++i) {
    EXPECT_EQ(split.lanes[i].lane, static_cast<int>(i));
    EXPECT_EQ(split.lanes[i].lower, split.lanes[i - 1].upper) << "side by side";
    EXPECT_EQ(split.lanes[i].cursor, split.lanes[i].lower);
  }
  // Whoever worked before is refused.
  EXPECT_EQ(SqlStateOf(RunNext(*session, range, 100).status()), kSqlStateFenced);
  MD_ASSERT_OK_AND_ASSIGN(const std::int64_t first, RunLane(*target_, split, plan_, 0, 100));
  EXPECT_GT(first, 200) << "about equal parts";
  EXPECT_LT(first, 700);
  // One is done, three are left: with four wanted, one of the others is cut again.
  MD_ASSERT_OK_AND_ASSIGN(split, target_->SplitLanes(split.claim, Walked(), 4));
  ASSERT_THAT(split.lanes, SizeIs(5));
  EXPECT_TRUE(split.lanes[0].done());
  for (std::size_t i = 1; i < 5; ++i) MD_EXPECT_OK(RunLane(*target_, split, plan_, i, 100).status());
  EXPECT_EQ(Ask(url_, "SELECT count(*) FROM things WHERE n = 1"), "2000");
  EXPECT_EQ(Ask(url_, "SELECT rows FROM migration_control.migration"), "2000");
}

TEST_P(Split, TheStaleClaimMayNotCut) {
  MD_ASSERT_OK(target_->TakeOver(Claiming(/*may_create=*/false)));
  EXPECT_EQ(SqlStateOf(target_->SplitLanes(checkpoint_.claim, Walked(), 4).status()), kSqlStateFenced);
  EXPECT_EQ(Ask(url_, "SELECT count(*) FROM migration_control.lane"), "1");
}

TEST_P(Split, NothingIsCutWhereEnoughIsLeftOrNothing) {
  MD_ASSERT_OK_AND_ASSIGN(Checkpoint same, target_->SplitLanes(checkpoint_.claim, Walked(), 1));
  EXPECT_THAT(same.lanes, SizeIs(1));
  MD_ASSERT_OK(RunLane(*target_, same, plan_, 0, 500));
  MD_ASSERT_OK_AND_ASSIGN(same, target_->SplitLanes(same.claim, Walked(), 4));
  EXPECT_THAT(same.lanes, SizeIs(1));
  EXPECT_TRUE(same.lanes[0].done());
}

INSTANTIATE_TEST_SUITE_P(Keys, Split, ::testing::ValuesIn(kSplitCases), [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace migrationd
