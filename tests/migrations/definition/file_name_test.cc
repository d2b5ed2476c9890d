#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "migrations/definition/definition.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;

TEST(FileName, GivesVersionAndName) {
  MD_ASSERT_OK_AND_ASSIGN(const DefinitionName name, ParseFileName("20261120093000_backfill_2.yaml"));
  EXPECT_EQ(name.version, "20261120093000");
  EXPECT_EQ(name.name, "backfill_2");
  MD_EXPECT_OK(ParseFileName("20240229235959_" + std::string(63, 'a') + ".yaml"));  // a leap day
}

TEST(FileName, OfAnotherFormIsRefused) {
  for (const std::string& name :
       {std::string(""), std::string(".yaml"), std::string("a.yaml"), std::string("20261120093000.yaml"),
        std::string("20261120093000_a.yml"), std::string("20261120093000-a.yaml"), std::string("2026112009300_a.yaml"),
        std::string("2026112009300x_a.yaml")}) {
    EXPECT_THAT(ParseFileName(name), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("14 digits"))) << name;
  }
}

TEST(FileName, WithATimeThatIsNoneIsRefused) {
  for (const char* name : {"20261320093000_a.yaml", "20260230093000_a.yaml", "20261120243000_a.yaml",
                           "20261120096000_a.yaml", "20250229000000_a.yaml"}) {
    EXPECT_THAT(ParseFileName(name), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("date and time"))) << name;
  }
}

TEST(FileName, WithABadNameIsRefused) {
  for (const std::string& name : {std::string(""), std::string("A"), std::string("1a"), std::string("a-b"),
                                  std::string("_a"), std::string("a.b"), std::string(64, 'a')}) {
    EXPECT_THAT(CheckName({"20261120093000", name}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a-z")))
        << name;
  }
}

}  // namespace
}  // namespace migrationd
