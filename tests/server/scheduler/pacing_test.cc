// Rests and sizes of what runs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "migrations/model/failure.h"
#include "tests/server/scheduler/scheduler_world.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::Le;

std::string Yaml(const std::string& pace) {
  return absl::StrCat("sql_batch:\n  table: public.t\n  statement: UPDATE t SET n = n + 1 WHERE {{batch}}\npace: ", pace, "\norder: INDEPENDENT\n");
}

class Pacing : public ::testing::Test {
 protected:
  int RowsDone() {
    const std::vector<int> times = world_.database->Times();
    return static_cast<int>(std::count_if(times.begin(), times.end(), [](int n) { return n > 0; }));
  }
  void Rounds(int rounds) {
    world_.PumpUntil([&, left = rounds]() mutable { return --left <= 0; });
  }

  SchedulerWorld world_{4000};
};

// 100 rounds are two seconds.
TEST_F(Pacing, ABatchThatFailedRestsForWhatItHadDone) {
  world_.database->before = [&, calls = std::make_shared<std::atomic<int>>(0)](const std::string& call, const std::stop_token&) {
    const bool taken = call == "RunSubBatch" && ++*calls % 2 == 0;
    return taken ? DatabaseError("55P03", "lock not available") : absl::OkStatus();
  };
  world_.Add("a", Yaml("{batch_size: 20, sub_batch_size: 10, interval: 10s}"));
  ASSERT_TRUE(world_.PumpUntil([&] { return RowsDone() > 0; }));
  Rounds(100);
  EXPECT_EQ(RowsDone(), 10);
  ASSERT_TRUE(world_.PumpUntil([&] { return RowsDone() > 10; })) << "and then goes on";
  Rounds(100);
  EXPECT_LE(RowsDone(), 20);
}

TEST_F(Pacing, ARestThatHasBegunOutlastsACut) {
  world_.Add("a", Yaml("{batch_size: 20, sub_batch_size: 10, interval: 10s}"));
  ASSERT_TRUE(world_.PumpUntil([&] { return RowsDone() == 20; }));
  Rounds(10);
  PaceRequest request;
  request.settings.lanes = 4;
  MD_ASSERT_OK(world_.controller.SetPace("a", request, ByAlice()));
  ASSERT_TRUE(world_.PumpUntil([&] { return Resolve(*world_.board.Get(), "a")->stored.migration.progress.lanes.size() >= 4; }));
  Rounds(100);
  EXPECT_EQ(RowsDone(), 20);
  EXPECT_TRUE(world_.PumpUntil([&] { return RowsDone() > 20; })) << "and then goes on";
}

TEST_F(Pacing, ABatchSizeWithoutASubBatchIsACeilingOnly) {
  std::vector<int> sizes;
  world_.database->statement = [&](int keys, int) {
    sizes.push_back(keys);
    world_.clock.Advance(absl::Milliseconds(6) * keys);
    return absl::OkStatus();
  };
  world_.Add("a", Yaml("{batch_size: 1000, interval: 10s}"));
  ASSERT_TRUE(world_.PumpUntil([&] { return RowsDone() >= 1000; }));
  SizeRequest request;
  request.batch_size = 500;
  MD_ASSERT_OK(world_.controller.SetBatchSize("a", request, ByAlice()));
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.Get("a").size_override.has_value(); }));
  ASSERT_TRUE(world_.PumpUntil([&] { return RowsDone() >= 2000; }));
  Rounds(10);
  // Two were under way before the first one was known to be slow.
  EXPECT_THAT(std::vector<int>(sizes.begin() + 2, sizes.end()), Each(Le(30))) << "about 16 rows are what fits";
}

TEST_F(Pacing, ASubBatchThatWasSetEndsWithItsOverride) {
  std::vector<int> sizes;
  world_.database->statement = [&](int keys, int) {
    sizes.push_back(keys);
    return absl::OkStatus();
  };
  world_.Add("a", Yaml("{batch_size: 200, sub_batch_size: 20, interval: 1s}"));
  SizeRequest request;
  request.batch_size = 500;
  request.sub_batch_size = 250;
  MD_ASSERT_OK(world_.controller.SetBatchSize("a", request, ByAlice()));
  ASSERT_TRUE(world_.PumpUntil([&] { return RowsDone() >= 1000; }));
  EXPECT_THAT(sizes, Contains(250));
  request = SizeRequest();
  request.automatic = true;
  MD_ASSERT_OK(world_.controller.SetBatchSize("a", request, ByAlice()));
  Rounds(200);
  const int done = RowsDone();
  sizes.clear();
  ASSERT_TRUE(world_.PumpUntil([&] { return RowsDone() > done + 500; }));
  Rounds(10);
  EXPECT_THAT(sizes, Each(Le(20)));
}

}  // namespace
}  // namespace migrationd
