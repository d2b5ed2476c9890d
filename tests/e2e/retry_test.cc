// Errors that use attempts, and Retry once their cause is repaired.
#include <set>

#include "absl/strings/str_cat.h"
#include "tests/e2e/end_to_end.h"

namespace migrationd {
namespace {

class RetryTest : public EndToEnd {};

// F0000 is of a class that the service knows nothing about.
TEST_F(RetryTest, AfterTheCauseIsRepairedRetryCompletesEachRowOnce) {
  constexpr int kRows = 3000;
  MakeCounter(kRows);
  target().Run(
      "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'out of order' USING ERRCODE = 'F0000'; END $$;"
      "CREATE TRIGGER not_this_one BEFORE UPDATE ON counter FOR EACH ROW WHEN (OLD.id = 1505) EXECUTE FUNCTION fail()");
  StartServer();
  Define("count_rows", CounterYaml({.interval = "0s"}));

  ASSERT_TRUE(HaltsWith("count_rows", "ATTEMPTS_EXHAUSTED"));
  const v1::Migration halted = Get("count_rows");
  EXPECT_EQ(halted.last_error().sqlstate(), "F0000");
  EXPECT_THAT(halted.halt().message(), ::testing::HasSubstr("F0000"));
  EXPECT_EQ(RowsDone("count_rows"), target().Number("SELECT sum(n) FROM counter"));
  EXPECT_EQ(RowsDone("count_rows"), 1500) << "all sub-batches before the bad one, and no more";
  EXPECT_TRUE(NothingCommits("count_rows", absl::Milliseconds(500)));
  // HALTED is not left by Resume.
  EXPECT_THAT(Resume("count_rows"), StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::HasSubstr("Retry")));

  // Not repaired: halted again, at the same place.
  ASSERT_THAT(Retry("count_rows"), IsOk());
  ASSERT_TRUE(WaitUntil([&] { return Get("count_rows").revision() >= halted.revision() + 2; }))
      << "it was not tried again";
  ASSERT_TRUE(HaltsWith("count_rows", "ATTEMPTS_EXHAUSTED"));
  EXPECT_EQ(target().Number("SELECT sum(n) FROM counter"), 1500);

  target().Run("DROP TRIGGER not_this_one ON counter");
  const CommandResult retried = Migrationctl({"retry", "count_rows"});
  ASSERT_EQ(retried.exit_status, 0) << retried.err;
  ASSERT_TRUE(WaitUntil([&] { return Get("count_rows").state() != v1::STATE_HALTED; }));
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(kRows));
  EXPECT_EQ(Get("count_rows").progress().rows_done(), kRows);
}

TEST_F(RetryTest, RowsThatFailAreLeftOutListedAndDoneByRetryOnceRepaired) {
  constexpr int kRows = 20000;
  MakeCounter(kRows);
  target().Run("ALTER TABLE counter ADD CONSTRAINT limited CHECK (n <> 1001);"
               "UPDATE counter SET n = 1000 WHERE id IN (1, 7000, 7001, 12345, 20000)");
  StartServer();
  Define("count_rows", CounterYaml({.batch_size = 1000, .sub_batch_size = 100, .interval = "0s", .lanes = 2}));

  ASSERT_TRUE(HaltsWith("count_rows", "FAILED_RANGES"));
  v1::Migration halted = Get("count_rows");
  EXPECT_EQ(halted.failed_ranges(), 5);
  EXPECT_EQ(halted.attempts(), 0);
  EXPECT_THAT(halted.hint(), ::testing::HasSubstr("migrationctl failures main/count_rows"));
  EXPECT_EQ(target().Number("SELECT count(*) FROM counter WHERE n = 1"), kRows - 5);
  const CommandResult listed = Migrationctl({"failures", "count_rows"});
  ASSERT_EQ(listed.exit_status, 0) << listed.err;
  for (const char* key : {"1 ", "7000 ", "7001 ", "12345 ", "20000 "}) EXPECT_THAT(listed.out, ::testing::HasSubstr(absl::StrCat("\n", key)));
  EXPECT_THAT(listed.out, ::testing::HasSubstr("23514"));
  EXPECT_THAT(server().Log(), ::testing::Not(::testing::HasSubstr("12345"))) << "keys have no place in logs";
  v1::ListFailuresRequest page;
  page.set_migration("count_rows");
  page.set_page_size(2);
  int pages = 0;
  std::set<std::string> keys;
  do {
    const auto failures = Call(server(), &v1::MigrationControl::Stub::ListFailures, page);
    ASSERT_THAT(failures, IsOk());
    for (const v1::RowFailure& failure : failures->failures()) keys.insert(failure.key(0));
    page.set_page_token(failures->next_page_token());
    ++pages;
  } while (!page.page_token().empty());
  EXPECT_EQ(pages, 3);
  EXPECT_EQ(keys, (std::set<std::string>{"1", "7000", "7001", "12345", "20000"}));

  target().Run("UPDATE counter SET n = 0 WHERE n = 1000 AND id <> 7000");
  ASSERT_EQ(Migrationctl({"retry", "count_rows"}).exit_status, 0);
  ASSERT_TRUE(WaitUntil([&] { return target().Number("SELECT count(*) FROM counter WHERE n = 1") == kRows - 1; }));
  ASSERT_TRUE(HaltsWith("count_rows", "FAILED_RANGES"));
  EXPECT_EQ(Get("count_rows").failed_ranges(), 1);
  target().Run("UPDATE counter SET n = 0 WHERE n = 1000");
  ASSERT_EQ(Migrationctl({"retry", "count_rows"}).exit_status, 0);
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(kRows));
  EXPECT_EQ(Get("count_rows").progress().rows_done(), kRows);
  EXPECT_EQ(Get("count_rows").failed_ranges(), 0);
}

// `where` itself fails for a row, in VERIFY too; and the first row is rightly left as it is.
TEST_F(RetryTest, ARowThatWhereFailsForIsMetOnce) {
  constexpr int kRows = 2000;
  MakeCounter(kRows);
  target().Run("ALTER TABLE counter ADD COLUMN divisor int NOT NULL DEFAULT 1; UPDATE counter SET divisor = 0 WHERE id = 2");
  StartServer();
  Define("count_rows", absl::StrCat("sql_batch:\n  table: public.counter\n  where: counter.n / counter.divisor = 0\n  on_unchanged: ACCEPT\n"
                                    "  statement: UPDATE counter SET n = CASE WHEN id = 1 THEN 0 ELSE 1 END WHERE {{batch}}\n",
                                    "order: INDEPENDENT\nretry: {max_failed_ranges: 1}\n",
                                    PaceYaml({.batch_size = 500, .sub_batch_size = 100, .interval = "0s"})));
  ASSERT_TRUE(HaltsWith("count_rows", "FAILED_RANGES"));
  EXPECT_EQ(Get("count_rows").failed_ranges(), 1);
  EXPECT_EQ(target().Number("SELECT count(*) FROM counter WHERE n = 1"), kRows - 2);
  target().Run("UPDATE counter SET divisor = 1 WHERE id = 2");
  ASSERT_THAT(Retry("count_rows"), IsOk());
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_EQ(target().Number("SELECT count(*) FROM counter WHERE n = 1"), kRows - 1);
  EXPECT_EQ(Get("count_rows").accepted_rows(), 1);
}

TEST_F(RetryTest, AFailedRowThatIsLockedDuringRetryKeepsNothingElse) {
  constexpr int kRows = 1000;
  MakeCounter(kRows);
  target().Run("ALTER TABLE counter ADD CONSTRAINT limited CHECK (n <> 1001); UPDATE counter SET n = 1000 WHERE id IN (100, 900)");
  StartServer();
  Define("count_rows", absl::StrCat(CounterYaml({.batch_size = 500, .sub_batch_size = 10, .interval = "0s"}), "lock_timeout: 50ms\n"));
  ASSERT_TRUE(HaltsWith("count_rows", "FAILED_RANGES"));
  target().Run("UPDATE counter SET n = 0 WHERE n = 1000");
  Sql blocker(target_url_);
  blocker.Run("BEGIN; SELECT FROM counter WHERE id = 100 FOR UPDATE");
  ASSERT_THAT(Retry("count_rows"), IsOk());
  ASSERT_TRUE(WaitUntil([&] { return target().Number("SELECT n FROM counter WHERE id = 900") == 1; }));
  ASSERT_TRUE(HaltsWith("count_rows", "FAILED_RANGES"));
  const CommandResult listed = Migrationctl({"failures", "count_rows"});
  EXPECT_THAT(listed.out, ::testing::HasSubstr("55P03"));
  blocker.Run("COMMIT");
  ASSERT_THAT(Retry("count_rows"), IsOk());
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(kRows));
}

TEST_F(RetryTest, AStatementThatFailsForEveryRowEndsWithinItsBudget) {
  constexpr int kRows = 5000;
  MakeCounter(kRows);
  target().Run("ALTER TABLE counter ADD CONSTRAINT none CHECK (n = 0)");
  StartServer();
  Define("count_rows", CounterYaml({.batch_size = 1000, .sub_batch_size = 1000, .interval = "0s"}));
  ASSERT_TRUE(HaltsWith("count_rows", "ERROR_BUDGET"));
  EXPECT_LE(Get("count_rows").failed_ranges(), 20);
  EXPECT_EQ(target().Number("SELECT sum(n) FROM counter"), 0);
  target().Run("ALTER TABLE counter DROP CONSTRAINT none");
  ASSERT_THAT(Retry("count_rows"), IsOk());
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(kRows));
}

TEST_F(RetryTest, ALockThatIsTakenUsesNoAttemptAndIsNamed) {
  constexpr int kRows = 1000;
  MakeCounter(kRows);
  StartServer();
  Sql blocker(target_url_);
  blocker.Run("BEGIN; SELECT FROM counter WHERE id = 555 FOR UPDATE");
  Define("count_rows", absl::StrCat(CounterYaml({.interval = "0s"}), "lock_timeout: 50ms\n"));
  ASSERT_TRUE(HeldBy("count_rows", v1::HOLD_KIND_BLOCKED));
  const std::string pid = absl::StrCat("pid ", blocker.Number("SELECT pg_backend_pid()"), " (");
  EXPECT_TRUE(WaitUntil([&] { return Get("count_rows").hold().reason().find(pid) != std::string::npos; })) << Get("count_rows").hold().reason();
  EXPECT_THAT(Get("count_rows").hold().reason(), ::testing::HasSubstr("idle in transaction for "));
  EXPECT_EQ(Get("count_rows").state(), v1::STATE_RUNNING);
  EXPECT_EQ(Get("count_rows").attempts(), 0);
  blocker.Run("COMMIT");
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(kRows));
}

}  // namespace
}  // namespace migrationd
