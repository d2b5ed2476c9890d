#include "server/scheduler/board.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace migrationd {
namespace {

constexpr std::size_t kCandidatesMax = 5;

// Cheap test whether a reader would see a difference.
bool SameForReaders(const BoardEntry& a, const BoardEntry& b) {
  const Migration& x = a.stored.migration;
  const Migration& y = b.stored.migration;
  return x.revision == y.revision && x.state == y.state && x.hold.kind == y.hold.kind && x.hold.reason == y.hold.reason &&
         x.progress.rows_done == y.progress.rows_done && x.progress.batches_done == y.progress.batches_done &&
         x.progress.sub_batches_done == y.progress.sub_batches_done && x.progress.phase == y.progress.phase &&
         x.progress.pass == y.progress.pass && x.progress.attempts == y.progress.attempts &&
         x.progress.unchanged_rows == y.progress.unchanged_rows && x.progress.verify_fraction == y.progress.verify_fraction &&
         x.progress.verify_regressed == y.progress.verify_regressed &&
         x.progress.rows_per_second == y.progress.rows_per_second && x.catalog_digest == y.catalog_digest &&
         x.catalog_missing == y.catalog_missing && a.live.backends.size() == b.live.backends.size() && a.live.allowed == b.live.allowed &&
         a.stored.lease.has_value() == b.stored.lease.has_value() &&
         (!a.stored.lease.has_value() || (a.stored.lease->token == b.stored.lease->token && a.stored.lease->live == b.stored.lease->live));
}

std::string FullName(const Migration& migration) { return absl::StrCat(migration.target, "/", migration.name); }

}  // namespace

std::shared_ptr<const BoardSnapshot> Board::Get() const {
  absl::MutexLock lock(&mutex_);
  return current_;
}

void Board::Edit(const std::function<void(BoardSnapshot&)>& edit) {
  {
    absl::MutexLock editing(&edit_mutex_);
    const auto before = Get();
    auto after = std::make_shared<BoardSnapshot>(*before);
    edit(*after);
    after->version = before->version + 1;
    for (auto& [id, entry] : after->migrations) {
      const auto old = before->migrations.find(id);
      if (old == before->migrations.end() || !SameForReaders(old->second, entry)) entry.changed = after->version;
    }
    for (const auto& [id, entry] : before->migrations) {
      if (after->migrations.count(id) == 0) {
        after->deleted.emplace(after->version, FullName(entry.stored.migration));
      }
    }
    while (after->deleted.size() > kDeletedKept) after->deleted.erase(after->deleted.begin());
    absl::MutexLock lock(&mutex_);
    current_ = std::move(after);
  }
  Notify();
}

StoredMigration Board::Upsert(const StoredMigration& stored) {
  StoredMigration after = stored;
  Edit([&](BoardSnapshot& snapshot) {
    BoardEntry& entry = snapshot.migrations[stored.migration.id.value];
    // The counters of a run of this process reach the store about once a second.
    const ProgressCounters& shown = entry.stored.migration.progress;
    const bool newer_shown = stored.migration.fence != FenceState::kNone && shown.sub_batches_done > stored.migration.progress.sub_batches_done;
    if (newer_shown) after.migration.progress = shown;
    // A slower reader of the store must not bring an older revision back.
    const bool older = entry.stored.definition != nullptr && entry.stored.migration.revision > stored.migration.revision;
    if (!older) entry.stored = after;
  });
  return after;
}

void Board::Remove(MigrationId id) {
  Edit([&](BoardSnapshot& snapshot) { snapshot.migrations.erase(id.value); });
}

std::int64_t Board::AddListener(std::function<void()> listener) {
  absl::MutexLock lock(&listeners_mutex_);
  listeners_[++next_listener_] = std::make_shared<std::function<void()>>(std::move(listener));
  return next_listener_;
}

void Board::RemoveListener(std::int64_t handle) {
  std::shared_ptr<std::function<void()>> removed;
  {
    absl::MutexLock lock(&listeners_mutex_);
    const auto found = listeners_.find(handle);
    if (found == listeners_.end()) return;
    removed = found->second;
    listeners_.erase(found);
    // A call that is under way holds a reference; wait for it, so that what the listener refers to may be destroyed.
    const auto alone = [&removed] { return removed.use_count() == 1; };
    listeners_mutex_.Await(absl::Condition(&alone));
  }
}

void Board::Notify() {
  std::vector<std::shared_ptr<std::function<void()>>> listeners;
  {
    absl::MutexLock lock(&listeners_mutex_);
    for (const auto& [handle, listener] : listeners_) listeners.push_back(listener);
  }
  for (const auto& listener : listeners) (*listener)();
  // Dropped under the lock, so that a RemoveListener that waits is woken.
  absl::MutexLock lock(&listeners_mutex_);
  listeners.clear();
}

std::optional<absl::Time> DeadlineOf(const StoredMigration& stored) {
  const auto& pace = stored.definition->pace();
  if (!pace.has_finish_within() || !stored.migration.started_at.has_value()) return std::nullopt;
  return *stored.migration.started_at + absl::Seconds(pace.finish_within().seconds()) + absl::Nanoseconds(pace.finish_within().nanos());
}

void ShowStored(const std::vector<StoredMigration>& stored, std::uint64_t asked, BoardSnapshot& board) {
  std::set<std::string> deleted;
  for (auto gone = board.deleted.upper_bound(asked); gone != board.deleted.end(); ++gone) deleted.insert(gone->second);
  std::map<std::int64_t, BoardEntry> entries;
  for (const StoredMigration& one : stored) {
    if (deleted.count(FullName(one.migration)) != 0) continue;
    BoardEntry& entry = entries[one.migration.id.value];
    const auto old = board.migrations.find(one.migration.id.value);
    if (old != board.migrations.end()) entry = old->second;
    const bool newer_shown = old != board.migrations.end() && entry.stored.definition != nullptr &&
                             entry.stored.migration.revision > one.migration.revision;
    if (!newer_shown) entry.stored = one;
  }
  for (const auto& [id, entry] : board.migrations) {
    if (entry.changed > asked) entries.emplace(id, entry);
  }
  board.migrations = std::move(entries);
}

absl::StatusOr<BoardEntry> Resolve(const BoardSnapshot& snapshot, const std::string& reference) {
  if (reference.empty()) {
    return absl::InvalidArgumentError("migration: no migration is named; expected its name, target/name, version or file name.");
  }
  const std::string bare(absl::StripSuffix(reference, ".yaml"));
  std::vector<const BoardEntry*> found;
  std::vector<std::string> candidates;
  for (const auto& [id, entry] : snapshot.migrations) {
    const Migration& m = entry.stored.migration;
    if (bare == m.name || bare == FullName(m) || bare == m.version || bare == absl::StrCat(m.version, "_", m.name)) {
      found.push_back(&entry);
    }
    // Candidates: names that begin alike or contain what was asked.
    const std::size_t start = std::min<std::size_t>(4, bare.size());
    if (m.name.find(bare) != std::string::npos || m.name.compare(0, start, bare, 0, start) == 0) candidates.push_back(FullName(m));
  }
  if (found.size() == 1) return *found.front();
  if (found.size() > 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "migration: \"", reference, "\" is ambiguous; name one of ",
        absl::StrJoin(found, ", ", [](std::string* out, const BoardEntry* e) { out->append(FullName(e->stored.migration)); }), "."));
  }
  if (!snapshot.loaded) {
    return absl::UnavailableError(absl::StrCat("The control store has not been read yet",
                                               snapshot.store_error.empty() ? "" : ": ", snapshot.store_error, "; try again."));
  }
  std::sort(candidates.begin(), candidates.end());
  if (candidates.size() > kCandidatesMax) candidates.resize(kCandidatesMax);
  return absl::NotFoundError(absl::StrCat("There is no migration \"", reference, "\".",
                                          candidates.empty() ? " List shows the ones there are."
                                                             : absl::StrCat(" Near it: ", absl::StrJoin(candidates, ", "), ".")));
}

}  // namespace migrationd
