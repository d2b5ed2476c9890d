#include "migrations/model/schema_steps.h"

#include <string>

#include "gmock/gmock.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

SchemaSteps Steps(const std::vector<std::pair<std::string, std::string>>& files) {
  const auto steps = SchemaSteps::Read(files);
  EXPECT_THAT(steps, IsOk());
  return steps.value();
}

std::vector<int> Numbers(const std::vector<SchemaStep>& steps) {
  std::vector<int> numbers;
  for (const SchemaStep& step : steps) numbers.push_back(step.number);
  return numbers;
}

// Two releases that add, one that takes away what the first of them needed, one that adds again.
SchemaSteps FourSteps() {
  return Steps({{"0001_made", "CREATE"}, {"0002_wider", "ALTER"}, {"0003_narrower", "-- contracting: oldest_program 2\nDROP"}, {"0004_index", "CREATE"}});
}

TEST(SchemaSteps, AreWhatTheirFilesSay) {
  const std::vector<SchemaStep> all = FourSteps().Due({}, Contracting::kApply);
  EXPECT_THAT(Numbers(all), ElementsAre(1, 2, 4, 3)) << "what takes away comes last";
  EXPECT_EQ(all[1].name, "0002_wider");
  EXPECT_EQ(all[1].sql, "ALTER");
  EXPECT_FALSE(all[1].contracting());
  EXPECT_EQ(all[3].oldest_program, 2);
  EXPECT_EQ(FourSteps().program_version(), 4);
}

TEST(SchemaSteps, ThatTakeAwayAreDueOnlyWhenAskedFor) {
  EXPECT_THAT(Numbers(FourSteps().Due({}, Contracting::kLeave)), ElementsAre(1, 2, 4));
  EXPECT_THAT(Numbers(FourSteps().Due({.version = 2, .oldest_program = 1}, Contracting::kLeave)), ElementsAre(4));
  EXPECT_THAT(Numbers(FourSteps().Due({.version = 2, .oldest_program = 1}, Contracting::kApply)), ElementsAre(4, 3));
  EXPECT_THAT(Numbers(FourSteps().Due({.version = 4, .oldest_program = 1}, Contracting::kApply)), ElementsAre(3));
  EXPECT_THAT(Numbers(FourSteps().Due({.version = 4, .oldest_program = 2}, Contracting::kApply)), IsEmpty());
}

TEST(SchemaSteps, OfANewerProgramAreNotUndone) {
  EXPECT_THAT(Numbers(FourSteps().Due({.version = 9, .oldest_program = 4}, Contracting::kApply)), IsEmpty());
  MD_EXPECT_OK(FourSteps().CheckProgram({.version = 9, .oldest_program = 4}, "It"));
  EXPECT_THAT(FourSteps().CheckProgram({.version = 9, .oldest_program = 5}, "The thing"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       "The thing has schema version 9, which needs a program that knows version 5 at least; this program knows version "
                       "4. Run a newer migrationd."));
}

TEST(SchemaSteps, ThatCannotBeInOrderAreRefused) {
  const auto refused = [](const std::string& why) { return StatusIs(absl::StatusCode::kInternal, HasSubstr(why)); };
  EXPECT_THAT(SchemaSteps::Read({}), refused("first schema step"));
  EXPECT_THAT(SchemaSteps::Read({{"0001_a", "-- contracting: oldest_program 1\n"}}), refused("0001_a: oldest_program must be an earlier step"));
  EXPECT_THAT(SchemaSteps::Read({{"0001_a", ""}, {"0003_b", ""}}), refused("0003_b: its number must be 2"));
  EXPECT_THAT(SchemaSteps::Read({{"first", ""}}), refused("first: its number must be 1"));
  EXPECT_THAT(SchemaSteps::Read({{"0001_a", ""}, {"0002_b", "-- contracting: 1\n"}}), refused("0002_b: the first line must be"));
  EXPECT_THAT(SchemaSteps::Read({{"0001_a", ""}, {"0002_b", "-- contracting: oldest_program 0\n"}}), refused("0002_b"));
  EXPECT_THAT(SchemaSteps::Read({{"0001_a", ""}, {"0002_b", "-- contracting: oldest_program -1\n"}}), refused("0002_b"));
  EXPECT_THAT(SchemaSteps::Read({{"0001_a", ""}, {"0002_b", "\n-- contracting: oldest_program 1\n"}}), refused("0002_b: `-- contracting:` must be its first line"));
  EXPECT_THAT(SchemaSteps::Read({{"0001_a", ""}, {"0002_b", "-- contracting: oldest_program 1\n"}, {"0003_c", "-- contracting: oldest_program 2\n"}}),
              refused("0003_c: oldest_program must be an earlier step that adds"));
  EXPECT_THAT(SchemaSteps::Read({{"0001_a", ""}, {"0002_b", "-- contracting: oldest_program 1\n"}, {"0003_c", "-- contracting: oldest_program 1\n"}}),
              refused("0003_c: oldest_program must be higher"));
}

}  // namespace
}  // namespace migrationd
