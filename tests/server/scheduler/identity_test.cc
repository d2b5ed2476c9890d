// Which database stands behind a target's name, and what that means for what was begun there.
#include "absl/strings/str_cat.h"
#include "tests/server/scheduler/scheduler_world.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

class Identity : public ::testing::Test {
 protected:
  void PauseMidRun(const std::string& name) {
    ASSERT_TRUE(world_.PumpUntil([&] { return world_.database->Calls("RunSubBatch") > 2; }));
    MD_ASSERT_OK(world_.controller.Pause(name, std::nullopt, /*immediate=*/false, ByAlice()));
    ASSERT_TRUE(world_.Reaches(name, State::kPaused));
  }

  SchedulerWorld world_{1000};
};

TEST_F(Identity, ALostSchemaStaysLostWhenAnotherMigrationMakesANewOne) {
  world_.Add("count", EveryRowYaml());
  PauseMidRun("count");
  world_.database->DropControlSchema();
  // Has never written here, so it may begin; that makes the database a new identity.
  world_.Add("another", EveryRowYaml());
  ASSERT_TRUE(world_.Reaches("another", State::kCompleted));

  const std::vector<int> before = world_.database->Times();
  MD_ASSERT_OK(world_.controller.Resume("count", ByAlice()));
  ASSERT_TRUE(world_.Reaches("count", State::kHalted));
  EXPECT_EQ(world_.HaltOf("count"), kHaltCheckpointLost);
  EXPECT_EQ(world_.database->Times(), before) << "rows were done twice";
}

TEST_F(Identity, ALostSchemaHaltsOneThatRuns) {
  world_.Add("count", EveryRowYaml());
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.database->Calls("RunSubBatch") > 2; }));
  world_.database->DropControlSchema();
  ASSERT_TRUE(world_.Reaches("count", State::kHalted));
  EXPECT_EQ(world_.HaltOf("count"), kHaltCheckpointLost);
}

TEST_F(Identity, AnotherDatabaseIsBegunAnewByAllThatWereBegunOnTheOldOne) {
  world_.Add("another", EveryRowYaml());
  ASSERT_TRUE(world_.Reaches("another", State::kCompleted));
  world_.Add("count", EveryRowYaml());
  PauseMidRun("count");
  world_.database->Replace();
  MD_ASSERT_OK(world_.controller.Resume("count", ByAlice()));
  ASSERT_TRUE(world_.PumpUntil([&] {
    return world_.StateOf("count") == State::kCompleted && world_.StateOf("another") == State::kCompleted;
  }));
  EXPECT_TRUE(world_.EachRow(2)) << "once by each of the two";
}

}  // namespace
}  // namespace migrationd
