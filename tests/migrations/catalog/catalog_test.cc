// Every definition that is shipped is a good one.
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "migrations/definition/definition.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

TEST(Catalog, EveryShippedFileIsAGoodDefinition) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(CATALOG_FOLDER)) {
    if (!entry.is_regular_file()) continue;
    const std::string file = entry.path().filename();
    MD_ASSERT_OK_AND_ASSIGN(const DefinitionName name, ParseFileName(file));
    EXPECT_TRUE(names.insert(name.name).second) << file << " has the name of another one";
    std::ostringstream text;
    text << std::ifstream(entry.path()).rdbuf();
    const DefinitionResult result = ParseDefinition(text.str());
    for (const DefinitionProblem& problem : result.problems) ADD_FAILURE() << FormatProblem(file, problem);
  }
  EXPECT_THAT(names, ::testing::IsSupersetOf({"copy_aid_to_bigint", "backfill_status", "increment_counter"}));
}

}  // namespace
}  // namespace migrationd
