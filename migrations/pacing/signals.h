// What is measured of a target's health, as data: one table of signals with their limits, and what one look at the target found. Pure.
//
// A budget stops work when it is used up, and lets it go on when there is room again. A gauge makes work slower, in bands.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

namespace migrationd {

enum class Signal {
  kReplicaLag,       // time by which the slowest replica is behind
  kReplicaLagBytes,  // write-ahead log that it has not replayed
  kReplicasMissing,  // expected replicas that are not connected
  kSlotRetention,    // write-ahead log kept for the slot that is furthest behind
  kSlotsUnreserved,  // slots whose log the next checkpoint may remove
  kArchiveBacklog,   // log files that wait for archive_command
  kXidAge,           // age of the oldest database, as a ratio to autovacuum_freeze_max_age
  kWalRate,          // write-ahead log written by everybody
  kVacuumDebt,       // dead rows of a table that is migrated, as a ratio to what makes autovacuum begin
  kCommitLatency,    // of a small synchronous commit
  kActiveBackends,   // client sessions that are executing something, without ours
  kCheckpointDistance,  // log since the last checkpoint, as a ratio to max_wal_size
};

inline constexpr std::array kAllSignals = {
    Signal::kReplicaLag, Signal::kReplicaLagBytes, Signal::kReplicasMissing, Signal::kSlotRetention, Signal::kSlotsUnreserved,
    Signal::kArchiveBacklog, Signal::kXidAge, Signal::kWalRate, Signal::kVacuumDebt, Signal::kCommitLatency, Signal::kActiveBackends, Signal::kCheckpointDistance};

struct SignalInfo {
  Signal signal;
  std::string_view name;  // in configuration, readings, metrics
  std::string_view unit;  // as in Reading
  // A budget: work stops at its limit. A gauge slows work down. Vacuum debt is both: a gauge, and at its limit a budget of its table.
  bool budget = false;
  bool gauge = false;
  std::optional<double> default_limit = {};  // nullopt: none, it is only shown
  double shed_from = 0.7;               // gauge: share of the limit from which on work is made slower
  bool smoothed = false;                // gauge: single samples mean little
  std::string_view help;
};

const SignalInfo& InfoOf(Signal signal);
std::string_view SignalName(Signal signal);
// nullopt: there is none of that name.
std::optional<Signal> ParseSignal(std::string_view name);

// Thresholds of one target.
struct HealthLimits {
  // As configured; those left out have their default. nullopt: off, neither stops nor slows.
  std::map<Signal, std::optional<double>> configured;
  // application_name of replicas that must be connected.
  std::vector<std::string> replicas;
  // application_name of replicas whose lag does not count (delayed on purpose, or kept for long queries), and names of slots that may keep log.
  std::vector<std::string> ignored_replicas;
  absl::Duration interval = absl::Seconds(1);      // between two looks
  absl::Duration minimum_hold = absl::Seconds(2);  // a stop lasts at least so long
  // A session that has waited so long for one of our sub-batches has that sub-batch cancelled; zero: never.
  absl::Duration yield_after = absl::Milliseconds(500);

  std::optional<double> LimitOf(Signal signal) const;
  // Somebody asked for it, so that not being able to read it is a reason to stop.
  bool Explicit(Signal signal) const { return configured.count(signal) != 0 && configured.at(signal).has_value(); }
};

struct ReplicaVitals {
  std::string name = {};      // application_name
  std::int64_t replayed = 0;  // position in the log up to which it has replayed, bytes
  std::optional<absl::Duration> reported_lag = {};
};

struct SlotVitals {
  std::string name;
  std::int64_t retained = 0;  // bytes
  std::string status = {};    // wal_status: reserved, extended, unreserved, lost
};

struct TableVitals {
  std::string table = {};  // as it was asked for
  std::optional<double> dead_rows = {};
  double trigger = 0;      // dead rows that make autovacuum begin
  std::string detail = {};  // the partition; or why it is not known
};

// What one look found. What it could not read is in `unreadable`, with the reason; what does not apply (archiving is off, there are no
// replicas) is absent.
struct TargetVitals {
  absl::Time at = absl::InfinitePast();  // the target's clock
  std::map<Signal, std::string> unreadable;
  std::int64_t log_position = 0;  // written so far, bytes
  std::vector<ReplicaVitals> replicas;
  std::vector<SlotVitals> slots;
  std::optional<double> archive_backlog;
  std::optional<double> xid_age;
  std::string oldest_database;
  std::optional<absl::Duration> commit_latency;
  std::optional<double> active_backends;
  std::optional<double> checkpoint_distance;
  std::vector<TableVitals> tables;
};

}  // namespace migrationd
