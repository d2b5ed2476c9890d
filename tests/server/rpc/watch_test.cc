// Watch over a real channel.
#include <thread>
#include <vector>

#include "tests/server/rpc/rpc_world.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

RpcServerOptions Options(absl::Duration heartbeat, std::size_t streams_max = 100) {
  RpcServerOptions options = TestServerOptions();
  options.watch.heartbeat = heartbeat;
  options.watch.streams_max = streams_max;
  return options;
}

// One open watch.
class Watching {
 public:
  Watching(RpcWorld& world, const v1::WatchRequest& request, const std::string& user = "") {
    if (!user.empty()) context_.AddMetadata("x-migrationctl-user", user);
    context_.set_deadline(std::chrono::system_clock::now() + kPatience);
    reader_ = world.stub->Watch(&context_, request);
  }
  ~Watching() {
    context_.TryCancel();
    v1::WatchResponse rest;
    while (reader_ != nullptr && reader_->Read(&rest)) {
    }
    if (reader_ != nullptr) reader_->Finish();
  }
  // The next answer; an empty one after the end.
  v1::WatchResponse Next() {
    v1::WatchResponse response;
    over_ = !reader_->Read(&response);
    return response;
  }
  bool over() const { return over_; }
  grpc::Status Finish() {
    v1::WatchResponse rest;
    while (reader_->Read(&rest)) {
    }
    const grpc::Status status = reader_->Finish();
    reader_.reset();
    return status;
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::WatchResponse>> reader_;
  bool over_ = false;
};

TEST(WatchTest, SendsTheSnapshotThenEachChange) {
  RpcWorld world(Options(absl::Minutes(5)));
  world.Add("one");
  world.Add("two", "20261120093001");
  Watching watch(world, {});
  const v1::WatchResponse first = watch.Next();
  EXPECT_TRUE(first.snapshot());
  EXPECT_THAT(first.migrations(), SizeIs(2));
  EXPECT_TRUE(first.has_as_of());
  ASSERT_THAT(Call(world, &Stub::Pause, Naming<v1::PauseRequest>("one")).first, IsGrpcOk());
  const v1::WatchResponse second = watch.Next();
  ASSERT_THAT(second.migrations(), SizeIs(1));
  EXPECT_EQ(second.migrations(0).state(), v1::STATE_PAUSED);
}

TEST(WatchTest, BeatsWhenNothingChanges) {
  RpcWorld world(Options(absl::Milliseconds(20)));
  world.Add("one");
  Watching watch(world, {});
  const v1::WatchResponse first = watch.Next();
  for (int i = 0; i < 3; ++i) {
    const v1::WatchResponse beat = watch.Next();
    EXPECT_TRUE(beat.heartbeat());
    EXPECT_EQ(beat.resume_token(), first.resume_token());
    EXPECT_THAT(beat.migrations(), SizeIs(0));
  }
}

TEST(WatchTest, ResumesAfterABreakWithWhatChangedMeanwhile) {
  RpcWorld world(Options(absl::Minutes(5)));
  world.Add("one");
  world.Add("two", "20261120093001");
  v1::WatchRequest request;
  {
    Watching watch(world, request);
    request.set_resume_token(watch.Next().resume_token());
  }
  ASSERT_THAT(Call(world, &Stub::Pause, Naming<v1::PauseRequest>("two")).first, IsGrpcOk());
  {
    Watching watch(world, request);
    const v1::WatchResponse first = watch.Next();
    EXPECT_FALSE(first.snapshot());
    ASSERT_THAT(first.migrations(), SizeIs(1));
    EXPECT_EQ(first.migrations(0).name(), "two");
  }
  request.set_resume_token("another process:3");
  Watching watch(world, request);
  EXPECT_TRUE(watch.Next().snapshot());
}

TEST(WatchTest, OfOneMigrationHearsOnlyOfIt) {
  RpcWorld world(Options(absl::Minutes(5)));
  world.Add("one");
  world.Add("two", "20261120093001");
  v1::WatchRequest request;
  request.set_migration("main/two");
  Watching watch(world, request);
  EXPECT_THAT(watch.Next().migrations(), SizeIs(1));
  ASSERT_THAT(Call(world, &Stub::Pause, Naming<v1::PauseRequest>("one")).first, IsGrpcOk());
  ASSERT_THAT(Call(world, &Stub::Pause, Naming<v1::PauseRequest>("two")).first, IsGrpcOk());
  const v1::WatchResponse next = watch.Next();
  ASSERT_THAT(next.migrations(), SizeIs(1));
  EXPECT_EQ(next.migrations(0).name(), "two");
}

TEST(WatchTest, OfAnUnknownMigrationOrWithADamagedTokenEndsAtOnce) {
  RpcWorld world(Options(absl::Minutes(5)));
  world.Add("backfill_builds");
  v1::WatchRequest unknown;
  unknown.set_migration("backfill");
  EXPECT_THAT(Watching(world, unknown).Finish(),
              GrpcStatusIs(grpc::StatusCode::NOT_FOUND, "MIGRATION_NOT_FOUND", HasSubstr("main/backfill_builds")));
  v1::WatchRequest damaged;
  damaged.set_resume_token("x");
  EXPECT_EQ(Watching(world, damaged).Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST(WatchTest, ASlowReaderGetsTheLatestStateNotEachStep) {
  RpcWorld world(Options(absl::Minutes(5)));
  const MigrationId id = world.Add("one").migration.id;
  Watching watch(world, {});
  watch.Next();
  // Far more steps than fit into the buffers between server and client, while nobody reads.
  constexpr int kSteps = 5000;
  const std::string long_text(20000, 'x');
  for (int step = 1; step <= kSteps; ++step) {
    world.board.Edit([&](BoardSnapshot& snapshot) {
      Migration& m = snapshot.migrations.at(id.value).stored.migration;
      m.progress.rows_done = step;
      m.intent.reason = long_text;
    });
  }
  int messages = 0;
  std::int64_t rows = 0;
  while (rows < kSteps && !watch.over()) {
    const v1::WatchResponse next = watch.Next();
    ++messages;
    ASSERT_THAT(next.migrations(), SizeIs(1));
    EXPECT_GT(next.migrations(0).progress().rows_done(), rows);
    rows = next.migrations(0).progress().rows_done();
  }
  EXPECT_EQ(rows, kSteps);
  EXPECT_LT(messages, kSteps / 2);
}

TEST(WatchTest, TheirNumberIsLimitedAndAPlaceIsFreeAgainAfterOneLeft) {
  RpcWorld world(Options(absl::Milliseconds(20), 2));
  world.Add("one");
  auto first = std::make_unique<Watching>(world, v1::WatchRequest());
  first->Next();
  Watching second(world, {});
  second.Next();
  const grpc::Status refused = Watching(world, {}).Finish();
  EXPECT_THAT(refused, GrpcStatusIs(grpc::StatusCode::RESOURCE_EXHAUSTED, "TOO_MANY_WATCHES", HasSubstr("2 watches")));
  EXPECT_TRUE(DetailOf<google::rpc::RetryInfo>(refused).has_value());
  first.reset();
  bool admitted = false;
  while (!admitted) {
    Watching again(world, {});
    again.Next();
    admitted = !again.over();
  }
  EXPECT_TRUE(admitted);
}

TEST(WatchTest, OneCallerHasItsShareWhateverNameItClaims) {
  RpcServerOptions options = Options(absl::Minutes(5));
  options.watch.streams_per_caller_max = 2;
  RpcWorld world(options);
  world.Add("one");
  Watching first(world, {}, "ann");
  first.Next();
  Watching second(world, {}, "bob");
  second.Next();
  EXPECT_THAT(Watching(world, {}, "eve").Finish(),
              GrpcStatusIs(grpc::StatusCode::RESOURCE_EXHAUSTED, "TOO_MANY_WATCHES", HasSubstr("limit of one caller")));
}

TEST(WatchTest, AllEndWithUnavailableWhenTheServerStops) {
  RpcWorld world(Options(absl::Minutes(5)));
  world.Add("one");
  std::vector<std::unique_ptr<Watching>> watches;
  for (int i = 0; i < 10; ++i) {
    watches.push_back(std::make_unique<Watching>(world, v1::WatchRequest()));
    watches.back()->Next();
  }
  std::thread shutdown([&] { world.server.Shutdown(absl::Seconds(20)); });
  for (const auto& watch : watches) {
    EXPECT_THAT(watch->Finish(),
                GrpcStatusIs(grpc::StatusCode::UNAVAILABLE, "SERVER_STOPPING", HasSubstr("resume_token")));
  }
  shutdown.join();
}

TEST(WatchTest, ManyWatchersOfManyChangesAllSeeTheEnd) {
  RpcWorld world(Options(absl::Milliseconds(50)));
  const MigrationId id = world.Add("one").migration.id;
  constexpr int kSteps = 300;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      Watching watch(world, {});
      std::int64_t rows = -1;
      while (rows < kSteps && !watch.over()) {
        const v1::WatchResponse next = watch.Next();
        if (next.migrations_size() > 0) rows = next.migrations(0).progress().rows_done();
      }
      EXPECT_EQ(rows, kSteps);
    });
  }
  for (int step = 1; step <= kSteps; ++step) {
    world.board.Edit(
        [&](BoardSnapshot& snapshot) { snapshot.migrations.at(id.value).stored.migration.progress.rows_done = step; });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace migrationd
