// Every refusal, with the place that is reported.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "migrations/definition/definition.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

struct BadDefinition {
  std::string name;  // of the case
  std::string yaml;
  std::string problem;  // FILE:LINE:COL: FIELD: and the beginning of the message
  std::string hint;     // further on in the message
};

void PrintTo(const BadDefinition& bad, std::ostream* out) { *out << bad.name; }

// A good definition of three lines, so what is added is line 4.
std::string With(const std::string& lines) {
  return "sql_batch:\n  table: t\n  statement: UPDATE t SET a = 1 WHERE {{batch}}\n" + lines + "\n";
}
// The same with a field of sql_batch in line 4.
std::string InBatch(const std::string& line) { return With("  " + line); }
// The statement in line 3.
std::string Statement(const std::string& sql) { return "sql_batch:\n  table: t\n  statement: " + sql + "\n"; }
// The list of columns in line 3.
std::string Columns(const std::string& list) { return "copy_columns:\n  table: t\n  columns: " + list + "\n"; }

// A statement that uses parameter a, and the list of parameters in line 4.
std::string WithParameter(const std::string& list) {
  return Statement("UPDATE t SET a = {{param.a}} WHERE {{batch}}") + "parameters: " + list + "\n";
}

std::vector<BadDefinition> BadDefinitions() {
  return {
      // YAML
      {"Empty", "", "f:1:1: the file is empty", ""},
      {"OnlyComments", "# nothing\n", "f:1:1: the file is empty", ""},
      {"NotYaml", "sql_batch: [\n", "f:2:1: this is not YAML", "quotes and indentation"},
      {"BadIndentation", "a: 1\n  b: 2\n", "f:2:4: this is not YAML", ""},
      {"UnclosedQuote", "description: \"x\n", "f:2:2: this is not YAML: illegal EOF in scalar", ""},
      {"UnclosedQuoteCutAtALine", "sql_batch:\n  table: t\n  statement: \"UPDATE t SET a = 1 WHERE {{batch}}\n",
       "f:4:2: this is not YAML: illegal EOF in scalar", ""},
      {"Tab", "sql_batch:\n\ttable: t\n", "f:2:7: this is not YAML", ""},
      {"ScalarRoot", "hello\n", "f:1:1: is not a mapping", ""},
      {"ListRoot", "- a\n", "f:1:1: is not a mapping", ""},
      {"SecondDocument", With("---\nformat: 1"), "f:4:1: a second document begins here", "one definition"},
      {"EmptySecondDocument", With("---"), "f:4:1: a second document begins here", ""},
      {"DuplicateKey", With("priority: 1\npriority: 2"), "f:5:1: priority: 'priority' is given twice", ""},
      {"DuplicateInnerKey", InBatch("table: u"), "f:4:3: sql_batch.table: 'table' is given twice", "keep one"},
      {"Anchor", With("description: &a x"), "f:4:14: description: anchors", "remove it"},
      {"Alias", With("labels: {a: &a x, b: *a}"), "f:4:13: labels.a: anchors", ""},
      {"Tag", With("description: !!str x"), "f:4:14: description: tags", "remove it"},
      {"LocalTag", With("pace: !pace {lanes: 1}"), "f:4:7: pace: tags (!pace)", ""},
      {"MergeKey", With("<<: {priority: 1}"), "f:4:1: merge keys", "write the fields out"},
      {"ComplexKey", With("? [a, b]\n: c"), "f:4:3: a key must be a plain word", ""},
      {"ControlCharacter", "description: a\x01\n", "f:1:15: a control character", ""},
      {"NotUtf8", "description: ok\nmilestone: \xff\n", "f:2:12: a control character, or a byte that is not UTF-8", ""},
      {"EscapedZeroByte", With("description: \"a\\0b\""), "f:4:14: description: holds a zero byte", ""},
      // Fields
      {"UnknownField", With("priorty: 1"), "f:4:1: priorty: unknown field; did you mean priority?", ""},
      {"UnknownFieldWithoutLikeness", With("zzzzzz: 1"), "f:4:1: zzzzzz: unknown field; expected one of format, ",
       "labels"},
      {"FieldInTheWrongPlace", With("batch_size: 5"), "f:4:1: batch_size: unknown field; did you mean pace.batch_size?",
       ""},
      {"UnknownInnerField", InBatch("wehre: a"), "f:4:3: sql_batch.wehre: unknown field; did you mean where?", ""},
      {"NoValue", With("priority:"), "f:4:1: priority: has no value", "remove the line"},
      {"NullText", InBatch("where: null"), "f:4:3: sql_batch.where: has no value", "quote"},
      {"EmptyWhere", InBatch("where: \"\""), "f:4:10: sql_batch.where: is empty", "remove the line"},
      {"ScalarForMessage", With("pace: fast"), "f:4:7: pace: is not a mapping", ""},
      {"ScalarForList", InBatch("key: id"), "f:4:8: sql_batch.key: is not a list", "[a, b]"},
      {"MapForScalar", With("description: {a: b}"), "f:4:14: description: is not a single value", ""},
      {"ListForMap", With("labels: [a]"), "f:4:9: labels: is not a mapping", ""},
      {"NullInList", InBatch("key: [~]"), "f:4:9: sql_batch.key[0]: has no value", ""},
      {"NestedMapInLabels", With("labels: {a: {b: c}}"), "f:4:10: labels.a: is not a single value", ""},
      {"NotANumber", With("priority: high"), "f:4:11: priority: 'high' is not a whole number", ""},
      {"FractionForNumber", With("priority: 1.5"), "f:4:11: priority: '1.5' is not a whole number", ""},
      {"NumberTooLarge", With("priority: 99999999999"), "f:4:11: priority: '99999999999' is out of range", ""},
      {"NotADuration", With("lock_timeout: 5"), "f:4:15: lock_timeout: '5' is not a duration", "250ms"},
      {"UnknownDurationUnit", With("lock_timeout: 5min"), "f:4:15: lock_timeout: '5min' is not a duration", ""},
      {"NegativeDuration", With("lock_timeout: -5s"), "f:4:15: lock_timeout: '-5s' is not a duration", ""},
      {"EndlessDuration", With("lock_timeout: 99999999999w"),
       "f:4:15: lock_timeout: '99999999999w' is longer than 100 years", ""},
      {"NotABoolean", With("pace: {adaptive: {enabled: yes}}"),
       "f:4:28: pace.adaptive.enabled: 'yes' is neither true nor false", ""},
      {"UnknownEnum", With("start: LATER"), "f:4:8: start: 'LATER' is not known; expected AUTO or MANUAL", ""},
      {"PrefixedEnum", With("start: START_MODE_AUTO"), "f:4:8: start: 'START_MODE_AUTO' is not known", ""},
      {"UnspecifiedEnum", With("commit: UNSPECIFIED"),
       "f:4:9: commit: 'UNSPECIFIED' is not known; expected ASYNC or SYNC", ""},
      {"NotASize", With("preflight: {free_bytes: 20GB}"), "f:4:25: preflight.free_bytes: '20GB' is not a size",
       "20GiB"},
      // Head
      {"UnknownFormat", With("format: 2"), "f:4:9: format: 2 is out of range", ""},
      {"WrittenZeroFormat", With("format: 0"), "f:4:9: format: 0 is out of range", ""},
      {"LongDescription", With("description: " + std::string(1001, 'x')), "f:4:14: description: is longer than 1,000",
       ""},
      {"LongMilestone", With("milestone: " + std::string(101, 'x')), "f:4:12: milestone: is longer than 100", ""},
      {"TargetName", With("target: a/b"), "f:4:9: target: 'a/b' is not the name of a target", ""},
      {"Priority", With("priority: 1001"), "f:4:11: priority: 1001 is out of range; it must be from -1000 to 1000", ""},
      {"LockTimeout", With("lock_timeout: 2m"), "f:4:15: lock_timeout: 2m is out of range; it must be from 1ms to 1m",
       ""},
      {"StatementTimeout", With("statement_timeout: 1ms"), "f:4:20: statement_timeout: 1ms is out of range", "10ms"},
      {"LabelKey", With("labels: {Team: ci}"), "f:4:10: labels.Team: is not a label's key", ""},
      {"LabelValue", With("labels: {team: " + std::string(64, 'x') + "}"), "f:4:10: labels.team: is longer than 63",
       ""},
      {"AfterName", With("after: [a, B]"), "f:4:12: after[1]: 'B' is not a migration", "target/name"},
      {"AfterTwice", With("after: [a, a]"), "f:4:12: after[1]: 'a' is named twice", ""},
      {"SkipIfIsNoQuery", With("skip_if: DELETE FROM t"), "f:4:10: skip_if: begins with DELETE", "SELECT"},
      {"SkipIfPlaceholder", With("skip_if: SELECT {{batch}}"), "f:4:10: skip_if: has the placeholder {{batch}}", ""},
      // Kind
      {"NoKind", "description: x\n", "f:1:1: lacks a kind", "sql_batch"},
      {"TwoKinds", With("copy_columns: {table: t}"), "f:4:1: copy_columns: a migration is of exactly one kind",
       "sql_batch is given already"},
      // delete_rows
      {"DeleteWithoutWhere", "delete_rows: {table: t}\n", "f:1:1: delete_rows.where: is missing", "created_at"},
      {"DeleteWithoutTable", "delete_rows: {where: a}\n", "f:1:1: delete_rows.table: is missing", ""},
      {"DeleteWithBatch", "delete_rows: {table: t, where: '{{batch}}'}\n", "f:1:32: delete_rows.where: ", ""},
      {"DeleteWithAlias", "delete_rows: {table: t, where: a, alias: b}\n", "f:1:35: delete_rows.alias: ", ""},
      {"OperationsNotServed", "operations: {steps: [{name: a, run: b}]}\n",
       "f:1:1: operations: this kind is not served", ""},
      // native
      {"NativeWithoutClass", "native: {parameters: {table: t}}\n", "f:1:1: native.class: is missing", "registered"},
      {"NativeClassName", "native: {class: a b, parameters: {table: t}}\n", "f:1:17: native.class: 'a b' is not the name of a class", "letter"},
      {"NativeWithoutTable", "native: {class: A, parameters: {a: b}}\n", "f:1:20: native.parameters.table: is missing", "name the table"},
      {"NativeWithoutParameters", "native: {class: A}\n", "f:1:1: native.parameters.table: is missing", ""},
      {"NativeTable", "native: {class: A, parameters: {table: a.b.c}}\n", "f:1:33: native.parameters.table: 'a.b.c' is not a name", ""},
      {"NativeParameterName", "native: {class: A, parameters: {table: t, From: b}}\n", "f:1:43: native.parameters.From: is not a parameter's name", ""},
      {"NativeParameterTooLong", "native: {class: A, parameters: {table: t, a: " + std::string(65537, 'x') + "}}\n",
       "f:1:43: native.parameters.a: has 65537 bytes", "65536"},
      {"NativeWithParametersOfStatements", "native: {class: A, parameters: {table: t}}\nparameters: [{name: a, type: text}]\n",
       "f:2:14: parameters[0]: has no use here", "native.parameters"},
      {"NativeUnknownField", "native: {class: A, table: t, parameters: {table: t}}\n", "f:1:20: native.table: ", ""},
      {"WorkerNotServed", "worker: {queue: q}\n", "f:1:1: worker: this kind is not served", ""},
      // sql_batch
      {"TableMissing", "sql_batch:\n  statement: UPDATE t SET a = 1 WHERE {{batch}}\n",
       "f:1:1: sql_batch.table: is missing", ""},
      {"TableName", "sql_batch:\n  table: a.b.c\n  statement: UPDATE t SET a = 1 WHERE {{batch}}\n",
       "f:2:10: sql_batch.table: 'a.b.c' is not a name", "schema.table"},
      {"TableInjection", "sql_batch:\n  table: t; DROP TABLE t\n  statement: UPDATE t SET a = 1 WHERE {{batch}}\n",
       "f:2:10: sql_batch.table: 't; DROP TABLE t' is not a name", ""},
      {"AliasName", InBatch("alias: a b"), "f:4:10: sql_batch.alias: 'a b' is not a name", ""},
      {"QuotedKey", InBatch("key: ['\"Id\"']"), "f:4:9: sql_batch.key[0]: is a column's name as it is in the table",
       ""},
      {"KeyTwice", InBatch("key: [a, a]"), "f:4:12: sql_batch.key[1]: 'a' is named twice", ""},

      {"BoundCount", With("  key: [a, b]\n  min_key: [1]"),
       "f:5:3: sql_batch.min_key: has 1 value, but the key has 2 columns", ""},
      {"MaxBoundCount", With("  key: [a]\n  max_key: [1, 2]"),
       "f:5:3: sql_batch.max_key: has 2 values, but the key has 1 column", ""},
      {"DistinctWithoutKey", InBatch("strategy: DISTINCT"), "f:4:13: sql_batch.strategy: DISTINCT walks the values of one column",
       "like [tenant_id]"},
      {"DistinctOverTwoColumns", With("  strategy: DISTINCT\n  key: [a, b]"), "f:5:3: sql_batch.key: DISTINCT walks the values of one column", "like [tenant_id]"},
      {"PhysicalWithoutWhere", InBatch("strategy: PHYSICAL"), "f:4:13: sql_batch.strategy: PHYSICAL needs `where`", "or use KEYSET"},
      {"StrategyUnknown", InBatch("strategy: RANDOM"), "f:4:13: sql_batch.strategy: 'RANDOM'", "PHYSICAL"},
      {"StatementMissing", "sql_batch:\n  table: t\n", "f:1:1: sql_batch.statement: is missing", "{{batch}}"},
      {"NoBatch", Statement("UPDATE t SET a = 1"), "f:3:14: sql_batch.statement: lacks {{batch}}", "WHERE {{batch}}"},
      {"TwoStatements", Statement("UPDATE t SET a = 1 WHERE {{batch}}; DROP TABLE t"),
       "f:3:14: sql_batch.statement: holds more than one statement", "DROP"},
      {"Commit", Statement("COMMIT"), "f:3:14: sql_batch.statement: begins with COMMIT",
       "UPDATE, DELETE, INSERT, MERGE"},
      {"Select", Statement("SELECT 1 FROM t WHERE {{batch}}"), "f:3:14: sql_batch.statement: begins with SELECT", ""},
      {"Do", Statement("DO $$ BEGIN END $$"), "f:3:14: sql_batch.statement: begins with DO", ""},
      {"Returning", Statement("UPDATE t SET a = 1 WHERE {{batch}} RETURNING a"),
       "f:3:14: sql_batch.statement: remove RETURNING: nobody reads the rows", ""},
      {"SkipLocked", Statement("DELETE FROM t WHERE id IN (SELECT id FROM t WHERE {{batch}} FOR UPDATE SKIP LOCKED)"),
       "f:3:14: sql_batch.statement: remove SKIP LOCKED", "left behind"},
      {"UnknownPlaceholder", Statement("UPDATE t SET a = 1 WHERE {{ batch }}"),
       "f:3:14: sql_batch.statement: unknown placeholder {{ batch }}", "without spaces"},
      {"BatchInQuotes", Statement("UPDATE t SET a = '{{batch}}' WHERE {{batch}}"),
       "f:3:14: sql_batch.statement: a placeholder inside quotes", "move it out"},
      {"BatchInComment", Statement("UPDATE t SET a = 1 /* {{batch}} */"),
       "f:3:14: sql_batch.statement: a placeholder inside", ""},
      {"UndeclaredParameter", Statement("UPDATE t SET a = {{param.x}} WHERE {{batch}}"),
       "f:3:14: sql_batch.statement: {{param.x}} is not declared", "parameters"},
      {"RawParameter", Statement("UPDATE t SET a = $1 WHERE {{batch}}"),
       "f:3:14: sql_batch.statement: $1 is not available", ""},
      {"OpenQuote", Statement("\"UPDATE t SET a = 'x WHERE {{batch}}\""),
       "f:3:14: sql_batch.statement: the string is not closed", ""},
      {"WhereSemicolon", InBatch("where: a IS NULL; DROP TABLE t"), "f:4:10: sql_batch.where: must not contain ';'",
       ""},
      {"WhereWord", InBatch("where: WHERE a IS NULL"), "f:4:10: sql_batch.where: begins with WHERE", "leave"},
      {"WhereEscapes", InBatch("where: a) OR (true"), "f:4:10: sql_batch.where: ')' closes nothing", ""},
      {"WhereBatch", InBatch("where: a AND {{batch}}"), "f:4:10: sql_batch.where: must not contain {{batch}}", ""},
      // copy_columns
      {"NoColumns", "copy_columns:\n  table: t\n", "f:1:1: copy_columns.columns: is missing", ""},
      {"FromMissing", Columns("[{to: b}]"), "f:3:13: copy_columns.columns[0].from: is missing", ""},
      {"ToMissing", Columns("[{from: b}]"), "f:3:13: copy_columns.columns[0].to: is missing", ""},
      {"SameColumn", Columns("[{from: a, to: a}]"), "f:3:27: copy_columns.columns[0].to: is the same column", ""},
      {"DestinationTwice", Columns("[{from: a, to: c}, {from: b, to: c}]"),
       "f:3:45: copy_columns.columns[1].to: 'c' is written twice", ""},
      {"Chain", Columns("[{from: a, to: b}, {from: b, to: c}]"),
       "f:3:27: copy_columns.columns[0].to: 'b' is also a source", "after"},
      {"ExpressionPlaceholder", Columns("[{from: a, to: b, expression: 'a + {{param.x}}'}]"),
       "f:3:42: copy_columns.columns[0].expression: has the placeholder", ""},
      {"ExpressionEscapes", Columns("[{from: a, to: b, expression: 'a), c = (1'}]"),
       "f:3:42: copy_columns.columns[0].expression: ')' closes nothing", ""},
      {"DestinationInKey", "copy_columns:\n  table: t\n  key: [b]\n  columns: [{from: a, to: b}]\n",
       "f:4:27: copy_columns.columns[0].to: 'b' is part of the key", ""},
      // Parameters
      {"ParameterName", With("parameters: [{name: A, type: text}]"), "f:4:21: parameters[0].name: 'A' must begin with",
       ""},
      {"ParameterType", WithParameter("[{name: a, type: money}]"),
       "f:4:30: parameters[0].type: 'money' is not a parameter's type", "bigint"},
      {"ParameterDefault", WithParameter("[{name: a, type: bigint, default: x}]"),
       "f:4:47: parameters[0].default: 'x' is not a whole number", ""},
      {"ParameterUnused", With("parameters: [{name: a, type: bigint}]"),
       "f:4:14: parameters[0]: {{param.a}} is used nowhere", ""},
      // Pace
      {"BatchSizeZero", With("pace: {batch_size: 0}"), "f:4:20: pace.batch_size: 0 is out of range; it must be from 1",
       ""},
      {"BatchSizeNegative", With("pace: {batch_size: -5}"), "f:4:20: pace.batch_size: -5 is out of range", ""},
      {"BatchSizeAboveMost", With("pace: {batch_size: 200, max_batch_size: 100}"),
       "f:4:20: pace.batch_size: 200 is above max_batch_size 100", ""},
      {"MaxBatchSize", With("pace: {max_batch_size: 10000001}"),
       "f:4:24: pace.max_batch_size: 10000001 is out of range", ""},
      {"SubBatchAboveBatch", With("pace: {batch_size: 10, sub_batch_size: 11}"),
       "f:4:40: pace.sub_batch_size: 11 is above batch_size 10", ""},
      {"SubBatchAboveDefault", With("pace: {sub_batch_size: 1001}"),
       "f:4:24: pace.sub_batch_size: 1001 is above batch_size 1000", ""},
      {"Interval", With("pace: {interval: 61m}"),
       "f:4:18: pace.interval: 61m is out of range; it must be from 0s to 1h", ""},
      {"Rate", With("pace: {max_rows_per_second: -1}"), "f:4:29: pace.max_rows_per_second: -1 is out of range", ""},
      {"Lanes", With("pace: {lanes: 17}"), "f:4:15: pace.lanes: 17 is out of range", "1 to 16"},
      {"TargetTime", With("pace: {adaptive: {target_sub_batch_time: 1ms}}"),
       "f:4:42: pace.adaptive.target_sub_batch_time: 1ms is out of range", ""},
      {"Window", With("pace: {windows: [\"Mon-Fri 25:00-06:00\"]}"),
       "f:4:18: pace.windows[0]: 'Mon-Fri 25:00-06:00' is not a window", ""},
      {"FinishWithinNotServed", With("pace: {finish_within: 7d}"),
       "f:4:23: pace.finish_within: a deadline is not served", "remove it"},
      // Retry
      {"Attempts", With("retry: {max_attempts: 0}"), "f:4:23: retry.max_attempts: 0 is out of range", ""},
      {"Backoff", With("retry: {backoff: 2h}"), "f:4:18: retry.backoff: 2h is out of range", ""},
      {"MaxBackoffBelowBackoff", With("retry: {backoff: 10s, max_backoff: 5s}"),
       "f:4:36: retry.max_backoff: 5s is out of range", "10s"},
      {"FailedRanges", With("retry: {max_failed_ranges: -1}"), "f:4:28: retry.max_failed_ranges: -1 is out of range",
       ""},
      {"FailedRatio", With("retry: {max_failed_ratio: 1.5}"), "f:4:27: retry.max_failed_ratio: 1.5 is out of range",
       ""},
      {"FailedRatioForm", With("retry: {max_failed_ratio: nan}"),
       "f:4:27: retry.max_failed_ratio: 'nan' is not a decimal", ""},
      // Preflight, prepare, cleanup
      {"FreeBytesNotServed", With("preflight: {free_bytes: 20GiB}"),
       "f:4:25: preflight.free_bytes: a demand for free space is not", ""},
      {"GatesNotServed", With("preflight: {close_gates: [a]}"),
       "f:4:13: preflight.close_gates: closing gates is not served", ""},
      {"CheckName", With("preflight: {checks: [{sql: SELECT true}]}"), "f:4:22: preflight.checks[0].name: is missing",
       ""},
      {"CheckSql", With("preflight: {checks: [{name: a}]}"), "f:4:22: preflight.checks[0].sql: is missing", ""},
      {"CheckTwoStatements", With("preflight: {checks: [{name: a, sql: SELECT 1; SELECT 2}]}"),
       "f:4:37: preflight.checks[0].sql: holds more than one statement", ""},
      {"PrepareTransaction", With("prepare: [BEGIN]"), "f:4:11: prepare[0]: begins with BEGIN", "transaction"},
      {"PrepareSet", With("prepare: [SET work_mem = 1]"), "f:4:11: prepare[0]: begins with SET", "SET LOCAL"},
      {"PrepareConcurrently", With("prepare: [CREATE INDEX CONCURRENTLY i ON t (a)]"),
       "f:4:11: prepare[0]: CONCURRENTLY cannot run", ""},
      {"CleanupVacuum", With("cleanup: {statements: [VACUUM t]}"), "f:4:24: cleanup.statements[0]: VACUUM cannot run",
       ""},
      {"PrepareEmpty", With("prepare: ['-- nothing']"), "f:4:11: prepare[0]: is empty", ""},
  };
}

class BadDefinitionTest : public ::testing::TestWithParam<BadDefinition> {};

TEST_P(BadDefinitionTest, IsRefusedAtItsPlace) {
  const DefinitionResult result = ParseDefinition(GetParam().yaml);
  ASSERT_FALSE(result.ok()) << GetParam().yaml;
  const std::string text = FormatProblem("f", result.problems[0]);
  EXPECT_EQ(text.substr(0, GetParam().problem.size()), GetParam().problem) << text;
  EXPECT_THAT(text, HasSubstr(GetParam().hint));
}

INSTANTIATE_TEST_SUITE_P(Each, BadDefinitionTest, ::testing::ValuesIn(BadDefinitions()),
                         [](const auto& info) { return info.param.name; });

TEST(BadDefinition, AllProblemsAreReportedInTheOrderOfTheFile) {
  const DefinitionResult result = ParseDefinition(With("priorty: 1\npace: {lanes: 99, batch_size: x}\nstart: NEVER"));
  std::vector<std::string> fields;
  for (const DefinitionProblem& problem : result.problems) fields.push_back(problem.field);
  EXPECT_THAT(fields, ::testing::ElementsAre("priorty", "pace.lanes", "pace.batch_size", "start"));
}

TEST(BadDefinition, AFieldThatCannotBeReadIsReportedOnce) {
  EXPECT_THAT(ParseDefinition("sql_batch: {table: [], statement: []}\n").problems, SizeIs(2));
}

TEST(BadDefinition, AtMostFiftyProblemsAreReported) {
  std::string yaml;
  for (int i = 0; i < 200; ++i) absl::StrAppend(&yaml, "unknown", i, ": x\n");
  EXPECT_THAT(ParseDefinition(yaml).problems, SizeIs(50));
}

TEST(BadDefinition, TooDeepOrTooLargeIsRefused) {
  const std::string deep = "description: " + std::string(100, '[') + std::string(100, ']') + "\n";
  ASSERT_FALSE(ParseDefinition(deep).ok());
  EXPECT_THAT(ParseDefinition(deep).problems[0].message, HasSubstr("nesting is deeper than 20"));
  const std::string large = With("description: " + std::string(256 * 1024, 'x'));
  ASSERT_FALSE(ParseDefinition(large).ok());
  EXPECT_THAT(ParseDefinition(large).problems[0].message, HasSubstr("at most 262144"));
}

TEST(BadDefinition, AnUndefinedAliasIsAProblemNotACrash) { EXPECT_FALSE(ParseDefinition("a: *b\n").ok()); }

// By message, what YAML cannot express.
TEST(BadDefinition, AMessageWithWhatOnlyMessagesCanHoldIsRefused) {
  migrationcontrol::v1::MigrationDefinition good;
  good.mutable_sql_batch()->set_table("t");
  good.mutable_sql_batch()->set_statement("UPDATE t SET a = 1 WHERE {{batch}}");
  ASSERT_TRUE(CheckDefinition(good).ok());

  auto bad = good;
  bad.mutable_sql_batch()->set_where(std::string("a\0b", 3));
  EXPECT_EQ(CheckDefinition(bad).problems.at(0).field, "sql_batch.where");
  bad = good;
  bad.set_start(static_cast<migrationcontrol::v1::StartMode>(77));
  EXPECT_EQ(CheckDefinition(bad).problems.at(0).field, "start");
  bad = good;
  bad.mutable_lock_timeout()->set_nanos(2'000'000'000);
  EXPECT_EQ(CheckDefinition(bad).problems.at(0).field, "lock_timeout");
  bad = good;
  bad.mutable_lock_timeout()->set_seconds(-1);
  EXPECT_EQ(CheckDefinition(bad).problems.at(0).field, "lock_timeout");
  bad = good;
  bad.mutable_retry()->set_max_failed_ratio(std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(CheckDefinition(bad).problems.at(0).field, "retry.max_failed_ratio");
  bad = good;
  bad.mutable_sql_batch()->GetReflection()->MutableUnknownFields(bad.mutable_sql_batch())->AddVarint(999, 1);
  EXPECT_EQ(CheckDefinition(bad).problems.at(0).field, "sql_batch");
  bad = good;
  bad.mutable_sql_batch()->set_where(std::string(300 * 1024, 'a'));
  EXPECT_THAT(CheckDefinition(bad).problems.at(0).message, HasSubstr("at most 262144"));
}

}  // namespace
}  // namespace migrationd
