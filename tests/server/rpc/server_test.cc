// The server around the service: addresses, health, reflection, channelz, the end.
#include "server/rpc/server.h"

#include <filesystem>
#include <set>
#include <thread>

#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/generic/generic_stub.h"
#include "server/rpc/listen_address.h"
#include "tests/server/rpc/rpc_world.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

namespace health = grpc::health::v1;

health::HealthCheckResponse::ServingStatus HealthOf(RpcWorld& world, const std::string& service) {
  const auto stub = health::Health::NewStub(world.channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  health::HealthCheckRequest request;
  request.set_service(service);
  health::HealthCheckResponse response;
  const grpc::Status status = stub->Check(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response.status();
}

TEST(HealthTest, FollowsTheControlStoreForTheServerAndTheService) {
  RpcWorld world;
  for (const char* service : {"", "migrationcontrol.v1.MigrationControl"}) {
    EXPECT_EQ(HealthOf(world, service), health::HealthCheckResponse::SERVING) << service;
    world.board.Edit([](BoardSnapshot& snapshot) { snapshot.store_reachable = false; });
    EXPECT_EQ(HealthOf(world, service), health::HealthCheckResponse::NOT_SERVING) << service;
    world.board.Edit([](BoardSnapshot& snapshot) { snapshot.store_reachable = true; });
    EXPECT_EQ(HealthOf(world, service), health::HealthCheckResponse::SERVING) << service;
    world.board.Edit([](BoardSnapshot& snapshot) { snapshot.loaded = false; });
    EXPECT_EQ(HealthOf(world, service), health::HealthCheckResponse::NOT_SERVING) << service;
    world.board.Edit([](BoardSnapshot& snapshot) { snapshot.loaded = true; });
  }
  world.server.SetServing(false);
  EXPECT_EQ(HealthOf(world, ""), health::HealthCheckResponse::NOT_SERVING);
  world.board.Edit([](BoardSnapshot& snapshot) { snapshot.store_reachable = true; });
  EXPECT_EQ(HealthOf(world, ""), health::HealthCheckResponse::NOT_SERVING) << "the board does not overrule it";
  world.server.SetServing(true);
  EXPECT_EQ(HealthOf(world, ""), health::HealthCheckResponse::SERVING);
}

// The reflection service without its generated code, which the distribution does not ship: one question, one answer, as
// bytes. Field numbers of grpc.reflection.v1alpha.ServerReflectionRequest: 3 file_by_filename, 4
// file_containing_symbol, 7 list_services.
std::string AskReflection(RpcWorld& world, char field, const std::string& text) {
  grpc::GenericStub stub(world.channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  grpc::CompletionQueue queue;
  auto call = stub.PrepareCall(&context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  const auto wait = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  call->StartCall(nullptr);
  EXPECT_TRUE(wait());
  std::string request{static_cast<char>((field << 3) | 2), static_cast<char>(text.size())};
  request += text;
  grpc::Slice slice(request);
  call->Write(grpc::ByteBuffer(&slice, 1), nullptr);
  EXPECT_TRUE(wait());
  grpc::ByteBuffer answer;
  call->Read(&answer, nullptr);
  EXPECT_TRUE(wait());
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(answer.Dump(&slices).ok());
  std::string bytes;
  for (const grpc::Slice& part : slices) bytes.append(reinterpret_cast<const char*>(part.begin()), part.size());
  call->WritesDone(nullptr);
  wait();
  grpc::Status status;
  call->Finish(&status, nullptr);
  wait();
  EXPECT_TRUE(status.ok()) << status.error_message();
  return bytes;
}

TEST(ReflectionTest, ListsTheServicesAndDescribesThemWithTheirErrorDetails) {
  RpcWorld world;
  EXPECT_THAT(AskReflection(world, 7, "*"),
              AllOf(HasSubstr("migrationcontrol.v1.MigrationControl"), HasSubstr("grpc.health.v1.Health"),
                    HasSubstr("grpc.channelz.v1.Channelz"), HasSubstr("grpc.reflection.v1alpha.ServerReflection")));
  EXPECT_THAT(AskReflection(world, 4, "migrationcontrol.v1.MigrationControl"), HasSubstr("migration_control.proto"));
  EXPECT_THAT(AskReflection(world, 4, "grpc.health.v1.Health"), HasSubstr("HealthCheckRequest"));
  EXPECT_THAT(AskReflection(world, 4, "google.rpc.ErrorInfo"), HasSubstr("error_details.proto"));
}

TEST(ListenTest, OnAnyFreePortTellsWhichOne) {
  RpcWorld world;
  EXPECT_GT(world.server.port(), 0);
}

TEST(ListenTest, OnAPortThatIsTakenSaysSo) {
  RpcWorld world;
  RpcServerOptions options;
  options.listen = "127.0.0.1:" + std::to_string(world.server.port());
  Metrics metrics_of_second;
  RpcServer second(options, world.controller, world.board, metrics_of_second, Clock::Real());
  EXPECT_THAT(second.Start(),
              StatusIs(absl::StatusCode::kUnavailable, AllOf(HasSubstr(options.listen), HasSubstr("in use"))));
  EXPECT_THAT(Call(world, &Stub::List, v1::ListRequest()).first, IsGrpcOk()) << "the first is not disturbed";
}

TEST(ListenTest, OnAUnixSocket) {
  const std::string path = ::testing::TempDir() + "/migrationd_rpc_" + std::to_string(getpid()) + ".sock";
  ControlWorld world;
  RpcServerOptions options;
  options.listen = "unix:" + path;
  Metrics metrics_of_server;
  RpcServer server(options, world.controller, world.board, metrics_of_server, Clock::Real());
  MD_ASSERT_OK(server.Start());
  EXPECT_EQ(server.port(), 0);
  const auto stub =
      v1::MigrationControl::NewStub(grpc::CreateChannel("unix:" + path, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  v1::ListResponse response;
  EXPECT_THAT(stub->List(&context, {}, &response), IsGrpcOk());
  server.Shutdown(absl::Seconds(1));
  std::filesystem::remove(path);
}

TEST(ListenTest, RefusesWhatIsNoAddress) {
  for (const char* bad :
       {"", "50051", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", ":50051", "unix:"}) {
    EXPECT_THAT(CheckListenAddress(bad), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("listen"))) << bad;
  }
  for (const char* good : {"127.0.0.1:0", "localhost:50051", "[::1]:50051", "0.0.0.0:1", "unix:/run/x.sock"})
    MD_EXPECT_OK(CheckListenAddress(good));
}

TEST(ListenTest, SaysWhyAnAddressCannotBeBound) {
  EXPECT_THAT(BindSockets("no.such.host.invalid:1"),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("no.such.host.invalid")));
  EXPECT_THAT(BindSockets("unix:/no/such/folder/x.sock"),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("/no/such/folder")));
  EXPECT_THAT(BindSockets("unix:/" + std::string(200, 'x')),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("201 bytes")));
}

TEST(ShutdownTest, MayBeCalledTwiceAndBeforeStart) {
  ControlWorld world;
  Metrics metrics_of_never;
  RpcServer never(TestServerOptions(), world.controller, world.board, metrics_of_never, Clock::Real());
  never.Shutdown(absl::Seconds(1));
  Metrics metrics_of_server;
  RpcServer server(TestServerOptions(), world.controller, world.board, metrics_of_server, Clock::Real());
  MD_ASSERT_OK(server.Start());
  server.Shutdown(absl::Seconds(1));
  server.Shutdown(absl::Seconds(1));
}

TEST(LoadTest, StatusStaysFastWhileMigrationsRunAndOthersChangeThem) {
  RpcWorld world;
  std::vector<MigrationId> ids;
  for (int i = 0; i < 4; ++i)
    ids.push_back(world.Add("m" + std::to_string(i), "2026112009300" + std::to_string(i)).migration.id);
  for (int i = 0; i < 4; ++i) world.MakeRunning("m" + std::to_string(i));
  std::atomic<bool> over{false};
  std::thread scheduler([&] {
    // Five times as often as the scheduler publishes.
    for (std::int64_t rows = 0; !over; ++rows) {
      world.board.Edit([&](BoardSnapshot& snapshot) {
        for (auto& [id, entry] : snapshot.migrations) entry.stored.migration.progress.rows_done = rows;
      });
      std::this_thread::sleep_for(std::chrono::milliseconds(40));  // the period is what is tested
    }
  });
  std::vector<double> milliseconds;
  for (int i = 0; i < 2000; ++i) {
    const absl::Time begun = Clock::Real().Now();
    EXPECT_THAT(Call(world, &Stub::Status, Naming<v1::StatusRequest>("m" + std::to_string(i % 4))).first, IsGrpcOk());
    milliseconds.push_back(absl::ToDoubleMilliseconds(Clock::Real().Now() - begun));
  }
  over = true;
  scheduler.join();
  std::sort(milliseconds.begin(), milliseconds.end());
  const double p99 = milliseconds[milliseconds.size() * 99 / 100];
  RecordProperty("p99_ms", std::to_string(p99));
  std::printf("Status: median %.2f ms, p99 %.2f ms\n", milliseconds[milliseconds.size() / 2], p99);
  // Ten times the promise: this machine may be busy with other tests. The benchmark holds the promise itself.
  EXPECT_LT(p99, 50.0);
}

}  // namespace
}  // namespace migrationd
