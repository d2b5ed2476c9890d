// A server over a control world, with a real channel to it.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/grpcpp.h"
#include "migrationcontrol/v1/migration_control.grpc.pb.h"
#include "server/clock.h"
#include "server/rpc/server.h"
#include "tests/server/control/control_world.h"

namespace migrationd {

namespace v1 = migrationcontrol::v1;

// Long enough for the slowest machine; a test that passes does not wait for it.
inline constexpr std::chrono::seconds kPatience{30};

inline RpcServerOptions TestServerOptions() {
  RpcServerOptions options;
  options.listen = "127.0.0.1:0";
  return options;
}

struct RpcWorld : ControlWorld {
  explicit RpcWorld(RpcServerOptions options = TestServerOptions(), ControllerOptions controller_options = {})
      : ControlWorld(controller_options), server(std::move(options), controller, board, metrics, Clock::Real()) {
    const absl::Status started = server.Start();
    if (!started.ok()) ADD_FAILURE() << started;
    channel = grpc::CreateChannel("127.0.0.1:" + std::to_string(server.port()), grpc::InsecureChannelCredentials());
    stub = v1::MigrationControl::NewStub(channel);
  }
  ~RpcWorld() { server.Shutdown(absl::Seconds(2)); }

  Metrics metrics;
  RpcServer server;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::MigrationControl::Stub> stub;
};

// Calls a unary method of the stub: auto [status, response] = Call(world, &Stub::Pause, request).
template <typename Request, typename Response>
std::pair<grpc::Status, Response> Call(RpcWorld& world,
                                       grpc::Status (v1::MigrationControl::Stub::*method)(grpc::ClientContext*,
                                                                                          const Request&, Response*),
                                       const Request& request, const std::string& user = "") {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  if (!user.empty()) context.AddMetadata("x-migrationctl-user", user);
  std::pair<grpc::Status, Response> result;
  result.first = (world.stub.get()->*method)(&context, request, &result.second);
  return result;
}

using Stub = v1::MigrationControl::Stub;

// A request that names a migration.
template <typename Request>
Request Naming(const std::string& migration) {
  Request request;
  request.set_migration(migration);
  return request;
}

// The detail of that type in the trailer; nullopt: none.
template <typename Detail>
std::optional<Detail> DetailOf(const grpc::Status& status) {
  google::rpc::Status rich;
  if (!rich.ParseFromString(status.error_details())) return std::nullopt;
  Detail detail;
  for (const auto& any : rich.details()) {
    if (any.UnpackTo(&detail)) return detail;
  }
  return std::nullopt;
}

inline std::string ReasonOf(const grpc::Status& status) {
  const auto info = DetailOf<google::rpc::ErrorInfo>(status);
  return info.has_value() ? info->reason() : "(no ErrorInfo)";
}

// GrpcStatusIs(code, ErrorInfo.reason, matcher of the message).
MATCHER_P3(GrpcStatusIs, code, reason, message, "") {
  *result_listener << arg.error_code() << " " << ReasonOf(arg) << ": " << arg.error_message();
  return arg.error_code() == code && ReasonOf(arg) == reason &&
         ::testing::Matches(::testing::Matcher<std::string>(message))(arg.error_message());
}

MATCHER(IsGrpcOk, "is OK") {
  *result_listener << arg.error_code() << ": " << arg.error_message();
  return arg.ok();
}

}  // namespace migrationd
