#include <atomic>
#include <future>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "tests/server/rpc/rpc_world.h"
#include "tests/support/status_matchers.h"
#include "tests/support/wait_until.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;

// One worker and a queue of one; Validate against the target blocks until released.
class OverloadTest : public ::testing::Test {
 protected:
  static RpcServerOptions Options() {
    RpcServerOptions options = TestServerOptions();
    options.workers = 1;
    options.queue = 1;
    options.urgent_workers = 1;
    return options;
  }

  OverloadTest() : world_(Options()) {
    world_.Add("one");
    world_.target->on_inspect = [this](const TableName& table) {
      if (inspections_++ == 0) entered_.Notify();
      release_.WaitForNotification();
      return FakeTarget::Facts(table);
    };
    request_.mutable_file()->set_file_name("20261120093000_two.yaml");
    request_.mutable_file()->set_content(DefinitionYaml());
    request_.set_against_target(true);
  }
  ~OverloadTest() override {
    if (!release_.HasBeenNotified()) release_.Notify();
  }

  std::future<grpc::Status> ValidateInBackground(std::chrono::milliseconds deadline) {
    return std::async(std::launch::async, [this, deadline] {
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + deadline);
      v1::ValidateResponse response;
      return world_.stub->Validate(&context, request_, &response);
    });
  }
  // Occupies the only worker.
  std::future<grpc::Status> Occupy() {
    auto first = ValidateInBackground(kPatience);
    entered_.WaitForNotification();
    return first;
  }
  // Takes the only place of the queue; returns once another call was refused for it.
  std::future<grpc::Status> FillQueue() {
    std::vector<std::future<grpc::Status>> calls;
    while (true) {
      calls.push_back(ValidateInBackground(kPatience));
      if (calls.back().wait_for(std::chrono::milliseconds(200)) != std::future_status::ready) continue;
      EXPECT_EQ(calls.back().get().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
      return std::move(calls.front());
    }
  }

  v1::ValidateRequest request_;
  std::atomic<int> inspections_{0};
  absl::Notification entered_;
  absl::Notification release_;
  RpcWorld world_;  // last: its threads use the others
};

TEST_F(OverloadTest, AFullQueueRefusesAtOnceAndOperatorsStillGetIn) {
  auto first = Occupy();
  auto second = ValidateInBackground(kPatience);
  // The second takes the only place of the queue sooner or later; whoever comes then is refused.
  grpc::Status refused;
  std::vector<std::future<grpc::Status>> more;
  do {
    more.push_back(ValidateInBackground(kPatience));
    if (more.back().wait_for(std::chrono::milliseconds(200)) == std::future_status::ready) refused = more.back().get();
    if (!refused.ok()) more.pop_back();
  } while (refused.ok());
  EXPECT_THAT(refused, GrpcStatusIs(grpc::StatusCode::RESOURCE_EXHAUSTED, "OVERLOADED", HasSubstr("overloaded")));
  EXPECT_TRUE(DetailOf<google::rpc::RetryInfo>(refused).has_value());

  EXPECT_THAT(Call(world_, &Stub::Pause, Naming<v1::PauseRequest>("one")).first, IsGrpcOk());
  EXPECT_THAT(Call(world_, &Stub::Freeze, v1::FreezeRequest()).first, IsGrpcOk());
  EXPECT_THAT(Call(world_, &Stub::List, v1::ListRequest()).first, IsGrpcOk());
  EXPECT_THAT(Call(world_, &Stub::Status, Naming<v1::StatusRequest>("one")).first, IsGrpcOk());
  EXPECT_THAT(Call(world_, &Stub::Cancel, Naming<v1::CancelRequest>("one")).first, IsGrpcOk());
  release_.Notify();
  EXPECT_THAT(first.get(), IsGrpcOk());
}

TEST_F(OverloadTest, ACallWhoseDeadlinePassedInTheQueueIsNotExecuted) {
  auto first = Occupy();
  auto second = ValidateInBackground(std::chrono::milliseconds(100));
  EXPECT_EQ(second.get().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  // The client's clock is ahead of the server's: by the time that the server has answered what was sent behind the cancellation, it
  // knows of that.
  for (int i = 0; i < 50; ++i) EXPECT_THAT(Call(world_, &Stub::List, v1::ListRequest()).first, IsGrpcOk());
  release_.Notify();
  EXPECT_THAT(first.get(), IsGrpcOk());
  // One more through the same queue: the second was before it. It is refused while that still takes the only place.
  grpc::Status third;
  ASSERT_TRUE(WaitUntil([&] {
    third = ValidateInBackground(kPatience).get();
    return third.error_code() != grpc::StatusCode::RESOURCE_EXHAUSTED;
  }));
  EXPECT_THAT(third, IsGrpcOk());
  EXPECT_EQ(inspections_, 2);
}

TEST_F(OverloadTest, ShutdownAnswersQueuedCallsAndWaitsForTheOneThatRuns) {
  auto first = Occupy();
  auto second = FillQueue();
  std::thread shutdown([&] { world_.server.Shutdown(absl::Seconds(20)); });
  EXPECT_EQ(second.get().error_code(), grpc::StatusCode::UNAVAILABLE);
  release_.Notify();
  shutdown.join();
  EXPECT_THAT(first.get(), IsGrpcOk());
  EXPECT_EQ(inspections_, 1);
}

}  // namespace
}  // namespace migrationd
