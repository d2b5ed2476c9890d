// The latest events of migrations that somebody looks at, kept in memory, so that Status is answered without waiting
// for the control store: refreshed in the background, at most once a second for each migration.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/clock.h"
#include "store/control_store.h"

namespace migrationd {

// Thread-safe.
class RecentEvents {
 public:
  using Events = std::vector<EventRecord>;
  // Reads the latest events of `target/name`; may block. Called from one thread of this class.
  using Fetch = std::function<absl::StatusOr<Events>(const std::string& full_name)>;
  // Never null. Called exactly once, from the caller's thread or another, without a lock.
  using Answer = std::function<void(std::shared_ptr<const Events>)>;

  // `clock` outlives it.
  RecentEvents(Fetch fetch, Clock& clock);
  // Stops.
  ~RecentEvents();
  RecentEvents(const RecentEvents&) = delete;
  RecentEvents& operator=(const RecentEvents&) = delete;

  // Answers at once when what is known is of this revision and at most a few seconds old; otherwise as soon as it was
  // read, but within `kLongestWait` with what is known or nothing.
  void Get(const Migration& migration, Answer answer) ABSL_LOCKS_EXCLUDED(mutex_);

  // Answers everybody who waits. Get then answers with what is known. Idempotent, but for one thread.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

  static constexpr absl::Duration kLongestWait = absl::Milliseconds(200);

 private:
  struct Entry {
    std::shared_ptr<const Events> events;
    std::int64_t revision = 0;
    absl::Time read_at = absl::InfinitePast();
  };
  struct Wanted {
    std::string full_name;
    std::int64_t revision = 0;
  };
  struct Waiter {
    std::int64_t id = 0;
    std::int64_t revision = 0;
    absl::Time deadline;
    Answer answer;
  };

  void FetchLoop() ABSL_LOCKS_EXCLUDED(mutex_);
  void ExpireLoop() ABSL_LOCKS_EXCLUDED(mutex_);
  void Want(const Migration& migration) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Keep(std::int64_t id, Entry entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::shared_ptr<const Events> Known(std::int64_t id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Moves the waiters for which `chosen` holds out of the list, each with what is known for it.
  std::vector<std::function<void()>> TakeWaiters(const std::function<bool(const Waiter&)>& chosen)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Fetch fetch_;
  Clock& clock_;
  const std::shared_ptr<const Events> none_ = std::make_shared<const Events>();
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<std::int64_t, Entry> entries_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::int64_t> queue_ ABSL_GUARDED_BY(mutex_);  // ids in wanted_, in the order in which they were wanted
  std::map<std::int64_t, Wanted> wanted_ ABSL_GUARDED_BY(mutex_);
  std::list<Waiter> waiters_ ABSL_GUARDED_BY(mutex_);  // by deadline
  std::thread fetcher_;
  std::thread expirer_;
};

}  // namespace migrationd
