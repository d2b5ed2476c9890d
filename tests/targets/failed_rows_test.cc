// Rows that are left out: recorded exactly, fenced, listed, done again in one transaction with the end of their record.
#include <set>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "migrations/model/failure.h"
#include "tests/support/status_matchers.h"
#include "tests/targets/target_fixture.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;

class FailedRows : public ItemsTest, public ::testing::WithParamInterface<Path> {
 protected:
  // 10 rows; the statement fails for those with n = 1000.
  void Start(const std::set<int>& bad, const std::string& definition = IncrementDefinition()) {
    Begin(10, 1, definition, GetParam());
    Sql(url_, "ALTER TABLE items ADD CONSTRAINT limited CHECK (n <> 1001)");
    for (const int id : bad) Sql(url_, absl::StrCat("UPDATE items SET n = 1000 WHERE id = ", id));
  }
  void Cure() { Sql(url_, "UPDATE items SET n = 0 WHERE n = 1000"); }
  RowRetry RetryOf(const std::string& id) const { return {.claim = checkpoint_.claim, .plan = &plan_, .key = {id}}; }
  std::string Recorded() {
    return Ask(url_, "SELECT string_agg(key::text || kind || sqlstate, ' ' ORDER BY key) FROM migration_control.failed_range");
  }
};

TEST_P(FailedRows, TheSkipRecordsAndMovesTheCursorInOne) {
  Start({1});
  auto session = Lane(checkpoint_);
  MD_ASSERT_OK_AND_ASSIGN(const SkipResult skipped, session->SkipRow({{}, {"1"}, "23514", "violates limited"}));
  EXPECT_EQ(skipped.recorded, 1);
  EXPECT_GT(skipped.at, absl::UnixEpoch());
  EXPECT_EQ(Cursor(), "{1}");
  EXPECT_EQ(Recorded(), "{1}FAILED23514");
  EXPECT_EQ(Ask(url_, "SELECT rows || ' ' || sub_batches FROM migration_control.lane"), "0 1");
  // The session goes on.
  LaneRange range = checkpoint_.lanes[0];
  range.cursor = {"1"};
  MD_ASSERT_OK_AND_ASSIGN(const SubBatchResult result, RunNext(*session, range, 9));
  EXPECT_EQ(result.affected, 9);
}

TEST_P(FailedRows, AFencedOrFrozenSkipLeavesNothing) {
  Start({1});
  auto session = Lane(checkpoint_);
  EXPECT_EQ(SqlStateOf(session->SkipRow({{"3"}, {"4"}, "23514", "m"}).status()), kSqlStateFenced) << "not at this cursor";
  Sql(url_, "SELECT migration_control.freeze('incident')");
  EXPECT_EQ(SqlStateOf(session->SkipRow({{}, {"1"}, "23514", "m"}).status()), kSqlStateFrozen);
  Sql(url_, "SELECT migration_control.unfreeze()");
  MD_ASSERT_OK(target_->TakeOver(Claiming(false)));
  EXPECT_EQ(SqlStateOf(session->SkipRow({{}, {"1"}, "23514", "m"}).status()), kSqlStateFenced);
  EXPECT_EQ(Recorded(), "NULL");
  EXPECT_EQ(Cursor(), "NULL");
}

TEST_P(FailedRows, WhatCameIntoTheRangeMeanwhileIsRecordedTooAndWhatIsGoneIsNot) {
  Start({});
  Sql(url_, "DELETE FROM items WHERE id = 2; INSERT INTO items VALUES (0, 0), (-1, 0)");
  auto session = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  MD_ASSERT_OK_AND_ASSIGN(SkipResult skipped, session->SkipRow({{}, {"1"}, "23514", "m"}));
  EXPECT_EQ(skipped.recorded, 1) << "rows before the lane's beginning are not its own";
  MD_ASSERT_OK_AND_ASSIGN(skipped, session->SkipRow({{"1"}, {"2"}, "23514", "m"}));
  EXPECT_EQ(skipped.recorded, 0);
  EXPECT_EQ(Cursor(), "{2}");
  MD_ASSERT_OK_AND_ASSIGN(skipped, session->SkipRow({{"2"}, {"4"}, "23514", "m"}));
  EXPECT_EQ(skipped.recorded, 2);
  EXPECT_EQ(Recorded(), "{1}FAILED23514 {3}FAILED23514 {4}FAILED23514");
}

// `where` itself may be what fails.
TEST_P(FailedRows, AreRecordedWithoutAskingWhere) {
  Start({}, "sql_batch:\n  table: public.items\n  where: 10 / (items.id - 1) >= 0 AND items.n = 0\n"
            "  statement: UPDATE items SET n = items.n + 1 WHERE {{batch}}\n");
  auto session = Lane(checkpoint_);
  LaneRange range = checkpoint_.lanes[0];
  EXPECT_EQ(SqlStateOf(RunNext(*session, range, 1).status()), "22012");
  MD_ASSERT_OK_AND_ASSIGN(const SkipResult skipped, session->SkipRow({{}, {"1"}, "22012", "division by zero"}));
  EXPECT_EQ(skipped.recorded, 1);
}

TEST_P(FailedRows, AreRecordedWithParametersThatOnlyTheStatementUses) {
  Start({}, "sql_batch:\n  table: public.items\n  statement: UPDATE items SET n = items.n + {{param.step}} WHERE {{batch}}\n"
            "parameters: [{name: step, type: integer, default: '1'}]\n");
  auto session = Lane(checkpoint_);
  MD_ASSERT_OK_AND_ASSIGN(const SkipResult skipped, session->SkipRow({{}, {"1"}, "22012", "m"}));
  EXPECT_EQ(skipped.recorded, 1);
}

TEST_P(FailedRows, ARetriedRowIsDoneAndCountedWithTheEndOfItsRecord) {
  Start({1});
  MD_ASSERT_OK(Lane(checkpoint_)->SkipRow({{}, {"1"}, "23514", "as it was first"}));
  Sql(url_, "ALTER TABLE items DROP CONSTRAINT limited; ALTER TABLE items ADD CONSTRAINT another CHECK (n <> 1001)");
  EXPECT_EQ(SqlStateOf(target_->RetryRow(RetryOf("1")).status()), "23514");
  MD_ASSERT_OK_AND_ASSIGN(std::vector<RowFailure> failures, target_->ListFailures(kMigration, {}, 10));
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_THAT(failures[0].message, HasSubstr("another")) << "what it failed with last";
  EXPECT_EQ(failures[0].pass, 1);

  Cure();
  MD_ASSERT_OK_AND_ASSIGN(const std::int64_t affected, target_->RetryRow(RetryOf("1")));
  EXPECT_EQ(affected, 1);
  EXPECT_EQ(Counts(), "0:9 1:1");
  EXPECT_EQ(Recorded(), "NULL");
  EXPECT_EQ(Ask(url_, "SELECT rows FROM migration_control.migration"), "1");
  // Asked again, by whoever did not hear the answer.
  MD_ASSERT_OK_AND_ASSIGN(const std::int64_t again, target_->RetryRow(RetryOf("1")));
  EXPECT_EQ(again, 0);
  EXPECT_EQ(Counts(), "0:9 1:1");
}

TEST_P(FailedRows, AFencedOrFrozenRetryDoesNothing) {
  Start({1});
  MD_ASSERT_OK(Lane(checkpoint_)->SkipRow({{}, {"1"}, "23514", "m"}));
  Cure();
  Sql(url_, "SELECT migration_control.freeze('incident')");
  EXPECT_EQ(SqlStateOf(target_->RetryRow(RetryOf("1")).status()), kSqlStateFrozen);
  Sql(url_, "SELECT migration_control.unfreeze()");
  MD_ASSERT_OK(target_->TakeOver(Claiming(false)));
  EXPECT_EQ(SqlStateOf(target_->RetryRow(RetryOf("1")).status()), kSqlStateFenced);
  EXPECT_EQ(Counts(), "0:10");
  EXPECT_EQ(Recorded(), "{1}FAILED23514");
}

TEST_P(FailedRows, AreListedInPages) {
  Start({});
  auto session = Lane(checkpoint_);
  Key cursor;
  for (int id = 1; id <= 10; ++id) {
    const Key next{absl::StrCat(id)};
    MD_ASSERT_OK(session->SkipRow({cursor, next, "23514", std::string(3000, 'x')}));
    cursor = next;
  }
  std::vector<std::string> keys;
  Key after;
  while (true) {
    MD_ASSERT_OK_AND_ASSIGN(const std::vector<RowFailure> page, target_->ListFailures(kMigration, after, 3));
    for (const RowFailure& failure : page) keys.push_back(failure.key[0]);
    if (page.size() < 3) break;
    after = page.back().key;
    EXPECT_EQ(page[0].message.size(), 2000u);
    EXPECT_FALSE(page[0].unchanged);
  }
  EXPECT_THAT(keys, ::testing::UnorderedElementsAre("1", "2", "3", "4", "5", "6", "7", "8", "9", "10"));
  MD_ASSERT_OK_AND_ASSIGN(const std::vector<RowFailure> none, target_->ListFailures("unknown", {}, 3));
  EXPECT_TRUE(none.empty());
}

INSTANTIATE_TEST_SUITE_P(Forms, FailedRows, ::testing::Values(Path::kDirect, Path::kPooled, Path::kNative),
                         [](const auto& info) { return PathName(info.param); });

}  // namespace
}  // namespace migrationd
