#include "server/rpc/watch_hub.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "migrations/model/status_macros.h"
#include "server/observability/log.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/watch_stream.h"

namespace migrationd {
namespace {

namespace v1 = migrationcontrol::v1;

// A call that is over before it began.
class RefusedStream : public WatchHub::Reactor {
 public:
  explicit RefusedStream(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

absl::Status Stopping() {
  return WithReason(absl::UnavailableError("The server is stopping; watch again with the last resume_token."),
                    kReasonStopping);
}

absl::StatusOr<WatchFilter> FilterOf(const v1::WatchRequest& request, const Watcher& watcher, const BoardSnapshot& snapshot) {
  WatchFilter filter;
  filter.visible_targets = watcher.targets;
  filter.target = request.target();
  filter.labels = {request.labels().begin(), request.labels().end()};
  if (request.migration().empty()) return filter;
  MD_ASSIGN_OR_RETURN(const BoardEntry entry, Resolve(snapshot, request.migration()));
  filter.id = entry.stored.migration.id;
  filter.full_name = absl::StrCat(entry.stored.migration.target, "/", entry.stored.migration.name);
  return filter;
}

}  // namespace

WatchHub::WatchHub(WatchHubOptions options, Board& board, Clock& clock, std::string boot_id)
    : options_(options), board_(board), clock_(clock), boot_id_(std::move(boot_id)) {
  listener_ = board_.AddListener([this] { Wake(); });
  thread_ = std::thread([this] { Run(); });
}

WatchHub::~WatchHub() { Stop(); }

WatchHub::Reactor* WatchHub::Refuse(const absl::Status& status, const std::string& subject) {
  return new RefusedStream(ToGrpcStatus(status, subject));
}

std::size_t WatchHub::stream_count() const {
  absl::MutexLock lock(&mutex_);
  return streams_.size();
}

WatchHub::Reactor* WatchHub::Open(const v1::WatchRequest& request, const Watcher& watcher) {
  const auto refuse = [&](const absl::Status& status) { return Refuse(status, request.migration()); };
  auto filter = FilterOf(request, watcher, *board_.Get());
  if (!filter.ok()) return refuse(filter.status());
  const auto seen = ParseResumeToken(request.resume_token(), boot_id_);
  if (!seen.ok()) return refuse(seen.status());
  absl::MutexLock lock(&mutex_);
  if (stopping_) return refuse(Stopping());
  if (streams_.size() >= options_.streams_max) {
    return refuse(WithReason(
        absl::ResourceExhaustedError(absl::StrCat(
            "There are ", streams_.size(), " watches already, which is the limit; try again later, or use List.")),
        kReasonTooManyWatches));
  }
  const auto of_caller = static_cast<std::size_t>(
      std::count_if(streams_.begin(), streams_.end(), [&](const WatchStream* stream) { return stream->watcher() == watcher.name; }));
  if (of_caller >= options_.streams_per_caller_max) {
    return refuse(WithReason(absl::ResourceExhaustedError(absl::StrCat(watcher.name, " has ", of_caller,
                                                                       " watches already, which is the limit of one caller.")),
                             kReasonTooManyWatches));
  }
  streams_.push_back(new WatchStream(
      *this, WatchState(*std::move(filter), *seen, boot_id_, options_.migrations_per_message), watcher.name, clock_.Now(), watcher.holds));
  woken_ = true;
  return streams_.back();
}

void WatchHub::Wake() {
  absl::MutexLock lock(&mutex_);
  woken_ = true;
}

void WatchHub::Run() {
  const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return woken_ || stopping_; };
  absl::Time next_heartbeat = absl::InfiniteFuture();
  while (true) {
    std::vector<WatchStream*> open;
    std::vector<WatchStream*> over;
    bool stopping = false;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(absl::Condition(&ready), next_heartbeat - clock_.Now());
      woken_ = false;
      stopping = stopping_;
      const auto first_over = std::stable_partition(
          streams_.begin(), streams_.end(), [&](WatchStream* stream) { return !stopping && !stream->over() && stream->admitted().ok(); });
      over.assign(first_over, streams_.end());
      streams_.erase(first_over, streams_.end());
      open = streams_;
    }
    // Without the lock: gRPC may call back from within.
    for (WatchStream* stream : over) {
      const absl::Status why = stopping ? Stopping() : stream->over() ? absl::CancelledError("The client went away.") : stream->admitted();
      if (!stopping && !stream->over()) Log(LogLevel::kInfo, "watch_ended", {{"actor", stream->watcher()}, {"why", std::string(why.message())}});
      stream->Finish(ToGrpcStatus(why, ""));
    }
    if (stopping) return;
    const auto snapshot = board_.Get();
    const absl::Time now = clock_.Now();
    next_heartbeat = absl::InfiniteFuture();
    for (WatchStream* stream : open)
      next_heartbeat = std::min(next_heartbeat, stream->Advance(*snapshot, now, options_.heartbeat));
  }
}

void WatchHub::Stop() {
  board_.RemoveListener(listener_);
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

}  // namespace migrationd
