// The gRPC server: the service MigrationControl with health, reflection and channelz, its limits, and an orderly end.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "server/clock.h"
#include "server/control/controller.h"
#include "server/observability/metrics.h"
#include "server/options/options.h"
#include "server/rpc/authenticator.h"
#include "server/rpc/control_service.h"
#include "server/rpc/executor.h"
#include "server/rpc/listener.h"
#include "server/rpc/recent_events.h"
#include "server/rpc/server_certificates.h"
#include "server/rpc/watch_hub.h"
#include "server/scheduler/board.h"

namespace migrationd {

struct RpcServerOptions {
  // host:port (port 0: any free one), or unix:/path/of/socket.
  std::string listen = "127.0.0.1:50051";
  Role anonymous_role = Role::kAdmin;
  // Null: plain text. Shared with whoever refreshes it.
  std::shared_ptr<const ServerCertificates> certificates;
  // Null: nobody is known by token or certificate. Outlives the server.
  const CredentialFile* credentials = nullptr;

  // Calls that wait for a database: so many at once, so many more in the queue.
  int workers = 4;
  std::size_t queue = 128;
  // The same for Pause, Cancel and Freeze alone. Each may wait for a target that hangs, so that more of them keep those of other targets
  // going.
  int urgent_workers = 16;
  std::size_t urgent_queue = 32;
  WatchHubOptions watch;

  // A definition file is at most 256 KiB.
  int receive_bytes_max = 1024 * 1024;
  // Of all connections together.
  std::size_t buffer_bytes_max = std::size_t{256} * 1024 * 1024;
  int concurrent_streams_max = 128;  // of one connection
  // See ListenerOptions. At most half of the descriptors that the process may have.
  std::size_t connections_max = 1000;
  std::size_t connections_per_host_max = 250;
  absl::Duration handshake_timeout = absl::Seconds(5);
  absl::Duration keepalive_time = absl::Seconds(60);
  absl::Duration keepalive_timeout = absl::Seconds(10);
  // Clients may ping an idle connection so often; faster ones are sent away.
  absl::Duration ping_interval_min = absl::Seconds(20);
  absl::Duration connection_idle_max = absl::Minutes(5);
  absl::Duration connection_age_max = absl::Minutes(30);  // ends half-open peers; watches go on with their resume token
  absl::Duration connection_age_grace = absl::Minutes(1);
};

// Start and Shutdown from one thread.
class RpcServer {
 public:
  // All references outlive the server.
  RpcServer(RpcServerOptions options, Controller& controller, Board& board, Metrics& metrics, Clock& clock);
  // Shuts down.
  ~RpcServer();
  RpcServer(const RpcServer&) = delete;
  RpcServer& operator=(const RpcServer&) = delete;

  // Binds and serves. Health is NOT_SERVING until the board was loaded, and whenever the control store cannot be
  // reached. INVALID_ARGUMENT: no address. UNAVAILABLE: it cannot be bound, with the system's reason.
  absl::Status Start();
  // Bound port; 0 for a unix socket or before Start.
  int port() const { return port_; }
  std::size_t watch_count() const { return watches_.stream_count(); }
  // Of its connections; nothing before Start.
  ListenerCounts connection_counts() const;
  // UNAVAILABLE: it takes no connections in and never will again, so the process has to be replaced. OK before Start.
  absl::Status CheckAlive() const;

  // Overrules health for the rest of the process's life, as when it is about to stop: false is NOT_SERVING, true
  // follows the board.
  void SetServing(bool allowed) ABSL_LOCKS_EXCLUDED(health_mutex_);

  // NOT_SERVING at once; watches and queued calls end with UNAVAILABLE; calls under way get until `deadline` (from now)
  // and are then cancelled, so that their clients go on while we wait for our own side of them. Idempotent.
  void Shutdown(absl::Duration deadline);

 private:
  // Tells health what the board says.
  void UpdateHealth() ABSL_LOCKS_EXCLUDED(health_mutex_);

  const RpcServerOptions options_;
  Controller& controller_;
  Board& board_;
  Metrics& metrics_;
  Clock& clock_;
  const Authenticator authenticator_;
  // gRPC asks it at each handshake, so it outlives the server.
  std::shared_ptr<grpc::ServerCredentials> transport_;
  Executor executor_;
  Executor urgent_;
  RecentEvents recent_events_;
  WatchHub watches_;
  MigrationControlService service_;
  std::unique_ptr<grpc::Server> server_;
  // Gives what the listener took in to the server; does nothing once that is shut down.
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor_;
  std::unique_ptr<Listener> listener_;
  int port_ = 0;
  std::int64_t board_listener_ = 0;

  absl::Mutex health_mutex_;
  bool serving_allowed_ ABSL_GUARDED_BY(health_mutex_) = true;
};

}  // namespace migrationd
