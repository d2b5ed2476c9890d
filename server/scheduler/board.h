// What the service knows right now, for readers: one immutable snapshot, swapped. Status, List and Watch are answered from it without
// touching a database, so they stay fast under load and work while the control store is away.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/clock.h"
#include "store/control_store.h"

namespace migrationd {

// What is happening to a migration in this process, beyond what the store says.
struct LiveWork {
  struct Backend {
    int pid = 0;
    int lane = 0;
  };
  std::vector<Backend> backends = {};
  double allowed = 1;                      // share of its pace that the target's health allows
  std::optional<Reading> limited_by = {};  // what holds it below 1
};

struct BoardEntry {
  StoredMigration stored;  // with the newest counters when this process owns it
  LiveWork live;
  std::uint64_t changed = 0;  // BoardSnapshot::version at which it last changed
};

struct CatalogIssue {
  std::string file;
  std::string message;
};

// What this process is doing.
struct WorkFacts {
  std::map<std::string, int> runs;  // by target
  int leases = 0;
  absl::Time renewed_at = absl::InfinitePast();  // process clock; of the claims, lately
};

// Its `finish_within`, counted from the first RUNNING; nullopt: it has none, or has not begun.
std::optional<absl::Time> DeadlineOf(const StoredMigration& stored);

struct TargetCondition {
  bool known = false;  // something was asked of it lately
  bool reachable = false;
  std::string error;  // empty when reachable
  // What was last measured; empty while nothing of this process works there.
  std::vector<Reading> readings = {};
  absl::Time read_at = absl::InfinitePast();  // process clock
  double allowed = 1;
  Hold hold = {};  // THROTTLED while a budget of the whole target is used up
};

inline constexpr std::size_t kDeletedKept = 1000;

struct BoardSnapshot {
  std::uint64_t version = 0;
  bool loaded = false;            // the store has been read at least once
  absl::Time as_of = absl::InfinitePast();  // database time of `read_at`
  absl::Time read_at = absl::InfinitePast();  // process clock
  bool store_reachable = false;
  std::string store_error;
  std::map<std::int64_t, BoardEntry> migrations;  // by id
  std::vector<FreezeRecord> freezes;
  std::vector<CatalogIssue> catalog_issues;
  std::map<std::string, TargetCondition> targets;  // every configured target
  WorkFacts work;
  // target/name of migrations deleted lately, by the version in which they went; at most kDeletedKept, the oldest go first.
  std::multimap<std::uint64_t, std::string> deleted;

  // Database time at process-clock time `now`, as far as is known.
  absl::Time DatabaseTime(absl::Time now) const { return read_at == absl::InfinitePast() ? as_of : as_of + (now - read_at); }
};

// Thread-safe.
class Board {
 public:
  Board() : current_(std::make_shared<BoardSnapshot>()) {}

  std::shared_ptr<const BoardSnapshot> Get() const ABSL_LOCKS_EXCLUDED(mutex_);

  // Replaces the snapshot by what `edit` makes of a copy; counts the version up, and marks entries that differ as changed.
  void Edit(const std::function<void(BoardSnapshot&)>& edit) ABSL_LOCKS_EXCLUDED(mutex_);

  // After a mutation in this process: readers see it at once. Counters that this process published itself stay when they are newer
  // than the stored ones. Returns the migration as it then stands on the board.
  StoredMigration Upsert(const StoredMigration& stored) ABSL_LOCKS_EXCLUDED(mutex_);
  void Remove(MigrationId id) ABSL_LOCKS_EXCLUDED(mutex_);

  // `listener` is called, without a lock and from whatever thread edited, after each change; it must not block. Returns a handle
  // for RemoveListener, after whose return it is not called any more.
  std::int64_t AddListener(std::function<void()> listener) ABSL_LOCKS_EXCLUDED(mutex_);
  void RemoveListener(std::int64_t handle) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Notify() ABSL_LOCKS_EXCLUDED(mutex_);

  mutable absl::Mutex mutex_;
  std::shared_ptr<const BoardSnapshot> current_ ABSL_GUARDED_BY(mutex_);
  absl::Mutex edit_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);  // one editor at a time; readers do not wait for it
  absl::Mutex listeners_mutex_;
  std::map<std::int64_t, std::shared_ptr<std::function<void()>>> listeners_ ABSL_GUARDED_BY(listeners_mutex_);
  std::int64_t next_listener_ ABSL_GUARDED_BY(listeners_mutex_) = 0;
};

// Puts what the store holds onto the board. The store was asked when the board had version `asked`: what this process registered, changed or
// deleted since then is newer than `stored`, and stays.
void ShowStored(const std::vector<StoredMigration>& stored, std::uint64_t asked, BoardSnapshot& board);

// Finds a migration by `name`, `target/name`, version or file name (with or without .yaml). NOT_FOUND with up to five candidates;
// INVALID_ARGUMENT when empty or ambiguous, with the candidates as target/name.
absl::StatusOr<BoardEntry> Resolve(const BoardSnapshot& snapshot, const std::string& reference);

}  // namespace migrationd
