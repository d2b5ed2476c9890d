// Migrations of kind native, as the scheduler sees them: like any other, except where the class is missing.
#include "tests/server/scheduler/scheduler_world.h"
#include "tests/support/native_probe.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;

const std::string kNative = ProbeDefinition("public.t") + "pace: {batch_size: 20, sub_batch_size: 10}\n";

TEST(NativeScheduling, RunsLikeAnyOther) {
  SchedulerWorld world;
  world.Add("it", kNative);
  ASSERT_TRUE(world.Reaches("it", State::kCompleted));
  EXPECT_TRUE(world.EachRow(1));
}

// In the middle of an upgrade one process has the class already, the other not yet.
TEST(NativeScheduling, AProcessWithoutTheClassHoldsAndOneWithItWorks) {
  SchedulerWorld world(100, /*has_classes=*/false);
  world.Add("it", kNative);
  ASSERT_TRUE(world.PumpUntil([&] { return world.Get("it").hold.kind == HoldKind::kPreflight; }));
  EXPECT_THAT(world.Get("it").hold.reason, HasSubstr("class probe is not registered"));
  EXPECT_FALSE(world.Spins());
  EXPECT_NE(world.StateOf("it"), State::kHalted);
  EXPECT_EQ(world.database->Calls("TakeOver"), 0) << "nothing is written for nothing";
  ASSERT_TRUE(world.PumpUntil([&] { return world.scheduler.run_count() == 0; }));
  ASSERT_TRUE(world.OtherProcessBrings("it", State::kCompleted));
  EXPECT_TRUE(world.EachRow(1));
}

TEST(NativeScheduling, TwoOfOneTableWaitForEachOther) {
  SchedulerWorld world(1000);
  world.Add("first", kNative);
  world.Add("second", EveryRowYaml());
  ASSERT_TRUE(world.PumpUntil([&] { return world.Get("second").hold.kind == HoldKind::kWaitingTurn; }));
  EXPECT_THAT(world.Get("second").hold.reason, HasSubstr("first works on the same table"));
  ASSERT_TRUE(world.Reaches("second", State::kCompleted));
  EXPECT_TRUE(world.EachRow(2));
}

}  // namespace
}  // namespace migrationd
