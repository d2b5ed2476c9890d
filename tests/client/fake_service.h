// A MigrationControl service in this process, for tests of the client: it answers what the test says and keeps what it
// was asked.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/grpcpp.h"
#include "migrationcontrol/v1/migration_control.grpc.pb.h"

namespace migrationcontrol {

// Thread-safe. By default every call of a migration that is not in `migrations` is NOT_FOUND, and every verb is OK.
class FakeService : public v1::MigrationControl::Service {
 public:
  using WatchHandler = std::function<grpc::Status(grpc::ServerContext&, const v1::WatchRequest&,
                                                  grpc::ServerWriter<v1::WatchResponse>&)>;

  // The next calls, of any kind but Watch, fail with these, first come first served.
  void FailNext(grpc::Status status) {
    absl::MutexLock lock(&mutex_);
    failures_.push_back(std::move(status));
  }
  void SetMigration(v1::Migration migration) {
    absl::MutexLock lock(&mutex_);
    migrations_[migration.target() + "/" + migration.name()] = std::move(migration);
  }
  // What a verb answers with, instead of the migration as it is.
  void SetStateAfterVerbs(v1::State state) {
    absl::MutexLock lock(&mutex_);
    state_after_verbs_ = state;
  }
  // Runs in the server's threads. Default: the migration asked for, or all, as a snapshot, then nothing until the call
  // ends.
  void SetWatch(WatchHandler handler) {
    absl::MutexLock lock(&mutex_);
    watch_ = std::move(handler);
  }
  void SetPlan(v1::PlanResponse response) {
    absl::MutexLock lock(&mutex_);
    plan_ = std::move(response);
  }
  void SetValidate(v1::ValidateResponse response) {
    absl::MutexLock lock(&mutex_);
    validate_ = std::move(response);
  }
  void SetList(v1::ListResponse response) {
    absl::MutexLock lock(&mutex_);
    list_ = std::move(response);
  }

  // `Verb {request as text}` of every call, in order.
  std::vector<std::string> calls() const {
    absl::MutexLock lock(&mutex_);
    return calls_;
  }
  std::vector<std::string> request_ids() const {
    absl::MutexLock lock(&mutex_);
    return request_ids_;
  }

  grpc::Status List(grpc::ServerContext*, const v1::ListRequest* request, v1::ListResponse* response) override;
  grpc::Status Status(grpc::ServerContext*, const v1::StatusRequest* request, v1::StatusResponse* response) override;
  grpc::Status Watch(grpc::ServerContext* context, const v1::WatchRequest* request,
                     grpc::ServerWriter<v1::WatchResponse>* writer) override;
  grpc::Status ListJobs(grpc::ServerContext*, const v1::ListJobsRequest* request,
                        v1::ListJobsResponse* response) override;
  grpc::Status ListEvents(grpc::ServerContext*, const v1::ListEventsRequest* request,
                          v1::ListEventsResponse* response) override;
  grpc::Status ListTargets(grpc::ServerContext*, const v1::ListTargetsRequest* request, v1::ListTargetsResponse* response) override;
  grpc::Status GetDefinition(grpc::ServerContext*, const v1::GetDefinitionRequest* request,
                             v1::GetDefinitionResponse* response) override;
  grpc::Status Enqueue(grpc::ServerContext*, const v1::EnqueueRequest* request, v1::EnqueueResponse* response) override;
  grpc::Status Plan(grpc::ServerContext*, const v1::PlanRequest* request, v1::PlanResponse* response) override;
  grpc::Status Validate(grpc::ServerContext*, const v1::ValidateRequest* request,
                        v1::ValidateResponse* response) override;
  grpc::Status Pause(grpc::ServerContext*, const v1::PauseRequest* request, v1::PauseResponse* response) override;
  grpc::Status Start(grpc::ServerContext*, const v1::StartRequest* request, v1::StartResponse* response) override;
  grpc::Status Resume(grpc::ServerContext*, const v1::ResumeRequest* request, v1::ResumeResponse* response) override;
  grpc::Status Retry(grpc::ServerContext*, const v1::RetryRequest* request, v1::RetryResponse* response) override;
  grpc::Status SetPace(grpc::ServerContext*, const v1::SetPaceRequest* request, v1::SetPaceResponse* response) override;
  grpc::Status SetBatchSize(grpc::ServerContext*, const v1::SetBatchSizeRequest* request,
                            v1::SetBatchSizeResponse* response) override;
  grpc::Status Verify(grpc::ServerContext*, const v1::VerifyRequest* request, v1::VerifyResponse* response) override;
  grpc::Status Accept(grpc::ServerContext*, const v1::AcceptRequest* request, v1::AcceptResponse* response) override;
  grpc::Status Cancel(grpc::ServerContext*, const v1::CancelRequest* request, v1::CancelResponse* response) override;
  grpc::Status Cleanup(grpc::ServerContext*, const v1::CleanupRequest* request, v1::CleanupResponse* response) override;
  grpc::Status Delete(grpc::ServerContext*, const v1::DeleteRequest* request, v1::DeleteResponse* response) override;
  grpc::Status Freeze(grpc::ServerContext*, const v1::FreezeRequest* request, v1::FreezeResponse* response) override;
  grpc::Status Unfreeze(grpc::ServerContext*, const v1::UnfreezeRequest* request,
                        v1::UnfreezeResponse* response) override;

 private:
  // Keeps the call; the failure that is next in line, or OK.
  grpc::Status Record(const std::string& verb, const google::protobuf::Message& request)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  grpc::Status Find(const std::string& name, v1::Migration* migration) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  template <typename Request, typename Response>
  grpc::Status Verb(const std::string& verb, const Request& request, Response* response);

  mutable absl::Mutex mutex_;
  std::deque<grpc::Status> failures_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, v1::Migration> migrations_ ABSL_GUARDED_BY(mutex_);
  v1::State state_after_verbs_ ABSL_GUARDED_BY(mutex_) = v1::STATE_UNSPECIFIED;
  WatchHandler watch_ ABSL_GUARDED_BY(mutex_);
  v1::PlanResponse plan_ ABSL_GUARDED_BY(mutex_);
  v1::ValidateResponse validate_ ABSL_GUARDED_BY(mutex_);
  v1::ListResponse list_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> calls_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> request_ids_ ABSL_GUARDED_BY(mutex_);
};

// The service behind a real port on the loopback; can be stopped and started again on the same port.
class FakeServer {
 public:
  FakeServer() { Start(); }
  ~FakeServer() { Stop(); }
  FakeService& service() { return service_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  void Start();
  void Stop();

 private:
  FakeService service_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

// main/NAME in that state, with plausible numbers.
v1::Migration MakeMigration(const std::string& name, v1::State state);

// A status that carries google.rpc.RetryInfo.
grpc::Status UnavailableWithRetryInfo(const std::string& message, int milliseconds);

}  // namespace migrationcontrol
