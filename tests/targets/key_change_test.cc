// A key that orders rows in another way than when work began: nothing is done by positions of the old order.
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "migrations/model/failure.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_postgres.h"
#include "tests/targets/target_fixture.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;

constexpr char kDefinition[] = "sql_batch:\n  table: public.words\n  statement: UPDATE words SET n = n + 1 WHERE {{batch}}\n";
// Letters of both cases: in the one order all upper ones come first, in the other each beside its own.
constexpr char kOtherCollation[] = "ALTER TABLE words ALTER COLUMN word TYPE text COLLATE \"C\"";

class KeyChange : public ItemsTest, public ::testing::WithParamInterface<Path> {
 protected:
  void SetUp() override {
    url_ = FreshDatabase();
    Sql(url_, "CREATE TABLE words (word text COLLATE \"en-x-icu\" NOT NULL, part bigint NOT NULL, n int NOT NULL DEFAULT 0, PRIMARY KEY (word, part))");
    Sql(url_, "INSERT INTO words SELECT chr(64 + i), i FROM generate_series(1, 26) i UNION ALL SELECT chr(96 + i), i FROM generate_series(1, 26) i");
    target_ = TargetAt(url_, GetParam());
    MD_ASSERT_OK(target_->Open(/*may_create_identity=*/true));
    plan_ = PlanOf(*target_, kDefinition);
    MD_ASSERT_OK_AND_ASSIGN(const Checkpoint taken, target_->TakeOver(Claiming()));
    MD_ASSERT_OK_AND_ASSIGN(const auto ranges, target_->PlanLanes(plan_, 1));
    MD_ASSERT_OK_AND_ASSIGN(checkpoint_, target_->BeginPass(taken.claim, 1, ranges));
  }
  std::string Done() { return Ask(url_, "SELECT sum(n) || ' at most ' || max(n) FROM words"); }
};

TEST_P(KeyChange, AnotherCollationIsRefusedByTheVeryNextSubBatch) {
  auto session = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  MD_ASSERT_OK(RunNext(*session, range, 10));
  MD_ASSERT_OK_AND_ASSIGN(const Key next, session->FindBound(range, 10));
  Sql(url_, kOtherCollation);
  SubBatchRequest request{.old_cursor = range.cursor, .new_cursor = next, .lane_upper = range.upper};
  const auto refused = session->RunSubBatch(request);
  EXPECT_EQ(SqlStateOf(refused.status()), kSqlStateSchemaChanged) << refused.status();
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("collation"));
  EXPECT_EQ(Done(), "10 at most 1");
  // Changed back, the position still says what is done.
  Sql(url_, "ALTER TABLE words ALTER COLUMN word TYPE text COLLATE \"en-x-icu\"");
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint again, target_->TakeOver(Claiming(false)));
  MD_EXPECT_OK(RunLane(*target_, again, PlanOf(*target_, kDefinition), 0, 10));
  EXPECT_EQ(Done(), "52 at most 1");
}

TEST_P(KeyChange, LanesAreNotCutInAnotherOrderThanThePlans) {
  Sql(url_, kOtherCollation);
  EXPECT_EQ(SqlStateOf(target_->PlanLanes(plan_, 4).status()), kSqlStateSchemaChanged);
  EXPECT_EQ(SqlStateOf(target_->SplitLanes(checkpoint_.claim, plan_, 4).status()), kSqlStateSchemaChanged);
  EXPECT_EQ(Ask(url_, "SELECT count(*) FROM migration_control.lane"), "1");
}

TEST_P(KeyChange, CollationAndOrderOfColumnsAreReadFromTheTable) {
  Sql(url_, kOtherCollation);
  const MigrationPlan collated = PlanOf(*target_, kDefinition);
  EXPECT_FALSE(HasSameKey(collated.column_digest, plan_.column_digest));
  Sql(url_, "ALTER TABLE words ALTER COLUMN word TYPE text COLLATE \"en-x-icu\"");
  EXPECT_EQ(PlanOf(*target_, kDefinition).column_digest, plan_.column_digest);
  Sql(url_, "ALTER TABLE words DROP CONSTRAINT words_pkey, ADD PRIMARY KEY (part, word)");
  EXPECT_FALSE(HasSameKey(PlanOf(*target_, kDefinition).column_digest, plan_.column_digest));
}

// What a running pass walks by stands in its statements.
TEST_P(KeyChange, SwappedColumnsDoNotDisturbASubBatch) {
  auto session = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  MD_ASSERT_OK(RunNext(*session, range, 10));
  Sql(url_, "ALTER TABLE words DROP CONSTRAINT words_pkey, ADD PRIMARY KEY (part, word)");
  while (!range.done()) MD_ASSERT_OK(RunNext(*session, range, 10));
  EXPECT_EQ(Done(), "52 at most 1");
}

INSTANTIATE_TEST_SUITE_P(Paths, KeyChange, ::testing::Values(Path::kDirect, Path::kPooled),
                         [](const auto& test) { return PathName(test.param); });

class TwoDatabases : public ::testing::Test {};

// A dump is put back into another database: oids are others, and the words are the same.
TEST_F(TwoDatabases, HaveTheSameKeyWhereTheyOrderTheSameWay) {
  std::vector<std::string> digests;
  for (const char* collation : {"upper_first", "upper_first", "lower_first"}) {
    const std::string url = FreshDatabase();
    Sql(url, absl::StrCat("CREATE COLLATION ", collation, " (provider = icu, locale = 'en-u-kf-", std::string(collation).substr(0, 5), "')"));
    Sql(url, absl::StrCat("CREATE TABLE words (word text COLLATE ", collation, " PRIMARY KEY, n int)"));
    digests.push_back(PlanOf(*TargetAt(url), kDefinition).column_digest);
  }
  EXPECT_EQ(digests[0], digests[1]);
  EXPECT_FALSE(HasSameKey(digests[1], digests[2]));
}

}  // namespace
}  // namespace migrationd
