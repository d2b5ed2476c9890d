// Which changes of pace are worth a row of history. Pure: time comes with each call.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "migrations/pacing/health_monitor.h"
#include "server/targets/target.h"
#include "store/control_store.h"

namespace migrationd {

inline constexpr char kEventPace[] = "PACE";
// Between two rows of a migration, unless it stops or goes on.
inline constexpr absl::Duration kPaceLogInterval = absl::Seconds(10);

// Not thread-safe.
class PaceLog {
 public:
  // What holds now for a migration at work; `verdict` null: nothing is known, which is as if all were allowed. `stop`: of it, or null.
  // `now`: database time. nullopt: nothing new, or not yet.
  std::optional<EventRecord> Note(const Migration& migration, const HealthVerdict* verdict, const HealthStop* stop, absl::Time now);
  // A sub-batch of it was cancelled for somebody else.
  std::optional<EventRecord> NoteYield(const Migration& migration, const Yielded& yielded, absl::Time now);
  // It is not at work here any more.
  void Forget(MigrationId id) { known_.erase(id.value); }

 private:
  struct Known {
    bool stopped = false;
    std::string stop_reason;
    double allowed = 1;
    absl::Time written_at = absl::InfinitePast();
    absl::Time yielded_at = absl::InfinitePast();
  };
  std::map<std::int64_t, Known> known_;
};

}  // namespace migrationd
