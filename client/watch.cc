// Watch and what is built on it: streams that end and begin again, and waiting for a state.
#include "absl/strings/str_cat.h"
#include "client/client_impl.h"
#include "grpcpp/support/sync_stream.h"
#include "migrationcontrol/client.h"

namespace migrationcontrol {
namespace {

// A stream is begun anew at the latest after so long, so that a connection that died without a word is noticed.
constexpr absl::Duration kStreamLife = absl::Minutes(1);
// Between two looks where the server does not serve Watch.
constexpr absl::Duration kPollInterval = absl::Seconds(1);

std::string FullName(const v1::Migration& migration) { return absl::StrCat(migration.target(), "/", migration.name()); }

// `STATE_RUNNING` without its prefix.
std::string StateWord(const v1::Migration& migration) {
  const std::string name = v1::State_Name(migration.state());
  return name.rfind("STATE_", 0) == 0 ? name.substr(6) : absl::StrCat(static_cast<int>(migration.state()));
}

std::string WhyStopped(const v1::Migration& migration) {
  if (migration.state() == v1::STATE_HALTED)
    return absl::StrCat(migration.halt().code(), ": ", migration.halt().message());
  return migration.intent().reason();
}

// FAILED_PRECONDITION when no other state will come without somebody's doing, OK otherwise.
absl::Status CheckStillMoving(const v1::Migration& migration) {
  switch (migration.state()) {
    case v1::STATE_PAUSED:
      // It resumes by itself.
      if (migration.intent().has_until()) return absl::OkStatus();
      break;
    case v1::STATE_HALTED:
    case v1::STATE_CANCELLED:
    case v1::STATE_COMPLETED:
      break;
    default:
      return absl::OkStatus();
  }
  const std::string why = WhyStopped(migration);
  return absl::FailedPreconditionError(absl::StrCat(
      FullName(migration), " is ", StateWord(migration), why.empty() ? "" : absl::StrCat(" (", why, ")"),
      " and will not go on by itself", migration.hint().empty() ? "" : absl::StrCat("; ", migration.hint())));
}

enum class AfterStream {
  kAgain,          // after a back-off
  kAgainAnew,      // the resume token is of no use any more: from a snapshot
  kAgainIfSeldom,  // perhaps a proxy's doing: again, but not for ever
  kGiveUp,
};

AfterStream Classify(const absl::Status& status, bool has_token) {
  switch (status.code()) {
    case absl::StatusCode::kOk:                // the server ended it
    case absl::StatusCode::kUnavailable:       // it went away
    case absl::StatusCode::kCancelled:         // it went away, less politely: nobody here cancels
    case absl::StatusCode::kDeadlineExceeded:  // kStreamLife
      return AfterStream::kAgain;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return has_token ? AfterStream::kAgainAnew : AfterStream::kGiveUp;
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnknown:
      return AfterStream::kAgainIfSeldom;
    default:
      return AfterStream::kGiveUp;
  }
}

absl::Status WatchTimedOut(absl::Duration timeout, const absl::Status& last) {
  return absl::DeadlineExceededError(
      absl::StrCat("watched for ", absl::FormatDuration(timeout),
                   last.ok() ? "" : absl::StrCat("; the last stream ended with ", last.ToString())));
}

}  // namespace

absl::Status Client::Watch(v1::WatchRequest request, absl::Duration timeout,
                           const std::function<bool(const v1::WatchResponse&)>& on_update) {
  const absl::Time deadline = absl::Now() + timeout;
  bool heard = false;
  int failures = 0;
  while (true) {
    grpc::ClientContext context;
    const absl::Status introduced = impl_->Introduce(context);
    if (!introduced.ok()) return introduced;
    SetDeadline(context, std::min(deadline, absl::Now() + kStreamLife));
    const auto stub = impl_->stub();
    const auto reader = stub->Watch(&context, request);
    v1::WatchResponse response;
    while (reader->Read(&response)) {
      heard = true;
      failures = 0;
      if (!response.resume_token().empty()) request.set_resume_token(response.resume_token());
      if (!on_update(response)) {
        context.TryCancel();
        reader->Finish();
        return absl::OkStatus();
      }
    }
    const absl::Status status = ToAbslStatus(reader->Finish());
    if (absl::Now() >= deadline)
      return WatchTimedOut(timeout, absl::IsDeadlineExceeded(status) ? absl::OkStatus() : status);
    ++failures;
    switch (Classify(status, !request.resume_token().empty())) {
      case AfterStream::kGiveUp:
        return status;
      case AfterStream::kAgainIfSeldom:
        if (failures >= impl_->options().max_attempts) return status;
        break;
      case AfterStream::kAgainAnew:
        request.clear_resume_token();
        break;
      case AfterStream::kAgain:
        if (!heard && !status.ok() && failures >= impl_->options().max_attempts) return status;
        break;
    }
    const absl::Duration delay = BackoffDelay(impl_->options(), failures, DrawJitter(), RetryDelay(status));
    if (absl::Now() + delay >= deadline) {
      absl::SleepFor(deadline - absl::Now());
      return WatchTimedOut(timeout, status);
    }
    absl::SleepFor(delay);
  }
}

absl::StatusOr<v1::Migration> Client::WaitFor(const std::string& migration, absl::Duration timeout,
                                              const std::function<bool(const v1::Migration&)>& done) {
  const absl::Time deadline = absl::Now() + timeout;
  v1::Migration seen;
  absl::Status verdict;
  // True when the wait is over: `done`, or `verdict` says why it never will be.
  const auto over = [&](const v1::Migration& now) {
    seen = now;
    if (done(now)) return true;
    verdict = CheckStillMoving(now);
    return !verdict.ok();
  };
  const auto result = [&]() -> absl::StatusOr<v1::Migration> {
    if (!verdict.ok()) return verdict;
    return seen;
  };
  const auto timed_out = [&] {
    return absl::DeadlineExceededError(absl::StrCat(FullName(seen), " is still ", StateWord(seen), " after ",
                                                    absl::FormatDuration(timeout),
                                                    seen.summary().empty() ? "" : absl::StrCat(": ", seen.summary())));
  };

  // The first look finds out whom the name means, and refuses an unknown one with the server's candidates.
  v1::StatusRequest status_request;
  status_request.set_migration(migration);
  const auto first = impl_->Call(&v1::MigrationControl::StubInterface::Status, status_request,
                                 std::min(deadline, absl::Now() + impl_->options().timeout));
  if (!first.ok()) return first.status();
  if (over(first->migration())) return result();

  const std::string full_name = FullName(seen);
  v1::WatchRequest watch_request;
  watch_request.set_migration(full_name);
  bool ended = false;
  const absl::Status watched = Watch(watch_request, deadline - absl::Now(), [&](const v1::WatchResponse& response) {
    for (const v1::Migration& now : response.migrations()) {
      if (FullName(now) == full_name) ended = ended || over(now);
    }
    for (const std::string& deleted : response.deleted()) {
      if (deleted != full_name || ended) continue;
      verdict = absl::NotFoundError(absl::StrCat(full_name, " was deleted while it was waited for"));
      ended = true;
    }
    return !ended;
  });
  if (ended) return result();
  if (absl::IsDeadlineExceeded(watched)) return timed_out();
  // Too many watches, or a server or proxy without them: ask again and again instead. UNAVAILABLE: the server left
  // between the first look and the first answer.
  if (!absl::IsResourceExhausted(watched) && !absl::IsUnimplemented(watched) && !absl::IsUnavailable(watched))
    return watched;
  status_request.set_migration(full_name);
  while (absl::Now() + kPollInterval < deadline) {
    absl::SleepFor(kPollInterval);
    const auto look = impl_->Call(&v1::MigrationControl::StubInterface::Status, status_request,
                                  std::min(deadline, absl::Now() + impl_->options().timeout));
    if (look.ok()) {
      if (over(look->migration())) return result();
    } else if (!absl::IsUnavailable(look.status()) && !absl::IsDeadlineExceeded(look.status())) {
      return look.status();
    }
  }
  absl::SleepFor(deadline - absl::Now());
  return timed_out();
}

absl::Status Client::WaitUntilCompleted(const std::string& migration, absl::Duration timeout) {
  return WaitFor(migration, timeout, [](const v1::Migration& now) { return now.state() == v1::STATE_COMPLETED; })
      .status();
}

}  // namespace migrationcontrol
