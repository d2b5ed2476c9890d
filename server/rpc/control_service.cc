#include "server/rpc/control_service.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "migrations/model/status_macros.h"
#include "server/rpc/definition_requests.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/list_query.h"
#include "server/rpc/proto_convert.h"
#include "server/rpc/request_checks.h"

namespace migrationd {
namespace {

namespace v1 = migrationcontrol::v1;

// Clients accept 4 MiB by default; a page ends when it has grown beyond this.
constexpr std::size_t kPageBytes = 1024 * 1024;

grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, const absl::Status& status,
                                 const std::string& subject) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status, subject));
  return reactor;
}

// The deadline passed, or the client went away.
bool NobodyWaits(const grpc::CallbackServerContext& context) {
  const gpr_timespec deadline = context.raw_deadline();
  return context.IsCancelled() || gpr_time_cmp(deadline, gpr_now(deadline.clock_type)) < 0;
}

template <typename Request>
absl::StatusOr<MutationContext> ContextOf(const grpc::CallbackServerContext& context, const Request& request) {
  MutationContext mutation;
  mutation.caller = {ActorOf(context), request.reason()};
  mutation.request_id = request.request_id();
  mutation.validate_only = request.validate_only();
  if constexpr (requires { request.expected_revision(); }) {
    if (request.expected_revision() < 0) {
      return FieldError("expected_revision", "is negative; expected the revision that was seen, or 0 for any.");
    }
    mutation.expected_revision = request.expected_revision();
  }
  return mutation;
}

absl::StatusOr<std::optional<RestartFrom>> FromProto(v1::RetryFrom from) {
  switch (static_cast<int>(from)) {
    case v1::RETRY_FROM_UNSPECIFIED:
      return std::nullopt;
    case v1::RETRY_FROM_CONTINUE:
      return RestartFrom::kContinue;
    case v1::RETRY_FROM_START:
      return RestartFrom::kStart;
    case v1::RETRY_FROM_ADOPT:
      return RestartFrom::kAdopt;
    default:
      return FieldError(
          "from", absl::StrCat(static_cast<int>(from),
                               " is unknown; expected RETRY_FROM_CONTINUE, RETRY_FROM_START or RETRY_FROM_ADOPT."));
  }
}

// `before` of the store's pages, carried in a page token.
absl::StatusOr<std::int64_t> PositionOf(const std::string& query, const std::string& token) {
  if (token.empty()) return 0;
  MD_ASSIGN_OR_RETURN(const std::string position, DecodePageToken(query, token));
  std::int64_t before = 0;
  if (!absl::SimpleAtoi(position, &before) || before <= 0) {
    return FieldError("page_token", "is no token of this server; send back next_page_token as it was.");
  }
  return before;
}

std::string TokenAt(const std::string& query, std::int64_t before) {
  return before == 0 ? "" : EncodePageToken(query, absl::StrCat(before));
}

}  // namespace

MigrationControlService::Reactor* MigrationControlService::Defer(Executor& lane, Context* context,
                                                                 const std::string& subject,
                                                                 std::function<absl::Status()> work) {
  Reactor* reactor = context->DefaultReactor();
  const absl::Status accepted = lane.Submit([context, reactor, subject, work = std::move(work)](bool proceed) {
    if (!proceed) {
      reactor->Finish(ToGrpcStatus(
          WithReason(absl::UnavailableError("The server is stopping and did nothing; call again."), kReasonStopping),
          subject));
    } else if (NobodyWaits(*context)) {
      reactor->Finish(ToGrpcStatus(
          absl::DeadlineExceededError("The caller's deadline passed while the call was waiting; nothing was done."),
          subject));
    } else {
      reactor->Finish(ToGrpcStatus(work(), subject));
    }
  });
  if (!accepted.ok()) reactor->Finish(ToGrpcStatus(accepted, subject));
  return reactor;
}

v1::Migration MigrationControlService::Show(const StoredMigration& stored) const {
  const auto snapshot = parts_.board.Get();
  const auto entry = snapshot->migrations.find(stored.migration.id.value);
  return ToProto(stored, entry == snapshot->migrations.end() ? LiveWork{} : entry->second.live,
                 TimesOf(*snapshot, parts_.clock.Now()));
}

// ---- from memory
// --------------------------------------------------------------------------------------------------------------

MigrationControlService::Reactor* MigrationControlService::List(Context* context, const v1::ListRequest* request,
                                                                v1::ListResponse* response) {
  const auto list = [&]() -> absl::Status {
    MD_RETURN_IF_ERROR(CheckAccess(parts_.anonymous_role, Access::kView));
    MD_RETURN_IF_ERROR(CheckText(*request));
    MD_ASSIGN_OR_RETURN(const ListQuery query, ListQuery::Parse(*request));
    const auto snapshot = parts_.board.Get();
    if (!snapshot->loaded) {
      return absl::UnavailableError(
          absl::StrCat("The control store has not been read yet; try again. ", snapshot->store_error));
    }
    const ConvertTimes times = TimesOf(*snapshot, parts_.clock.Now());
    const std::vector<const BoardEntry*> entries = query.Select(*snapshot);
    std::size_t shown = 0;
    std::size_t bytes = 0;
    for (; shown < entries.size() && shown < static_cast<std::size_t>(query.page_size()) && bytes < kPageBytes;
         ++shown) {
      *response->add_migrations() = ToProto(entries[shown]->stored, entries[shown]->live, times);
      bytes += response->migrations(static_cast<int>(shown)).ByteSizeLong();
    }
    if (shown < entries.size()) response->set_next_page_token(query.NextToken(*entries[shown - 1]));
    for (const FreezeRecord& freeze : snapshot->freezes) *response->add_freezes() = ToProto(freeze);
    for (const CatalogIssue& issue : snapshot->catalog_issues) {
      v1::CatalogProblem& problem = *response->add_catalog_problems();
      problem.set_file(issue.file);
      problem.set_message(issue.message);
    }
    return absl::OkStatus();
  };
  return Answer(context, list(), "");
}

MigrationControlService::Reactor* MigrationControlService::Status(Context* context, const v1::StatusRequest* request,
                                                                  v1::StatusResponse* response) {
  const auto snapshot = parts_.board.Get();
  const auto find = [&]() -> absl::StatusOr<BoardEntry> {
    MD_RETURN_IF_ERROR(CheckAccess(parts_.anonymous_role, Access::kView));
    MD_RETURN_IF_ERROR(CheckText(*request));
    return Resolve(*snapshot, request->migration());
  };
  const auto entry = find();
  if (!entry.ok()) return Answer(context, entry.status(), request->migration());
  *response->mutable_migration() = ToProto(entry->stored, entry->live, TimesOf(*snapshot, parts_.clock.Now()));
  if (!snapshot->store_reachable) return Answer(context, absl::OkStatus(), "");
  Reactor* reactor = context->DefaultReactor();
  parts_.recent_events.Get(entry->stored.migration,
                           [response, reactor](std::shared_ptr<const RecentEvents::Events> events) {
                             for (const EventRecord& event : *events) *response->add_recent_events() = ToProto(event);
                             reactor->Finish(grpc::Status::OK);
                           });
  return reactor;
}

MigrationControlService::Reactor* MigrationControlService::GetDefinition(Context* context,
                                                                         const v1::GetDefinitionRequest* request,
                                                                         v1::GetDefinitionResponse* response) {
  const auto get = [&]() -> absl::Status {
    MD_RETURN_IF_ERROR(CheckAccess(parts_.anonymous_role, Access::kView));
    MD_RETURN_IF_ERROR(CheckText(*request));
    MD_ASSIGN_OR_RETURN(const BoardEntry entry, Resolve(*parts_.board.Get(), request->migration()));
    response->set_name(entry.stored.migration.name);
    response->set_version(entry.stored.migration.version);
    *response->mutable_definition() = *entry.stored.definition;
    response->set_yaml(ToYaml(*entry.stored.definition));
    return absl::OkStatus();
  };
  return Answer(context, get(), request->migration());
}

WatchHub::Reactor* MigrationControlService::Watch(Context*, const v1::WatchRequest* request) {
  absl::Status allowed = CheckAccess(parts_.anonymous_role, Access::kView);
  if (allowed.ok()) allowed = CheckText(*request);
  return allowed.ok() ? parts_.watches.Open(*request) : parts_.watches.Refuse(allowed, request->migration());
}

// ---- from the databases
// -------------------------------------------------------------------------------------------------------

MigrationControlService::Reactor* MigrationControlService::ListJobs(Context* context,
                                                                    const v1::ListJobsRequest* request,
                                                                    v1::ListJobsResponse* response) {
  return Defer(parts_.executor, context, request->migration(), [this, request, response]() -> absl::Status {
    MD_RETURN_IF_ERROR(CheckAccess(parts_.anonymous_role, Access::kView));
    MD_RETURN_IF_ERROR(CheckText(*request));
    MD_RETURN_IF_ERROR(CheckNamed(request->migration()));
    MD_ASSIGN_OR_RETURN(const int page_size, PageSize(request->page_size()));
    const std::string query = absl::StrCat("jobs/", request->migration());
    MD_ASSIGN_OR_RETURN(const std::int64_t before, PositionOf(query, request->page_token()));
    MD_ASSIGN_OR_RETURN(const JobPage page, parts_.controller.ListJobs(request->migration(), before, page_size));
    for (const JobRecord& job : page.jobs) *response->add_jobs() = ToProto(job);
    response->set_next_page_token(TokenAt(query, page.next_before));
    return absl::OkStatus();
  });
}

MigrationControlService::Reactor* MigrationControlService::ListEvents(Context* context,
                                                                      const v1::ListEventsRequest* request,
                                                                      v1::ListEventsResponse* response) {
  return Defer(parts_.executor, context, request->migration(), [this, request, response]() -> absl::Status {
    MD_RETURN_IF_ERROR(CheckAccess(parts_.anonymous_role, Access::kView));
    MD_RETURN_IF_ERROR(CheckText(*request));
    MD_ASSIGN_OR_RETURN(const int page_size, PageSize(request->page_size()));
    std::string query = absl::StrCat("events/", request->migration());
    for (const std::string& kind : request->kinds()) absl::StrAppend(&query, "/", kind.size(), ":", kind);
    MD_ASSIGN_OR_RETURN(const std::int64_t before, PositionOf(query, request->page_token()));
    MD_ASSIGN_OR_RETURN(
        const EventPage page,
        parts_.controller.ListEvents(request->migration(), {request->kinds().begin(), request->kinds().end()}, before,
                                     page_size));
    for (const EventRecord& event : page.events) *response->add_events() = ToProto(event);
    response->set_next_page_token(TokenAt(query, page.next_before));
    return absl::OkStatus();
  });
}

MigrationControlService::Reactor* MigrationControlService::Validate(Context* context,
                                                                    const v1::ValidateRequest* request,
                                                                    v1::ValidateResponse* response) {
  return Defer(parts_.executor, context, "", [this, request, response]() -> absl::Status {
    MD_RETURN_IF_ERROR(CheckAccess(parts_.anonymous_role, Access::kView));
    MD_RETURN_IF_ERROR(CheckText(*request));
    MD_ASSIGN_OR_RETURN(SentDefinition sent, ReadDefinition(request->has_file() ? &request->file() : nullptr,
                                                            request->has_inline_() ? &request->inline_() : nullptr));
    if (sent.problems.empty() && request->against_target()) {
      MD_ASSIGN_OR_RETURN(sent.problems, parts_.controller.ValidateOnTarget(sent.name, sent.definition));
    }
    response->set_valid(sent.problems.empty());
    for (const DefinitionProblem& problem : sent.problems) *response->add_problems() = ToProto(problem, sent.file_name);
    if (response->valid()) *response->mutable_definition() = sent.definition;
    return absl::OkStatus();
  });
}

// ---- changes
// ------------------------------------------------------------------------------------------------------------------

template <typename Request, typename Response>
MigrationControlService::Reactor* MigrationControlService::Change(
    Executor& lane, Access access, Context* context, const Request* request, Response* response,
    std::function<absl::StatusOr<StoredMigration>(const MutationContext&)> verb) {
  // Before it takes a place in the queue.
  const auto check = [&]() -> absl::StatusOr<MutationContext> {
    MD_RETURN_IF_ERROR(CheckAccess(parts_.anonymous_role, access));
    MD_RETURN_IF_ERROR(CheckText(*request));
    MD_RETURN_IF_ERROR(CheckNamed(request->migration()));
    return ContextOf(*context, *request);
  };
  const auto mutation = check();
  if (!mutation.ok()) return Answer(context, mutation.status(), request->migration());
  return Defer(lane, context, request->migration(),
               [this, response, verb = std::move(verb), mutation = *mutation]() -> absl::Status {
                 const auto stored = verb(mutation);
                 // What a verb finds to exist already is its request_id.
                 if (stored.status().code() == absl::StatusCode::kAlreadyExists)
                   return WithReason(stored.status(), kReasonRequestIdReused);
                 if (!stored.ok()) return stored.status();
                 *response->mutable_migration() = Show(*stored);
                 return absl::OkStatus();
               });
}

MigrationControlService::Reactor* MigrationControlService::Start(Context* context, const v1::StartRequest* request,
                                                                 v1::StartResponse* response) {
  return Change(parts_.executor, Access::kOperate, context, request, response,
                [this, request](const MutationContext& mutation) {
                  return parts_.controller.Start(request->migration(), mutation);
                });
}

MigrationControlService::Reactor* MigrationControlService::Pause(Context* context, const v1::PauseRequest* request,
                                                                 v1::PauseResponse* response) {
  return Change(parts_.urgent, Access::kOperate, context, request, response,
                [this, request, response](const MutationContext& mutation) -> absl::StatusOr<StoredMigration> {
                  MD_ASSIGN_OR_RETURN(const auto until, OptionalTime(request->has_until(), request->until(), "until"));
                  MD_ASSIGN_OR_RETURN(
                      const Controller::PauseOutcome outcome,
                      parts_.controller.Pause(request->migration(), until, request->immediate(), mutation));
                  if (outcome.quiesced_at.has_value()) {
                    if (const auto at = ToTimestamp(*outcome.quiesced_at); at.has_value())
                      *response->mutable_quiesced_at() = *at;
                  }
                  return outcome.migration;
                });
}

MigrationControlService::Reactor* MigrationControlService::Resume(Context* context, const v1::ResumeRequest* request,
                                                                  v1::ResumeResponse* response) {
  return Change(parts_.executor, Access::kOperate, context, request, response,
                [this, request](const MutationContext& mutation) {
                  return parts_.controller.Resume(request->migration(), mutation);
                });
}

MigrationControlService::Reactor* MigrationControlService::Retry(Context* context, const v1::RetryRequest* request,
                                                                 v1::RetryResponse* response) {
  return Change(parts_.executor, Access::kOperate, context, request, response,
                [this, request](const MutationContext& mutation) -> absl::StatusOr<StoredMigration> {
                  MD_ASSIGN_OR_RETURN(const std::optional<RestartFrom> from, FromProto(request->from()));
                  return parts_.controller.Retry(request->migration(), from, request->acknowledge_repeat(), mutation);
                });
}

MigrationControlService::Reactor* MigrationControlService::SetBatchSize(Context* context,
                                                                        const v1::SetBatchSizeRequest* request,
                                                                        v1::SetBatchSizeResponse* response) {
  return Change(parts_.executor, Access::kOperate, context, request, response,
                [this, request](const MutationContext& mutation) -> absl::StatusOr<StoredMigration> {
                  MD_RETURN_IF_ERROR(CheckSizes(*request));
                  SizeRequest sizes;
                  sizes.automatic = request->automatic();
                  sizes.batch_size = request->batch_size();
                  sizes.sub_batch_size = request->sub_batch_size();
                  MD_ASSIGN_OR_RETURN(sizes.until, OptionalTime(request->has_until(), request->until(), "until"));
                  return parts_.controller.SetBatchSize(request->migration(), sizes, mutation);
                });
}

MigrationControlService::Reactor* MigrationControlService::Accept(Context* context, const v1::AcceptRequest* request,
                                                                  v1::AcceptResponse* response) {
  return Change(parts_.executor, Access::kOperate, context, request, response,
                [this, request](const MutationContext& mutation) {
                  return parts_.controller.Accept(request->migration(), mutation);
                });
}

MigrationControlService::Reactor* MigrationControlService::Cancel(Context* context, const v1::CancelRequest* request,
                                                                  v1::CancelResponse* response) {
  return Change(parts_.urgent, Access::kOperate, context, request, response,
                [this, request](const MutationContext& mutation) {
                  return parts_.controller.Cancel(request->migration(), mutation);
                });
}

MigrationControlService::Reactor* MigrationControlService::Cleanup(Context* context, const v1::CleanupRequest* request,
                                                                   v1::CleanupResponse* response) {
  return Change(parts_.executor, Access::kOperate, context, request, response,
                [this, request](const MutationContext& mutation) {
                  return parts_.controller.Cleanup(request->migration(), mutation);
                });
}

MigrationControlService::Reactor* MigrationControlService::Delete(Context* context, const v1::DeleteRequest* request,
                                                                  v1::DeleteResponse* response) {
  return Change(parts_.executor, Access::kAdminister, context, request, response,
                [this, request](const MutationContext& mutation) {
                  return parts_.controller.Delete(request->migration(), mutation, request->acknowledge_leftovers());
                });
}

MigrationControlService::Reactor* MigrationControlService::Enqueue(Context* context, const v1::EnqueueRequest* request,
                                                                   v1::EnqueueResponse* response) {
  const std::string subject = SubjectOf(*request);
  return Defer(parts_.executor, context, subject, [this, context, request, response]() -> absl::Status {
    const bool brings_definition = request->has_file() || request->has_inline_();
    MD_RETURN_IF_ERROR(CheckAccess(parts_.anonymous_role, brings_definition ? Access::kAdminister : Access::kOperate));
    MD_RETURN_IF_ERROR(CheckText(*request));
    MD_ASSIGN_OR_RETURN(const MutationContext mutation, ContextOf(*context, *request));
    MD_ASSIGN_OR_RETURN(const Controller::EnqueueArguments arguments, EnqueueArgumentsOf(*request));
    const auto result = parts_.controller.Enqueue(arguments, mutation);
    if (result.status().code() == absl::StatusCode::kPermissionDenied)
      return WithReason(result.status(), kReasonInlineNotAllowed);
    if (!result.ok()) return result.status();
    *response->mutable_migration() = Show(result->migration);
    response->set_created(result->created);
    return absl::OkStatus();
  });
}

MigrationControlService::Reactor* MigrationControlService::Freeze(Context* context, const v1::FreezeRequest* request,
                                                                  v1::FreezeResponse* response) {
  return Defer(parts_.urgent, context, request->target(), [this, context, request, response]() -> absl::Status {
    MD_RETURN_IF_ERROR(CheckAccess(parts_.anonymous_role, Access::kOperate));
    MD_RETURN_IF_ERROR(CheckText(*request));
    MD_ASSIGN_OR_RETURN(const MutationContext mutation, ContextOf(*context, *request));
    FreezeRecord freeze;
    freeze.target = request->target();
    freeze.reason = request->reason();
    MD_ASSIGN_OR_RETURN(freeze.until, OptionalTime(request->has_until(), request->until(), "until"));
    const auto frozen = parts_.controller.Freeze(freeze, mutation);
    if (frozen.status().code() == absl::StatusCode::kAlreadyExists)
      return WithReason(frozen.status(), kReasonRequestIdReused);
    if (!frozen.ok()) return frozen.status();
    *response->mutable_freeze() = ToProto(*frozen);
    return absl::OkStatus();
  });
}

MigrationControlService::Reactor* MigrationControlService::Unfreeze(Context* context,
                                                                    const v1::UnfreezeRequest* request,
                                                                    v1::UnfreezeResponse* response) {
  return Defer(parts_.executor, context, request->target(), [this, context, request, response]() -> absl::Status {
    MD_RETURN_IF_ERROR(CheckAccess(parts_.anonymous_role, Access::kOperate));
    MD_RETURN_IF_ERROR(CheckText(*request));
    MD_ASSIGN_OR_RETURN(const MutationContext mutation, ContextOf(*context, *request));
    const auto ended = parts_.controller.Unfreeze(request->target(), mutation);
    if (ended.status().code() == absl::StatusCode::kNotFound) return WithReason(ended.status(), kReasonFreezeNotFound);
    if (ended.status().code() == absl::StatusCode::kAlreadyExists)
      return WithReason(ended.status(), kReasonRequestIdReused);
    if (!ended.ok()) return ended.status();
    *response->mutable_freeze() = ToProto(*ended);
    return absl::OkStatus();
  });
}

}  // namespace migrationd
