// Sizes changed while a migration runs.
#include "absl/strings/str_cat.h"
#include "tests/e2e/end_to_end.h"

namespace migrationd {
namespace {

using Stub = v1::MigrationControl::Stub;

class SizesTest : public EndToEnd {
 protected:
  // Of the newest batch that ended as it should; a default one when there is none yet.
  v1::Job NewestWholeJob(const std::string& name) {
    v1::ListJobsRequest request;
    request.set_migration(name);
    request.set_page_size(20);
    const auto response = Call(server(), &Stub::ListJobs, request);
    EXPECT_THAT(response, IsOk());
    if (!response.ok()) return {};
    for (const v1::Job& job : response->jobs()) {
      if (job.outcome() == "DONE") return job;
    }
    return {};
  }
};

TEST_F(SizesTest, ANewBatchSizeTakesEffectWithTheNextJobs) {
  constexpr int kRows = 20000;
  MakeCounter(kRows);
  StartServer();
  Define("count_rows", CounterYaml({.batch_size = 50, .sub_batch_size = 10, .interval = "50ms"}));
  ASSERT_TRUE(PassesRows("count_rows", 0));
  ASSERT_TRUE(WaitUntil(
      [&] { return Get("count_rows").state() == v1::STATE_RUNNING && NewestWholeJob("count_rows").batch_size() == 50; },
      kPatience, absl::Milliseconds(50)));

  const auto set = SetBatchSize("count_rows", 120, 60);
  ASSERT_THAT(set, IsOk());
  EXPECT_EQ(set->migration().batch_size(), 120);
  EXPECT_EQ(set->migration().batch_size_override().value(), 120);
  v1::Job job;
  ASSERT_TRUE(WaitUntil([&] { return (job = NewestWholeJob("count_rows")).batch_size() == 120 && job.rows() == 120; },
                        kPatience, absl::Milliseconds(50)))
      << job.ShortDebugString();
  EXPECT_LE(job.sub_batch_size(), 60);
  EXPECT_EQ(job.sub_batches(), 2);

  // The command line does the same.
  const CommandResult cli = Migrationctl({"set-batch-size", "count_rows", "4000"});
  ASSERT_EQ(cli.exit_status, 0) << cli.err;
  EXPECT_TRUE(
      WaitUntil([&] { return NewestWholeJob("count_rows").batch_size() == 4000; }, kPatience, absl::Milliseconds(50)));
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(kRows));
}

TEST_F(SizesTest, SizesOutOfRangeAreRefusedAndNothingChanges) {
  MakeCounter(5000);
  StartServer();
  Define("count_rows", CounterYaml({.batch_size = 50, .sub_batch_size = 10, .interval = "50ms"}));
  ASSERT_TRUE(PassesRows("count_rows", 0));
  ASSERT_THAT(Pause("count_rows"), IsOk());
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_PAUSED));
  const v1::Migration before = Get("count_rows");
  Sql control(control_url_);
  const std::string recorded = control.Text("SELECT m::text FROM migrationd.migration m");
  const std::string on_target = target().Fingerprint();

  EXPECT_THAT(SetBatchSize("count_rows", 0), StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
  EXPECT_THAT(SetBatchSize("count_rows", -1), StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
  // The bounds are in the message.
  EXPECT_THAT(
      SetBatchSize("count_rows", before.max_batch_size() + 1),
      StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr(absl::StrCat(before.max_batch_size()))));
  EXPECT_THAT(SetBatchSize("count_rows", 100, 101), StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
  EXPECT_THAT(SetBatchSize("count_rows", 100, -1), StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
  const CommandResult cli = Migrationctl({"set-batch-size", "count_rows", absl::StrCat(before.max_batch_size() + 1)});
  EXPECT_EQ(cli.exit_status, 1) << cli.out << cli.err;

  const v1::Migration after = Get("count_rows");
  EXPECT_EQ(after.batch_size(), before.batch_size());
  EXPECT_EQ(after.sub_batch_size(), before.sub_batch_size());
  EXPECT_EQ(after.revision(), before.revision());
  EXPECT_EQ(control.Text("SELECT m::text FROM migrationd.migration m"), recorded);
  EXPECT_EQ(target().Fingerprint(), on_target);
}

}  // namespace
}  // namespace migrationd
