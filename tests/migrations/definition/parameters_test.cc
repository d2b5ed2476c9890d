#include "migrations/definition/parameters.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "migrations/definition/definition.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

migrationcontrol::v1::MigrationDefinition WithParameters() {
  return ParseDefinition(R"(
sql_batch: {table: t, statement: "UPDATE t SET a = {{param.a}}, b = {{param.b}} WHERE {{batch}}"}
parameters: [{name: a, type: bigint, default: 7}, {name: b, type: text}]
)")
      .definition;
}

TEST(Parameters, GivenValuesGoBeforeDefaults) {
  MD_ASSERT_OK_AND_ASSIGN(const auto bound, BindParameters(WithParameters(), {{"b", ""}}));
  EXPECT_THAT(bound, ElementsAre(Pair("a", "7"), Pair("b", "")));
  MD_ASSERT_OK_AND_ASSIGN(const auto given, BindParameters(WithParameters(), {{"a", "-1"}, {"b", "x"}}));
  EXPECT_THAT(given, ElementsAre(Pair("a", "-1"), Pair("b", "x")));
}

TEST(Parameters, MissingUnknownAndIllTypedOnesAreRefused) {
  using Code = absl::StatusCode;
  EXPECT_THAT(BindParameters(WithParameters(), {}),
              StatusIs(Code::kInvalidArgument, HasSubstr("parameter b (text) has no default")));
  EXPECT_THAT(BindParameters(WithParameters(), {{"b", ""}, {"c", ""}}),
              StatusIs(Code::kInvalidArgument, HasSubstr("unknown parameter 'c'; the definition declares a, b")));
  EXPECT_THAT(BindParameters(WithParameters(), {{"a", "one"}, {"b", ""}}),
              StatusIs(Code::kInvalidArgument, HasSubstr("parameter a (bigint): 'one' is not a whole number")));
}

TEST(Parameters, ValuesAreCheckedByTheirType) {
  const std::vector<std::pair<std::string, std::string>> good = {{"bigint", "9223372036854775807"},
                                                                 {"integer", "-2147483648"},
                                                                 {"text", "anything\n"},
                                                                 {"boolean", "false"},
                                                                 {"uuid", "0198C0DE-0000-7000-8000-000000000001"},
                                                                 {"numeric", "-12.50e3"},
                                                                 {"numeric", ".5"},
                                                                 {"date", "2026-11-20"},
                                                                 {"timestamptz", "2026-11-20T09:30:00Z"},
                                                                 {"timestamptz", "2026-11-20 09:30:00.25+01:00"},
                                                                 {"jsonb", "{\"a\": [1]}"}};
  for (const auto& [type, value] : good) MD_EXPECT_OK(CheckParameterValue(type, value)) << type << " " << value;
  const std::vector<std::pair<std::string, std::string>> bad = {{"bigint", "9223372036854775808"},
                                                                {"bigint", ""},
                                                                {"integer", "2147483648"},
                                                                {"integer", "1.0"},
                                                                {"boolean", "yes"},
                                                                {"uuid", "0198c0de"},
                                                                {"numeric", "1e"},
                                                                {"numeric", "."},
                                                                {"numeric", "1 2"},
                                                                {"date", "2026-02-30"},
                                                                {"date", "20.11.2026"},
                                                                {"timestamptz", "2026-11-20 09:30:00"},
                                                                {"timestamptz", "now"},
                                                                {"jsonb", "{a: 1}"},
                                                                {"text", std::string(1, '\0')},
                                                                {"text", "\xff"}};
  for (const auto& [type, value] : bad) {
    EXPECT_THAT(CheckParameterValue(type, value), StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_))
        << type << " " << value;
  }
}

}  // namespace
}  // namespace migrationd
