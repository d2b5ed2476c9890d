#include "tests/client/fake_service.h"

#include <chrono>
#include <stdexcept>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "google/protobuf/any.pb.h"
#include "google/protobuf/duration.pb.h"

namespace migrationcontrol {
namespace {

// One length-delimited field of a serialized message; all lengths here are below 128.
std::string Field(int number, const std::string& value) {
  return std::string{static_cast<char>(number << 3 | 2), static_cast<char>(value.size())} + value;
}

}  // namespace

grpc::Status FakeService::Record(const std::string& verb, const google::protobuf::Message& request) {
  calls_.push_back(verb + " {" + request.ShortDebugString() + "}");
  if (const auto* field = request.GetDescriptor()->FindFieldByName("request_id")) {
    request_ids_.push_back(request.GetReflection()->GetString(request, field));
  }
  if (failures_.empty()) return grpc::Status::OK;
  grpc::Status failure = failures_.front();
  failures_.pop_front();
  return failure;
}

grpc::Status FakeService::Find(const std::string& name, v1::Migration* migration) const {
  for (const auto& [full_name, candidate] : migrations_) {
    if (name == full_name || name == candidate.name()) {
      *migration = candidate;
      return grpc::Status::OK;
    }
  }
  return grpc::Status(grpc::StatusCode::NOT_FOUND, "no migration \"" + name + "\"; did you mean \"known\"?");
}

template <typename Request, typename Response>
grpc::Status FakeService::Verb(const std::string& verb, const Request& request, Response* response) {
  absl::MutexLock lock(&mutex_);
  grpc::Status status = Record(verb, request);
  if (status.ok()) status = Find(request.migration(), response->mutable_migration());
  if (status.ok() && state_after_verbs_ != v1::STATE_UNSPECIFIED) {
    response->mutable_migration()->set_state(state_after_verbs_);
  }
  return status;
}

grpc::Status FakeService::List(grpc::ServerContext*, const v1::ListRequest* request, v1::ListResponse* response) {
  absl::MutexLock lock(&mutex_);
  *response = list_;
  for (const auto& [name, migration] : migrations_) *response->add_migrations() = migration;
  return Record("List", *request);
}

grpc::Status FakeService::Status(grpc::ServerContext*, const v1::StatusRequest* request, v1::StatusResponse* response) {
  absl::MutexLock lock(&mutex_);
  grpc::Status status = Record("Status", *request);
  if (status.ok()) status = Find(request->migration(), response->mutable_migration());
  if (status.ok()) {
    v1::Event* event = response->add_recent_events();
    event->set_sequence(7);
    event->set_kind("TRANSITION");
    event->set_actor("alice");
    event->set_from("PENDING");
    event->set_to("RUNNING");
    event->set_reason("its turn");
  }
  return status;
}

grpc::Status FakeService::Watch(grpc::ServerContext* context, const v1::WatchRequest* request,
                                grpc::ServerWriter<v1::WatchResponse>* writer) {
  WatchHandler handler;
  v1::WatchResponse snapshot;
  {
    absl::MutexLock lock(&mutex_);
    calls_.push_back("Watch {" + request->ShortDebugString() + "}");
    handler = watch_;
    for (const auto& [name, migration] : migrations_) {
      if (request->migration().empty() || request->migration() == name || request->migration() == migration.name()) {
        *snapshot.add_migrations() = migration;
      }
    }
  }
  if (handler != nullptr) return handler(*context, *request, *writer);
  snapshot.set_snapshot(true);
  writer->Write(snapshot);
  while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
  return grpc::Status(grpc::StatusCode::UNAVAILABLE, "the server stops");
}

grpc::Status FakeService::ListJobs(grpc::ServerContext*, const v1::ListJobsRequest* request,
                                   v1::ListJobsResponse* response) {
  absl::MutexLock lock(&mutex_);
  grpc::Status status = Record("ListJobs", *request);
  v1::Migration migration;
  if (status.ok()) status = Find(request->migration(), &migration);
  if (!status.ok()) return status;
  // Two pages: the second one by its token.
  v1::Job* job = response->add_jobs();
  job->set_id(request->page_token().empty() ? 2 : 1);
  job->add_lower("1");
  job->add_upper("1000");
  job->set_rows(1000);
  job->set_outcome("DONE");
  if (request->page_token().empty()) response->set_next_page_token("second");
  return status;
}

grpc::Status FakeService::ListTargets(grpc::ServerContext*, const v1::ListTargetsRequest* request, v1::ListTargetsResponse* response) {
  absl::MutexLock lock(&mutex_);
  v1::TargetInfo* main = response->add_targets();
  main->set_name("main");
  main->set_reachable(true);
  main->set_known(true);
  main->set_running(2);
  main->set_allowed(0.5);
  main->mutable_hold()->set_kind(v1::HOLD_KIND_THROTTLED);
  main->mutable_hold()->set_reason("replica_lag 31 s");
  v1::Reading* lag = main->add_readings();
  lag->set_signal("replica_lag");
  lag->set_value(31.25);
  lag->set_limit(30);
  lag->set_unit("s");
  lag->set_detail("replica standby");
  v1::Reading* unknown = main->add_readings();
  unknown->set_signal("active_backends");
  unknown->set_limit(50);
  unknown->set_detail("needs pg_monitor");
  v1::TargetInfo* away = response->add_targets();
  away->set_name("away");
  away->set_reason("no route to host");
  away->set_allowed(1);
  return Record("ListTargets", *request);
}

grpc::Status FakeService::ListEvents(grpc::ServerContext*, const v1::ListEventsRequest* request,
                                     v1::ListEventsResponse* response) {
  absl::MutexLock lock(&mutex_);
  grpc::Status status = Record("ListEvents", *request);
  v1::Migration migration;
  if (status.ok() && !request->migration().empty()) status = Find(request->migration(), &migration);
  if (!status.ok()) return status;
  v1::Event* event = response->add_events();
  event->set_sequence(1);
  event->set_target("main");
  event->set_migration("known");
  event->set_kind("TRANSITION");
  event->set_reason("evil \x1b[31m reason");
  return status;
}

grpc::Status FakeService::GetDefinition(grpc::ServerContext*, const v1::GetDefinitionRequest* request,
                                        v1::GetDefinitionResponse* response) {
  absl::MutexLock lock(&mutex_);
  grpc::Status status = Record("GetDefinition", *request);
  v1::Migration migration;
  if (status.ok()) status = Find(request->migration(), &migration);
  if (!status.ok()) return status;
  response->set_name(migration.name());
  response->set_yaml("format: 1\ntarget: main\n");
  return status;
}

grpc::Status FakeService::Enqueue(grpc::ServerContext*, const v1::EnqueueRequest* request,
                                  v1::EnqueueResponse* response) {
  absl::MutexLock lock(&mutex_);
  grpc::Status status = Record("Enqueue", *request);
  if (!status.ok()) return status;
  if (request->has_file()) {
    *response->mutable_migration() = MakeMigration("from_file", v1::STATE_PENDING);
  } else {
    status = Find(request->migration(), response->mutable_migration());
  }
  response->set_created(true);
  return status;
}

grpc::Status FakeService::Plan(grpc::ServerContext*, const v1::PlanRequest* request, v1::PlanResponse* response) {
  absl::MutexLock lock(&mutex_);
  *response = plan_;
  return Record("Plan", *request);
}

grpc::Status FakeService::Validate(grpc::ServerContext*, const v1::ValidateRequest* request,
                                   v1::ValidateResponse* response) {
  absl::MutexLock lock(&mutex_);
  *response = validate_;
  return Record("Validate", *request);
}

grpc::Status FakeService::Start(grpc::ServerContext*, const v1::StartRequest* request, v1::StartResponse* response) {
  return Verb("Start", *request, response);
}
grpc::Status FakeService::Pause(grpc::ServerContext*, const v1::PauseRequest* request, v1::PauseResponse* response) {
  return Verb("Pause", *request, response);
}
grpc::Status FakeService::Resume(grpc::ServerContext*, const v1::ResumeRequest* request, v1::ResumeResponse* response) {
  return Verb("Resume", *request, response);
}
grpc::Status FakeService::Retry(grpc::ServerContext*, const v1::RetryRequest* request, v1::RetryResponse* response) {
  return Verb("Retry", *request, response);
}
grpc::Status FakeService::SetPace(grpc::ServerContext*, const v1::SetPaceRequest* request, v1::SetPaceResponse* response) {
  return Verb("SetPace", *request, response);
}

grpc::Status FakeService::SetBatchSize(grpc::ServerContext*, const v1::SetBatchSizeRequest* request,
                                       v1::SetBatchSizeResponse* response) {
  return Verb("SetBatchSize", *request, response);
}
grpc::Status FakeService::Verify(grpc::ServerContext*, const v1::VerifyRequest* request, v1::VerifyResponse* response) {
  return Verb("Verify", *request, response);
}
grpc::Status FakeService::Accept(grpc::ServerContext*, const v1::AcceptRequest* request, v1::AcceptResponse* response) {
  return Verb("Accept", *request, response);
}
grpc::Status FakeService::Cancel(grpc::ServerContext*, const v1::CancelRequest* request, v1::CancelResponse* response) {
  return Verb("Cancel", *request, response);
}
grpc::Status FakeService::Cleanup(grpc::ServerContext*, const v1::CleanupRequest* request,
                                  v1::CleanupResponse* response) {
  return Verb("Cleanup", *request, response);
}
grpc::Status FakeService::Delete(grpc::ServerContext*, const v1::DeleteRequest* request, v1::DeleteResponse* response) {
  return Verb("Delete", *request, response);
}

grpc::Status FakeService::Freeze(grpc::ServerContext*, const v1::FreezeRequest* request, v1::FreezeResponse* response) {
  absl::MutexLock lock(&mutex_);
  response->mutable_freeze()->set_target(request->target());
  response->mutable_freeze()->set_reason(request->reason());
  return Record("Freeze", *request);
}

grpc::Status FakeService::Unfreeze(grpc::ServerContext*, const v1::UnfreezeRequest* request,
                                   v1::UnfreezeResponse* response) {
  absl::MutexLock lock(&mutex_);
  response->mutable_freeze()->set_target(request->target());
  return Record("Unfreeze", *request);
}

void FakeServer::Start() {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:" + std::to_string(port_), grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service_);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) throw std::runtime_error("cannot listen on " + address());
  port_ = port;
}

void FakeServer::Stop() {
  // Streams are cut at once.
  if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
  server_.reset();
}

v1::Migration MakeMigration(const std::string& name, v1::State state) {
  v1::Migration migration;
  migration.set_target("main");
  migration.set_name(name);
  migration.set_version("20261120093000");
  migration.set_state(state);
  migration.set_phase(v1::PHASE_EXECUTE);
  migration.mutable_hold()->set_kind(v1::HOLD_KIND_NONE);
  migration.set_summary("a summary");
  migration.set_batch_size(1000);
  migration.set_sub_batch_size(100);
  migration.set_max_batch_size(50000);
  v1::Progress* progress = migration.mutable_progress();
  progress->set_rows_done(632000);
  progress->set_rows_estimated(1000000);
  progress->set_fraction(0.632);
  progress->set_method("ROWS");
  progress->set_rows_per_second(12345);
  progress->set_eta_state(v1::ETA_STATE_READY);
  migration.mutable_as_of()->set_seconds(1700000000);
  migration.mutable_started_at()->set_seconds(1700000000 - 3600);
  progress->mutable_eta()->set_seconds(1700000000 + 90);
  return migration;
}

grpc::Status UnavailableWithRetryInfo(const std::string& message, int milliseconds) {
  google::protobuf::Duration delay;
  delay.set_seconds(milliseconds / 1000);
  delay.set_nanos(milliseconds % 1000 * 1'000'000);
  google::protobuf::Any any;
  any.set_type_url("type.googleapis.com/google.rpc.RetryInfo");
  any.set_value(Field(1, delay.SerializeAsString()));
  return grpc::Status(grpc::StatusCode::UNAVAILABLE, message, Field(3, any.SerializeAsString()));
}

}  // namespace migrationcontrol
