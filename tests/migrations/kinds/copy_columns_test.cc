// copy_columns: what is refused, what the statements are, and what the trigger does to an application's writes.
#include <pqxx/pqxx>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "migrations/kinds/plan.h"
#include "tests/migrations/kinds/table_of.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using Code = absl::StatusCode;

constexpr char kCopy[] = "copy_columns: {table: t, columns: [{from: a, to: b}]}\n";

std::string WithExpression(const std::string& expression) {
  return "copy_columns: {table: t, columns: [{from: a, to: b, expression: '" + expression + "'}]}\n";
}

TEST(CopyColumnsPlan, IsExactlyThis) {
  auto facts = FactsOf("t", {{"id", "bigint"}, {"a", "integer"}, {"b", "bigint"}}, {"id"});
  facts.columns[2].not_null = false;
  MD_ASSERT_OK_AND_ASSIGN(const MigrationPlan plan, PlanOf(kCopy, facts));
  EXPECT_TRUE(plan.has_where);
  EXPECT_EQ(plan.work, R"(UPDATE "public"."t" AS "t" SET "b" = ("t"."a"::bigint) WHERE ("t"."id" > $1::bigint AND )"
                       R"("t"."id" <= $2::bigint AND ("t"."b" IS DISTINCT FROM ("t"."a"::bigint))))");
  EXPECT_THAT(
      plan.prepare,
      ElementsAre("CREATE OR REPLACE FUNCTION migration_control.\"copy_backfill\"() RETURNS trigger LANGUAGE plpgsql "
                  "SET search_path = "
                  "\"public\", \"pg_temp\" AS $migrationd$\n"
                  "#variable_conflict use_column\n"
                  "DECLARE\n"
                  "  migrationd_fill boolean;\n"
                  "BEGIN\n"
                  "  IF TG_OP = 'INSERT' THEN\n"
                  "    migrationd_fill := NEW.\"b\" IS NULL;\n"
                  "  ELSE\n"
                  "    migrationd_fill := (OLD.\"a\" IS DISTINCT FROM NEW.\"a\") AND NEW.\"b\" IS NOT DISTINCT FROM "
                  "OLD.\"b\";\n"
                  "  END IF;\n"
                  "  IF migrationd_fill THEN\n"
                  "    NEW.\"b\" := NEW.\"a\"::bigint;\n"
                  "  END IF;\n"
                  "  RETURN NEW;\n"
                  "END\n"
                  "$migrationd$",
                  R"(DROP TRIGGER IF EXISTS "zzz_migrationd_backfill_insert" ON "public"."t")",
                  R"(CREATE TRIGGER "zzz_migrationd_backfill_insert" BEFORE INSERT ON "public"."t" FOR EACH ROW )"
                  R"(EXECUTE FUNCTION migration_control."copy_backfill"())",
                  R"(DROP TRIGGER IF EXISTS "zzz_migrationd_backfill_update" ON "public"."t")",
                  R"(CREATE TRIGGER "zzz_migrationd_backfill_update" BEFORE UPDATE ON "public"."t" FOR EACH ROW )"
                  R"(WHEN (OLD."a" IS DISTINCT FROM NEW."a") EXECUTE FUNCTION migration_control."copy_backfill"())"));
  EXPECT_THAT(plan.cleanup, ElementsAre(R"(DROP TRIGGER IF EXISTS "zzz_migrationd_backfill_insert" ON "public"."t")",
                                        R"(DROP TRIGGER IF EXISTS "zzz_migrationd_backfill_update" ON "public"."t")",
                                        R"(DROP FUNCTION IF EXISTS migration_control."copy_backfill"())"));
}

TEST(CopyColumnsPlan, OnlyCastsThatMayFailAreGuarded) {
  const auto guarded = [](const std::string& from, const std::string& to) {
    const auto plan = PlanOf(kCopy, FactsOf("t", {{"id", "bigint"}, {"a", from}, {"b", to}}, {"id"}));
    EXPECT_THAT(plan, IsOk());
    return plan->prepare[0].find("EXCEPTION WHEN OTHERS") != std::string::npos;
  };
  EXPECT_FALSE(guarded("integer", "bigint"));
  EXPECT_FALSE(guarded("character varying(20)", "text"));
  EXPECT_FALSE(guarded("date", "date"));
  EXPECT_TRUE(guarded("bigint", "integer"));
  EXPECT_TRUE(guarded("text", "bigint"));
  EXPECT_TRUE(guarded("text", "character varying(20)"));
  EXPECT_TRUE(guarded("numeric", "numeric(10,2)"));
  EXPECT_TRUE(guarded("date", "timestamp with time zone"));
}

TEST(CopyColumnsPlan, WhatTheTableDoesNotAllowIsRefused) {
  auto facts =
      FactsOf("t", {{"id", "bigint"}, {"a", "integer"}, {"b", "bigint"}, {"g", "integer"}, {"j", "json"}}, {"id"});
  facts.columns[3].generated = true;
  const auto plan = [&](const std::string& columns) {
    return PlanOf("copy_columns: {table: t, columns: [" + columns + "]}\n", facts);
  };
  const auto refused = [](const std::string& message) {
    return StatusIs(Code::kFailedPrecondition, HasSubstr(message));
  };
  EXPECT_THAT(plan("{from: x, to: b}"), refused("copy_columns.columns[0].from: table public.t has no column 'x'"));
  EXPECT_THAT(plan("{from: a, to: bb}"),
              refused("copy_columns.columns[0].to: table public.t has no column 'bb'; did you mean b?"));
  EXPECT_THAT(plan("{from: g, to: b}"), refused("column g is generated"));
  EXPECT_THAT(plan("{from: a, to: g}"), refused("column g is generated"));
  EXPECT_THAT(plan("{from: a, to: b, expression: a + g}"), refused("columns[0].expression: column g is generated"));
  EXPECT_THAT(plan("{from: a, to: id}"), refused("part of the key"));
  EXPECT_THAT(plan("{from: j, to: b}"), refused("of type json"));
  facts.columns[2].default_expression = "nextval('s'::regclass)";
  EXPECT_THAT(plan("{from: a, to: b}"), refused("has the default nextval"));
  facts.columns[2].default_expression = "('-1'::integer)::bigint";
  MD_EXPECT_OK(plan("{from: a, to: b}"));
}

TEST(CopyColumnsPlan, TwoLongNamesHaveTriggersOfTheirOwn) {
  const auto facts = FactsOf("t", {{"id", "bigint"}, {"a", "integer"}, {"b", "bigint"}}, {"id"});
  MD_ASSERT_OK_AND_ASSIGN(const MigrationPlan one, PlanOf(kCopy, facts, {}, std::string(62, 'x') + "a"));
  MD_ASSERT_OK_AND_ASSIGN(const MigrationPlan two, PlanOf(kCopy, facts, {}, std::string(62, 'x') + "b"));
  EXPECT_THAT(one.cleanup, SizeIs(3));
  for (int i = 0; i < 3; ++i) EXPECT_NE(one.cleanup[i], two.cleanup[i]);
}

class CopyTriggerTest : public ::testing::Test {
 protected:
  CopyTriggerTest() : connection_(DatabaseWithControlSchema()) {}

  void Exec(const std::string& sql) {
    pqxx::work tx(connection_);
    tx.exec(sql);
    tx.commit();
  }
  // The first row's columns as text; NULL as "NULL".
  std::vector<std::string> Row(const std::string& sql) {
    pqxx::work tx(connection_);
    std::vector<std::string> values;
    for (const auto& field : tx.exec1(sql)) values.push_back(field.is_null() ? "NULL" : field.c_str());
    return values;
  }
  // Each statement in a transaction of its own, as RunStep does.
  void RunSteps(const std::vector<std::string>& statements) {
    for (const std::string& sql : statements) Exec(sql);
  }
  MigrationPlan Install(const std::string& yaml) {
    auto plan = PlanOf(yaml, ReadFacts(connection_, "public", "t"));
    EXPECT_THAT(plan, IsOk());
    if (!plan.ok()) return {};
    RunSteps(plan->prepare);
    return *plan;
  }
  // Runs the work over all of a bigint key; returns the rows changed.
  std::size_t Work(const MigrationPlan& plan) {
    pqxx::work tx(connection_);
    tx.exec("SET LOCAL search_path = " + plan.search_path);
    const std::size_t rows = tx.exec_params(plan.work_first, "-1000000", "1000000").affected_rows();
    tx.commit();
    return rows;
  }

  pqxx::connection connection_;
};

TEST_F(CopyTriggerTest, InsertsAndChangesOfTheSourceAreCopied) {
  Exec("CREATE TABLE t (id bigint PRIMARY KEY, a integer, b bigint, c text)");
  Install(kCopy);
  Exec("INSERT INTO t VALUES (1, 7)");
  EXPECT_THAT(Row("SELECT a, b FROM t"), ElementsAre("7", "7"));
  Exec("UPDATE t SET a = 8");
  EXPECT_THAT(Row("SELECT a, b FROM t"), ElementsAre("8", "8"));
  Exec("UPDATE t SET a = NULL");
  EXPECT_THAT(Row("SELECT a, b FROM t"), ElementsAre("NULL", "NULL"));
}

TEST_F(CopyTriggerTest, ADestinationThatWasSetExplicitlyIsKept) {
  Exec("CREATE TABLE t (id bigint PRIMARY KEY, a integer, b bigint)");
  Install(kCopy);
  Exec("INSERT INTO t VALUES (1, 7, 70)");
  EXPECT_THAT(Row("SELECT a, b FROM t"), ElementsAre("7", "70"));
  Exec("UPDATE t SET a = 8, b = 80");
  EXPECT_THAT(Row("SELECT a, b FROM t"), ElementsAre("8", "80"));
  Exec("UPDATE t SET b = 81");
  EXPECT_THAT(Row("SELECT a, b FROM t"), ElementsAre("8", "81"));
}

TEST_F(CopyTriggerTest, ADefaultOfTheDestinationIsNotTakenForAnExplicitValue) {
  Exec("CREATE TABLE t (id bigint PRIMARY KEY, a integer, b bigint NOT NULL DEFAULT 0)");
  Install(kCopy);
  Exec("INSERT INTO t (id, a) VALUES (1, 7)");
  EXPECT_THAT(Row("SELECT b FROM t"), ElementsAre("7"));
}

TEST_F(CopyTriggerTest, ANullSourceDoesNotBreakAWriteToANotNullDestination) {
  Exec("CREATE TABLE t (id bigint PRIMARY KEY, a integer, b bigint NOT NULL DEFAULT 0)");
  Install(kCopy);
  Exec("INSERT INTO t (id, a) VALUES (1, NULL)");
  EXPECT_THAT(Row("SELECT b FROM t"), ElementsAre("0"));
  Exec("UPDATE t SET a = 5");
  Exec("UPDATE t SET a = NULL");
  EXPECT_THAT(Row("SELECT b FROM t"), ElementsAre("5"));
}

TEST_F(CopyTriggerTest, ACastThatFailsDoesNotBreakTheApplication) {
  Exec("CREATE TABLE t (id bigint PRIMARY KEY, a text, b smallint)");
  const MigrationPlan plan = Install(kCopy);
  Exec("INSERT INTO t VALUES (1, 'not a number'), (2, '3')");
  EXPECT_THAT(Row("SELECT string_agg(coalesce(b::text, 'NULL'), ',' ORDER BY id) FROM t"), ElementsAre("NULL,3"));
  Exec("UPDATE t SET a = '99999' WHERE id = 2");  // too large for the destination
  EXPECT_THAT(Row("SELECT a, b FROM t WHERE id = 2"), ElementsAre("99999", "3"));
  // The migration itself does report it.
  EXPECT_THROW(Work(plan), pqxx::sql_error);
}

TEST_F(CopyTriggerTest, ATextThatIsTooLongIsReportedAndNeverCut) {
  Exec("CREATE TABLE t (id bigint PRIMARY KEY, a text, b varchar(3), c char(3))");
  const MigrationPlan plan = Install("copy_columns: {table: t, columns: [{from: a, to: b}]}\n");
  Exec("INSERT INTO t VALUES (1, 'long text')");
  EXPECT_THAT(Row("SELECT a, b FROM t"), ElementsAre("long text", "NULL"));
  EXPECT_THROW(Work(plan), pqxx::sql_error);
  Exec("UPDATE t SET a = 'abc'");
  EXPECT_THAT(Row("SELECT a, b FROM t"), ElementsAre("abc", "abc"));
  EXPECT_EQ(Work(plan), 0u);
}

TEST_F(CopyTriggerTest, ExpressionsSeeTheColumnsOfTheRow) {
  Exec("CREATE TABLE t (id bigint PRIMARY KEY, a integer, b bigint, migrationd_fill integer, \"K\" integer)");
  const MigrationPlan plan = Install(WithExpression("coalesce(a, 0) * 10 + migrationd_fill + t.\"K\" -- sum"));
  Exec("INSERT INTO t VALUES (1, 7, NULL, 2, 100)");
  EXPECT_THAT(Row("SELECT b FROM t"), ElementsAre("172"));
  // Every column that the expression names is a source.
  Exec("UPDATE t SET migrationd_fill = 3");
  EXPECT_THAT(Row("SELECT b FROM t"), ElementsAre("173"));
  Exec("UPDATE t SET \"K\" = 200");
  EXPECT_THAT(Row("SELECT b FROM t"), ElementsAre("273"));
  EXPECT_EQ(Work(plan), 0u);
}

TEST_F(CopyTriggerTest, AnExpressionThatFailsDoesNotBreakTheApplication) {
  Exec("CREATE TABLE t (id bigint PRIMARY KEY, a integer, b bigint)");
  Install(WithExpression("100 / a"));
  Exec("INSERT INTO t VALUES (1, 0)");
  EXPECT_THAT(Row("SELECT a, b FROM t"), ElementsAre("0", "NULL"));
  Exec("UPDATE t SET a = 5");
  EXPECT_THAT(Row("SELECT a, b FROM t"), ElementsAre("5", "20"));
}

TEST_F(CopyTriggerTest, ItSeesWhatOtherTriggersMadeOfTheRow) {
  Exec("CREATE TABLE t (id bigint PRIMARY KEY, a integer, b bigint)");
  Exec(
      "CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.a := NEW.a + 1; RETURN NEW; END';"
      "CREATE TRIGGER zz_change BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION change()");
  Install(kCopy);
  Exec("INSERT INTO t VALUES (1, 7)");
  EXPECT_THAT(Row("SELECT a, b FROM t"), ElementsAre("8", "8"));
  Exec("UPDATE t SET id = 2");  // only the other trigger changes the source
  EXPECT_THAT(Row("SELECT a, b FROM t"), ElementsAre("9", "9"));
}

TEST_F(CopyTriggerTest, TheWorkCopiesOldRowsAndLeavesRightOnesAlone) {
  Exec("CREATE TABLE t (id bigint PRIMARY KEY, a integer, b bigint)");
  Exec("INSERT INTO t SELECT i, i FROM generate_series(1, 100) i");
  const MigrationPlan plan = Install(kCopy);
  Exec("UPDATE t SET a = a + 1 WHERE id <= 10");
  EXPECT_EQ(Work(plan), 90u);
  EXPECT_EQ(Work(plan), 0u);
  EXPECT_THAT(Row("SELECT count(*) FROM t WHERE b IS DISTINCT FROM a"), ElementsAre("0"));
}

TEST_F(CopyTriggerTest, InstallingAndRemovingMayBeRepeated) {
  Exec("CREATE TABLE t (id bigint PRIMARY KEY, a integer, b bigint)");
  const MigrationPlan plan = Install(kCopy);
  RunSteps(plan.prepare);
  Exec("INSERT INTO t VALUES (1, 7)");
  EXPECT_THAT(Row("SELECT b FROM t"), ElementsAre("7"));
  RunSteps(plan.cleanup);
  RunSteps(plan.cleanup);
  Exec("INSERT INTO t VALUES (2, 7)");
  EXPECT_THAT(Row("SELECT b FROM t WHERE id = 2"), ElementsAre("NULL"));
  EXPECT_THAT(Row("SELECT count(*) FROM pg_proc WHERE proname LIKE 'copy%' AND pronamespace = "
                  "'migration_control'::regnamespace"),
              ElementsAre("0"));
}

TEST_F(CopyTriggerTest, AnApplicationWithoutRightsOnOurSchemaCanStillWrite) {
  Exec("CREATE TABLE t (id bigint PRIMARY KEY, a integer, b bigint)");
  Install(kCopy);
  Exec(
      "DROP ROLE IF EXISTS copy_trigger_app; CREATE ROLE copy_trigger_app; GRANT SELECT, INSERT, UPDATE ON t TO "
      "copy_trigger_app");
  {
    pqxx::work tx(connection_);
    tx.exec("SET LOCAL ROLE copy_trigger_app");
    tx.exec("INSERT INTO t VALUES (1, 7)");
    tx.exec("UPDATE t SET a = 8");
    tx.commit();
  }
  EXPECT_THAT(Row("SELECT b FROM t"), ElementsAre("8"));
}

TEST_F(CopyTriggerTest, OddNamesAreQuotedEverywhere) {
  Exec("CREATE TABLE \"f\" (\"I d\" bigint PRIMARY KEY, \"select\" integer, \"To \"\"b\" bigint)");
  auto plan = PlanOf("copy_columns: {table: f, columns: [{from: select, to: 'To \"b'}]}\n",
                     ReadFacts(connection_, "public", "f"));
  MD_ASSERT_OK(plan);
  Exec("INSERT INTO f VALUES (1, 1)");
  RunSteps(plan->prepare);
  Exec("INSERT INTO f VALUES (2, 2)");
  EXPECT_THAT(Row("SELECT \"To \"\"b\" FROM f WHERE \"I d\" = 2"), ElementsAre("2"));
  EXPECT_EQ(Work(*plan), 1u);
  pqxx::work tx(connection_);
  EXPECT_EQ(tx.exec_params(plan->verify_work_first, "1", "2").affected_rows(), 0u);
}

}  // namespace
}  // namespace migrationd
