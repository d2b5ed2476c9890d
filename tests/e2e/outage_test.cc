// Databases that go away and come back: the process stays up, says so, and goes on by itself.
#include "absl/strings/str_cat.h"
#include "tests/e2e/end_to_end.h"
#include "tests/e2e/own_cluster.h"

namespace migrationd {
namespace {

using Stub = v1::MigrationControl::Stub;

class OutageTest : public EndToEnd {
 protected:
  static constexpr int kRows = 20000;
  absl::StatusOr<v1::StatusResponse> Status(const std::string& name) {
    v1::StatusRequest request;
    request.set_migration(name);
    return Call(server(), &Stub::Status, request);
  }
  OwnCluster cluster_;
};

TEST_F(OutageTest, WithoutItsControlStoreItAnswersRefusesChangesAndGoesOnWhenItIsBack) {
  MakeCounter(kRows);
  control_url_ = cluster_.Database("control");
  StartServer();
  Define("count_rows", CounterYaml({.interval = "30ms"}));
  ASSERT_TRUE(PassesRows("count_rows", 100));
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_RUNNING));

  cluster_.Crash();
  EXPECT_TRUE(WaitUntil([&] { return server().Health() == "NOT_SERVING"; }, absl::Seconds(30))) << server().Health();
  // Reads are answered from memory, and say how old that is.
  const auto first = Status("count_rows");
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(first->migration().state(), v1::STATE_RUNNING);
  // Mutations change nothing and say so.
  EXPECT_THAT(Pause("count_rows"), StatusIs(absl::StatusCode::kUnavailable, ::testing::HasSubstr("freeze")))
      << "the DBA's way is not named";
  EXPECT_THAT(SetBatchSize("count_rows", 200), StatusIs(absl::StatusCode::kUnavailable, ::testing::_));
  // Longer than the lease: whoever owned it does not any more, and stops.
  ASSERT_TRUE(WaitUntil([&] { return LaneBackends() == 0; }, absl::Seconds(30))) << "it works on without a lease";
  EXPECT_TRUE(NothingCommits("count_rows", absl::Seconds(1)));
  const std::int64_t rows = RowsDone("count_rows");
  EXPECT_EQ(target().Number("SELECT sum(n) FROM counter"), rows);
  ASSERT_LT(rows, kRows);
  const auto later = Status("count_rows");
  ASSERT_THAT(later, IsOk());
  EXPECT_LT(absl::FromUnixSeconds(later->migration().as_of().seconds()), absl::Now() - absl::Seconds(1))
      << "as_of must be that of the last look";
  EXPECT_TRUE(server().Running());

  cluster_.Restart();
  EXPECT_TRUE(WaitUntil([&] { return server().Health() == "SERVING"; }, absl::Seconds(60))) << server().Health();
  ASSERT_TRUE(PassesRows("count_rows", rows));
  ASSERT_TRUE(WaitUntil([&] { return SetBatchSize("count_rows", 20000, 5000).ok(); }));
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(kRows));
}

TEST_F(OutageTest, WithoutItsTargetItBacksOffAndGoesOnWhenItIsBack) {
  target_url_ = cluster_.Database("main");
  MakeCounter(kRows);
  StartServer();
  Define("count_rows", CounterYaml({.interval = "30ms"}));
  ASSERT_TRUE(PassesRows("count_rows", 100));
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_RUNNING));

  DropConnections();
  cluster_.Crash();
  ASSERT_TRUE(HeldBy("count_rows", v1::HOLD_KIND_BACKOFF));
  const v1::Migration held = Get("count_rows");
  EXPECT_EQ(held.state(), v1::STATE_RUNNING);
  EXPECT_EQ(held.attempts(), 0) << "a target that is away uses no attempts";
  EXPECT_FALSE(held.hold().reason().empty());
  EXPECT_THAT(held.hold().reason(), ::testing::Not(::testing::HasSubstr("postgresql://")));
  // What needs only the control store works; what needs the target says so and promises nothing.
  const auto paused = Pause("count_rows", /*immediate=*/true);
  EXPECT_THAT(paused, StatusIs(absl::StatusCode::kUnavailable, ::testing::_));
  EXPECT_EQ(Get("count_rows").state(), v1::STATE_PAUSING);
  ASSERT_THAT(Resume("count_rows"), IsOk());
  EXPECT_TRUE(server().Running());

  cluster_.Restart();
  const std::int64_t rows = RowsDone("count_rows");
  EXPECT_EQ(target().Number("SELECT sum(n) FROM counter"), rows) << "rows and cursor were not lost together";
  ASSERT_TRUE(PassesRows("count_rows", rows));
  Hurry("count_rows");
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(kRows));
}

TEST_F(OutageTest, AnImmediatePauseThatCouldNotReachTheTargetHoldsOnceItIsBack) {
  target_url_ = cluster_.Database("main");
  MakeCounter(kRows);
  StartServer();
  Define("count_rows", CounterYaml({.interval = "30ms"}));
  ASSERT_TRUE(PassesRows("count_rows", 100));
  DropConnections();
  cluster_.Crash();
  EXPECT_THAT(Pause("count_rows", /*immediate=*/true), StatusIs(absl::StatusCode::kUnavailable, ::testing::_));
  cluster_.Restart();
  const std::int64_t rows = RowsDone("count_rows");
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_PAUSED));
  EXPECT_EQ(RowsDone("count_rows"), rows) << "it worked after the intent was recorded";
  EXPECT_TRUE(NothingCommits("count_rows", absl::Milliseconds(500)));
}

TEST_F(OutageTest, ATargetThatIsAwayAtStartIsWaitedFor) {
  target_url_ = cluster_.Database("main");
  MakeCounter(500);
  DropConnections();
  cluster_.Crash();
  StartServer();
  Define("count_rows", CounterYaml());
  ASSERT_TRUE(WaitUntil([&] { return Status("count_rows").ok(); }));
  ASSERT_TRUE(HeldBy("count_rows", v1::HOLD_KIND_BACKOFF));
  const v1::Migration held = Get("count_rows");
  EXPECT_FALSE(held.hold().reason().empty());
  EXPECT_FALSE(held.last_error().message().empty());
  EXPECT_THAT(held.state(), ::testing::AnyOf(v1::STATE_PENDING, v1::STATE_RUNNING));

  cluster_.Restart();
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(500));
}

TEST_F(OutageTest, AControlStoreThatIsAwayAtStartIsWaitedFor) {
  MakeCounter(500);
  control_url_ = cluster_.Database("control");
  cluster_.Crash();
  MakeServer(Options());
  Define("count_rows", CounterYaml());
  ASSERT_THAT(server().Launch(), IsOk());
  ASSERT_TRUE(WaitUntil([&] { return server().Health() == "NOT_SERVING"; }, absl::Seconds(30))) << server().Health();
  EXPECT_THAT(Status("count_rows"), StatusIs(absl::StatusCode::kUnavailable, ::testing::_))
      << "nothing is known yet, so not NOT_FOUND";
  EXPECT_EQ(Migrationctl({"status", "count_rows"}).exit_status, 4);
  EXPECT_TRUE(StaysTrue([&] { return server().Running(); }, absl::Seconds(1)));

  cluster_.Restart();
  ASSERT_THAT(server().AwaitServing(), IsOk());
  ASSERT_TRUE(WaitUntil([&] { return Status("count_rows").ok(); }));
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(500));
}

}  // namespace
}  // namespace migrationd
