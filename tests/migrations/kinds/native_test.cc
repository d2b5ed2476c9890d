// Native classes without a database: parameters, registry, the plan, and the SQL that a batch makes.
#include "migrations/kinds/native.h"

#include <stdexcept>

#include "gmock/gmock.h"
#include "migrations/definition/definition.h"
#include "migrations/kinds/native_plan.h"
#include "migrations/kinds/plan.h"
#include "tests/migrations/kinds/table_of.h"
#include "tests/support/native_probe.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Code = absl::StatusCode;

TEST(NativeParameters, AreReadByTheirTypes) {
  NativeParameters parameters({{"table", "public.t"}, {"a", "x"}, {"n", "-7"}, {"b", "true"}, {"c", "Odd Name"}});
  EXPECT_EQ(parameters.Table(), "public.t");
  EXPECT_EQ(parameters.Text("a"), "x");
  EXPECT_EQ(parameters.Text("none", "fallback"), "fallback");
  EXPECT_EQ(parameters.Integer("n", -10, 10), -7);
  EXPECT_EQ(parameters.Integer("m", 1, 10, 3), 3);
  EXPECT_TRUE(parameters.Boolean("b", false));
  EXPECT_TRUE(parameters.Boolean("d", true));
  EXPECT_EQ(parameters.Column("c"), "Odd Name");
  MD_EXPECT_OK(parameters.status());
}

TEST(NativeParameters, ReportAllThatIsWrongAtOnce) {
  NativeParameters parameters({{"table", "t"}, {"n", "11"}, {"b", "yes"}, {"c", "\"x\""}, {"wrods", "3"}, {"zzz", "1"}});
  parameters.Text("a");
  EXPECT_EQ(parameters.Integer("n", 1, 10), 1) << "something of its type";
  parameters.Integer("i", 1, 10);
  parameters.Integer("words", 1, 8, 3);
  parameters.Boolean("b", false);
  parameters.Column("c");
  parameters.Refuse("own", "is not prime");
  EXPECT_THAT(parameters.status(),
              StatusIs(Code::kInvalidArgument,
                       AllOf(HasSubstr("native.parameters.a: is missing"), HasSubstr("native.parameters.n: '11' is not a whole number from 1 to 10"),
                             HasSubstr("native.parameters.i: is missing"), HasSubstr("native.parameters.b: 'yes' is neither"),
                             HasSubstr("native.parameters.c: is a column's name"), HasSubstr("native.parameters.own: is not prime"),
                             HasSubstr("native.parameters.wrods: is not known; did you mean words?"),
                             HasSubstr("native.parameters.zzz: is not known; known are a, b, c, i, n, own, table, words"))));
}

TEST(SqlArray, QuotesEveryValue) {
  EXPECT_EQ(SqlArray({}), "{}");
  EXPECT_EQ(SqlArray({"a", std::nullopt, "", "NULL", "x,\"y\"\\{"}), R"({"a",NULL,"","NULL","x,\"y\"\\{"})");
}

NativeRegistry::Factory Probe() {
  return [](NativeParameters&) -> absl::StatusOr<std::unique_ptr<NativeMigration>> {
    return std::make_unique<NativeProbe>(NativeShape(), [](NativeBatch&) { return absl::StatusOr<std::int64_t>(0); });
  };
}

TEST(NativeRegistry, FindsClassesByName) {
  NativeRegistry natives;
  natives.Add("shop::Backfill", Probe());
  natives.Add("another", Probe());
  MD_EXPECT_OK(natives.status());
  EXPECT_TRUE(natives.Has("another"));
  EXPECT_THAT(natives.names(), ElementsAre("another", "shop::Backfill"));
  MD_EXPECT_OK(natives.Make("another", {{"table", "t"}}));
  EXPECT_THAT(natives.Make("anothr", {{"table", "t"}}), StatusIs(Code::kNotFound, HasSubstr("'anothr' is not registered in this migrationd; registered: another, "
                                                                                            "shop::Backfill")));
  EXPECT_THAT(NativeRegistry().Make("x", {}), StatusIs(Code::kNotFound, HasSubstr("registered: none")));
  EXPECT_THAT(natives.Make("another", {{"table", "t"}, {"a", "1"}}), StatusIs(Code::kInvalidArgument, HasSubstr("native.parameters.a: is not known")));
}

TEST(NativeRegistry, RemembersTheFirstMistake) {
  NativeRegistry twice;
  twice.Add("a", Probe());
  twice.Add("a", Probe());
  twice.Add("", Probe());
  EXPECT_THAT(twice.status(), StatusIs(Code::kAlreadyExists, HasSubstr("a is registered twice")));
  for (const char* name : {"", "1a", "a b", "a\"", "ä"}) {
    NativeRegistry bad;
    bad.Add(name, Probe());
    EXPECT_THAT(bad.status(), StatusIs(Code::kInvalidArgument, HasSubstr("no name of a native class"))) << name;
  }
  NativeRegistry empty;
  empty.Add("a", nullptr);
  EXPECT_THAT(empty.status(), StatusIs(Code::kInvalidArgument, HasSubstr("no factory")));
}

TEST(NativeRegistry, AFactoryThatFailsOrThrowsIsAnError) {
  NativeRegistry natives;
  natives.Add("fails", [](NativeParameters&) -> absl::StatusOr<std::unique_ptr<NativeMigration>> { return absl::InternalError("no key file"); });
  natives.Add("throws", [](NativeParameters&) -> absl::StatusOr<std::unique_ptr<NativeMigration>> { throw std::runtime_error("boom"); });
  natives.Add("throws_int", [](NativeParameters&) -> absl::StatusOr<std::unique_ptr<NativeMigration>> { throw 1; });
  natives.Add("makes_nothing", [](NativeParameters&) -> absl::StatusOr<std::unique_ptr<NativeMigration>> { return nullptr; });
  natives.Add("wrong", [](NativeParameters& p) -> absl::StatusOr<std::unique_ptr<NativeMigration>> {
    p.Text("file");
    throw std::runtime_error("no file");
  });
  const std::map<std::string, std::string> some = {{"table", "t"}, {"later", "1"}};
  EXPECT_THAT(natives.Make("fails", some), StatusIs(Code::kFailedPrecondition, HasSubstr("fails: no key file")));
  EXPECT_THAT(natives.Make("throws", some), StatusIs(Code::kFailedPrecondition, HasSubstr("boom")));
  EXPECT_THAT(natives.Make("throws_int", some), StatusIs(Code::kFailedPrecondition, HasSubstr("threw")));
  EXPECT_THAT(natives.Make("makes_nothing", some), StatusIs(Code::kFailedPrecondition, HasSubstr("made nothing")));
  EXPECT_THAT(natives.Make("wrong", some),
              StatusIs(Code::kInvalidArgument, AllOf(HasSubstr("native.parameters.file: is missing"), Not(HasSubstr("later")))));
}

TableFacts Items() { return FactsOf("items", {{"id", "bigint"}, {"n", "integer"}, {"name", "character varying(20)"}}, {"id"}); }

absl::StatusOr<MigrationPlan> PlanWith(const NativeRegistry& natives, const TableFacts& table = Items()) {
  const DefinitionResult parsed = ParseDefinition(ProbeDefinition("public.items"));
  EXPECT_TRUE(parsed.ok());
  PlanContext context;
  context.name = "backfill";
  context.natives = &natives;
  return MakePlan(parsed.definition, table, context);
}

absl::StatusOr<MigrationPlan> PlanWithShape(NativeShape shape, const TableFacts& table = Items()) {
  return PlanWith(*ProbeRegistry(IncrementN, std::move(shape)), table);
}

TEST(NativePlan, HasNoStatementButTheConditionOfItsRows) {
  MD_ASSERT_OK_AND_ASSIGN(const MigrationPlan plan, PlanWithShape({.where = "items.n = 0 -- so"}));
  EXPECT_THAT((std::vector<std::string>{plan.work, plan.work_first, plan.verify_work, plan.verify_work_first}), ::testing::Each(IsEmpty()));
  ASSERT_NE(plan.native, nullptr);
  EXPECT_EQ(plan.native->class_name, "probe");
  EXPECT_EQ(plan.native->rows, "(" + plan.range + " AND (items.n = 0))");
  EXPECT_EQ(plan.native->rows_first, "(" + plan.range_first + " AND (items.n = 0))");
  EXPECT_THAT(plan.native->verify_rows, HasSubstr("migration_control.failed_range"));
  EXPECT_THAT(plan.native->verify_rows_first, HasSubstr("migration_control.failed_range"));
  EXPECT_TRUE(plan.has_where);
  EXPECT_THAT(plan.count_matching, HasSubstr("items.n = 0"));
  EXPECT_EQ(plan.native->types.at("name"), "character varying") << "a cast with a length would cut";
}

TEST(NativePlan, WithoutWhereMeansEveryRowOnce) {
  MD_ASSERT_OK_AND_ASSIGN(const MigrationPlan plan, PlanWithShape({}));
  EXPECT_FALSE(plan.has_where);
  EXPECT_EQ(plan.native->rows, "(" + plan.range + ")");
  EXPECT_EQ(plan.key, (Key{"id"}));
}

TEST(NativePlan, IsRefusedWhereTheTableDoesNotAllowIt) {
  EXPECT_THAT(PlanWithShape({.columns = {"nn"}}), StatusIs(Code::kFailedPrecondition, HasSubstr("no column 'nn'")));
  EXPECT_THAT(PlanWithShape({.key = {"n"}}), StatusIs(Code::kFailedPrecondition, HasSubstr("unique")));
  for (const char* where : {"n = 0; DROP TABLE items", "n = 0)", "{{batch}}", "n = {{param.a}}"}) {
    EXPECT_THAT(PlanWithShape({.where = where}), StatusIs(Code::kFailedPrecondition, HasSubstr("native.class: probe: its condition"))) << where;
  }
  EXPECT_THAT(PlanWith(NativeRegistry()), StatusIs(Code::kNotFound, HasSubstr("'probe' is not registered")));
}

TEST(NativePlan, TheDigestCoversTheColumnsThatTheClassNamesOrAll) {
  const auto digest = [](const NativeShape& shape, const TableFacts& table) {
    const auto plan = PlanWithShape(shape, table);
    EXPECT_THAT(plan, IsOk());
    return plan.ok() ? plan->column_digest : "";
  };
  TableFacts changed = Items();
  changed.columns[2].type = "text";
  EXPECT_EQ(digest({.columns = {"n"}}, Items()), digest({.columns = {"n"}}, changed));
  EXPECT_NE(digest({.where = "name IS NULL", .columns = {"n"}}, Items()), digest({.where = "name IS NULL", .columns = {"n"}}, changed));
  EXPECT_NE(digest({}, Items()), digest({}, changed));
}

// Throws where it should not.
class Thrower final : public NativeMigration {
 public:
  explicit Thrower(bool in_shape) : in_shape_(in_shape) {}
  NativeShape Shape() const override { return in_shape_ ? throw std::runtime_error("shapeless") : NativeShape(); }
  absl::Status CheckColumns(const std::vector<NativeColumn>& columns) const override {
    EXPECT_EQ(columns.size(), 3u) << "all, when none is named";
    throw 1;
  }
  absl::StatusOr<std::int64_t> RunSubBatch(NativeBatch&) const override { return 0; }

 private:
  const bool in_shape_;
};

TEST(NativePlan, WhatTheClassThrowsIsAnError) {
  for (const bool in_shape : {true, false}) {
    NativeRegistry natives;
    natives.Add("probe", [=](NativeParameters&) -> absl::StatusOr<std::unique_ptr<NativeMigration>> { return std::make_unique<Thrower>(in_shape); });
    EXPECT_THAT(PlanWith(natives), StatusIs(Code::kFailedPrecondition, HasSubstr(in_shape ? "shapeless" : "CheckColumns threw")));
    const DefinitionResult parsed = ParseDefinition(ProbeDefinition("public.items"));
    EXPECT_FALSE(NativeTellsRows(natives, parsed.definition));
  }
  const DefinitionResult parsed = ParseDefinition(ProbeDefinition("public.items"));
  EXPECT_TRUE(NativeTellsRows(*ProbeRegistry(IncrementN, {.where = "n = 0"}), parsed.definition));
  EXPECT_FALSE(NativeTellsRows(*ProbeRegistry(IncrementN), parsed.definition));
}

TEST(NativeDefinition, ItsTableIsAParameter) {
  const DefinitionResult parsed = ParseDefinition(ProbeDefinition("Public.\"Odd Table\""));
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(TableOf(parsed.definition), "public.\"Odd Table\"") << "as the other kinds write it, for one migration a table at once";
}

}  // namespace
}  // namespace migrationd
