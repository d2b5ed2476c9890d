// What is rendered, against a real PostgreSQL: it is accepted, its plans use the key's index, and it walks every row
// once.
#include <pqxx/pqxx>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "migrations/kinds/plan.h"
#include "tests/migrations/kinds/table_of.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;

std::vector<std::string> StatementsOf(const MigrationPlan& plan) {
  std::vector<std::string> all = {plan.work,
                                  plan.work_first,
                                  plan.verify_work,
                                  plan.verify_work_first,
                                  plan.count_matching,
                                  plan.count_matching_first,
                                  plan.count_verify,
                                  plan.count_verify_first,
                                  plan.select_unchanged,
                                  plan.select_unchanged_first,
                                  plan.select_keys,
                                  plan.select_keys_first};
  for (const std::string& left : {plan.select_left, plan.select_left_first}) {
    if (!left.empty()) all.push_back(absl::StrCat("WITH md_turn(md_key) AS (SELECT unnest(ARRAY['{1}'])) ", left));
  }
  all.erase(std::remove(all.begin(), all.end(), ""), all.end());
  return all;
}

// PREPARE without types: every placeholder must be there and have one by itself.
void ExpectPrepares(pqxx::connection& connection, const MigrationPlan& plan) {
  pqxx::nontransaction tx(connection);
  tx.exec("SET search_path = " + plan.search_path);
  const auto count = [&](const std::string& sql) {
    tx.exec("DEALLOCATE ALL");
    EXPECT_NO_THROW(tx.exec("PREPARE rendered AS " + sql)) << sql;
    return tx.exec1("SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'rendered'")[0]
        .as<std::size_t>();
  };
  for (const std::string& sql : StatementsOf(plan)) {
    EXPECT_EQ(count(sql), 2 * plan.key.size() + plan.parameter_types.size()) << sql;
  }
  EXPECT_EQ(count(plan.next_bound), 2 * plan.key.size() + 1);
  EXPECT_EQ(count(plan.next_bound_first), 2 * plan.key.size() + 1);
}

struct KeyCase {
  std::string name;
  std::string table;   // columns of the CREATE TABLE
  std::string key;     // YAML list
  std::string insert;  // SELECT that fills 100 rows
};

void PrintTo(const KeyCase& key_case, std::ostream* out) { *out << key_case.name; }

class RenderedSqlTest : public ::testing::TestWithParam<KeyCase> {
 protected:
  RenderedSqlTest() : connection_(DatabaseWithControlSchema()) {
    pqxx::work tx(connection_);
    tx.exec("SET TimeZone = 'UTC'");
    tx.exec("CREATE SCHEMA \"Odd S\"; CREATE TABLE \"Odd S\".\"Odd \"\"T\" (" + GetParam().table +
            ", n bigint NOT NULL DEFAULT 0)");
    tx.exec("INSERT INTO \"Odd S\".\"Odd \"\"T\" " + GetParam().insert);
    tx.exec("ANALYZE");
    tx.commit();
    auto plan = PlanOf("sql_batch:\n  table: '\"Odd S\".\"Odd \"\"T\"'\n  alias: b\n  key: " + GetParam().key +
                           "\n  where: b.n < {{param.limit}}\n  statement: 'UPDATE \"Odd \"\"T\" AS b SET n = n + "
                           "{{param.step}} WHERE "
                           "{{batch}}'\nparameters: [{name: limit, type: bigint, default: 9}, {name: step, type: "
                           "integer, default: 1}]\n",
                       ReadFacts(connection_, "Odd S", "Odd \"T"));
    MD_EXPECT_OK(plan);
    if (plan.ok()) plan_ = *plan;
  }

  // Executes with these keys and further values as text.
  pqxx::result Execute(pqxx::transaction_base& tx, const std::string& sql, const Key& lower, const Key& upper,
                       const std::vector<std::string>& further) {
    std::vector<std::string> values(lower);
    values.insert(values.end(), upper.begin(), upper.end());
    values.insert(values.end(), further.begin(), further.end());
    return tx.exec_params(sql, pqxx::prepare::make_dynamic_params(values));
  }

  static Key KeyOf(const pqxx::row& row) {
    Key key;
    for (const auto& field : row) key.push_back(field.c_str());
    return key;
  }

  pqxx::connection connection_;
  MigrationPlan plan_;
};

TEST_P(RenderedSqlTest, EveryStatementPreparesWithAllPlaceholders) { ExpectPrepares(connection_, plan_); }

// With parameters, of which the queries over `where` alone need not name all.
TEST_P(RenderedSqlTest, SoDoThoseOfTheOtherStrategies) {
  TableFacts facts = ReadFacts(connection_, "Odd S", "Odd \"T");
  facts.leading_columns = {facts.primary_key[0]};
  const std::string head = "sql_batch:\n  table: '\"Odd S\".\"Odd \"\"T\"'\n  alias: b\n  where: b.n < {{param.limit}}\n  statement: 'UPDATE \"Odd \"\"T\" AS b SET "
                           "n = n + {{param.step}} WHERE {{batch}}'\n";
  const std::string parameters = "parameters: [{name: limit, type: bigint, default: 9}, {name: step, type: integer, default: 1}]\n";
  MD_ASSERT_OK_AND_ASSIGN(const MigrationPlan physical, PlanOf(head + "  strategy: PHYSICAL\n" + parameters, facts));
  ASSERT_NE(physical.first_pass, nullptr);
  ExpectPrepares(connection_, physical);
  ExpectPrepares(connection_, *physical.first_pass);
  if (facts.primary_key.size() > 1) return;
  MD_ASSERT_OK_AND_ASSIGN(const MigrationPlan distinct, PlanOf(head + "  strategy: DISTINCT\n  key: " + GetParam().key + "\n" + parameters, facts));
  ExpectPrepares(connection_, distinct);
}

TEST_P(RenderedSqlTest, WalkingByNextBoundReachesEveryRowExactlyOnce) {
  pqxx::work tx(connection_);
  tx.exec("SET search_path = " + plan_.search_path);
  // Qualified, since a bare name would mean the text that is selected.
  const std::string keys = absl::StrJoin(plan_.key, ", ", [](std::string* out, const std::string& column) {
    absl::StrAppend(out, "t.", QuoteIdentifier(column));
  });
  const std::string texts = absl::StrJoin(plan_.key, ", ", [](std::string* out, const std::string& column) {
    absl::StrAppend(out, QuoteIdentifier(column), "::text");
  });
  const std::string table = QuoteIdentifier(plan_.schema) + "." + QuoteIdentifier(plan_.table);
  const Key smallest = KeyOf(tx.exec1("SELECT " + texts + " FROM " + table + " t ORDER BY " + keys + " LIMIT 1"));
  const Key largest = KeyOf(tx.exec1("SELECT " + texts + " FROM " + table + " t ORDER BY " +
                                     absl::StrJoin(plan_.key, ", ",
                                                   [](std::string* out, const std::string& column) {
                                                     absl::StrAppend(out, "t.", QuoteIdentifier(column), " DESC");
                                                   }) +
                                     " LIMIT 1"));
  Key cursor;
  int sub_batches = 0;
  while (cursor != largest) {
    ASSERT_LT(++sub_batches, 50);
    const bool first = cursor.empty();
    const Key lower = first ? smallest : cursor;
    const pqxx::result found = Execute(tx, first ? plan_.next_bound_first : plan_.next_bound, lower, largest, {"7"});
    const Key upper = found.empty() ? largest : KeyOf(found[0]);
    const std::vector<std::string> parameters = {"9", "1"};
    const auto matching =
        Execute(tx, first ? plan_.count_matching_first : plan_.count_matching, lower, upper, parameters);
    const auto changed = Execute(tx, first ? plan_.work_first : plan_.work, lower, upper, parameters);
    EXPECT_EQ(changed.affected_rows(), matching[0][0].as<std::size_t>());
    EXPECT_LE(changed.affected_rows(), 7u);
    cursor = upper;
  }
  EXPECT_EQ(tx.exec1("SELECT count(*) FILTER (WHERE n = 1), count(*) FROM " + table)[0].as<int>(), 100);
}

TEST_P(RenderedSqlTest, RecordedRowsAreLeftOutInVerify) {
  pqxx::work tx(connection_);
  tx.exec("SET search_path = " + plan_.search_path);
  const std::string table = QuoteIdentifier(plan_.schema) + "." + QuoteIdentifier(plan_.table);
  const std::string texts = absl::StrJoin(plan_.key, ", ", [](std::string* out, const std::string& column) {
    absl::StrAppend(out, QuoteIdentifier(column), "::text");
  });
  const pqxx::row one = tx.exec1("SELECT " + texts + " FROM " + table + " ORDER BY ctid LIMIT 1");
  const Key key = KeyOf(one);
  tx.exec_params(
      "INSERT INTO migration_control.failed_range VALUES ('backfill', $1, 'UNCHANGED'), ('another', '{x}', 'FAILED')",
      KeyArray(key));
  const std::vector<std::string> parameters = {"9", "1"};
  EXPECT_EQ(Execute(tx, plan_.count_matching_first, key, key, parameters)[0][0].as<int>(), 1);
  EXPECT_EQ(Execute(tx, plan_.count_verify_first, key, key, parameters)[0][0].as<int>(), 0);
  EXPECT_EQ(Execute(tx, plan_.select_unchanged_first, key, key, parameters).size(), 0u);
  EXPECT_EQ(Execute(tx, plan_.verify_work_first, key, key, parameters).affected_rows(), 0u);
  tx.exec("DELETE FROM migration_control.failed_range");
  const auto unchanged = Execute(tx, plan_.select_unchanged_first, key, key, parameters);
  ASSERT_EQ(unchanged.size(), 1u);
  MD_ASSERT_OK_AND_ASSIGN(const Key listed, ParseKeyArray(unchanged[0][0].c_str()));
  EXPECT_EQ(listed, key);
}

TEST_P(RenderedSqlTest, TheKeysIndexServesBothEndsOfTheRange) {
  pqxx::work tx(connection_);
  tx.exec("SET search_path = " + plan_.search_path);
  tx.exec(
      "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL plan_cache_mode = "
      "force_generic_plan");
  for (const std::string& sql : {plan_.next_bound, plan_.next_bound_first, plan_.work, plan_.work_first}) {
    tx.exec("PREPARE explained AS " + sql);
    const std::size_t values = 2 * plan_.key.size() + (sql.find("OFFSET") != std::string::npos ? 1 : 2);
    const std::string nulls = absl::StrJoin(std::vector<std::string>(values, "NULL"), ", ");
    std::string explained;
    for (const auto& row : tx.exec("EXPLAIN EXECUTE explained(" + nulls + ")"))
      absl::StrAppend(&explained, row[0].c_str(), "\n");
    EXPECT_THAT(explained, HasSubstr("Index Cond: (")) << sql;
    // Both bounds are index conditions: with one of them a filter, every batch would read the table to its end.
    const std::string condition = explained.substr(explained.find("Index Cond: "));
    EXPECT_THAT(condition.substr(0, condition.find('\n')), ::testing::AllOf(HasSubstr(">"), HasSubstr("<=")))
        << explained;
    EXPECT_THAT(explained, ::testing::Not(HasSubstr("Sort"))) << explained;
    tx.exec("DEALLOCATE explained");
  }
}

INSTANTIATE_TEST_SUITE_P(
    Keys, RenderedSqlTest,
    ::testing::Values(
        KeyCase{"Bigint", "id bigint PRIMARY KEY", "[id]", "SELECT i FROM generate_series(-50, 49) i"},
        KeyCase{"Smallint", "id smallint PRIMARY KEY", "[id]", "SELECT i FROM generate_series(1, 100) i"},
        KeyCase{"Uuid", "\"Id\" uuid PRIMARY KEY", "[Id]", "SELECT gen_random_uuid() FROM generate_series(1, 100)"},
        KeyCase{"Text", "id text COLLATE \"C\" PRIMARY KEY", "[id]",
                "SELECT chr(32 + i) || 'x' FROM generate_series(1, 94) i UNION ALL VALUES (''), ('\\'), ('\"'), ('é'), "
                "('{,}'), ('NULL')"},
        KeyCase{"Varchar", "id varchar(10) PRIMARY KEY", "[id]", "SELECT 'k' || i FROM generate_series(1, 100) i"},
        KeyCase{"Char", "id char(10) PRIMARY KEY", "[id]", "SELECT 'k' || i FROM generate_series(1, 100) i"},
        KeyCase{
            "Timestamptz", "at timestamptz PRIMARY KEY", "[at]",
            "SELECT '2026-01-01 00:00:00+00'::timestamptz + i * '1.000001 s'::interval FROM generate_series(1, 100) i"},
        KeyCase{"Composite", "a bigint, \"B \"\"x\" text, PRIMARY KEY (a, \"B \"\"x\")", "[a, 'B \"x']",
                "SELECT i / 10, 'k' || i FROM generate_series(1, 100) i"}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace migrationd
