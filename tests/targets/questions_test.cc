// What the target is asked: tables, statements, conditions, where lanes begin and end.
#include <optional>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "migrations/model/failure.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_postgres.h"
#include "tests/targets/pgbouncer.h"
#include "tests/targets/target_fixture.h"

namespace migrationd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Inspecting : public ::testing::Test {
 protected:
  std::string url_ = FreshDatabase();
  std::unique_ptr<PostgresTarget> target_ = TargetAt(url_);
};

TEST_F(Inspecting, TellsColumnsAndKeysThatSurelyTellRowsApart) {
  Sql(url_, R"(CREATE TABLE t (
    a bigint NOT NULL, b varchar(20) NOT NULL, c uuid, d timestamptz NOT NULL DEFAULT now(),
    e int GENERATED ALWAYS AS (a::int * 2) STORED, PRIMARY KEY (b, a));
  CREATE UNIQUE INDEX ON t (d, a) INCLUDE (b);
  CREATE UNIQUE INDEX ON t (c);
  CREATE UNIQUE INDEX ON t (a) WHERE a > 0;
  CREATE UNIQUE INDEX ON t ((a + 1));
  CREATE INDEX ON t (a);
  ALTER TABLE t ADD CONSTRAINT later UNIQUE (a, d) DEFERRABLE)");
  MD_ASSERT_OK_AND_ASSIGN(const TableFacts facts, target_->Inspect({"", "t"}));
  EXPECT_EQ(facts.schema, "public");
  EXPECT_EQ(absl::StrCat(facts.oid), Ask(url_, "SELECT 't'::regclass::oid"));
  ASSERT_EQ(facts.columns.size(), 5u);
  EXPECT_EQ(facts.columns[1].type, "character varying(20)");
  EXPECT_FALSE(facts.columns[2].not_null);
  EXPECT_EQ(facts.columns[3].default_expression, "now()");
  EXPECT_TRUE(facts.columns[4].generated);
  EXPECT_EQ(facts.columns[4].default_expression, "");
  EXPECT_THAT(facts.primary_key, ElementsAre("b", "a"));
  EXPECT_THAT(facts.unique_keys, ElementsAre(ElementsAre("b", "a"), ElementsAre("d", "a")));
}

TEST_F(Inspecting, EstimatesRowsOfOrdinaryAndPartitionedTables) {
  MakeItems(url_, 5000);
  MD_ASSERT_OK_AND_ASSIGN(TableFacts facts, target_->Inspect({"public", "items"}));
  EXPECT_LT(facts.estimated_rows, 0) << "never analysed";
  Sql(url_, "ANALYZE items");
  MD_ASSERT_OK_AND_ASSIGN(facts, target_->Inspect({"public", "items"}));
  EXPECT_EQ(facts.estimated_rows, 5000);
  Sql(url_, R"(CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
    CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (100) TO (1000);
    INSERT INTO parts SELECT generate_series(0, 299); ANALYZE parts_1; ANALYZE parts_2)");
  MD_ASSERT_OK_AND_ASSIGN(facts, target_->Inspect({"public", "parts"}));
  EXPECT_EQ(facts.estimated_rows, 300);
  EXPECT_THAT(facts.primary_key, ElementsAre("id"));
}

TEST_F(Inspecting, NamesWhatIsMissingOrNoTable) {
  EXPECT_THAT(target_->Inspect({"public", "no\"where"}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("\"no\"\"where\"")));
  EXPECT_THAT(target_->Inspect({"nope", "t"}), StatusIs(absl::StatusCode::kNotFound, HasSubstr("nope")));
  Sql(url_, "CREATE VIEW v AS SELECT 1 AS id");
  EXPECT_THAT(target_->Inspect({"public", "v"}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("not a table")));
}

TEST_F(Inspecting, APartitionedTableIsMigratedLikeAnyOther) {
  Sql(url_, R"(CREATE TABLE items (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0) PARTITION BY HASH (id);
    CREATE TABLE items_0 PARTITION OF items FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE items_1 PARTITION OF items FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    INSERT INTO items SELECT generate_series(1, 200))");
  MD_ASSERT_OK(target_->Open(true));
  const MigrationPlan plan = PlanOf(*target_, IncrementDefinition());
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint taken, target_->TakeOver(Claiming()));
  MD_ASSERT_OK_AND_ASSIGN(const auto ranges, target_->PlanLanes(plan, 2));
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint checkpoint, target_->BeginPass(taken.claim, 1, ranges));
  MD_ASSERT_OK(RunLane(*target_, checkpoint, plan, 0, 13));
  MD_ASSERT_OK(RunLane(*target_, checkpoint, plan, 1, 13));
  EXPECT_EQ(Ask(url_, "SELECT count(*) FROM items WHERE n = 1"), "200");
}

class Planning : public Inspecting {
 protected:
  std::vector<LaneRange> Lanes(int count, const std::string& more = "") {
    auto lanes = target_->PlanLanes(PlanOf(*target_, IncrementDefinition(more)), count);
    EXPECT_THAT(lanes, IsOk());
    return lanes.ok() ? *std::move(lanes) : std::vector<LaneRange>();
  }
};

TEST_F(Planning, AnEmptyTableIsOneLaneThatIsDone) {
  MakeItems(url_, 0);
  const auto lanes = Lanes(4);
  ASSERT_EQ(lanes.size(), 1u);
  EXPECT_TRUE(lanes[0].done());
}

TEST_F(Planning, LanesFollowEachOtherWithoutGapOrOverlap) {
  MakeItems(url_, 1000);
  const auto lanes = Lanes(4);
  ASSERT_EQ(lanes.size(), 4u);
  EXPECT_EQ(lanes[0].lower, Key{"1"});
  EXPECT_TRUE(lanes[0].cursor.empty()) << "its first key is included";
  EXPECT_EQ(lanes[3].upper, Key{"1000"});
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    EXPECT_EQ(lanes[i].lane, static_cast<int>(i));
    if (i > 0) {
      EXPECT_EQ(lanes[i].cursor, lanes[i - 1].upper);
    }
    if (i < 3) {
      EXPECT_NEAR(std::stoi(lanes[i].upper[0]), 250 * (static_cast<int>(i) + 1), 3);
    }
  }
}

TEST_F(Planning, FewKeysMakeFewLanes) {
  for (const int rows : {1, 2, 3}) {
    const std::string url = FreshDatabase();
    MakeItems(url, rows);
    auto target = TargetAt(url);
    MD_ASSERT_OK_AND_ASSIGN(const auto lanes, target->PlanLanes(PlanOf(*target, IncrementDefinition()), 8));
    EXPECT_LE(lanes.size(), static_cast<std::size_t>(rows));
    EXPECT_EQ(lanes.back().upper, Key{absl::StrCat(rows)});
    for (const LaneRange& lane : lanes) EXPECT_FALSE(lane.done());
  }
}

TEST_F(Planning, ALargeTableIsSampled) {
  MakeItems(url_, 200000);
  Sql(url_, "ANALYZE items");
  const auto lanes = Lanes(2);
  ASSERT_EQ(lanes.size(), 2u);
  EXPECT_NEAR(std::stoi(lanes[0].upper[0]), 100000, 25000);
  EXPECT_EQ(lanes[1].upper, Key{"200000"});
}

TEST_F(Planning, BoundsOfTheDefinitionAreKept) {
  MakeItems(url_, 100);
  const auto lanes = Lanes(1, "  min_key: ['31']\n  max_key: ['60']\n");
  EXPECT_EQ(lanes[0].lower, Key{"31"});
  EXPECT_EQ(lanes[0].upper, Key{"60"});
  EXPECT_TRUE(Lanes(1, "  min_key: ['500']\n")[0].done());
}

class Asking : public Inspecting {
 protected:
  absl::Status Check(const std::string& sql, const std::vector<std::string>& types = {}) {
    return target_->CheckStatement(sql, types, "pg_catalog, public, pg_temp");
  }
  absl::StatusOr<bool> Ask2(const std::string& sql) { return target_->AskBoolean(sql, "pg_catalog, public, pg_temp"); }
};

TEST_F(Asking, AStatementIsParsedAndNotRun) {
  MakeItems(url_, 5);
  MD_EXPECT_OK(Check("UPDATE items SET n = 7 WHERE id > $1 AND id <= $2", {"bigint", "bigint"}));
  EXPECT_EQ(CountsAt(url_), "0:5");
  EXPECT_THAT(Check("UPDATE items SET m = 7"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at character 18")));
  EXPECT_THAT(Check("UPDATE items SET n = 7; DELETE FROM items"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("multiple")));
  EXPECT_THAT(Check("SELEC 1"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("SELEC")));
  EXPECT_THAT(Check("SELECT $1", {"no_such_type"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no_such_type")));
}

TEST_F(Asking, AQuestionIsOneBooleanAndWritesNothing) {
  MakeItems(url_, 5);
  MD_ASSERT_OK_AND_ASSIGN(bool answer, Ask2("SELECT count(*) = 5 FROM items -- five"));
  EXPECT_TRUE(answer);
  MD_ASSERT_OK_AND_ASSIGN(answer, Ask2("SELECT false"));
  EXPECT_FALSE(answer);
  for (const char* wrong : {"SELECT 1", "SELECT NULL::boolean", "SELECT true WHERE false",
                            "SELECT true FROM (SELECT generate_series(1, 1000000000)) AS many", "SELECT true, true",
                            "SELECT 't'", "UPDATE items SET n = 1", "SELECT true; SELECT true", "nonsense"}) {
    EXPECT_EQ(Ask2(wrong).status().code(), absl::StatusCode::kInvalidArgument) << wrong << ": " << Ask2(wrong).status();
  }
  Sql(url_, "CREATE FUNCTION sly() RETURNS boolean LANGUAGE sql AS 'UPDATE items SET n = 1; SELECT true'");
  EXPECT_FALSE(Ask2("SELECT sly()").ok());
  EXPECT_EQ(CountsAt(url_), "0:5");
}

TEST_F(Asking, AnUnreachableTargetIsUnavailable) {
  auto nowhere = TargetAt("postgresql:///db?host=/nowhere");
  EXPECT_EQ(nowhere->Health().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(nowhere->AskBoolean("SELECT true", "public").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(nowhere->TakeOver(Claiming()).status().code(), absl::StatusCode::kUnavailable);
  MD_ASSERT_OK_AND_ASSIGN(const TargetHealth health, target_->Health());
  EXPECT_FALSE(health.in_recovery);
  EXPECT_FALSE(health.pooled);
  EXPECT_GE(health.server_version, 130000);
}

// The part of lane 0 that is done with the cursor at the n-th of 2,000 rows, in the order of the key.
class Fractions : public ::testing::Test {
 protected:
  void Make(const std::string& columns, const std::string& rows) {
    Sql(url_, absl::StrCat("CREATE TABLE things (", columns, "); INSERT INTO things SELECT ", rows, " FROM generate_series(1, 2000) AS g"));
  }
  std::optional<double> At(int n, const std::string& key) {
    const MigrationPlan plan = PlanOf(*target_, "sql_batch:\n  table: public.things\n  statement: UPDATE things SET n = 1 WHERE {{batch}}\n");
    const auto ranges = target_->PlanLanes(plan, 1);
    EXPECT_THAT(ranges, IsOk());
    std::vector<LaneRange> lanes = *ranges;
    lanes[0].cursor = {Ask(url_, absl::StrCat("SELECT ", key, "::text FROM things ORDER BY things.", key, " OFFSET ", n - 1, " LIMIT 1"))};
    if (plan.key.size() > 1) lanes[0].cursor.push_back("0");
    const auto fractions = target_->KeyFractions(plan, lanes);
    EXPECT_THAT(fractions, IsOk());
    return fractions.ok() ? fractions->at(0) : std::nullopt;
  }
  const std::string url_ = FreshDatabase();
  const std::unique_ptr<PostgresTarget> target_ = TargetAt(url_);
};

TEST_F(Fractions, AreUnknownWithoutStatistics) {
  Make("id bigint PRIMARY KEY, n int", "g, 0");
  Sql(url_, "ALTER TABLE things SET (autovacuum_enabled = false)");
  EXPECT_EQ(At(1000, "id"), std::nullopt);
}

TEST_F(Fractions, OfKeysFarFromTheOthersAreNoPositionsInTheRange) {
  Make("id bigint PRIMARY KEY, n int", "CASE WHEN g < 1900 THEN g ELSE g * 1000000000::bigint END, 0");
  Sql(url_, "ANALYZE things");
  EXPECT_NEAR(At(1000, "id").value_or(-1), 0.5, 0.02);
  EXPECT_NEAR(At(1900, "id").value_or(-1), 0.95, 0.02);
  EXPECT_EQ(At(2000, "id"), 1.0);
  EXPECT_NEAR(At(1, "id").value_or(-1), 0, 0.001);
  // Between two bounds of the histogram.
  EXPECT_GT(At(1007, "id").value_or(-1), At(1000, "id").value_or(2));
}

TEST_F(Fractions, AreKnownForEveryTypeOfKey) {
  const std::pair<const char*, const char*> keys[] = {
      {"uuid", "md5(g::text)::uuid"},
      {"text", "'k' || lpad(g::text, 5, '0')"},
      {"varchar(30)", "'it''s {\"' || lpad(g::text, 5, '0') || '\\,}'"},
      {"timestamptz", "'2024-03-31 00:00+00'::timestamptz + g * interval '1 minute'"},
  };
  for (const auto& [type, value] : keys) {
    Sql(url_, "DROP TABLE IF EXISTS things");
    Make(absl::StrCat("id ", type, " PRIMARY KEY, n int"), absl::StrCat(value, ", 0"));
    Sql(url_, "ANALYZE things");
    EXPECT_NEAR(At(500, "id").value_or(-1), 0.25, 0.02) << type;
    EXPECT_EQ(At(2000, "id"), 1.0) << type;
  }
}

TEST_F(Fractions, OfSeveralColumnsGoByTheFirst) {
  Make("tenant int, id int, n int, PRIMARY KEY (tenant, id)", "g, 0, 0");
  Sql(url_, "ANALYZE things");
  EXPECT_NEAR(At(500, "tenant").value_or(-1), 0.25, 0.02);
}

// The next client of the pooler gets that connection of the server as it was left.
TEST(FindingBlockers, LeavesNoSettingWithTheConnectionOfAPooler) {
  if (!PgBouncer::Installed()) GTEST_SKIP() << "no PgBouncer installed";
  const std::string url = FreshDatabase();
  const std::string through = SharedPgBouncer().UrlFor(url);
  // What PgBouncer itself sets for each client is not ours.
  constexpr char kSettings[] = R"sql(
SELECT coalesce(string_agg(name || '=' || setting, ' ' ORDER BY name), '') FROM pg_settings
 WHERE source = 'session' AND name NOT IN ('application_name', 'client_encoding', 'DateStyle', 'standard_conforming_strings', 'TimeZone'))sql";
  const std::string backend = Ask(through, "SELECT pg_backend_pid()");
  const std::string before = Ask(through, kSettings);
  const auto target = TargetAt(url, Path::kPgBouncer);
  MD_ASSERT_OK_AND_ASSIGN(const std::string nobody, target->FindBlocker(std::stoi(backend), absl::Milliseconds(150)));
  EXPECT_EQ(nobody, "");
  ASSERT_EQ(Ask(through, "SELECT pg_backend_pid()"), backend) << "another connection would prove nothing";
  EXPECT_EQ(Ask(through, kSettings), before);
  EXPECT_EQ(Ask(through, "SHOW lock_timeout"), "0");
  EXPECT_EQ(Ask(through, "SHOW row_security"), "on");
}

}  // namespace
}  // namespace migrationd
