#include "server/rpc/control_service.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "migrations/model/status_macros.h"
#include "server/observability/log.h"
#include "server/rpc/definition_requests.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/list_query.h"
#include "server/rpc/plan_response.h"
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

// Of the store, for one page of events of a caller who may see few of them.
constexpr int kEventReadingsMax = 10;

// The deadline passed, or the client went away.
bool NobodyWaits(const grpc::CallbackServerContext& context) {
  const gpr_timespec deadline = context.raw_deadline();
  return context.IsCancelled() || gpr_time_cmp(deadline, gpr_now(deadline.clock_type)) < 0;
}

// Until the caller's deadline.
absl::Duration PatienceOf(const grpc::CallbackServerContext& context) {
  const gpr_timespec deadline = context.raw_deadline();
  const gpr_timespec left = gpr_time_sub(deadline, gpr_now(deadline.clock_type));
  if (gpr_time_cmp(left, gpr_inf_future(left.clock_type)) == 0) return absl::InfiniteDuration();
  return absl::Seconds(left.tv_sec) + absl::Nanoseconds(left.tv_nsec);
}

template <typename Request>
absl::StatusOr<MutationContext> ContextOf(const Principal& principal, const Request& request) {
  MutationContext mutation;
  mutation.caller = {principal.actor, request.reason()};
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

absl::StatusOr<MigrationControlService::Admitted> MigrationControlService::Admit(const Context& context, const char* method,
                                                                                 const std::string& migration) const {
  Admitted call;
  call.method = method;
  call.subject = migration;
  call.migration = migration;
  MD_ASSIGN_OR_RETURN(call.principal, parts_.authenticator.Admit(context, method));
  if (!call.principal.targets.has_value() || migration.empty()) return call;
  const auto entry = Resolve(*VisibleTo(call.principal, parts_.board.Get()), migration);
  // A repeated Delete is answered by its request_id when the migration is gone: it is for the controller to say.
  const std::size_t slash = migration.find('/');
  const bool gone = absl::IsNotFound(entry.status()) && slash != std::string::npos && call.principal.MaySee(migration.substr(0, slash));
  if (gone && std::string_view(method) == "Delete") return call;
  MD_RETURN_IF_ERROR(entry.status());
  call.migration = absl::StrCat(entry->stored.migration.target, "/", entry->stored.migration.name);
  return call;
}

MigrationControlService::Reactor* MigrationControlService::Defer(Executor& lane, Context* context, Admitted call,
                                                                 std::function<absl::Status()> work) {
  Reactor* reactor = context->DefaultReactor();
  const std::string subject = call.subject;
  const absl::Status accepted = lane.Submit([context, reactor, subject, call = std::move(call), work = std::move(work)](bool proceed) {
    if (!proceed) {
      reactor->Finish(ToGrpcStatus(
          WithReason(absl::UnavailableError("The server is stopping and did nothing; call again."), kReasonStopping),
          subject));
    } else if (NobodyWaits(*context)) {
      reactor->Finish(ToGrpcStatus(
          absl::DeadlineExceededError("The caller's deadline passed while the call was waiting; nothing was done."),
          subject));
    } else {
      const absl::Status done = work();
      if (call.changes) {
        Log(LogLevel::kInfo, "verb",
            {{"method", call.method}, {"migration", subject}, {"actor", call.principal.actor}, {"request_id", call.request_id},
             {"code", absl::StatusCodeToString(done.code())}, {"message", std::string(done.message())}});
      }
      reactor->Finish(ToGrpcStatus(done, subject));
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
    MD_ASSIGN_OR_RETURN(const Admitted call, Admit(*context, "List", ""));
    MD_RETURN_IF_ERROR(CheckText(*request));
    MD_ASSIGN_OR_RETURN(const ListQuery query, ListQuery::Parse(*request));
    const auto snapshot = VisibleTo(call.principal, parts_.board.Get());
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
    if (const auto as_of = ToTimestamp(times.as_of); as_of.has_value()) *response->mutable_as_of() = *as_of;
    if (!snapshot->store_reachable) response->set_stale_reason(snapshot->store_error);
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
    MD_ASSIGN_OR_RETURN(const Admitted call, Admit(*context, "Status", request->migration()));
    MD_RETURN_IF_ERROR(CheckText(*request));
    return Resolve(*snapshot, call.migration);
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
    MD_ASSIGN_OR_RETURN(const Admitted call, Admit(*context, "GetDefinition", request->migration()));
    MD_RETURN_IF_ERROR(CheckText(*request));
    MD_ASSIGN_OR_RETURN(const BoardEntry entry, Resolve(*parts_.board.Get(), call.migration));
    response->set_name(entry.stored.migration.name);
    response->set_version(entry.stored.migration.version);
    *response->mutable_definition() = *entry.stored.definition;
    response->set_yaml(ToYaml(*entry.stored.definition));
    return absl::OkStatus();
  };
  return Answer(context, get(), request->migration());
}

MigrationControlService::Reactor* MigrationControlService::ListTargets(Context* context, const v1::ListTargetsRequest*,
                                                                       v1::ListTargetsResponse* response) {
  const auto list = [&]() -> absl::Status {
    MD_ASSIGN_OR_RETURN(const Admitted call, Admit(*context, "ListTargets", ""));
    const auto snapshot = VisibleTo(call.principal, parts_.board.Get());
    for (const auto& [name, condition] : snapshot->targets) {
      const auto running = snapshot->work.runs.find(name);
      *response->add_targets() = ToProto(name, condition, running == snapshot->work.runs.end() ? 0 : running->second);
    }
    return absl::OkStatus();
  };
  return Answer(context, list(), "");
}

WatchHub::Reactor* MigrationControlService::Watch(Context* context, const v1::WatchRequest* request) {
  const auto call = Admit(*context, "Watch", request->migration());
  const absl::Status allowed = call.ok() ? CheckText(*request) : call.status();
  if (!allowed.ok()) return WatchHub::Refuse(allowed, request->migration());
  v1::WatchRequest named = *request;
  named.set_migration(call->migration);
  return parts_.watches.Open(named, {.name = call->principal.limit_key,
                                     .targets = call->principal.targets,
                                     .holds = parts_.authenticator.Holds(*context, call->principal, "Watch")});
}

// ---- from the databases
// -------------------------------------------------------------------------------------------------------

MigrationControlService::Reactor* MigrationControlService::ListJobs(Context* context,
                                                                    const v1::ListJobsRequest* request,
                                                                    v1::ListJobsResponse* response) {
  const auto call = Admit(*context, "ListJobs", request->migration());
  if (!call.ok()) return Answer(context, call.status(), request->migration());
  return Defer(parts_.executor, context, *call, [this, migration = call->migration, request, response]() -> absl::Status {
    MD_RETURN_IF_ERROR(CheckText(*request));
    MD_RETURN_IF_ERROR(CheckNamed(request->migration()));
    MD_ASSIGN_OR_RETURN(const int page_size, PageSize(request->page_size()));
    const std::string query = absl::StrCat("jobs/", request->migration());
    MD_ASSIGN_OR_RETURN(const std::int64_t before, PositionOf(query, request->page_token()));
    MD_ASSIGN_OR_RETURN(const JobPage page, parts_.controller.ListJobs(migration, before, page_size));
    for (const JobRecord& job : page.jobs) *response->add_jobs() = ToProto(job);
    response->set_next_page_token(TokenAt(query, page.next_before));
    return absl::OkStatus();
  });
}

MigrationControlService::Reactor* MigrationControlService::ListFailures(Context* context, const v1::ListFailuresRequest* request,
                                                                        v1::ListFailuresResponse* response) {
  const auto call = Admit(*context, "ListFailures", request->migration());
  if (!call.ok()) return Answer(context, call.status(), request->migration());
  return Defer(parts_.executor, context, *call, [this, migration = call->migration, request, response]() -> absl::Status {
    MD_RETURN_IF_ERROR(CheckText(*request));
    MD_RETURN_IF_ERROR(CheckNamed(request->migration()));
    MD_ASSIGN_OR_RETURN(const int page_size, PageSize(request->page_size()));
    const std::string query = absl::StrCat("failures/", request->migration());
    Key after;
    if (!request->page_token().empty()) {
      MD_ASSIGN_OR_RETURN(const std::string position, DecodePageToken(query, request->page_token()));
      MD_ASSIGN_OR_RETURN(after, ParseKeyArray(position));
    }
    // One more than is shown tells whether there are more.
    MD_ASSIGN_OR_RETURN(std::vector<RowFailure> failures, parts_.controller.ListFailures(migration, after, page_size + 1));
    const bool more = failures.size() > static_cast<std::size_t>(page_size);
    if (more) failures.resize(static_cast<std::size_t>(page_size));
    for (const RowFailure& failure : failures) *response->add_failures() = ToProto(failure);
    if (more) response->set_next_page_token(EncodePageToken(query, KeyArray(failures.back().key)));
    return absl::OkStatus();
  });
}

MigrationControlService::Reactor* MigrationControlService::ListEvents(Context* context,
                                                                      const v1::ListEventsRequest* request,
                                                                      v1::ListEventsResponse* response) {
  const auto call = Admit(*context, "ListEvents", request->migration());
  if (!call.ok()) return Answer(context, call.status(), request->migration());
  return Defer(parts_.executor, context, *call, [this, call = *call, request, response]() -> absl::Status {
    MD_RETURN_IF_ERROR(CheckText(*request));
    MD_ASSIGN_OR_RETURN(const int page_size, PageSize(request->page_size()));
    std::string query = absl::StrCat("events/", request->migration());
    for (const std::string& kind : request->kinds()) absl::StrAppend(&query, "/", kind.size(), ":", kind);
    MD_ASSIGN_OR_RETURN(const std::int64_t before, PositionOf(query, request->page_token()));
    const std::vector<std::string> kinds(request->kinds().begin(), request->kinds().end());
    // What the caller may not see is left out; when that is a lot, the page is short, and its token goes on from there.
    std::int64_t next = before;
    for (int reading = 0; reading < kEventReadingsMax; ++reading) {
      MD_ASSIGN_OR_RETURN(const EventPage page, parts_.controller.ListEvents(call.migration, kinds, next, page_size - response->events_size()));
      for (const EventRecord& event : page.events) {
        if (call.principal.MaySee(event.target)) *response->add_events() = ToProto(event);
      }
      next = page.next_before;
      if (next == 0 || response->events_size() == page_size) break;
    }
    response->set_next_page_token(TokenAt(query, next));
    return absl::OkStatus();
  });
}

MigrationControlService::Reactor* MigrationControlService::Validate(Context* context,
                                                                    const v1::ValidateRequest* request,
                                                                    v1::ValidateResponse* response) {
  const auto call = Admit(*context, request->against_target() ? kValidateAgainstTarget : "Validate", "");
  if (!call.ok()) return Answer(context, call.status(), "");
  return Defer(parts_.executor, context, *call, [this, principal = call->principal, request, response]() -> absl::Status {
    MD_RETURN_IF_ERROR(CheckText(*request));
    MD_ASSIGN_OR_RETURN(SentDefinition sent, ReadDefinition(request->has_file() ? &request->file() : nullptr,
                                                            request->has_inline_() ? &request->inline_() : nullptr));
    if (sent.problems.empty()) sent.problems = parts_.controller.ValidateHere(sent.definition);
    if (sent.problems.empty() && request->against_target()) {
      MD_RETURN_IF_ERROR(CheckTarget(principal, sent.definition.target()));
      MD_ASSIGN_OR_RETURN(sent.problems, parts_.controller.ValidateOnTarget(sent.name, sent.definition, principal.targets));
    }
    response->set_valid(sent.problems.empty());
    for (const DefinitionProblem& problem : sent.problems) *response->add_problems() = ToProto(problem, sent.file_name);
    if (response->valid()) *response->mutable_definition() = sent.definition;
    return absl::OkStatus();
  });
}

MigrationControlService::Reactor* MigrationControlService::Plan(Context* context, const v1::PlanRequest* request,
                                                                v1::PlanResponse* response) {
  const bool brings_definition = request->has_file() || request->has_inline_();
  auto call = Admit(*context, brings_definition ? kPlanDefinition : "Plan", brings_definition ? "" : request->migration());
  const absl::Status text = call.ok() ? CheckText(*request) : call.status();
  if (!text.ok()) return Answer(context, text, "");
  call->subject = SubjectOf(*request);
  // It changes nothing, but takes locks: worth a line in the log.
  call->changes = true;
  return Defer(parts_.executor, context, *call, [this, context, call = *call, request, response]() -> absl::Status {
    MD_ASSIGN_OR_RETURN(Controller::RehearsalArguments arguments, RehearsalArgumentsOf(*request));
    if (arguments.name.has_value()) MD_RETURN_IF_ERROR(CheckTarget(call.principal, arguments.definition.target()));
    if (!arguments.name.has_value()) arguments.migration = call.migration;
    arguments.visible = call.principal.targets;
    const auto report = parts_.controller.Rehearse(arguments, PatienceOf(*context));
    if (report.status().code() == absl::StatusCode::kPermissionDenied) return WithReason(report.status(), kReasonInlineNotAllowed);
    if (!report.ok()) return report.status();
    *response = ToProto(*report);
    return absl::OkStatus();
  });
}

// ---- changes
// ------------------------------------------------------------------------------------------------------------------

template <typename Request, typename Response>
MigrationControlService::Reactor* MigrationControlService::Change(
    Executor& lane, const char* method, Context* context, const Request* request, Response* response, Verb verb) {
  // Before it takes a place in the queue.
  Admitted call;
  const auto check = [&]() -> absl::StatusOr<MutationContext> {
    MD_ASSIGN_OR_RETURN(call, Admit(*context, method, request->migration()));
    MD_RETURN_IF_ERROR(CheckText(*request));
    MD_RETURN_IF_ERROR(CheckNamed(request->migration()));
    return ContextOf(call.principal, *request);
  };
  const auto mutation = check();
  if (!mutation.ok()) return Answer(context, mutation.status(), request->migration());
  call.request_id = request->request_id();
  call.changes = true;
  return Defer(lane, context, call,
               [this, response, verb = std::move(verb), migration = call.migration, mutation = *mutation]() -> absl::Status {
                 const auto stored = verb(migration, mutation);
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
  return Change(parts_.executor, "Start", context, request, response,
                [this](const std::string& migration, const MutationContext& mutation) {
                  return parts_.controller.Start(migration, mutation);
                });
}

MigrationControlService::Reactor* MigrationControlService::Pause(Context* context, const v1::PauseRequest* request,
                                                                 v1::PauseResponse* response) {
  return Change(parts_.urgent, "Pause", context, request, response,
                [this, context, request, response](const std::string& migration, const MutationContext& mutation) -> absl::StatusOr<StoredMigration> {
                  MD_ASSIGN_OR_RETURN(const auto until, OptionalTime(request->has_until(), request->until(), "until"));
                  MD_ASSIGN_OR_RETURN(
                      const Controller::PauseOutcome outcome,
                      parts_.controller.Pause(migration, until, request->immediate(), mutation, PatienceOf(*context)));
                  if (outcome.quiesced_at.has_value()) {
                    if (const auto at = ToTimestamp(*outcome.quiesced_at); at.has_value())
                      *response->mutable_quiesced_at() = *at;
                  }
                  return outcome.migration;
                });
}

MigrationControlService::Reactor* MigrationControlService::Resume(Context* context, const v1::ResumeRequest* request,
                                                                  v1::ResumeResponse* response) {
  return Change(parts_.executor, "Resume", context, request, response,
                [this](const std::string& migration, const MutationContext& mutation) {
                  return parts_.controller.Resume(migration, mutation);
                });
}

MigrationControlService::Reactor* MigrationControlService::Retry(Context* context, const v1::RetryRequest* request,
                                                                 v1::RetryResponse* response) {
  return Change(parts_.executor, "Retry", context, request, response,
                [this, request](const std::string& migration, const MutationContext& mutation) -> absl::StatusOr<StoredMigration> {
                  MD_ASSIGN_OR_RETURN(const std::optional<RestartFrom> from, FromProto(request->from()));
                  return parts_.controller.Retry(migration, from, request->acknowledge_repeat(), mutation);
                });
}

MigrationControlService::Reactor* MigrationControlService::SetBatchSize(Context* context,
                                                                        const v1::SetBatchSizeRequest* request,
                                                                        v1::SetBatchSizeResponse* response) {
  return Change(parts_.executor, "SetBatchSize", context, request, response,
                [this, request](const std::string& migration, const MutationContext& mutation) -> absl::StatusOr<StoredMigration> {
                  MD_RETURN_IF_ERROR(CheckSizes(*request));
                  SizeRequest sizes;
                  sizes.automatic = request->automatic();
                  sizes.batch_size = request->batch_size();
                  sizes.sub_batch_size = request->sub_batch_size();
                  MD_ASSIGN_OR_RETURN(sizes.until, OptionalTime(request->has_until(), request->until(), "until"));
                  return parts_.controller.SetBatchSize(migration, sizes, mutation);
                });
}

MigrationControlService::Reactor* MigrationControlService::SetPace(Context* context, const v1::SetPaceRequest* request,
                                                                   v1::SetPaceResponse* response) {
  return Change(parts_.executor, "SetPace", context, request, response,
                [this, request](const std::string& migration, const MutationContext& mutation) -> absl::StatusOr<StoredMigration> {
                  MD_ASSIGN_OR_RETURN(const PaceRequest pace, PaceFrom(*request));
                  return parts_.controller.SetPace(migration, pace, mutation);
                });
}

MigrationControlService::Reactor* MigrationControlService::Verify(Context* context, const v1::VerifyRequest* request,
                                                                  v1::VerifyResponse* response) {
  return Change(parts_.executor, "Verify", context, request, response,
                [this, stop = request->stop()](const std::string& migration, const MutationContext& mutation) {
                  return stop ? parts_.controller.StopVerification(migration, mutation) : parts_.controller.Verify(migration, mutation);
                });
}

MigrationControlService::Reactor* MigrationControlService::Accept(Context* context, const v1::AcceptRequest* request,
                                                                  v1::AcceptResponse* response) {
  return Change(parts_.executor, "Accept", context, request, response,
                [this](const std::string& migration, const MutationContext& mutation) {
                  return parts_.controller.Accept(migration, mutation);
                });
}

MigrationControlService::Reactor* MigrationControlService::Cancel(Context* context, const v1::CancelRequest* request,
                                                                  v1::CancelResponse* response) {
  return Change(parts_.urgent, "Cancel", context, request, response,
                [this](const std::string& migration, const MutationContext& mutation) {
                  return parts_.controller.Cancel(migration, mutation);
                });
}

MigrationControlService::Reactor* MigrationControlService::Cleanup(Context* context, const v1::CleanupRequest* request,
                                                                   v1::CleanupResponse* response) {
  return Change(parts_.executor, "Cleanup", context, request, response,
                [this](const std::string& migration, const MutationContext& mutation) {
                  return parts_.controller.Cleanup(migration, mutation);
                });
}

MigrationControlService::Reactor* MigrationControlService::Delete(Context* context, const v1::DeleteRequest* request,
                                                                  v1::DeleteResponse* response) {
  return Change(parts_.executor, "Delete", context, request, response,
                [this, request](const std::string& migration, const MutationContext& mutation) {
                  return parts_.controller.Delete(migration, mutation, request->acknowledge_leftovers());
                });
}

MigrationControlService::Reactor* MigrationControlService::Enqueue(Context* context, const v1::EnqueueRequest* request,
                                                                   v1::EnqueueResponse* response) {
  const bool brings_definition = request->has_file() || request->has_inline_();
  auto call = Admit(*context, brings_definition ? kEnqueueDefinition : "Enqueue", brings_definition ? "" : request->migration());
  const absl::Status text = call.ok() ? CheckText(*request) : call.status();
  if (!text.ok()) return Answer(context, text, "");
  call->subject = SubjectOf(*request);
  call->request_id = request->request_id();
  call->changes = true;
  return Defer(parts_.executor, context, *call, [this, call = *call, request, response]() -> absl::Status {
    MD_ASSIGN_OR_RETURN(const MutationContext mutation, ContextOf(call.principal, *request));
    MD_ASSIGN_OR_RETURN(Controller::EnqueueArguments arguments, EnqueueArgumentsOf(*request));
    // Without a target it is for the only one that is configured, which the caller may not be allowed to touch.
    if (arguments.name.has_value()) MD_RETURN_IF_ERROR(CheckTarget(call.principal, arguments.definition.target()));
    if (!arguments.name.has_value()) arguments.migration = call.migration;
    arguments.visible = call.principal.targets;
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
  auto call = Admit(*context, "Freeze", "");
  const absl::Status text = call.ok() ? CheckText(*request) : call.status();
  if (!text.ok()) return Answer(context, text, "");
  call->subject = request->target();
  call->request_id = request->request_id();
  call->changes = true;
  return Defer(parts_.urgent, context, *call, [this, principal = call->principal, request, response]() -> absl::Status {
    MD_RETURN_IF_ERROR(CheckTarget(principal, request->target()));
    MD_ASSIGN_OR_RETURN(const MutationContext mutation, ContextOf(principal, *request));
    FreezeRecord freeze;
    freeze.target = request->target();
    freeze.reason = request->reason();
    MD_ASSIGN_OR_RETURN(freeze.until, OptionalTime(request->has_until(), request->until(), "until"));
    const auto frozen = parts_.controller.Freeze(freeze, mutation, principal.targets);
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
  auto call = Admit(*context, "Unfreeze", "");
  const absl::Status text = call.ok() ? CheckText(*request) : call.status();
  if (!text.ok()) return Answer(context, text, "");
  call->subject = request->target();
  call->request_id = request->request_id();
  call->changes = true;
  return Defer(parts_.executor, context, *call, [this, principal = call->principal, request, response]() -> absl::Status {
    MD_RETURN_IF_ERROR(CheckTarget(principal, request->target()));
    MD_ASSIGN_OR_RETURN(const MutationContext mutation, ContextOf(principal, *request));
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
