#include "server/rpc/server.h"

#include <grpc/support/log.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "grpc/health/v1/health.pb.h"
#include "grpcpp/ext/channelz_service_plugin.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/resource_quota.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "migrations/model/event_kind.h"
#include "migrations/model/status_macros.h"
#include "server/observability/log.h"
#include "server/rpc/call_metrics.h"
#include "server/rpc/tls_credentials.h"

namespace migrationd {
namespace {

constexpr int kRecentEvents = 10;

// gRPC's own lines become lines of our log, with its limits: a stranger can cause one with each connection. What it calls an error is
// mostly a peer's.
void LogForGrpc(gpr_log_func_args* line) {
  const LogLevel level = line->severity == GPR_LOG_SEVERITY_ERROR ? LogLevel::kWarning : LogLevel::kDebug;
  const char* const slash = std::strrchr(line->file, '/');
  Log(level, "grpc", {{"message", line->message}, {"where", absl::StrCat(slash == nullptr ? line->file : slash + 1, ":", line->line)}});
}

std::size_t DescriptorLimit() {
  rlimit limit{};
  return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? static_cast<std::size_t>(limit.rlim_cur) : 1024;
}

// Health and reflection are plug-ins of every server that is built after this.
void RegisterPlugins() {
  static const bool registered = [] {
    gpr_set_log_function(&LogForGrpc);
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    // The health service is gRPC's own and comes without a descriptor; naming it links the one that reflection shows.
    grpc::health::v1::HealthCheckRequest::descriptor();
    return true;
  }();
  static_cast<void>(registered);
}

// It tells who is connected, and knows no roles: for those who trust everybody who can connect.
void RegisterChannelz() {
  static const bool registered = [] {
    grpc::channelz::experimental::InitChannelzService();
    return true;
  }();
  static_cast<void>(registered);
}

std::string NewBootId() {
  absl::BitGen random;
  return absl::StrFormat("%016x", absl::Uniform<std::uint64_t>(random));
}

int Milliseconds(absl::Duration duration) {
  return static_cast<int>(
      std::clamp<std::int64_t>(absl::ToInt64Milliseconds(duration), 1, std::numeric_limits<int>::max()));
}

void ApplyLimits(const RpcServerOptions& options, grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(options.receive_bytes_max);
  builder.SetResourceQuota(grpc::ResourceQuota("migrationd").Resize(options.buffer_bytes_max));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.concurrent_streams_max);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, Milliseconds(options.handshake_timeout));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(options.keepalive_time));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(options.keepalive_timeout));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             Milliseconds(options.ping_interval_min));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, Milliseconds(options.connection_idle_max));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, Milliseconds(options.connection_age_max));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, Milliseconds(options.connection_age_grace));
  // Two servers that are given one port by mistake would share its connections in silence.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
}

RecentEvents::Fetch FetchFrom(Controller& controller) {
  return [&controller](const std::string& full_name) -> absl::StatusOr<RecentEvents::Events> {
    MD_ASSIGN_OR_RETURN(EventPage page, controller.ListEvents(full_name, EventKindsWithoutPace(), /*before=*/0, kRecentEvents));
    return std::move(page.events);
  };
}

}  // namespace

RpcServer::RpcServer(RpcServerOptions options, Controller& controller, Board& board, Metrics& metrics, Clock& clock)
    : options_(std::move(options)),
      controller_(controller),
      board_(board),
      metrics_(metrics),
      clock_(clock),
      authenticator_(options_.anonymous_role, options_.credentials),
      transport_(options_.certificates == nullptr ? grpc::InsecureServerCredentials() : MakeTlsCredentials(options_.certificates)),
      executor_(options_.workers, options_.queue),
      urgent_(options_.urgent_workers, options_.urgent_queue),
      recent_events_(FetchFrom(controller), clock),
      watches_(options_.watch, board, clock, NewBootId()),
      service_({.controller = controller,
                .board = board,
                .clock = clock,
                .executor = executor_,
                .urgent = urgent_,
                .recent_events = recent_events_,
                .watches = watches_,
                .authenticator = authenticator_}) {}

RpcServer::~RpcServer() { Shutdown(absl::ZeroDuration()); }

absl::Status RpcServer::Start() {
  RegisterPlugins();
  if (options_.anonymous_role == Role::kAdmin) RegisterChannelz();
  ExpectCalls(metrics_);
  grpc::ServerBuilder builder;
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
  interceptors.push_back(MakeCallMetrics(metrics_, clock_));
  builder.experimental().SetInterceptorCreators(std::move(interceptors));
  ApplyLimits(options_, builder);
  MD_ASSIGN_OR_RETURN(listener_, Listener::Bind({.address = options_.listen,
                                                 .connections_max = std::min(options_.connections_max, DescriptorLimit() / 2),
                                                 .connections_per_host_max = options_.connections_per_host_max},
                                                clock_));
  acceptor_ = builder.experimental().AddExternalConnectionAcceptor(grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
                                                                   transport_);
  builder.RegisterService(&service_);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) return absl::InternalError("gRPC could not be started; its reason is in the log.");
  port_ = listener_->port();
  listener_->Start([this](int fd) {
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
    connection.fd = fd;
    acceptor_->HandleNewConnection(&connection);
  });
  board_listener_ = board_.AddListener([this] { UpdateHealth(); });
  UpdateHealth();
  return absl::OkStatus();
}

ListenerCounts RpcServer::connection_counts() const { return listener_ == nullptr ? ListenerCounts{} : listener_->counts(); }

absl::Status RpcServer::CheckAlive() const { return listener_ == nullptr ? absl::OkStatus() : listener_->CheckAlive(); }

void RpcServer::UpdateHealth() {
  // One at a time, each with the newest snapshot, so that the last call tells the latest.
  absl::MutexLock lock(&health_mutex_);
  const auto snapshot = board_.Get();
  const bool serving = serving_allowed_ && snapshot->loaded && snapshot->store_reachable;
  grpc::HealthCheckServiceInterface* health = server_->GetHealthCheckService();
  health->SetServingStatus(serving);
  health->SetServingStatus(migrationcontrol::v1::MigrationControl::service_full_name(), serving);
}

void RpcServer::SetServing(bool allowed) {
  {
    absl::MutexLock lock(&health_mutex_);
    serving_allowed_ = allowed;
  }
  if (server_ != nullptr) UpdateHealth();
}

void RpcServer::Shutdown(absl::Duration deadline) {
  if (server_ == nullptr) return;
  board_.RemoveListener(board_listener_);
  SetServing(false);
  listener_->Stop();
  watches_.Stop();
  recent_events_.Stop();
  // Before the server waits for its calls: what is queued is answered instead of done.
  executor_.Close();
  urgent_.Close();
  controller_.StopRehearsals();
  server_->Shutdown(
      gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(Milliseconds(deadline), GPR_TIMESPAN)));
  executor_.Stop();
  urgent_.Stop();
  server_.reset();
}

}  // namespace migrationd
