#include "server/rpc/watch_stream.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/list_query.h"
#include "server/rpc/proto_convert.h"
#include "server/rpc/watch_hub.h"

namespace migrationd {
namespace {

namespace v1 = migrationcontrol::v1;

// Clients accept 4 MiB; a message ends when it has grown beyond this.
constexpr std::size_t kMessageBytes = 1024 * 1024;

}  // namespace

bool WatchFilter::Matches(const Migration& migration) const {
  if (visible_targets.has_value() && visible_targets->count(migration.target) == 0) return false;
  return (!id.has_value() || migration.id == *id) && (target.empty() || migration.target == target) &&
         HasLabels(migration, labels);
}

bool WatchFilter::MatchesDeleted(const std::string& name) const {
  if (visible_targets.has_value() && visible_targets->count(name.substr(0, name.find('/'))) == 0) return false;
  return (!id.has_value() || name == full_name) && (target.empty() || absl::StartsWith(name, target + "/"));
}

absl::StatusOr<std::optional<std::uint64_t>> ParseResumeToken(const std::string& token, const std::string& boot_id) {
  if (token.empty()) return std::optional<std::uint64_t>();
  const std::size_t colon = token.rfind(':');
  std::uint64_t version = 0;
  if (colon == std::string::npos || !absl::SimpleAtoi(token.substr(colon + 1), &version)) {
    return FieldError("resume_token",
                      "is no token of this service; send back the last resume_token as it was, or none.");
  }
  if (version == 0 || token.substr(0, colon) != boot_id) return std::optional<std::uint64_t>();
  return std::optional<std::uint64_t>(version);
}

WatchState::WatchState(WatchFilter filter, std::optional<std::uint64_t> seen, std::string boot_id,
                       int migrations_per_message)
    : filter_(std::move(filter)),
      boot_id_(std::move(boot_id)),
      migrations_per_message_(migrations_per_message),
      seen_(seen),
      complete_(seen.value_or(0)) {}

void WatchState::BeginSnapshot(const BoardSnapshot& snapshot) {
  in_snapshot_ = true;
  pending_.clear();
  pending_deleted_.clear();
  complete_ = 0;
  seen_ = snapshot.version;
  for (const auto& [id, entry] : snapshot.migrations) {
    if (filter_.Matches(entry.stored.migration)) pending_.insert(id);
  }
}

void WatchState::Observe(const BoardSnapshot& snapshot) {
  if (!snapshot.loaded) return;
  // Deletions that the board has forgotten, or more than a reader can be told one by one: the whole state says it too.
  const bool forgotten =
      seen_.has_value() && snapshot.deleted.size() >= kDeletedKept && snapshot.deleted.begin()->first > *seen_;
  if (!seen_.has_value() || *seen_ > snapshot.version || forgotten || pending_deleted_.size() > kDeletedKept) {
    BeginSnapshot(snapshot);
    return;
  }
  if (*seen_ == snapshot.version) return;
  for (const auto& [id, entry] : snapshot.migrations) {
    if (entry.changed > *seen_ && filter_.Matches(entry.stored.migration)) pending_.insert(id);
  }
  for (auto gone = snapshot.deleted.upper_bound(*seen_); gone != snapshot.deleted.end(); ++gone) {
    if (filter_.MatchesDeleted(gone->second)) pending_deleted_.insert(gone->second);
  }
  seen_ = snapshot.version;
}

v1::WatchResponse WatchState::Empty(const BoardSnapshot& snapshot, absl::Time process_now) const {
  v1::WatchResponse response;
  if (const auto as_of = ToTimestamp(TimesOf(snapshot, process_now).as_of); as_of.has_value())
    *response.mutable_as_of() = *as_of;
  response.set_resume_token(absl::StrCat(boot_id_, ":", complete_));
  return response;
}

std::optional<v1::WatchResponse> WatchState::Next(const BoardSnapshot& snapshot, absl::Time process_now) {
  if (!in_snapshot_ && pending_.empty() && pending_deleted_.empty()) {
    if (seen_.has_value() && complete_ != 0) complete_ = *seen_;  // nothing in between was for this stream
    return std::nullopt;
  }
  const ConvertTimes times = TimesOf(snapshot, process_now);
  v1::WatchResponse response;
  std::size_t bytes = 0;
  while (!pending_.empty() && response.migrations_size() < migrations_per_message_ && bytes < kMessageBytes) {
    const auto found = snapshot.migrations.find(*pending_.begin());
    pending_.erase(pending_.begin());
    if (found == snapshot.migrations.end()) continue;  // deleted meanwhile
    *response.add_migrations() = ToProto(found->second.stored, found->second.live, times);
    bytes += response.migrations(response.migrations_size() - 1).ByteSizeLong();
  }
  const bool last = pending_.empty();
  if (last) {
    response.mutable_deleted()->Assign(pending_deleted_.begin(), pending_deleted_.end());
    pending_deleted_.clear();
    complete_ = *seen_;
  }
  response.set_snapshot(in_snapshot_);
  if (last) in_snapshot_ = false;
  response.MergeFrom(Empty(snapshot, process_now));
  return response;
}

v1::WatchResponse WatchState::Heartbeat(const BoardSnapshot& snapshot, absl::Time process_now) const {
  v1::WatchResponse response = Empty(snapshot, process_now);
  response.set_heartbeat(true);
  return response;
}

absl::Time WatchStream::Advance(const BoardSnapshot& snapshot, absl::Time now, absl::Duration heartbeat) {
  state_.Observe(snapshot);
  if (writing()) return absl::InfiniteFuture();  // OnWriteDone wakes the hub
  if (auto response = state_.Next(snapshot, now); response.has_value()) {
    Write(*std::move(response), now);
  } else if (now - sent_at_ >= heartbeat) {
    Write(state_.Heartbeat(snapshot, now), now);
  }
  return sent_at_ + heartbeat;
}

void WatchStream::Write(v1::WatchResponse response, absl::Time now) {
  in_flight_ = std::move(response);
  sent_at_ = now;
  writing_.store(true);
  StartWrite(&in_flight_);
}

void WatchStream::OnWriteDone(bool ok) {
  if (!ok) over_.store(true);
  writing_.store(false);
  hub_.Wake();
}

void WatchStream::OnCancel() {
  over_.store(true);
  hub_.Wake();
}

}  // namespace migrationd
