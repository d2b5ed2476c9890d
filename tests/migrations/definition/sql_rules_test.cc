#include "migrations/definition/sql_rules.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<std::string> Change(const std::string& sql) {
  ParameterNames used;
  return CheckChangeStatement(sql, {"a"}, used);
}

TEST(ChangeStatement, GoodOnesArePassedOnTrimmed) {
  for (const std::string& sql : {
           std::string("UPDATE t SET a = 1 WHERE {{batch}}"),
           std::string("delete from t where {{batch}}"),
           std::string("INSERT INTO u SELECT * FROM t WHERE {{batch}} ON CONFLICT DO NOTHING"),
           std::string(
               "MERGE INTO u USING (SELECT * FROM t WHERE {{batch}}) s ON u.id = s.id WHEN MATCHED THEN DELETE"),
           std::string("WITH moved AS (DELETE FROM t WHERE {{batch}} RETURNING *) INSERT INTO u SELECT * FROM moved"),
           std::string("WITH RECURSIVE a AS (SELECT 1), update AS (SELECT 2) UPDATE t SET b = 1 WHERE {{batch}}"),
           std::string("/* why */ UPDATE t SET a = ';' WHERE {{batch}}"),
           std::string("UPDATE t SET a = t.returning, b = '{{1,2},{3,4}}'::int[] WHERE {{batch}}"),
           std::string("UPDATE t SET a = {{param.a}} WHERE {{batch}}"),
       }) {
    MD_ASSERT_OK_AND_ASSIGN(const std::string checked, Change("\n " + sql + " ;; -- done\n"));
    EXPECT_EQ(checked, sql);
  }
}

TEST(ChangeStatement, CollectsTheParametersItUses) {
  ParameterNames used;
  MD_EXPECT_OK(CheckChangeStatement("UPDATE t SET a = {{param.a}} WHERE {{batch}}", {"a", "b"}, used));
  EXPECT_THAT(used, ElementsAre("a"));
}

TEST(ChangeStatement, EverythingElseIsRefused) {
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"", "is empty"},
      {" ; ;", "is empty"},
      {"-- UPDATE", "is empty"},
      {"UPDATE t SET a = 1 WHERE {{batch}}; SELECT 1", "more than one statement"},
      {"UPDATE t SET a = 1 WHERE {{batch}};;SELECT 1", "more than one statement"},
      {"UPDATE t SET a = 1 WHERE {{batch}} /* ; */ ; -- x\nDROP TABLE t", "after the ';' stands DROP"},
      {"WITH a AS (SELECT 1) SELECT * FROM t WHERE {{batch}}", "the WITH ends in SELECT"},
      {"WITH a AS (DELETE FROM t WHERE {{batch}})", "the WITH ends in no statement"},
      {"(UPDATE t SET a = 1 WHERE {{batch}})", "begins with ("},
      {"UPDATE t SET a = 1 WHERE id IN (SELECT id FROM t WHERE {{batch}} FOR UPDATE skip /**/ locked)", "SKIP LOCKED"},
      {"DELETE FROM t WHERE {{batch}} returning *", "remove RETURNING"},
      {"UPDATE t SET a = $$ {{batch}} $$", "inside quotes"},
      {"UPDATE t SET \"{{batch}}\" = 1", "inside quotes"},
      {"UPDATE t SET a = 1 -- {{param.a}}\n WHERE {{batch}}", "inside quotes or a comment"},
      {"UPDATE t SET a = {{tenant}} WHERE {{batch}}", "unknown placeholder {{tenant}}"},
      {"UPDATE t SET a = {{}} WHERE {{batch}}", "unknown placeholder {{}}"},
      {"UPDATE t SET a = {{param.}} WHERE {{batch}}", "is not declared"},
  };
  for (const auto& [sql, message] : bad) {
    EXPECT_THAT(Change(sql), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message))) << sql;
  }
  for (const char* verb : {"BEGIN", "COMMIT", "ROLLBACK", "SET", "COPY", "CALL", "DO", "PREPARE", "LISTEN", "NOTIFY",
                           "VACUUM", "CREATE", "DROP", "ALTER", "TRUNCATE", "SELECT", "EXPLAIN", "EXECUTE", "LOCK"}) {
    EXPECT_THAT(Change(std::string(verb) + " {{batch}}"),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(std::string("begins with ") + verb)));
  }
}

TEST(StepStatement, BodiesWithSemicolonsAreOneStatement) {
  MD_EXPECT_OK(CheckStepStatement(
      "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END"));
  MD_EXPECT_OK(CheckStepStatement("CREATE RULE r AS ON INSERT TO t DO (DELETE FROM u; DELETE FROM v)"));
  MD_EXPECT_OK(CheckStepStatement("DO $$ BEGIN PERFORM 1; END $$"));
  MD_EXPECT_OK(CheckStepStatement("REFRESH MATERIALIZED VIEW CONCURRENTLY v"));
  MD_EXPECT_OK(CheckStepStatement("SET LOCAL work_mem = '1GB'"));
  EXPECT_THAT(CheckStepStatement("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END; DROP TABLE t"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("more than one statement")));
}

TEST(Query, MayBeAnyQueryButNothingElse) {
  MD_EXPECT_OK(CheckQuery("SELECT true"));
  MD_EXPECT_OK(CheckQuery("(VALUES (true))"));
  MD_EXPECT_OK(CheckQuery("WITH a AS (SELECT 1) SELECT true FROM a;"));
  EXPECT_THAT(CheckQuery("EXPLAIN SELECT 1"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("begins with EXPLAIN")));
}

}  // namespace
}  // namespace migrationd
