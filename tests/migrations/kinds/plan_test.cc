// Plans without a database: the exact SQL, and every refusal.
#include "migrations/kinds/plan.h"

#include <functional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "migrations/definition/definition.h"
#include "migrations/kinds/identifiers.h"
#include "migrations/kinds/walk_strategy.h"
#include "tests/migrations/kinds/table_of.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Code = absl::StatusCode;

constexpr char kWithWhere[] = R"yaml(
sql_batch:
  table: public.builds
  alias: b
  where: b.stage IS NULL -- to do
  statement: UPDATE builds AS b SET stage = {{param.stage}} WHERE {{batch}}
parameters: [{name: stage, type: text, default: new}]
)yaml";

TEST(SqlBatchPlan, ForABigintKeyIsExactlyThis) {
  MD_ASSERT_OK_AND_ASSIGN(const MigrationPlan plan,
                          PlanOf(kWithWhere, FactsOf("builds", {{"id", "bigint"}, {"stage", "text"}}, {"id"})));
  EXPECT_EQ(plan.alias, "b");
  EXPECT_EQ(plan.table_oid, 4711);
  EXPECT_THAT(plan.key, ElementsAre("id"));
  EXPECT_THAT(plan.key_types, ElementsAre(KeyType::kBigint));
  EXPECT_THAT(plan.key_casts, ElementsAre("bigint"));
  EXPECT_TRUE(plan.has_where);
  EXPECT_THAT(plan.parameter_types, ElementsAre("text"));
  EXPECT_THAT(plan.parameter_values, ElementsAre("new"));
  EXPECT_EQ(plan.search_path, R"("public", "pg_temp")");

  const std::string range = R"("b"."id" > $1::bigint AND "b"."id" <= $2::bigint)";
  const std::string first = R"("b"."id" >= $1::bigint AND "b"."id" <= $2::bigint)";
  const std::string not_recorded =
      R"(NOT EXISTS (SELECT FROM migration_control.failed_range f WHERE f.migration = 'backfill')"
      R"( AND f.key = ARRAY["b"."id"::text]))";
  EXPECT_EQ(KeysetStrategy().Range(plan, false), range);
  EXPECT_EQ(KeysetStrategy().Range(plan, true), first);
  // Not evaluated for rows that are recorded: it may be what fails for them.
  const std::string others = " AND CASE WHEN NOT EXISTS (SELECT FROM migration_control.failed_range WHERE migration = 'backfill') OR " +
                             not_recorded + " THEN (b.stage IS NULL) END";
  const std::string update = "UPDATE builds AS b SET stage = $3::text WHERE (";
  EXPECT_EQ(plan.work, update + range + " AND (b.stage IS NULL))");
  EXPECT_EQ(plan.work_first, update + first + " AND (b.stage IS NULL))");
  EXPECT_EQ(plan.verify_work, update + range + others + ")");
  EXPECT_EQ(plan.verify_work_first, update + first + others + ")");
  const std::string from = R"( FROM "public"."builds" AS "b" WHERE )";
  // The parameter stands in the statement only, so it is mentioned for its type.
  const std::string mention = " AND ($3::text IS NULL OR TRUE)";
  EXPECT_EQ(plan.count_matching, "SELECT count(*)" + from + range + " AND (b.stage IS NULL)" + mention);
  EXPECT_EQ(plan.count_verify_first,
            "SELECT count(*)" + from + first + others + mention);
  EXPECT_EQ(plan.select_unchanged,
            R"(SELECT ARRAY["b"."id"::text])" + from + range + others + mention);
  EXPECT_EQ(plan.next_bound,
            R"(SELECT md_b.md_0::text FROM (SELECT "b"."id" AS md_0)" + from + range + R"( ORDER BY "b"."id" OFFSET $3::bigint - 1 LIMIT 1) AS md_b)");
  EXPECT_EQ(plan.next_bound_first,
            R"(SELECT md_b.md_0::text FROM (SELECT "b"."id" AS md_0)" + from + first + R"( ORDER BY "b"."id" OFFSET $3::bigint - 1 LIMIT 1) AS md_b)");
  EXPECT_THAT(plan.prepare, IsEmpty());
  EXPECT_THAT(plan.cleanup, IsEmpty());
}

TEST(SqlBatchPlan, ForACompositeKeyComparesRows) {
  MD_ASSERT_OK_AND_ASSIGN(
      const MigrationPlan plan,
      PlanOf("sql_batch: {table: t, key: [a, b], statement: 'UPDATE t SET n = 1 WHERE {{batch}}'}\n",
             FactsOf("t", {{"a", "integer"}, {"b", "character varying(20)"}, {"n", "integer"}}, {"a", "b"})));
  // Without the length: a cast to it would cut a bound.
  EXPECT_THAT(plan.key_casts, ElementsAre("integer", "text"));
  EXPECT_EQ(KeysetStrategy().Range(plan, false),
            R"(("t"."a", "t"."b") > ($1::integer, $2::text) AND ("t"."a", "t"."b") <= ($3::integer, $4::text))");
  EXPECT_EQ(plan.next_bound, R"(SELECT md_b.md_0::text, md_b.md_1::text FROM (SELECT "t"."a" AS md_0, "t"."b" AS md_1 FROM "public"."t" AS "t" WHERE )" +
                                 KeysetStrategy().Range(plan, false) +
                                 R"( ORDER BY "t"."a", "t"."b" OFFSET $5::bigint - 1 LIMIT 1) AS md_b)");
  EXPECT_FALSE(plan.has_where);
  EXPECT_EQ(plan.count_matching, "");
  EXPECT_EQ(plan.select_unchanged, "");
  EXPECT_EQ(plan.work, "UPDATE t SET n = 1 WHERE (" + KeysetStrategy().Range(plan, false) + ")");
}

TEST(SqlBatchPlan, ForAUuidKeyAndQuotedNames) {
  MD_ASSERT_OK_AND_ASSIGN(const MigrationPlan plan,
                          PlanOf("sql_batch: {table: '\"Odd \"\"T\"', alias: f, key: ['Odd \"Id'], statement: 'DELETE "
                                 "FROM \"Odd \"\"T\" f WHERE {{batch}}'}\n",
                                 FactsOf("Odd \"T", {{"Odd \"Id", "uuid"}}, {"Odd \"Id"})));
  EXPECT_EQ(KeysetStrategy().Range(plan, false), R"("f"."Odd ""Id" > $1::uuid AND "f"."Odd ""Id" <= $2::uuid)");
  // The table's alias f must not be hidden by the one of failed_range.
  EXPECT_THAT(plan.verify_work, HasSubstr("failed_range ff WHERE ff.migration"));
}

TEST(SqlBatchPlan, BoundsAreNormalizedAndChecked) {
  const auto facts = FactsOf("t", {{"id", "integer"}}, {"id"});
  const std::string head = "sql_batch: {table: t, statement: 'DELETE FROM t WHERE {{batch}}', ";
  MD_ASSERT_OK_AND_ASSIGN(const MigrationPlan plan, PlanOf(head + "min_key: ['007'], max_key: [10]}\n", facts));
  EXPECT_THAT(plan.min_key, ElementsAre("7"));
  EXPECT_THAT(plan.max_key, ElementsAre("10"));
  EXPECT_THAT(PlanOf(head + "min_key: [x]}\n", facts),
              StatusIs(Code::kInvalidArgument, HasSubstr("sql_batch.min_key: ")));
  EXPECT_THAT(PlanOf(head + "max_key: [1, 2]}\n", facts),
              StatusIs(Code::kInvalidArgument, HasSubstr("sql_batch.max_key: ")));
  EXPECT_THAT(PlanOf(head + "min_key: [10], max_key: [9]}\n", facts),
              StatusIs(Code::kInvalidArgument, HasSubstr("(10) is above max_key (9)")));
}

TEST(SqlBatchPlan, KeysThatCannotBeWalkedAreRefused) {
  const auto plan = [](const std::string& key, const TableFacts& facts) {
    return PlanOf("sql_batch: {table: t, " + key + "statement: 'DELETE FROM t WHERE {{batch}}'}\n", facts);
  };
  const auto facts = FactsOf("t", {{"a", "bigint"}, {"b", "text"}, {"j", "jsonb"}}, {"a", "b"});
  const auto refused = [](const std::string& message) {
    return StatusIs(Code::kFailedPrecondition, HasSubstr(message));
  };
  EXPECT_THAT(plan("key: [aa], ", facts), refused("sql_batch.key: table public.t has no column 'aa'; did you mean a?"));
  EXPECT_THAT(plan("key: [zzz], ", facts), refused("no column 'zzz'; it has a, b, j"));
  EXPECT_THAT(plan("key: [a], ", facts),
              refused("[a] has no unique, complete index of public.t over not-null columns; possible: [a, b]"));
  EXPECT_THAT(plan("key: [b, a], ", facts), refused("in another order; write [a, b]"));
  EXPECT_THAT(plan("key: [j], ", facts), refused("column j of type jsonb"));
  EXPECT_THAT(plan("", FactsOf("t", {{"a", "bigint"}}, {})), refused("table public.t has no primary key"));
  auto nullable = facts;
  nullable.columns[0].not_null = false;
  EXPECT_THAT(plan("key: [a], ", nullable), refused("column a of public.t may be null"));
}

TEST(SqlBatchPlan, AStatementThatMovesItsOwnRowsIsRefused) {
  const auto facts = FactsOf("t", {{"id", "bigint"}, {"n", "bigint"}}, {"id"});
  const auto plan = [&](const std::string& sql) {
    return PlanOf("sql_batch:\n  table: t\n  statement: " + sql + "\n", facts);
  };
  for (const char* sql :
       {"UPDATE t SET id = id + 1 WHERE {{batch}}", "UPDATE ONLY public.t SET n = f(1, 2), \"id\" = 2 WHERE {{batch}}",
        "UPDATE t SET (n, id) = (1, 2) WHERE {{batch}}",
        "WITH a AS (UPDATE t SET id = 1 WHERE {{batch}} RETURNING 1) INSERT INTO u SELECT * FROM a"}) {
    EXPECT_THAT(plan(sql), StatusIs(Code::kFailedPrecondition, HasSubstr("sets id, a column of the key"))) << sql;
  }
  for (const char* sql :
       {"UPDATE t SET n = id FROM u WHERE u.id = t.id AND {{batch}}", "UPDATE u SET id = t.n FROM t WHERE {{batch}}",
        "UPDATE t SET n = (SELECT id FROM u WHERE id = 1) WHERE id = 3 AND {{batch}}"}) {
    MD_EXPECT_OK(plan(sql)) << sql;
  }
}

TEST(SqlBatchPlan, ParametersComeInOrderAfterTheBounds) {
  MD_ASSERT_OK_AND_ASSIGN(const MigrationPlan plan,
                          PlanOf(R"yaml(
sql_batch: {table: t, where: "n < {{param.b}}", statement: "UPDATE t SET n = {{param.a}} + {{param.b}} WHERE {{batch}}"}
parameters: [{name: a, type: bigint}, {name: b, type: integer, default: 3}]
)yaml",
                                 FactsOf("t", {{"id", "uuid"}, {"n", "bigint"}}, {"id"}), {{"a", "9"}}));
  EXPECT_THAT(plan.work, HasSubstr("SET n = $3::bigint + $4::integer WHERE ("));
  EXPECT_THAT(plan.count_matching, HasSubstr("(n < $4::integer) AND ($3::bigint IS NULL OR TRUE)"));
  EXPECT_THAT(plan.parameter_values, ElementsAre("9", "3"));
  EXPECT_THAT(PlanOf(kWithWhere, FactsOf("builds", {{"id", "bigint"}}, {"id"}), {{"other", "1"}}),
              StatusIs(Code::kInvalidArgument, HasSubstr("unknown parameter")));
}

TEST(Plan, TheColumnDigestFollowsOnlyTheColumnsThatMatter) {
  auto facts = FactsOf("builds", {{"id", "bigint"}, {"stage", "text"}, {"other", "text"}}, {"id"});
  const auto digest = [&] { return PlanOf(kWithWhere, facts)->column_digest; };
  const std::string before = digest();
  facts.columns[2].type = "bigint";
  EXPECT_EQ(digest(), before);
  std::swap(facts.columns[1], facts.columns[2]);
  EXPECT_EQ(digest(), before);
  facts.columns[2].not_null = false;
  EXPECT_NE(digest(), before);
  facts.columns[2].not_null = true;
  facts.columns[2].type = "character varying";
  EXPECT_NE(digest(), before);
  facts.columns[2].type = "text";
  facts.columns[0].type = "integer";
  EXPECT_NE(digest(), before);
}

// What decides whether positions that were recorded still say which rows are done.
TEST(Plan, TheKeyIsTheSameWhileItOrdersRowsTheSameWay) {
  const auto facts = FactsOf("builds", {{"id", "bigint"}, {"name", "text"}, {"stage", "text"}}, {"id", "name"});
  const std::string before = PlanOf(kWithWhere, facts)->column_digest;
  const auto after = [&](const std::function<void(TableFacts&)>& change) {
    TableFacts changed = facts;
    change(changed);
    return PlanOf(kWithWhere, changed)->column_digest;
  };
  const std::string other_column = after([](TableFacts& table) { table.columns[2].type = "character varying"; });
  EXPECT_NE(other_column, before);
  EXPECT_TRUE(HasSameKey(other_column, before));
  const std::string wider = after([](TableFacts& table) { table.columns[0].type = "integer"; });
  EXPECT_NE(wider, before);
  EXPECT_TRUE(HasSameKey(wider, before)) << "whole numbers have one order";

  const std::vector<std::function<void(TableFacts&)>> others = {
      [](TableFacts& table) { table.primary_key = {"name", "id"}; },
      [](TableFacts& table) { table.primary_key = {"id"}; },
      [](TableFacts& table) { table.columns[0].type = "text"; },
      [](TableFacts& table) { table.columns[1].collation = "pg_catalog/C"; },
  };
  for (std::size_t i = 0; i < others.size(); ++i) {
    const std::string digest = after([&](TableFacts& table) {
      others[i](table);
      table.unique_keys = {table.primary_key};
    });
    EXPECT_NE(digest, before) << i;
    EXPECT_FALSE(HasSameKey(digest, before)) << i;
  }
  EXPECT_FALSE(HasSameKey("", before));
  EXPECT_FALSE(HasSameKey("", "")) << "nothing is known of it";
}

TEST(Plan, TheCollationsOfTheKeyAreKnownToTheStatements) {
  auto facts = FactsOf("builds", {{"id", "bigint"}, {"name", "text"}, {"stage", "text"}}, {"id", "name"});
  facts.columns[1].collation_oid = 950;
  EXPECT_THAT(PlanOf(kWithWhere, facts)->key_collations, ElementsAre(0, 950));
}

TEST(Plan, TheSearchPathIsQuotedAndHasTheTemporarySchemaLast) {
  PlanContext context;
  context.name = "a";
  context.target_search_path = {"pg_temp", "public", "a\"b", "public"};
  auto facts = FactsOf("t", {{"id", "bigint"}}, {"id"});
  facts.schema = "Odd";
  const auto definition =
      ParseDefinition("sql_batch: {table: t, statement: 'DELETE FROM t WHERE {{batch}}'}\n").definition;
  MD_ASSERT_OK_AND_ASSIGN(const MigrationPlan plan, MakePlan(definition, facts, context));
  EXPECT_EQ(plan.search_path, R"("Odd", "public", "a""b", "pg_temp")");
}

TEST(Plan, KindsThatAreNotServedAreUnimplemented) {
  migrationcontrol::v1::MigrationDefinition definition;
  definition.mutable_worker()->set_queue("q");
  EXPECT_THAT(MakePlan(definition, FactsOf("t", {}, {}), {}), StatusIs(Code::kUnimplemented, HasSubstr("not served")));
  EXPECT_EQ(TableOf(definition), "");
}

TEST(DeleteRows, DeletesTheMatchingRowsOfTheRange) {
  const auto parsed = ParseDefinition(
      "delete_rows: {table: logs, where: 'logs.at < {{param.before}}'}\nparameters: [{name: before, type: timestamptz}]\n");
  ASSERT_TRUE(parsed.ok());
  PlanContext context;
  context.name = "drop_logs";
  context.parameters["before"] = "2020-01-01T00:00:00Z";
  MD_ASSERT_OK_AND_ASSIGN(const MigrationPlan plan,
                          MakePlan(parsed.definition, FactsOf("logs", {{"id", "bigint"}, {"at", "timestamp with time zone"}}, {"id"}), context));
  EXPECT_EQ(plan.work,
            R"(DELETE FROM "public"."logs" AS "logs" WHERE ("logs"."id" > $1::bigint AND "logs"."id" <= $2::bigint AND (logs.at < $3::timestamptz)))");
  EXPECT_TRUE(plan.has_where);
  EXPECT_EQ(TableOf(parsed.definition), "logs");
  EXPECT_FALSE(HasCleanup(parsed.definition));
}

TEST(TableName, IsSplitAndUnquoted) {
  MD_ASSERT_OK_AND_ASSIGN(const TableName both, ParseTableName("public.\"Odd Table\""));
  EXPECT_EQ(both.schema, "public");
  EXPECT_EQ(both.name, "Odd Table");
  MD_ASSERT_OK_AND_ASSIGN(const TableName one, ParseTableName("T"));
  EXPECT_EQ(one.schema, "");
  EXPECT_EQ(one.name, "t");
  EXPECT_THAT(ParseTableName("a.b.c"), StatusIs(Code::kInvalidArgument, HasSubstr("schema.table")));
}

TEST(Identifiers, AreCutWithoutCollision) {
  EXPECT_EQ(BoundedIdentifier("a_", "short", "_b"), "a_short_b");
  const std::string one = BoundedIdentifier("zzz_migrationd_", std::string(63, 'x'), "_insert");
  const std::string two = BoundedIdentifier("zzz_migrationd_", std::string(62, 'x') + "y", "_insert");
  EXPECT_EQ(one.size(), 63u);
  EXPECT_EQ(two.size(), 63u);
  EXPECT_NE(one, two);
  EXPECT_THAT(one, ::testing::EndsWith("_insert"));
  EXPECT_EQ(QuoteLiteral("a'b\\c"), R"(E'a''b\\c')");
}

TEST(Strategies, AreFoundByTheWordOfTheDefinition) {
  for (const char* name : {"KEYSET", "DISTINCT", "PHYSICAL"}) {
    ASSERT_NE(FindWalkStrategy(name), nullptr) << name;
    EXPECT_EQ(FindWalkStrategy(name)->name(), name);
  }
  EXPECT_EQ(FindWalkStrategy("RANDOM"), nullptr);
}

constexpr char kDone[] = "sql_batch: {table: t, where: NOT done, statement: 'UPDATE t SET done = true WHERE {{batch}}', ";

// Positions are places in a file; rows are recorded by their key, and VERIFY goes by it.
TEST(Strategies, PhysicalWalksPlacesInTheFirstPassOnly) {
  const TableFacts facts = FactsOf("t", {{"id", "uuid"}, {"done", "boolean"}}, {"id"});
  MD_ASSERT_OK_AND_ASSIGN(const MigrationPlan plan, PlanOf(std::string(kDone) + "strategy: PHYSICAL}\n", facts));
  EXPECT_THAT(plan.key, ElementsAre("id"));
  EXPECT_EQ(&PlanOfPass(plan, 2), &plan);
  const MigrationPlan& first = PlanOfPass(plan, 1);
  EXPECT_THAT(first.key, ElementsAre("relfilenode", "ctid"));
  EXPECT_THAT(first.row_key, ElementsAre("id"));
  EXPECT_EQ(PhysicalStrategy().Range(first, false),
            R"("t"."ctid" > $2::tid AND "t"."ctid" <= $4::tid AND pg_catalog.pg_relation_filenode(4711::oid::regclass)::bigint = $1::bigint )"
            R"(AND pg_catalog.pg_relation_filenode(4711::oid::regclass)::bigint = $3::bigint)");
  EXPECT_THAT(first.work, HasSubstr("THEN (NOT done) END"));
  EXPECT_THAT(first.work, HasSubstr(R"(f.key = ARRAY["t"."id"::text])")) << "what was left out is met again where it moved";
  EXPECT_THAT(first.select_keys, HasSubstr(R"(SELECT ARRAY["t"."id"::text] FROM)"));
  EXPECT_EQ(first.column_digest, plan.column_digest);
  EXPECT_FALSE(first.lane_bounds.empty());
  EXPECT_TRUE(plan.lane_bounds.empty());
}

TEST(Strategies, PhysicalTakesBoundsOfRowsAsAFilter) {
  const TableFacts facts = FactsOf("t", {{"a", "integer"}, {"b", "text"}, {"done", "boolean"}}, {"a", "b"});
  MD_ASSERT_OK_AND_ASSIGN(const MigrationPlan plan,
                          PlanOf(std::string(kDone) + "strategy: PHYSICAL, min_key: ['1', \"it's\"], max_key: ['9', '']}\n", facts));
  EXPECT_THAT(PlanOfPass(plan, 1).work, HasSubstr(R"( AND ("t"."a", "t"."b") >= ('1'::integer, 'it''s'::text) AND ("t"."a", "t"."b") <= ('9'::integer, ''::text))"));
}

TEST(Strategies, PhysicalNeedsOneFile) {
  TableFacts facts = FactsOf("t", {{"id", "uuid"}, {"done", "boolean"}}, {"id"});
  facts.partitioned = true;
  EXPECT_THAT(PlanOf(std::string(kDone) + "strategy: PHYSICAL}\n", facts),
              StatusIs(Code::kFailedPrecondition, HasSubstr("sql_batch.strategy: PHYSICAL walks one file, but public.t is partitioned")));
  facts.partitioned = false;
  facts.inherited = true;
  EXPECT_THAT(PlanOf(std::string(kDone) + "strategy: PHYSICAL}\n", facts),
              StatusIs(Code::kFailedPrecondition, HasSubstr("other tables inherit from public.t")));
}

TEST(Strategies, DistinctRecordsValuesAndTellsRowsApartByTheirPlace) {
  TableFacts facts = FactsOf("t", {{"id", "uuid"}, {"tenant", "integer"}, {"done", "boolean"}}, {"id"});
  const std::string yaml = std::string(kDone) + "strategy: DISTINCT, key: [tenant]}\n";
  EXPECT_THAT(PlanOf(yaml, facts), StatusIs(Code::kFailedPrecondition, HasSubstr("no complete btree index of public.t begins with tenant")));
  facts.leading_columns = {"id", "tenant"};
  MD_ASSERT_OK_AND_ASSIGN(const MigrationPlan plan, PlanOf(yaml, facts));
  EXPECT_EQ(plan.first_pass, nullptr);
  EXPECT_EQ(DistinctStrategy().Range(plan, true), R"("t"."tenant" >= $1::integer AND "t"."tenant" <= $2::integer)");
  EXPECT_THAT(plan.select_keys, ::testing::StartsWith(R"(SELECT DISTINCT ARRAY["t"."tenant"::text] FROM)"));
  EXPECT_THAT(plan.select_unchanged, ::testing::StartsWith(R"(SELECT ARRAY["t".tableoid::text, "t".ctid::text] FROM)"));
  EXPECT_THAT(plan.select_left, HasSubstr(R"("t".xmin = pg_catalog.pg_current_xact_id()::xid OR )"));
}

TEST(Strategies, TheKeyOfAStrategyMustNotBeSet) {
  TableFacts facts = FactsOf("t", {{"id", "uuid"}, {"tenant", "integer"}, {"done", "boolean"}}, {"id"});
  facts.leading_columns = {"id", "tenant"};
  for (const auto& [strategy, column] : {std::pair{"DISTINCT, key: [tenant]", "tenant"}, std::pair{"PHYSICAL", "id"}}) {
    EXPECT_THAT(PlanOf(absl::StrCat("sql_batch: {table: t, where: NOT done, statement: 'UPDATE t SET ", column, " = NULL WHERE {{batch}}', strategy: ", strategy, "}\n"),
                       facts),
                StatusIs(Code::kFailedPrecondition, HasSubstr(absl::StrCat("sets ", column))));
  }
}

}  // namespace
}  // namespace migrationd
