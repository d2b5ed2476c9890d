// The service MigrationControl on gRPC's callback API: unpacks and checks requests, answers reads from memory, hands
// everything that may wait for a database to an executor, and packs answers. What the verbs do is in server/control.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "migrationcontrol/v1/migration_control.grpc.pb.h"
#include "server/clock.h"
#include "server/control/controller.h"
#include "server/rpc/access.h"
#include "server/rpc/authenticator.h"
#include "server/rpc/executor.h"
#include "server/rpc/recent_events.h"
#include "server/rpc/watch_hub.h"
#include "server/scheduler/board.h"

namespace migrationd {

// What the service works with; all outlive it.
struct ControlServiceParts {
  Controller& controller;
  Board& board;
  Clock& clock;
  Executor& executor;
  // A lane of its own for what must get in while the server is overloaded: Pause, Cancel, Freeze.
  Executor& urgent;
  RecentEvents& recent_events;
  WatchHub& watches;
  const Authenticator& authenticator;
};

// Handlers are called by gRPC's threads and never block.
class MigrationControlService final : public migrationcontrol::v1::MigrationControl::CallbackService {
 public:
  explicit MigrationControlService(ControlServiceParts parts) : parts_(parts) {}

  using Context = grpc::CallbackServerContext;
  using Reactor = grpc::ServerUnaryReactor;

  // From memory.
  Reactor* List(Context* context, const migrationcontrol::v1::ListRequest* request,
                migrationcontrol::v1::ListResponse* response) override;
  Reactor* Status(Context* context, const migrationcontrol::v1::StatusRequest* request,
                  migrationcontrol::v1::StatusResponse* response) override;
  Reactor* GetDefinition(Context* context, const migrationcontrol::v1::GetDefinitionRequest* request,
                         migrationcontrol::v1::GetDefinitionResponse* response) override;
  Reactor* ListTargets(Context* context, const migrationcontrol::v1::ListTargetsRequest* request,
                       migrationcontrol::v1::ListTargetsResponse* response) override;
  WatchHub::Reactor* Watch(Context* context, const migrationcontrol::v1::WatchRequest* request) override;

  // From the databases.
  Reactor* ListJobs(Context* context, const migrationcontrol::v1::ListJobsRequest* request,
                    migrationcontrol::v1::ListJobsResponse* response) override;
  Reactor* ListFailures(Context* context, const migrationcontrol::v1::ListFailuresRequest* request,
                        migrationcontrol::v1::ListFailuresResponse* response) override;
  Reactor* ListEvents(Context* context, const migrationcontrol::v1::ListEventsRequest* request,
                      migrationcontrol::v1::ListEventsResponse* response) override;
  Reactor* Validate(Context* context, const migrationcontrol::v1::ValidateRequest* request,
                    migrationcontrol::v1::ValidateResponse* response) override;
  Reactor* Plan(Context* context, const migrationcontrol::v1::PlanRequest* request,
                migrationcontrol::v1::PlanResponse* response) override;

  Reactor* Enqueue(Context* context, const migrationcontrol::v1::EnqueueRequest* request,
                   migrationcontrol::v1::EnqueueResponse* response) override;
  Reactor* Start(Context* context, const migrationcontrol::v1::StartRequest* request,
                 migrationcontrol::v1::StartResponse* response) override;
  Reactor* Pause(Context* context, const migrationcontrol::v1::PauseRequest* request,
                 migrationcontrol::v1::PauseResponse* response) override;
  Reactor* Resume(Context* context, const migrationcontrol::v1::ResumeRequest* request,
                  migrationcontrol::v1::ResumeResponse* response) override;
  Reactor* Retry(Context* context, const migrationcontrol::v1::RetryRequest* request,
                 migrationcontrol::v1::RetryResponse* response) override;
  Reactor* SetPace(Context* context, const migrationcontrol::v1::SetPaceRequest* request,
                   migrationcontrol::v1::SetPaceResponse* response) override;
  Reactor* SetBatchSize(Context* context, const migrationcontrol::v1::SetBatchSizeRequest* request,
                        migrationcontrol::v1::SetBatchSizeResponse* response) override;
  Reactor* Verify(Context* context, const migrationcontrol::v1::VerifyRequest* request,
                  migrationcontrol::v1::VerifyResponse* response) override;
  Reactor* Accept(Context* context, const migrationcontrol::v1::AcceptRequest* request,
                  migrationcontrol::v1::AcceptResponse* response) override;
  Reactor* Cancel(Context* context, const migrationcontrol::v1::CancelRequest* request,
                  migrationcontrol::v1::CancelResponse* response) override;
  Reactor* Cleanup(Context* context, const migrationcontrol::v1::CleanupRequest* request,
                   migrationcontrol::v1::CleanupResponse* response) override;
  Reactor* Delete(Context* context, const migrationcontrol::v1::DeleteRequest* request,
                  migrationcontrol::v1::DeleteResponse* response) override;
  Reactor* Freeze(Context* context, const migrationcontrol::v1::FreezeRequest* request,
                  migrationcontrol::v1::FreezeResponse* response) override;
  Reactor* Unfreeze(Context* context, const migrationcontrol::v1::UnfreezeRequest* request,
                    migrationcontrol::v1::UnfreezeResponse* response) override;

 private:
  // A call that may go on.
  struct Admitted {
    Principal principal;
    std::string method;      // "Pause"
    std::string subject;     // as the caller named it, for errors and logs; may be empty
    std::string migration;   // the same; target/name for a caller who may not see all targets
    std::string request_id;  // of one that changes something
    bool changes = false;    // something: worth a line in the log
  };
  // Errors of Authenticator::Admit; NOT_FOUND for a migration that the caller may not see.
  absl::StatusOr<Admitted> Admit(const Context& context, const char* method, const std::string& migration) const;
  // Does `work` on `lane` and answers with what it returns; at once when the lane is full. Work that nobody waits for
  // any more when its turn comes is not done.
  Reactor* Defer(Executor& lane, Context* context, Admitted call, std::function<absl::Status()> work);
  // A verb that changes one migration: checks, calls, packs `migration`.
  using Verb = std::function<absl::StatusOr<StoredMigration>(const std::string& migration, const MutationContext&)>;
  template <typename Request, typename Response>
  Reactor* Change(Executor& lane, const char* method, Context* context, const Request* request, Response* response, Verb verb);

  migrationcontrol::v1::Migration Show(const StoredMigration& stored) const;

  const ControlServiceParts parts_;
};

}  // namespace migrationd
