// One open Watch: what has been sent on it and what is to be sent next. See watch_hub.h.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/support/server_callback.h"
#include "migrationcontrol/v1/migration_control.pb.h"
#include "server/scheduler/board.h"

namespace migrationd {

class WatchHub;

// Which migrations a Watch is about.
struct WatchFilter {
  std::optional<MigrationId> id;
  std::string full_name;  // with id
  std::string target;
  std::map<std::string, std::string> labels;
  std::optional<std::set<std::string>> visible_targets;  // what the watcher may see; nullopt: all

  bool Matches(const Migration& migration) const;
  // The labels of a deleted migration are not known any more: they let it pass.
  bool MatchesDeleted(const std::string& name) const;
};

// "<boot id>:<board version>". nullopt: of another process, so nothing is known of what its holder has seen.
// INVALID_ARGUMENT: damaged.
absl::StatusOr<std::optional<std::uint64_t>> ParseResumeToken(const std::string& token, const std::string& boot_id);

// What is to be sent, without the sending. For one thread.
class WatchState {
 public:
  // `seen`: the version of the board that the client knows; nullopt: nothing, it gets all of it.
  WatchState(WatchFilter filter, std::optional<std::uint64_t> seen, std::string boot_id, int migrations_per_message);

  // Notes what changed since the last call.
  void Observe(const BoardSnapshot& snapshot);
  // The next message; nullopt when nothing is to be said. Its migrations are as they are in `snapshot`, which was
  // observed.
  std::optional<migrationcontrol::v1::WatchResponse> Next(const BoardSnapshot& snapshot, absl::Time process_now);
  migrationcontrol::v1::WatchResponse Heartbeat(const BoardSnapshot& snapshot, absl::Time process_now) const;

 private:
  void BeginSnapshot(const BoardSnapshot& snapshot);
  migrationcontrol::v1::WatchResponse Empty(const BoardSnapshot& snapshot, absl::Time process_now) const;

  const WatchFilter filter_;
  const std::string boot_id_;
  const int migrations_per_message_;
  std::optional<std::uint64_t> seen_;  // changes up to here are sent or pending
  std::uint64_t complete_ = 0;         // up to here everything was sent; 0: not even a snapshot
  bool in_snapshot_ = false;
  std::set<std::int64_t> pending_;
  std::set<std::string> pending_deleted_;
};

// The gRPC side. Everything but the two flags belongs to the hub's thread, which alone starts writes and ends the
// stream; after Finish it does not touch it any more.
class WatchStream : public grpc::ServerWriteReactor<migrationcontrol::v1::WatchResponse> {
 public:
  WatchStream(WatchHub& hub, WatchState state, std::string watcher, absl::Time opened_at, std::function<absl::Status()> holds)
      : state_(std::move(state)), watcher_(std::move(watcher)), holds_(std::move(holds)), sent_at_(opened_at), hub_(hub) {}

  const std::string& watcher() const { return watcher_; }

  bool writing() const { return writing_.load(); }
  bool over() const { return over_.load(); }
  // Why its watcher may not watch any more; OK: it may.
  absl::Status admitted() const { return holds_ == nullptr ? absl::OkStatus() : holds_(); }
  // Sends what there is to say, or a heartbeat when `heartbeat` has passed. Returns the process-clock time of the next
  // one.
  absl::Time Advance(const BoardSnapshot& snapshot, absl::Time now, absl::Duration heartbeat);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override { delete this; }

 private:
  void Write(migrationcontrol::v1::WatchResponse response, absl::Time now);

  WatchState state_;
  const std::string watcher_;
  const std::function<absl::Status()> holds_;
  absl::Time sent_at_;
  migrationcontrol::v1::WatchResponse in_flight_;
  WatchHub& hub_;
  std::atomic<bool> writing_{false};
  std::atomic<bool> over_{false};  // the client went away
};

}  // namespace migrationd
