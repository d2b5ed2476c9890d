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

// Between two rows of a migration, unless it stops or goes on.
inline constexpr absl::Duration kPaceLogInterval = absl::Seconds(10);
// Stops and goes that are written at once, and after how long one more: a budget that is used up again and again would fill the history.
inline constexpr int kStopsAndGoes = 10;
inline constexpr absl::Duration kStopOrGoEvery = absl::Minutes(1);

// Not thread-safe.
class PaceLog {
 public:
  // What holds now for a migration at work; `verdict` null: nothing is known, which is as if all were allowed. `stop`: of it, or null.
  // `now`: database time. nullopt: nothing new, or not yet. A stop or go too many is written when there is room again, if it is still so by
  // then; the next row of any sort says how many were left out.
  std::optional<EventRecord> Note(const Migration& migration, const HealthVerdict* verdict, const HealthStop* stop, absl::Time now);
  // A sub-batch of it was cancelled for somebody else.
  std::optional<EventRecord> NoteYield(const Migration& migration, const Yielded& yielded, absl::Time now);
  // It is not at work here any more.
  void Forget(MigrationId id) { known_.erase(id.value); }

 private:
  // Full at first.
  struct Bucket {
    double tokens = kStopsAndGoes;
    absl::Time filled_at = absl::InfinitePast();
  };
  struct Known {
    bool stopped = false;
    double allowed = 1;
    // As the last row has it.
    bool stopped_written = false;
    double allowed_written = 1;
    std::string stop_reason;
    Bucket stops_and_goes;
    int left_out = 0;
    absl::Time written_at = absl::InfinitePast();
    absl::Time yielded_at = absl::InfinitePast();
  };
  static bool TakeToken(Bucket& bucket, absl::Time now);
  // "; 3 more stops and goes were not written", once.
  static std::string LeftOut(Known& known);

  std::map<std::int64_t, Known> known_;
};

}  // namespace migrationd
