// From what each look at a target finds to whether, and how fast, migrations may work there. Pure: time comes with each look.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "migrations/model/reading.h"
#include "migrations/pacing/bands.h"
#include "migrations/pacing/budget.h"
#include "migrations/pacing/log_history.h"
#include "migrations/pacing/signals.h"

namespace migrationd {

// Why no sub-batch may begin.
struct HealthStop {
  std::string reason = {};             // names signal, value, limit and whose it is; begins with SIGNAL_STALE when it cannot be read
  std::vector<Reading> readings = {};  // of the budgets that stop
  // Only because something cannot be read: says nothing to whoever knows already that the target is away.
  bool stale = false;
};

struct HealthVerdict {
  // Everything that applies, in the order of kAllSignals; vacuum debt once for each table.
  std::vector<Reading> readings = {};
  std::optional<HealthStop> stop = {};                 // of all that work on the target
  std::map<std::string, HealthStop> table_stops = {};  // of those that work on the table, as it was asked for
  double allowed = 1;                                  // share of its pace that each migration may take
  std::optional<Reading> limited_by = {};              // what holds it below 1
  absl::Time read_at = absl::InfinitePast();           // of the last look that found something; the caller's clock

  // What stops a migration of that table; null: nothing.
  const HealthStop* StopOf(const std::string& table) const;
};

// Not thread-safe.
class HealthMonitor {
 public:
  explicit HealthMonitor(HealthLimits limits);

  // A look at `now` (any clock that does not go backwards). `used`: some migration there took all that it was allowed.
  const HealthVerdict& Record(absl::Time now, const TargetVitals& vitals, bool used);
  // The target did not answer. What was known stays; after kMissedSamplesMax in a row everything stops.
  const HealthVerdict& Miss(absl::Time now, const std::string& why);

  const HealthVerdict& verdict() const { return verdict_; }

 private:
  struct Measured {
    double value = 0;
    std::string detail;
  };
  Reading MakeReading(Signal signal, std::optional<double> value, std::string detail, absl::Time at) const;
  // nullopt: does not apply, or cannot be read.
  std::optional<Measured> Measure(Signal signal, const TargetVitals& vitals) const;
  void RecordSignal(absl::Time now, Signal signal, const TargetVitals& vitals);
  void RecordTables(absl::Time now, const TargetVitals& vitals);
  void NoteUtilisation(const Reading& reading, const SignalInfo& info, double value, double limit);
  // How a table is, is not known now.
  void MissTable(absl::Time now, const std::string& table, const Reading& reading);
  // Nothing to read where something was expected.
  void NoteUnreadable(absl::Time now, Signal signal, const Reading& reading);
  static void AddStop(std::optional<HealthStop>& stop, const Budget& budget, const SignalInfo& info, const Reading& reading);

  const HealthLimits limits_;
  LogHistory log_;
  std::map<Signal, Budget> budgets_;
  std::map<std::string, Budget> tables_;  // vacuum debt
  std::map<Signal, double> smoothed_;
  Budget look_;  // the looks themselves
  Bands bands_;
  std::optional<double> utilisation_;  // of the look under way
  std::optional<Reading> most_used_;
  std::set<Signal> gauges_read_;  // ever
  bool gauge_missing_ = false;    // of the look under way: one of those
  std::optional<Signal> limited_by_;
  HealthVerdict verdict_;
};

}  // namespace migrationd
