#include "tests/server/control/control_world.h"
#include "tests/support/native_probe.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

const DefinitionName kName{"20261120093000", "one"};

TEST(TargetValidationTest, AGoodDefinitionHasNoProblems) {
  ControlWorld world;
  std::vector<std::string> checked;
  world.target->on_check = [&](const std::string& sql) {
    checked.push_back(sql);
    return absl::OkStatus();
  };
  MD_ASSERT_OK_AND_ASSIGN(const auto problems, world.controller.ValidateOnTarget(
                                                   kName, DefinitionOf(DefinitionYaml("skip_if: SELECT false\n"))));
  EXPECT_THAT(problems, IsEmpty());
  EXPECT_THAT(checked, ::testing::Contains("SELECT false"));
  EXPECT_THAT(checked, ::testing::Contains(HasSubstr("UPDATE t SET done = true")));
}

TEST(TargetValidationTest, AMissingTableIsAProblemOfItsField) {
  ControlWorld world;
  world.target->on_inspect = [](const TableName&) { return absl::NotFoundError("there is no table public.t."); };
  MD_ASSERT_OK_AND_ASSIGN(const auto problems,
                          world.controller.ValidateOnTarget(kName, DefinitionOf(DefinitionYaml())));
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_EQ(problems[0].field, "sql_batch.table");
  EXPECT_THAT(problems[0].message, HasSubstr("public.t"));
}

TEST(TargetValidationTest, ATableWithoutAUsableKeyIsAProblem) {
  ControlWorld world;
  world.target->on_inspect = [](const TableName& table) {
    auto facts = FakeTarget::Facts(table);
    facts->primary_key.clear();
    facts->unique_keys.clear();
    return facts;
  };
  MD_ASSERT_OK_AND_ASSIGN(const auto problems,
                          world.controller.ValidateOnTarget(kName, DefinitionOf(DefinitionYaml())));
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_EQ(problems[0].field, "sql_batch");
}

TEST(TargetValidationTest, AStatementThatTheTargetRefusesIsAProblemOfItsField) {
  ControlWorld world;
  world.target->on_check = [](const std::string& sql) {
    return sql.find("UPDATE") == std::string::npos ? absl::OkStatus()
                                                   : absl::InvalidArgumentError("syntax error at or near \"SETT\"");
  };
  MD_ASSERT_OK_AND_ASSIGN(const auto problems,
                          world.controller.ValidateOnTarget(kName, DefinitionOf(DefinitionYaml())));
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_EQ(problems[0].field, "sql_batch.statement");
}

TEST(TargetValidationTest, ANativeClassIsCheckedWithItsConditionAndItsTable) {
  const auto natives = ProbeRegistry(IncrementN, {.where = "t.n = 0"});
  ControllerOptions options;
  options.natives = natives.get();
  ControlWorld world(options);
  std::vector<std::string> checked;
  world.target->on_check = [&](const std::string& sql) {
    checked.push_back(sql);
    return absl::InvalidArgumentError("no such operator");
  };
  const auto good = DefinitionOf("native: {class: probe, parameters: {table: t}}\n");
  MD_ASSERT_OK_AND_ASSIGN(auto problems, world.controller.ValidateOnTarget(kName, good));
  EXPECT_THAT(checked, ::testing::ElementsAre(HasSubstr("t.n = 0"))) << "there is no statement to prepare";
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_EQ(problems[0].field, "native.class");
  world.target->on_inspect = [](const TableName&) { return absl::NotFoundError("there is no table t."); };
  MD_ASSERT_OK_AND_ASSIGN(problems, world.controller.ValidateOnTarget(kName, good));
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_EQ(problems[0].field, "native.parameters.table");

  const auto unknown = DefinitionOf("native: {class: other, parameters: {table: t}}\n");
  for (const auto& found : {world.controller.ValidateHere(unknown), world.controller.ValidateOnTarget(kName, unknown).value()}) {
    ASSERT_EQ(found.size(), 1U);
    EXPECT_THAT(FormatProblem("f", found[0]), HasSubstr("f: native.class: 'other' is not registered in this migrationd; registered: probe"));
  }
  EXPECT_THAT(world.controller.ValidateHere(good), IsEmpty());
}

TEST(TargetValidationTest, AnUnknownTargetIsAProblemOfItsField) {
  ControlWorld world;
  MD_ASSERT_OK_AND_ASSIGN(const auto problems,
                          world.controller.ValidateOnTarget(kName, DefinitionOf(DefinitionYaml("target: mian\n"))));
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_EQ(problems[0].field, "target");
}

TEST(TargetValidationTest, ATargetThatIsAwayIsNoProblemOfTheDefinition) {
  ControlWorld world;
  world.target->on_inspect = [](const TableName&) { return absl::UnavailableError("no route to host"); };
  EXPECT_THAT(world.controller.ValidateOnTarget(kName, DefinitionOf(DefinitionYaml())),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("no route")));
}

}  // namespace
}  // namespace migrationd
