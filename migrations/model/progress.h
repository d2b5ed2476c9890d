// How far, and when done: pure arithmetic over counters.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "migrations/model/migration.h"

namespace migrationd {

enum class EtaState { kMeasuring, kReady, kStalled, kBlocked, kDue, kUnknown };
std::string_view EtaStateName(EtaState state);

struct ProgressView {
  double fraction = 0;  // 0 to 1; 1 only when COMPLETED
  std::string method;   // ROWS, KEY_RANGE or NONE
  // VERIFY, or all rows that were counted are done: the table is looked over, and `fraction` is in its last hundredth.
  bool only_looking = false;
  double rows_per_second_average = 0;
  std::optional<absl::Time> eta;
  EtaState eta_state = EtaState::kUnknown;
};

// Whether the deadline will be met. kUnknown: there is one, and no estimate yet.
enum class Outlook { kNone, kUnknown, kOnTrack, kAtRisk, kMissed };
Outlook OutlookOf(const Migration& migration, const ProgressView& view, std::optional<absl::Time> deadline, absl::Time now);

// What Status shows of the counters at `now` (database time).
ProgressView ViewProgress(const Migration& migration, absl::Time now);

// "RUNNING 42.1 % (421,337 of ~1,000,000 rows), 21,400 rows/s, done in 27s" and the like: one line for a person.
std::string SummaryLine(const Migration& migration, absl::Time now);

// What a person would do next; empty when nothing.
std::string HintLine(const Migration& migration);

// Where `cursor` lies between `lower` and `upper`, 0 to 1, for a single integer key and for places in a file (PHYSICAL); nullopt for other
// keys.
std::optional<double> IntegerKeyFraction(const std::vector<KeyType>& types, const Key& lower, const Key& cursor,
                                         const Key& upper);

// Rate over a sliding window of samples (time, total rows), by process clock.
class RateMeter {
 public:
  explicit RateMeter(absl::Duration window) : window_(window) {}
  void Add(absl::Time at, std::int64_t rows_total);
  // Rows a second over the window; 0 with fewer than two samples or when nothing was added within the window before `at`.
  double PerSecond(absl::Time at) const;
  // How much of the window before `at` the samples cover: how far PerSecond can be relied on.
  absl::Duration Covers(absl::Time at) const;

 private:
  struct Sample {
    absl::Time at;
    std::int64_t rows;
  };
  absl::Duration window_;
  std::vector<Sample> samples_;
};

}  // namespace migrationd
