#include "migrations/pacing/signals.h"

#include <algorithm>

namespace migrationd {
namespace {

constexpr double kMiB = 1024.0 * 1024;

constexpr std::array<SignalInfo, kAllSignals.size()> kSignals = {{
    // Between what gh-ost (1.5 s) and pt-online-schema-change (1 s) begin to wait at, and Vitess (5 s): whoever reads from a replica sees it.
    {.signal = Signal::kReplicaLag, .name = "replica_lag", .unit = "s", .budget = true, .default_limit = 3,
     .help = "time by which the slowest replica is behind"},
    {.signal = Signal::kReplicaLagBytes, .name = "replica_lag_bytes", .unit = "bytes", .budget = true, .default_limit = 256 * kMiB,
     .help = "write-ahead log that the slowest replica has not replayed"},
    {.signal = Signal::kReplicasMissing, .name = "replicas_missing", .unit = "replicas", .budget = true, .default_limit = 1,
     .help = "expected replicas (`replicas`) that are not connected"},
    {.signal = Signal::kSlotRetention, .name = "slot_retention", .unit = "bytes", .budget = true, .default_limit = 10 * 1024 * kMiB,
     .help = "write-ahead log kept for the replication slot that is furthest behind"},
    {.signal = Signal::kSlotsUnreserved, .name = "slots_unreserved", .unit = "slots", .budget = true, .default_limit = 1,
     .help = "slots that the next checkpoint may invalidate (wal_status unreserved)"},
    {.signal = Signal::kArchiveBacklog, .name = "archive_backlog", .unit = "files", .budget = true, .default_limit = 40,
     .help = "files of the write-ahead log that wait to be archived"},
    // Autovacuum begins to freeze by force at 1; below that, stopping would change nothing, and the stop might never end.
    {.signal = Signal::kXidAge, .name = "xid_age", .unit = "", .budget = true, .default_limit = 1.5,
     .help = "age of the oldest database, in autovacuum_freeze_max_age"},
    {.signal = Signal::kWalRate, .name = "wal_rate", .unit = "bytes/s", .budget = true,
     .help = "write-ahead log that the whole server writes"},
    // A migration that changes every row of a table once makes 5 of them, with PostgreSQL's autovacuum_vacuum_scale_factor, when it is
    // faster than autovacuum: that alone slows nothing down.
    {.signal = Signal::kVacuumDebt, .name = "vacuum_debt", .unit = "", .budget = true, .gauge = true, .default_limit = 6, .shed_from = 0.85,
     .help = "dead rows of a migrated table, in what makes autovacuum begin"},
    {.signal = Signal::kCommitLatency, .name = "commit_latency", .unit = "s", .gauge = true, .default_limit = 0.1, .smoothed = true,
     .help = "time of a small synchronous commit"},
    {.signal = Signal::kActiveBackends, .name = "active_backends", .unit = "backends", .gauge = true, .default_limit = 50, .smoothed = true,
     .help = "sessions of others that are executing something; about four times the server's CPUs"},
    // PostgreSQL begins a checkpoint at about half of max_wal_size and ends it at about all of it, so on a healthy server this goes to and
    // fro between 0.5 and 1: only one that is late is a reason to shed.
    {.signal = Signal::kCheckpointDistance, .name = "checkpoint_distance", .unit = "", .gauge = true, .default_limit = 1.5,
     .help = "write-ahead log since the last checkpoint, in max_wal_size"},
}};

}  // namespace

const SignalInfo& InfoOf(Signal signal) { return kSignals[static_cast<std::size_t>(signal)]; }

std::string_view SignalName(Signal signal) { return InfoOf(signal).name; }

std::optional<Signal> ParseSignal(std::string_view name) {
  const auto found = std::find_if(kSignals.begin(), kSignals.end(), [&](const SignalInfo& info) { return info.name == name; });
  if (found == kSignals.end()) return std::nullopt;
  return found->signal;
}

std::optional<double> HealthLimits::LimitOf(Signal signal) const {
  const auto found = configured.find(signal);
  return found == configured.end() ? InfoOf(signal).default_limit : found->second;
}

}  // namespace migrationd
