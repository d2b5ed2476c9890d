#include "tests/support/server_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "tests/support/wait_until.h"

namespace migrationd {
namespace {

// The kernel's choice; it is not given out again at once.
int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  if (fd < 0 || bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    std::perror("no free port");
    std::abort();
  }
  close(fd);
  return ntohs(address.sin_port);
}

// Never half-written for a reader.
void WriteWhole(const std::string& file, const std::string& text) {
  const std::string beside = absl::StrCat(file, ".part");
  std::ofstream(beside) << text;
  std::filesystem::rename(beside, file);
}

}  // namespace

ServerFixture::ServerFixture(ServerFixtureOptions options) : options_(std::move(options)) {
  migrations_ = options_.migrations.empty() ? folder_.path() + "/migrations" : options_.migrations;
  std::filesystem::create_directories(migrations_);
  address_ =
      options_.tcp ? absl::StrCat("127.0.0.1:", FreePort()) : absl::StrCat("unix:", folder_.path(), "/grpc.sock");
  if (!options_.control_url.empty()) SetControlUrl(options_.control_url);
  for (const auto& [name, url] : options_.targets) SetTargetUrl(name, url);
}

ServerFixture::~ServerFixture() { Kill(); }

void ServerFixture::SetControlUrl(const std::string& url) { WriteWhole(folder_.path() + "/control.url", url + "\n"); }

void ServerFixture::SetTargetUrl(const std::string& name, const std::string& url) {
  WriteWhole(absl::StrCat(folder_.path(), "/target-", name, ".url"), url + "\n");
}

std::vector<std::string> ServerFixture::CommandLine() const {
  std::vector<std::string> command = {
      options_.program, "--listen", address_, "--http-listen", "off", "--lease-ttl", absl::FormatDuration(options_.lease_ttl),
      "--migrations",   migrations_};
  if (!options_.control_url.empty()) {
    command.insert(command.end(), {"--control-url-file", folder_.path() + "/control.url"});
  }
  for (const auto& [name, url] : options_.targets) {
    command.insert(command.end(), {"--target", absl::StrCat(name, "=@", folder_.path(), "/target-", name, ".url")});
  }
  command.insert(command.end(), options_.more_flags.begin(), options_.more_flags.end());
  return command;
}

absl::Status ServerFixture::Launch() {
  Kill();
  auto process =
      Process::Start({.command = CommandLine(), .environment = {}, .output_prefix = folder_.path() + "/migrationd"});
  if (!process.ok()) return process.status();
  process_ = *std::move(process);
  // A channel of its own a life: one that has seen the server die waits before it connects again.
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt("test.life", ++launches_);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 200);
  channel_ = grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), arguments);
  stub_ = migrationcontrol::v1::MigrationControl::NewStub(channel_);
  return absl::OkStatus();
}

absl::Status ServerFixture::Start() {
  const absl::Status launched = Launch();
  return launched.ok() ? AwaitServing() : launched;
}

absl::Status ServerFixture::AwaitServing(absl::Duration deadline) {
  std::string health;
  const bool serving = WaitUntil([&] { return (health = Health()) == "SERVING" || !Running(); }, deadline);
  if (serving && health == "SERVING") return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("migrationd is ", Running() ? "running" : "gone", ", its health ", health, "; it logged:\n", Log()));
}

void ServerFixture::Kill() {
  if (process_ != nullptr) process_->Signal(SIGKILL);
  process_.reset();
}

absl::StatusOr<int> ServerFixture::Stop(int signal, absl::Duration deadline) {
  process_->Signal(signal);
  return process_->Wait(deadline);
}

void ServerFixture::WriteDefinition(const std::string& file_name, const std::string& yaml) {
  WriteWhole(absl::StrCat(migrations_, "/", file_name), yaml);
}

std::vector<std::string> ServerFixture::GrpcurlFlags() const {
  if (options_.tcp) return {"-plaintext"};
  return {"-plaintext", "-unix"};
}

std::vector<std::string> ServerFixture::GrpcurlAddress() const {
  return {std::string(absl::StripPrefix(address_, "unix:"))};
}

std::string ServerFixture::Log() const {
  std::string text;
  for (const char* suffix : {".out", ".err"}) {
    std::ifstream in(folder_.path() + "/migrationd" + suffix, std::ios::binary);
    text.append(std::istreambuf_iterator<char>(in), {});
  }
  return text;
}

std::string ServerFixture::Health(const std::string& service) {
  auto stub = grpc::health::v1::Health::NewStub(channel_);
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(5)));
  // A call that waits also drives the connecting; calls that fail at once would leave it to gRPC's 5 s background poll.
  context.set_wait_for_ready(true);
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(service);
  grpc::health::v1::HealthCheckResponse response;
  const grpc::Status status = stub->Check(&context, request, &response);
  if (!status.ok()) return absl::StrCat("error ", status.error_code(), ": ", status.error_message());
  return grpc::health::v1::HealthCheckResponse::ServingStatus_Name(response.status());
}

}  // namespace migrationd
