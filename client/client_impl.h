// The inside of Client: a stub, and the one loop that makes calls over it.
#pragma once

#include <algorithm>
#include <fstream>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/backoff.h"
#include "client/request_id.h"
#include "client/status_conversion.h"
#include "client/transport.h"
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

class Client::Impl {
 public:
  using Stub = v1::MigrationControl::StubInterface;
  template <typename Request, typename Response>
  using Method = grpc::Status (Stub::*)(grpc::ClientContext*, const Request&, Response*);

  // Over a stub that stays.
  Impl(ClientOptions options, std::unique_ptr<Stub> stub)
      : options_(std::move(options)), own_channel_(false), texts_(ReadCertificateTexts(options_)), stub_(std::move(stub)) {}
  // Over a channel of its own, made anew when the files change.
  explicit Impl(ClientOptions options)
      : options_(std::move(options)),
        own_channel_(true),
        token_is_safe_(CheckTokenIsSafe(options_)),
        texts_(ReadCertificateTexts(options_)),
        seen_(texts_),
        look_at_(absl::Now() + options_.files_check_interval),
        stub_(Connect(options_, texts_.value_or(CertificateTexts()))) {}

  const ClientOptions& options() const { return options_; }
  // Shows who calls. FAILED_PRECONDITION when that would show the token to others, UNAVAILABLE when a certificate file, UNAUTHENTICATED when the
  // token could not be read.
  absl::Status Introduce(grpc::ClientContext& context) {
    if (!token_is_safe_.ok()) return token_is_safe_;
    LookAtFiles();
    {
      absl::MutexLock lock(&mutex_);
      if (!texts_.ok()) return texts_.status();
    }
    return ShowToken(options_, context);
  }
  // The one to call on now; a call keeps its own while it lasts.
  std::shared_ptr<Stub> stub() {
    absl::MutexLock lock(&mutex_);
    return stub_;
  }

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
      const absl::Status status = ToAbslStatus((stub().get()->*method)(&context, request, &response));
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
  // gRPC can watch files itself, but uses what it finds while they are being written, and then refuses to connect.
  void LookAtFiles() {
    if (!own_channel_ || (options_.ca_file.empty() && options_.certificate_file.empty() && options_.key_file.empty())) return;
    absl::MutexLock lock(&mutex_);
    const absl::Time now = absl::Now();
    if (now < look_at_) return;
    look_at_ = now + options_.files_check_interval;
    absl::StatusOr<CertificateTexts> read = ReadCertificateTexts(options_);
    if (!read.ok() || (texts_.ok() && *texts_ == *read)) return;
    if (!seen_.ok() || !(*seen_ == *read)) {
      // Once more before it is believed.
      seen_ = std::move(read);
      look_at_ = now + std::min(options_.files_check_interval, absl::Seconds(1));
      return;
    }
    texts_ = std::move(read);
    stub_ = Connect(options_, *texts_);
  }

  const ClientOptions options_;
  const bool own_channel_;
  const absl::Status token_is_safe_;
  absl::Mutex mutex_;
  absl::StatusOr<CertificateTexts> texts_ ABSL_GUARDED_BY(mutex_);  // of the channel
  absl::StatusOr<CertificateTexts> seen_ ABSL_GUARDED_BY(mutex_);   // in the files, at the last look at which they were readable
  absl::Time look_at_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  std::shared_ptr<Stub> stub_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace migrationcontrol
