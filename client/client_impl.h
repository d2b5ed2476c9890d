// The inside of Client: a stub, and the one loop that makes calls over it.
#pragma once

#include <algorithm>
#include <fstream>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/backoff.h"
#include "client/request_id.h"
#include "client/status_conversion.h"
#include "grpcpp/client_context.h"
#include "migrationcontrol/client.h"

namespace migrationcontrol {

// For a gRPC deadline. Far deadlines, infinite ones among them, are cut to a year: they must fit the system clock.
inline void SetDeadline(grpc::ClientContext& context, absl::Time deadline) {
  context.set_deadline(absl::ToChronoTime(std::min(deadline, absl::Now() + absl::Hours(24 * 365))));
}

// Adds the bearer token, if there is a file for one. UNAUTHENTICATED when it cannot be read.
inline absl::Status ShowToken(const ClientOptions& options, grpc::ClientContext& context) {
  if (options.token_file.empty()) return absl::OkStatus();
  std::ifstream in(options.token_file);
  std::string token;
  if (!(in >> token)) return absl::UnauthenticatedError("no token can be read from " + options.token_file);
  context.AddMetadata("authorization", "Bearer " + token);
  return absl::OkStatus();
}

// gRPC would only say that it cannot connect.
inline absl::Status CheckFiles(const ClientOptions& options) {
  for (const std::string& file : {options.ca_file, options.certificate_file, options.key_file}) {
    if (!file.empty() && !std::ifstream(file)) return absl::UnavailableError(file + " cannot be read");
  }
  return absl::OkStatus();
}

class Client::Impl {
 public:
  using Stub = v1::MigrationControl::StubInterface;
  template <typename Request, typename Response>
  using Method = grpc::Status (Stub::*)(grpc::ClientContext*, const Request&, Response*);

  Impl(ClientOptions options, std::unique_ptr<Stub> stub)
      : options_(std::move(options)), files_(CheckFiles(options_)), stub_(std::move(stub)) {}

  const ClientOptions& options() const { return options_; }
  // Shows who calls. UNAVAILABLE when a certificate file, UNAUTHENTICATED when the token could not be read.
  absl::Status Introduce(grpc::ClientContext& context) const {
    if (!files_.ok()) return files_;
    return ShowToken(options_, context);
  }
  Stub& stub() { return *stub_; }

  // One logical call: attempts until one does not end UNAVAILABLE, attempts or time are used up. `deadline` is for all
  // of them. Another attempt is not begun when its back-off would outlast the deadline: the caller then learns why
  // instead of that it was too late.
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(Method<Request, Response> method, const Request& request, absl::Time deadline) {
    for (int attempt = 1;; ++attempt) {
      grpc::ClientContext context;
      SetDeadline(context, deadline);
      const absl::Status introduced = Introduce(context);
      if (!introduced.ok()) return introduced;
      Response response;
      const absl::Status status = ToAbslStatus((stub_.get()->*method)(&context, request, &response));
      if (status.ok()) return response;
      if (!absl::IsUnavailable(status) || attempt >= options_.max_attempts) return status;
      const absl::Duration delay = BackoffDelay(options_, attempt, DrawJitter(), RetryDelay(status));
      if (absl::Now() + delay >= deadline) return status;
      absl::SleepFor(delay);
    }
  }

  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(Method<Request, Response> method, const Request& request) {
    return Call(method, request, absl::Now() + options_.timeout);
  }

  // A call that changes something: with a request_id, the same for every attempt.
  template <typename Request, typename Response>
  absl::StatusOr<Response> Mutate(Method<Request, Response> method, Request request) {
    if (request.request_id().empty()) request.set_request_id(NewRequestId());
    return Call(method, request);
  }

  // A mutation of one migration, which is all that is wanted of the answer.
  template <typename Request, typename Response>
  absl::StatusOr<v1::Migration> Verb(Method<Request, Response> method, Request request) {
    absl::StatusOr<Response> response = Mutate(method, std::move(request));
    if (!response.ok()) return response.status();
    return std::move(*response->mutable_migration());
  }

 private:
  const ClientOptions options_;
  const absl::Status files_;
  const std::unique_ptr<Stub> stub_;
};

}  // namespace migrationcontrol
