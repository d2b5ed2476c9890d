// A migrationd of one's own, as a process: the built program, its files in a folder that goes with it, and a stub to
// talk to it.
#pragma once

#include <grpcpp/grpcpp.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "migrationcontrol/v1/migration_control.grpc.pb.h"
#include "migrationcontrol/v1/migration_control.pb.h"
#include "tests/support/process.h"

namespace migrationd {

struct ServerFixtureOptions {
  // The built migrationd.
  std::string program;
  // URL of the control store and, by name, of the targets: written to files, which the program reads. Empty and none
  // with --dev.
  std::string control_url;
  std::map<std::string, std::string> targets;
  absl::Duration lease_ttl = absl::Seconds(2);
  // On a port of 127.0.0.1 that was free a moment ago, instead of a unix socket (which nobody else can take).
  bool tcp = false;
  // Catalogue folder; empty: one of its own.
  std::string migrations;
  std::vector<std::string> more_flags;
};

// For one thread at a time, except stub() and Call, which any thread may use while nobody starts or stops the server.
class ServerFixture {
 public:
  explicit ServerFixture(ServerFixtureOptions options);
  // Kills what still runs.
  ~ServerFixture();

  // Starts the program; does not wait for anything. Everything the program was given before is still there.
  absl::Status Launch();
  // Launch, then waits until its health is SERVING.
  absl::Status Start();
  absl::Status AwaitServing(absl::Duration deadline = absl::Seconds(60));

  // SIGKILL, and waits for the end.
  void Kill();
  // Sends the signal and waits for the exit status. DEADLINE_EXCEEDED when it goes on.
  absl::StatusOr<int> Stop(int signal, absl::Duration deadline = absl::Seconds(30));

  // Puts a definition into the catalogue folder, whole at once.
  void WriteDefinition(const std::string& file_name, const std::string& yaml);
  // Makes the named target's, or the control store's, file say something else from now on.
  void SetTargetUrl(const std::string& name, const std::string& url);
  void SetControlUrl(const std::string& url);

  Process& process() { return *process_; }
  bool Running() { return process_ != nullptr && process_->Running(); }
  const std::string& address() const { return address_; }
  // What follows `grpcurl`: the flags and the address.
  std::vector<std::string> GrpcurlFlags() const;
  std::vector<std::string> GrpcurlAddress() const;
  const std::string& folder() const { return folder_.path(); }
  const std::string& migrations() const { return migrations_; }
  // Everything it has logged, in all its lives.
  std::string Log() const;

  migrationcontrol::v1::MigrationControl::Stub& stub() { return *stub_; }
  // grpc.health.v1 of `service` (empty: the server): SERVING, NOT_SERVING, or what the call failed with.
  std::string Health(const std::string& service = "");

 private:
  std::vector<std::string> CommandLine() const;

  const ServerFixtureOptions options_;
  TempFolder folder_;
  std::string migrations_;
  std::string address_;
  int launches_ = 0;
  std::unique_ptr<Process> process_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<migrationcontrol::v1::MigrationControl::Stub> stub_;
};

// One call of the stub, with a deadline; the code is that of gRPC.
template <typename Request, typename Response>
absl::StatusOr<Response> Call(ServerFixture& server,
                              grpc::Status (migrationcontrol::v1::MigrationControl::Stub::*method)(grpc::ClientContext*,
                                                                                                   const Request&,
                                                                                                   Response*),
                              const Request& request, absl::Duration deadline = absl::Seconds(30)) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + deadline));
  context.set_wait_for_ready(true);
  Response response;
  const grpc::Status status = (server.stub().*method)(&context, request, &response);
  if (!status.ok()) return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  return response;
}

}  // namespace migrationd
