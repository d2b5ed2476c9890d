#include "migrationcontrol/client.h"

#include "client/client_impl.h"

namespace migrationcontrol {
namespace {

using Stub = v1::MigrationControl::StubInterface;

template <typename Request>
Request MakeRequest(const std::string& migration, const CallOptions& options) {
  Request request;
  request.set_migration(migration);
  request.set_reason(options.reason);
  request.set_request_id(options.request_id);
  request.set_expected_revision(options.expected_revision);
  request.set_validate_only(options.validate_only);
  return request;
}

void SetTimestamp(absl::Time time, google::protobuf::Timestamp& timestamp) {
  const std::int64_t seconds = absl::ToUnixSeconds(time);
  timestamp.set_seconds(seconds);
  timestamp.set_nanos(static_cast<std::int32_t>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
}

}  // namespace

Client::Client(ClientOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}

Client::Client(ClientOptions options, std::unique_ptr<Stub> stub)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(stub))) {}

Client::~Client() = default;

absl::StatusOr<bool> Client::IsCompleted(const std::string& migration) {
  const absl::StatusOr<v1::StatusResponse> response = Status(migration);
  if (!response.ok()) return response.status();
  return response->migration().state() == v1::STATE_COMPLETED;
}

absl::StatusOr<v1::Progress> Client::Progress(const std::string& migration) {
  const absl::StatusOr<v1::StatusResponse> response = Status(migration);
  if (!response.ok()) return response.status();
  return response->migration().progress();
}

absl::StatusOr<v1::EnqueueResponse> Client::Enqueue(const std::string& migration,
                                                    const std::map<std::string, std::string>& parameters,
                                                    const CallOptions& options) {
  if (options.expected_revision != 0) {
    return absl::InvalidArgumentError(
        "Enqueue takes no expected_revision: a migration that is known is returned as it is");
  }
  v1::EnqueueRequest request;
  request.set_migration(migration);
  request.mutable_parameters()->insert(parameters.begin(), parameters.end());
  request.set_reason(options.reason);
  request.set_request_id(options.request_id);
  request.set_validate_only(options.validate_only);
  return Enqueue(std::move(request));
}

absl::StatusOr<v1::EnqueueResponse> Client::Enqueue(v1::EnqueueRequest request) {
  return impl_->Mutate(&Stub::Enqueue, std::move(request));
}

absl::StatusOr<v1::ListResponse> Client::List(const v1::ListRequest& request) {
  return impl_->Call(&Stub::List, request);
}

absl::StatusOr<v1::StatusResponse> Client::Status(const std::string& migration) {
  v1::StatusRequest request;
  request.set_migration(migration);
  return impl_->Call(&Stub::Status, request);
}

absl::StatusOr<v1::ListJobsResponse> Client::ListJobs(const v1::ListJobsRequest& request) {
  return impl_->Call(&Stub::ListJobs, request);
}

absl::StatusOr<v1::ListFailuresResponse> Client::ListFailures(const v1::ListFailuresRequest& request) {
  return impl_->Call(&Stub::ListFailures, request);
}

absl::StatusOr<v1::ListTargetsResponse> Client::ListTargets(const v1::ListTargetsRequest& request) {
  return impl_->Call(&Stub::ListTargets, request);
}

absl::StatusOr<v1::ListEventsResponse> Client::ListEvents(const v1::ListEventsRequest& request) {
  return impl_->Call(&Stub::ListEvents, request);
}

absl::StatusOr<v1::GetDefinitionResponse> Client::GetDefinition(const std::string& migration) {
  v1::GetDefinitionRequest request;
  request.set_migration(migration);
  return impl_->Call(&Stub::GetDefinition, request);
}

absl::StatusOr<v1::ValidateResponse> Client::Validate(const v1::ValidateRequest& request) {
  return impl_->Call(&Stub::Validate, request);
}

absl::StatusOr<v1::PlanResponse> Client::Plan(const v1::PlanRequest& request) { return impl_->Call(&Stub::Plan, request); }

absl::StatusOr<v1::Migration> Client::Start(const std::string& migration, const CallOptions& options) {
  return impl_->Verb(&Stub::Start, MakeRequest<v1::StartRequest>(migration, options));
}

absl::StatusOr<v1::PauseResponse> Client::Pause(const std::string& migration, const CallOptions& options,
                                                bool immediate, std::optional<absl::Time> until) {
  auto request = MakeRequest<v1::PauseRequest>(migration, options);
  request.set_immediate(immediate);
  if (until.has_value()) SetTimestamp(*until, *request.mutable_until());
  return impl_->Mutate(&Stub::Pause, std::move(request));
}

absl::StatusOr<v1::Migration> Client::Resume(const std::string& migration, const CallOptions& options) {
  return impl_->Verb(&Stub::Resume, MakeRequest<v1::ResumeRequest>(migration, options));
}

absl::StatusOr<v1::Migration> Client::Retry(const std::string& migration, const CallOptions& options,
                                            v1::RetryFrom from, bool acknowledge_repeat) {
  auto request = MakeRequest<v1::RetryRequest>(migration, options);
  request.set_from(from);
  request.set_acknowledge_repeat(acknowledge_repeat);
  return impl_->Verb(&Stub::Retry, std::move(request));
}

absl::StatusOr<v1::Migration> Client::SetPace(v1::SetPaceRequest request) { return impl_->Verb(&Stub::SetPace, std::move(request)); }

absl::StatusOr<v1::Migration> Client::SetBatchSize(v1::SetBatchSizeRequest request) {
  return impl_->Verb(&Stub::SetBatchSize, std::move(request));
}

absl::StatusOr<v1::Migration> Client::Verify(const std::string& migration, const CallOptions& options) {
  return impl_->Verb(&Stub::Verify, MakeRequest<v1::VerifyRequest>(migration, options));
}

absl::StatusOr<v1::Migration> Client::StopVerification(const std::string& migration, const CallOptions& options) {
  auto request = MakeRequest<v1::VerifyRequest>(migration, options);
  request.set_stop(true);
  return impl_->Verb(&Stub::Verify, std::move(request));
}

absl::StatusOr<v1::Migration> Client::Accept(const std::string& migration, const CallOptions& options) {
  return impl_->Verb(&Stub::Accept, MakeRequest<v1::AcceptRequest>(migration, options));
}

absl::StatusOr<v1::Migration> Client::Cancel(const std::string& migration, const CallOptions& options) {
  return impl_->Verb(&Stub::Cancel, MakeRequest<v1::CancelRequest>(migration, options));
}

absl::StatusOr<v1::Migration> Client::Cleanup(const std::string& migration, const CallOptions& options) {
  return impl_->Verb(&Stub::Cleanup, MakeRequest<v1::CleanupRequest>(migration, options));
}

absl::StatusOr<v1::Migration> Client::Delete(const std::string& migration, const CallOptions& options,
                                             bool acknowledge_leftovers) {
  auto request = MakeRequest<v1::DeleteRequest>(migration, options);
  request.set_acknowledge_leftovers(acknowledge_leftovers);
  return impl_->Verb(&Stub::Delete, std::move(request));
}

absl::StatusOr<v1::FreezeInfo> Client::Freeze(v1::FreezeRequest request) {
  absl::StatusOr<v1::FreezeResponse> response = impl_->Mutate(&Stub::Freeze, std::move(request));
  if (!response.ok()) return response.status();
  return std::move(*response->mutable_freeze());
}

absl::StatusOr<v1::FreezeInfo> Client::Unfreeze(v1::UnfreezeRequest request) {
  absl::StatusOr<v1::UnfreezeResponse> response = impl_->Mutate(&Stub::Unfreeze, std::move(request));
  if (!response.ok()) return response.status();
  return std::move(*response->mutable_freeze());
}

}  // namespace migrationcontrol
