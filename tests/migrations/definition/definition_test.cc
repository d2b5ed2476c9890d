// Good definitions: what is read, the defaults, the way back to YAML, the digest.
#include "migrations/definition/definition.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"
#include "migrations/definition/scalar_forms.h"

namespace migrationd {
namespace {

namespace v1 = migrationcontrol::v1;
using google::protobuf::util::MessageDifferencer;
using ::testing::ElementsAre;

std::string Problems(const DefinitionResult& result) {
  std::string text;
  for (const DefinitionProblem& problem : result.problems) absl::StrAppend(&text, FormatProblem("f", problem), "\n");
  return text;
}

v1::MigrationDefinition Parsed(const std::string& yaml) {
  DefinitionResult result = ParseDefinition(yaml);
  EXPECT_TRUE(result.ok()) << Problems(result) << yaml;
  return result.definition;
}

constexpr char kSmallest[] = R"(sql_batch:
  table: public.ci_builds
  statement: UPDATE ci_builds SET n = n + 1 WHERE {{batch}}
)";

// Every field that this version serves.
constexpr char kLargest[] = R"yaml(
format: 1
description: Point each build at its stage row.
milestone: "1.4"
target: main
sql_batch:
  table: public.ci_builds
  alias: b
  key: [id]
  min_key: [1]
  max_key: [1000]
  strategy: KEYSET
  where: b.stage_id IS NULL AND b.tenant = {{param.tenant}}
  statement: |
    UPDATE ci_builds AS b SET stage_id = s.id
    FROM ci_stages s WHERE s.pipeline_id = b.commit_id AND s.name = b.stage AND {{batch}}
  on_unchanged: ACCEPT
parameters: [{name: tenant, type: bigint, default: 1}]
pace: {batch_size: 2000, sub_batch_size: 200, max_batch_size: 60000, interval: 250ms, max_rows_per_second: 20000, lanes: 2,
       adaptive: {enabled: false, target_sub_batch_time: 50ms}, windows: ["Mon-Fri 22:00-06:00 Europe/Berlin"]}
retry: {max_attempts: 4, backoff: 6s, max_backoff: 1h, max_failed_ranges: 0, max_failed_ratio: 0}
start: MANUAL
order: STRICT
after: [other_migration, main/third_one]
preflight: {checks: [{name: has index, sql: "SELECT count(*) > 0 FROM pg_index"}]}
skip_if: SELECT false
prepare: ["CREATE TABLE IF NOT EXISTS done (id bigint)", "SET LOCAL work_mem = '1GB'"]
cleanup: {statements: ["DROP TABLE done"], when: AUTO}
commit: SYNC
priority: -5
labels: {team: ci, "area": "a: b # c"}
lock_timeout: 1s
statement_timeout: 10s
)yaml";

TEST(Definition, TheSmallestOneGetsEveryDefault) {
  const v1::MigrationDefinition d = Parsed(kSmallest);
  EXPECT_EQ(d.format(), 1);
  EXPECT_EQ(d.sql_batch().alias(), "ci_builds");
  EXPECT_EQ(d.sql_batch().strategy(), v1::STRATEGY_KEYSET);
  EXPECT_EQ(d.sql_batch().on_unchanged(), v1::ON_UNCHANGED_HALT);
  EXPECT_EQ(d.pace().batch_size(), 1000);
  EXPECT_EQ(d.pace().sub_batch_size(), 0);  // unset: adaptive up to batch_size
  EXPECT_EQ(d.pace().max_batch_size(), 50000);
  EXPECT_EQ(DurationNanoseconds(d.pace().interval()), 100'000'000);
  EXPECT_EQ(d.pace().max_rows_per_second(), 0);
  EXPECT_EQ(d.pace().lanes(), 1);
  EXPECT_TRUE(d.pace().adaptive().enabled());
  EXPECT_EQ(DurationNanoseconds(d.pace().adaptive().target_sub_batch_time()), 100'000'000);
  EXPECT_FALSE(d.pace().has_finish_within());
  EXPECT_EQ(d.retry().max_attempts(), 3);
  EXPECT_EQ(d.retry().backoff().seconds(), 5);
  EXPECT_EQ(d.retry().max_backoff().seconds(), 300);
  EXPECT_EQ(d.retry().max_failed_ranges(), 100);
  EXPECT_EQ(d.retry().max_failed_ratio(), 0.1);
  EXPECT_EQ(d.start(), v1::START_MODE_AUTO);
  EXPECT_EQ(d.order(), v1::ORDER_INDEPENDENT);
  EXPECT_EQ(d.cleanup().when(), v1::CLEANUP_WHEN_ON_DEMAND);
  EXPECT_EQ(d.commit(), v1::COMMIT_MODE_ASYNC);
  EXPECT_EQ(d.priority(), 0);
  EXPECT_EQ(DurationNanoseconds(d.lock_timeout()), 500'000'000);
  EXPECT_EQ(d.statement_timeout().seconds(), 5);
  EXPECT_FALSE(d.has_preflight());
}

TEST(Definition, EveryFieldIsRead) {
  const v1::MigrationDefinition d = Parsed(kLargest);
  EXPECT_EQ(d.milestone(), "1.4");
  EXPECT_EQ(d.target(), "main");
  EXPECT_EQ(d.sql_batch().alias(), "b");
  EXPECT_THAT(d.sql_batch().key(), ElementsAre("id"));
  EXPECT_THAT(d.sql_batch().min_key(), ElementsAre("1"));
  EXPECT_THAT(d.sql_batch().max_key(), ElementsAre("1000"));
  EXPECT_EQ(d.sql_batch().where(), "b.stage_id IS NULL AND b.tenant = {{param.tenant}}");
  EXPECT_EQ(d.sql_batch().on_unchanged(), v1::ON_UNCHANGED_ACCEPT);
  ASSERT_EQ(d.parameters_size(), 1);
  EXPECT_EQ(d.parameters(0).default_(), "1");
  EXPECT_EQ(d.pace().sub_batch_size(), 200);
  EXPECT_EQ(d.pace().max_batch_size(), 60000);
  EXPECT_EQ(d.pace().max_rows_per_second(), 20000);
  EXPECT_FALSE(d.pace().adaptive().enabled());
  EXPECT_THAT(d.pace().windows(), ElementsAre("Mon-Fri 22:00-06:00 Europe/Berlin"));
  EXPECT_EQ(d.retry().max_backoff().seconds(), 3600);
  EXPECT_EQ(d.retry().max_failed_ranges(), 0);  // a written zero is kept, not taken for unset
  EXPECT_EQ(d.retry().max_failed_ratio(), 0);
  EXPECT_EQ(d.start(), v1::START_MODE_MANUAL);
  EXPECT_EQ(d.order(), v1::ORDER_STRICT);
  EXPECT_THAT(d.after(), ElementsAre("other_migration", "main/third_one"));
  EXPECT_EQ(d.preflight().checks(0).name(), "has index");
  EXPECT_THAT(d.prepare(), ElementsAre("CREATE TABLE IF NOT EXISTS done (id bigint)", "SET LOCAL work_mem = '1GB'"));
  EXPECT_EQ(d.cleanup().when(), v1::CLEANUP_WHEN_AUTO);
  EXPECT_EQ(d.commit(), v1::COMMIT_MODE_SYNC);
  EXPECT_EQ(d.priority(), -5);
  EXPECT_EQ(d.labels().at("area"), "a: b # c");
  EXPECT_EQ(d.lock_timeout().seconds(), 1);
}

TEST(Definition, DefaultsFollowWhatIsGiven) {
  const std::string base(kSmallest);
  EXPECT_EQ(Parsed(base + "pace: {batch_size: 80000}\n").pace().max_batch_size(), 80000);
  EXPECT_EQ(Parsed(base + "retry: {backoff: 30m}\n").retry().max_backoff().seconds(), 1800);
}

TEST(Definition, TellsWhetherStartWasGiven) {
  EXPECT_FALSE(ParseDefinition(kSmallest).start_given);
  EXPECT_TRUE(ParseDefinition(std::string(kSmallest) + "start: AUTO\n").start_given);
}

TEST(Definition, NamesAreFoldedAsSqlDoesAndQuotedOnesKept) {
  const v1::MigrationDefinition d = Parsed(
      "sql_batch: {table: 'Public.\"Odd Table\"', statement: 'UPDATE \"Odd Table\" SET a = 1 WHERE {{batch}}'}\n");
  EXPECT_EQ(d.sql_batch().table(), "public.\"Odd Table\"");
  EXPECT_EQ(d.sql_batch().alias(), "\"Odd Table\"");
}

TEST(Definition, ANormalizedOneIsNotChangedByCheckingAgain) {
  for (const char* yaml : {kSmallest, kLargest}) {
    const v1::MigrationDefinition once = Parsed(yaml);
    const DefinitionResult twice = CheckDefinition(once);
    ASSERT_TRUE(twice.ok()) << Problems(twice);
    EXPECT_TRUE(MessageDifferencer::Equals(once, twice.definition));
  }
}

TEST(Definition, ToYamlAndBackIsTheSame) {
  for (const char* yaml : {kSmallest, kLargest}) {
    const v1::MigrationDefinition d = Parsed(yaml);
    const std::string written = ToYaml(d);
    EXPECT_TRUE(MessageDifferencer::Equals(d, Parsed(written))) << written;
    EXPECT_EQ(DefinitionDigest(d), DefinitionDigest(Parsed(written)));
  }
}

TEST(Definition, ToYamlKeepsEveryText) {
  for (const std::string& text :
       {std::string("a"),          std::string("a\nb"),      std::string("a\nb\n"),
        std::string("a\n\n  b\n"), std::string(" a\nb"),     std::string("a\n\n"),
        std::string("\na"),        std::string("tab\there"), std::string("a\n \nb"),
        std::string("null"),       std::string("~"),         std::string("true"),
        std::string("# c"),        std::string("a: b"),      std::string("'\"\\"),
        std::string("1.10"),       std::string("- x"),       std::string("é\u2028ü\u0085\n\uFEFFx"),
        std::string("\r\n"),       std::string("a\r\nb"),    std::string("{{x}}"),
        std::string("\x01\x7f"),   std::string("a \nb ")}) {
    v1::MigrationDefinition d = Parsed(kSmallest);
    d.set_description(text);
    (*d.mutable_labels())["a"] = text;
    d.mutable_sql_batch()->add_min_key(text);
    const v1::MigrationDefinition back = Parsed(ToYaml(d));
    EXPECT_EQ(back.description(), text) << ToYaml(d);
    EXPECT_EQ(back.labels().at("a"), text) << ToYaml(d);
    EXPECT_THAT(back.sql_batch().min_key(), ElementsAre(text)) << ToYaml(d);
  }
}

TEST(Definition, StatementsOfSeveralLinesAreWrittenAsBlocks) {
  EXPECT_THAT(ToYaml(Parsed(kLargest)),
              ::testing::HasSubstr("statement: |-\n    UPDATE ci_builds AS b SET stage_id = s.id\n"));
}

TEST(Definition, ANativeClassHasItsParametersAndDefaults) {
  const v1::MigrationDefinition d = Parsed("native:\n  class: shop::Score\n  parameters: {table: Public.T, words: 3, on: 'true', text: \"a: b\"}\n");
  EXPECT_EQ(d.native().class_name(), "shop::Score");
  EXPECT_EQ(d.native().parameters().at("table"), "public.t");
  EXPECT_EQ(d.native().parameters().at("words"), "3");
  EXPECT_EQ(d.order(), v1::ORDER_INDEPENDENT);
  const DefinitionResult back = ParseDefinition(ToYaml(d));
  EXPECT_TRUE(back.ok()) << Problems(back);
  EXPECT_TRUE(MessageDifferencer::Equals(back.definition, d)) << ToYaml(d);
  EXPECT_EQ(DefinitionDigest(back.definition), DefinitionDigest(d));
  EXPECT_NE(DefinitionDigest(d), DefinitionDigest(Parsed("native:\n  class: shop::Score\n  parameters: {table: public.t}\n")));
}

TEST(DefinitionDigest, IsTheSameForTheSameMeaning) {
  const std::string digest = DefinitionDigest(Parsed(kSmallest));
  EXPECT_EQ(digest.size(), 64u);
  // Other order, white space, comments, explicit defaults, a trailing semicolon.
  EXPECT_EQ(digest, DefinitionDigest(Parsed(R"(
# comment
priority: 0
commit: ASYNC
sql_batch: {statement: "  UPDATE ci_builds SET n = n + 1 WHERE {{batch}} ; ",   table: Public.CI_builds, alias: ci_builds}
pace:
  interval: 0.1s
  batch_size: 1000
retry: {backoff: 5000ms, max_failed_ratio: 1e-1}
preflight: {}
format: 1
)")));
}

TEST(DefinitionDigest, DoesNotDependOnTheOrderOfLabels) {
  const std::string base(kSmallest);
  EXPECT_EQ(DefinitionDigest(Parsed(base + "labels: {a: x, b: y, c: z}\n")),
            DefinitionDigest(Parsed(base + "labels: {c: z, b: y, a: x}\n")));
}

TEST(DefinitionDigest, DiffersWhereTheMeaningDoes) {
  const std::string base(kSmallest);
  const std::string digest = DefinitionDigest(Parsed(base));
  for (const char* line :
       {"priority: 1", "pace: {lanes: 2}", "labels: {a: b}", "commit: SYNC", "pace: {interval: 101ms}"}) {
    EXPECT_NE(digest, DefinitionDigest(Parsed(base + line + "\n"))) << line;
  }
}

}  // namespace
}  // namespace migrationd
