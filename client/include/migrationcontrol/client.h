// The thin client library of the migration-control service, for other services to request and observe migrations.
//
//   migrationcontrol::ClientOptions options;
//   options.address = "migrationd.infra:50051";
//   migrationcontrol::Client client(options);
//   absl::StatusOr<bool> done = client.IsCompleted("backfill_builds_stage_id");
//
// Thread-safe: one Client may be used by any number of threads; it holds one channel, which connects when first used
// and again when it breaks.
//
// Errors are the codes of the service (proto/migrationcontrol/v1/migration_control.proto); each method names the ones
// that matter. UNAVAILABLE: the server cannot be reached, or says so; DEADLINE_EXCEEDED: no answer within
// ClientOptions::timeout.
//
// Retries: reads are retried on UNAVAILABLE, with jittered back-off (never sooner than the server asks for), within the
// timeout. Mutations too, and safely: every call carries a request_id (made here once, before the first attempt, unless
// given), which the server remembers for 24 h. Error details of the server (google.rpc.ErrorInfo and others) are
// payloads of the status, by type URL.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "migrationcontrol/v1/migration_control.grpc.pb.h"
#include "migrationcontrol/v1/migration_control.pb.h"

namespace migrationcontrol {

struct ClientOptions {
  std::string address = "127.0.0.1:50051";
  // For one call, with its retries. Not for WaitUntilCompleted and Watch, which take their own.
  absl::Duration timeout = absl::Seconds(15);
  int max_attempts = 5;
  absl::Duration initial_backoff = absl::Milliseconds(100);
  absl::Duration max_backoff = absl::Seconds(2);

  // Any of the next three: the connection is encrypted. PEM files. One that cannot be read when the client is made makes every call
  // UNAVAILABLE, saying so. Later they are looked at again by calls, at most once in `files_check_interval`: when they have changed, and two
  // looks a second apart (or an interval, if that is shorter) have read the same, new calls connect anew with what they say, so that a client
  // outlives its certificates. What cannot be read then changes nothing.
  std::string ca_file;           // authorities to trust; empty with `tls`: the system's
  std::string certificate_file;  // to show to a server that demands one (mutual TLS), with
  std::string key_file;
  bool tls = false;  // encrypted, also without any of them
  absl::Duration files_check_interval = absl::Minutes(1);
  // A file with a bearer token, read again for each call, so that a rotated one is picked up.
  std::string token_file;
  // Without TLS, whoever can read the network could read the token and use it: with an address that is neither loopback nor a unix socket,
  // every call is then FAILED_PRECONDITION. True: something else encrypts, such as a service mesh.
  bool allow_token_without_tls = false;
};

// What every mutation may carry. Empty request_id: the library makes one.
struct CallOptions {
  std::string reason;
  std::string request_id;
  std::int64_t expected_revision = 0;
  bool validate_only = false;
};

class Client {
 public:
  explicit Client(ClientOptions options);
  // Over a stub of one's own: a fake for tests, or a channel with other credentials. `options.address` is only for
  // messages.
  Client(ClientOptions options, std::unique_ptr<v1::MigrationControl::StubInterface> stub);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // True once every row is done and verified. NOT_FOUND: no such migration. Idempotent.
  absl::StatusOr<bool> IsCompleted(const std::string& migration);
  absl::StatusOr<v1::Progress> Progress(const std::string& migration);

  // Returns when it is COMPLETED. FAILED_PRECONDITION when it is HALTED, CANCELLED or PAUSED (without `until`), with
  // the reason: it will not complete by itself. DEADLINE_EXCEEDED after `timeout`, still going. Survives restarts of
  // the server meanwhile, once the first answer has come: before it, UNAVAILABLE and NOT_FOUND are returned. NOT_FOUND
  // also when it is deleted meanwhile.
  absl::Status WaitUntilCompleted(const std::string& migration, absl::Duration timeout);
  // Returns the first state for which `done` is true; other errors as above.
  absl::StatusOr<v1::Migration> WaitFor(const std::string& migration, absl::Duration timeout,
                                        const std::function<bool(const v1::Migration&)>& done);

  // Requests a migration of the catalogue. A known one is returned as it is. ALREADY_EXISTS: with other parameters.
  absl::StatusOr<v1::EnqueueResponse> Enqueue(const std::string& migration,
                                              const std::map<std::string, std::string>& parameters = {},
                                              const CallOptions& options = {});
  // The whole request, for inline definitions and canaries.
  absl::StatusOr<v1::EnqueueResponse> Enqueue(v1::EnqueueRequest request);

  absl::StatusOr<v1::ListResponse> List(const v1::ListRequest& request = {});
  absl::StatusOr<v1::StatusResponse> Status(const std::string& migration);
  absl::StatusOr<v1::ListJobsResponse> ListJobs(const v1::ListJobsRequest& request);
  absl::StatusOr<v1::ListFailuresResponse> ListFailures(const v1::ListFailuresRequest& request);
  absl::StatusOr<v1::ListTargetsResponse> ListTargets(const v1::ListTargetsRequest& request);
  absl::StatusOr<v1::ListEventsResponse> ListEvents(const v1::ListEventsRequest& request);
  absl::StatusOr<v1::GetDefinitionResponse> GetDefinition(const std::string& migration);
  absl::StatusOr<v1::ValidateResponse> Validate(const v1::ValidateRequest& request);
  // A rehearsal, which takes up to a minute: give the client a timeout of that length, or its answer does not come. PERMISSION_DENIED: a
  // definition that comes with the call, where the server does not allow that. RESOURCE_EXHAUSTED: others rehearse.
  absl::StatusOr<v1::PlanResponse> Plan(const v1::PlanRequest& request);

  // Calls `on_update`, in the calling thread, for each answer until it returns false or `timeout` is over; reconnects
  // with the resume token. OK when on_update ended it. DEADLINE_EXCEEDED: the timeout is over. UNAVAILABLE: nothing was
  // ever heard from the server in max_attempts attempts; later it is waited for.
  absl::Status Watch(v1::WatchRequest request, absl::Duration timeout,
                     const std::function<bool(const v1::WatchResponse&)>& on_update);

  absl::StatusOr<v1::Migration> Start(const std::string& migration, const CallOptions& options = {});
  absl::StatusOr<v1::PauseResponse> Pause(const std::string& migration, const CallOptions& options = {},
                                          bool immediate = false, std::optional<absl::Time> until = std::nullopt);
  absl::StatusOr<v1::Migration> Resume(const std::string& migration, const CallOptions& options = {});
  absl::StatusOr<v1::Migration> Retry(const std::string& migration, const CallOptions& options = {},
                                      v1::RetryFrom from = v1::RETRY_FROM_UNSPECIFIED, bool acknowledge_repeat = false);
  absl::StatusOr<v1::Migration> SetBatchSize(v1::SetBatchSizeRequest request);

  // Interval, rate, lanes, windows or time limits; what the request does not set stays.
  absl::StatusOr<v1::Migration> SetPace(v1::SetPaceRequest request);
  // Asks for a look over the table of a COMPLETED migration; `verification` of what Status shows tells how far it is and what it found.
  absl::StatusOr<v1::Migration> Verify(const std::string& migration, const CallOptions& options = {});
  // Ends one that waits or is under way, without a result. Idempotent.
  absl::StatusOr<v1::Migration> StopVerification(const std::string& migration, const CallOptions& options = {});
  absl::StatusOr<v1::Migration> Accept(const std::string& migration, const CallOptions& options = {});
  absl::StatusOr<v1::Migration> Cancel(const std::string& migration, const CallOptions& options = {});
  absl::StatusOr<v1::Migration> Cleanup(const std::string& migration, const CallOptions& options = {});
  // `acknowledge_leftovers`: also when its cleanup has not run.
  absl::StatusOr<v1::Migration> Delete(const std::string& migration, const CallOptions& options = {},
                                       bool acknowledge_leftovers = false);
  absl::StatusOr<v1::FreezeInfo> Freeze(v1::FreezeRequest request);
  absl::StatusOr<v1::FreezeInfo> Unfreeze(v1::UnfreezeRequest request);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace migrationcontrol
