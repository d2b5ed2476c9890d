#include "migrations/pacing/health_monitor.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace migrationd {
namespace {

// Of a new sample in a smoothed value.
constexpr double kNewSample = 0.3;

std::string Whose(const Reading& reading) { return reading.detail.empty() ? "" : absl::StrCat(" (", reading.detail, ")"); }

std::string Sentence(const Budget& budget, const SignalInfo& info, const Reading& reading) {
  const std::string name(info.name);
  if (budget.stale()) {
    return absl::StrCat("SIGNAL_STALE: ", name, " cannot be read", reading.value.has_value() ? "" : absl::StrCat(": ", reading.detail));
  }
  if (!reading.value.has_value()) return absl::StrCat(name, " was at its limit of ", FormatQuantity(reading.limit, info.unit));
  const std::string value = absl::StrCat(name, " ", FormatQuantity(*reading.value, info.unit));
  if (*reading.value >= reading.limit) return absl::StrCat(value, ", limit ", FormatQuantity(reading.limit, info.unit), Whose(reading));
  return absl::StrCat(value, ", goes on below ", FormatQuantity(kGoOnAt * reading.limit, info.unit), Whose(reading));
}

}  // namespace

const HealthStop* HealthVerdict::StopOf(const std::string& table) const {
  if (stop.has_value()) return &*stop;
  const auto found = table_stops.find(table);
  return found == table_stops.end() ? nullptr : &found->second;
}

HealthMonitor::HealthMonitor(HealthLimits limits) : limits_(std::move(limits)), look_(limits_.minimum_hold) {
  for (const Signal signal : kAllSignals) {
    if (InfoOf(signal).budget) budgets_.emplace(signal, Budget(limits_.minimum_hold));
  }
}

Reading HealthMonitor::MakeReading(Signal signal, std::optional<double> value, std::string detail, absl::Time at) const {
  return {.signal = std::string(SignalName(signal)), .value = value, .limit = limits_.LimitOf(signal).value_or(0),
          .unit = std::string(InfoOf(signal).unit), .at = at, .detail = std::move(detail)};
}

void HealthMonitor::AddStop(std::optional<HealthStop>& stop, const Budget& budget, const SignalInfo& info, const Reading& reading) {
  if (!budget.stopped()) return;
  if (!stop.has_value()) stop = HealthStop{.stale = true};
  absl::StrAppend(&stop->reason, stop->reason.empty() ? "" : "; ", Sentence(budget, info, reading));
  stop->readings.push_back(reading);
  stop->stale = stop->stale && budget.stale();
}

std::optional<HealthMonitor::Measured> HealthMonitor::Measure(Signal signal, const TargetVitals& vitals) const {
  const auto plain = [](const std::optional<double>& value, std::string detail = "") -> std::optional<Measured> {
    if (!value.has_value()) return std::nullopt;
    return Measured{*value, std::move(detail)};
  };
  std::optional<Measured> worst;
  const auto ignored = [this](const std::string& name) {
    return std::find(limits_.ignored_replicas.begin(), limits_.ignored_replicas.end(), name) != limits_.ignored_replicas.end();
  };
  const auto consider = [&worst](double value, const std::string& detail) {
    if (!worst.has_value() || value > worst->value) worst = Measured{value, detail};
  };
  switch (signal) {
    case Signal::kReplicaLag:
      for (const ReplicaVitals& replica : vitals.replicas) {
        if (ignored(replica.name)) continue;
        absl::Duration lag = absl::ZeroDuration();
        if (replica.replayed < vitals.log_position) lag = std::max(log_.Behind(replica.replayed), replica.reported_lag.value_or(lag));
        consider(absl::ToDoubleSeconds(lag), absl::StrCat("replica ", replica.name));
      }
      return worst;
    case Signal::kReplicaLagBytes:
      for (const ReplicaVitals& replica : vitals.replicas) {
        if (ignored(replica.name)) continue;
        const std::int64_t behind = std::max<std::int64_t>(0, vitals.log_position - replica.replayed);
        consider(static_cast<double>(behind), absl::StrCat("replica ", replica.name));
      }
      return worst;
    case Signal::kReplicasMissing: {
      if (limits_.replicas.empty()) return std::nullopt;
      std::vector<std::string> missing;
      for (const std::string& expected : limits_.replicas) {
        const bool there = std::any_of(vitals.replicas.begin(), vitals.replicas.end(),
                                       [&](const ReplicaVitals& replica) { return replica.name == expected; });
        if (!there) missing.push_back(expected);
      }
      return Measured{static_cast<double>(missing.size()), absl::StrJoin(missing, ", ")};
    }
    case Signal::kSlotRetention:
      for (const SlotVitals& slot : vitals.slots) {
        if (ignored(slot.name)) continue;
        // What is lost cannot come back when we stop.
        if (slot.status != "lost") consider(static_cast<double>(slot.retained), absl::StrCat("slot ", slot.name));
      }
      return worst;
    case Signal::kSlotsUnreserved: {
      if (vitals.slots.empty()) return std::nullopt;
      std::vector<std::string> unreserved;
      for (const SlotVitals& slot : vitals.slots) {
        if (slot.status == "unreserved" && !ignored(slot.name)) unreserved.push_back(slot.name);
      }
      return Measured{static_cast<double>(unreserved.size()), absl::StrJoin(unreserved, ", ")};
    }
    case Signal::kArchiveBacklog: return plain(vitals.archive_backlog);
    case Signal::kXidAge: return plain(vitals.xid_age, absl::StrCat("database ", vitals.oldest_database));
    case Signal::kWalRate: return plain(log_.Rate());
    case Signal::kVacuumDebt: return std::nullopt;  // by table
    case Signal::kCommitLatency:
      return vitals.commit_latency.has_value() ? plain(absl::ToDoubleSeconds(*vitals.commit_latency)) : std::nullopt;
    case Signal::kActiveBackends: return plain(vitals.active_backends);
    case Signal::kCheckpointDistance: return plain(vitals.checkpoint_distance);
  }
  return std::nullopt;
}

void HealthMonitor::NoteUtilisation(const Reading& reading, const SignalInfo& info, double value, double limit) {
  gauges_read_.insert(info.signal);
  const double utilisation = UtilisationOf(value, limit, info.shed_from);
  if (utilisation_.has_value() && *utilisation_ >= utilisation) return;
  utilisation_ = utilisation;
  most_used_ = reading;
}

void HealthMonitor::MissTable(absl::Time now, const std::string& table, const Reading& reading) {
  if (InfoOf(Signal::kVacuumDebt).gauge && gauges_read_.count(Signal::kVacuumDebt) != 0) gauge_missing_ = true;
  const auto known = tables_.find(table);
  if (known == tables_.end()) return;
  known->second.Miss(now);
  std::optional<HealthStop> stop;
  AddStop(stop, known->second, InfoOf(Signal::kVacuumDebt), reading);
  if (stop.has_value()) verdict_.table_stops[table] = *std::move(stop);
}

void HealthMonitor::NoteUnreadable(absl::Time now, Signal signal, const Reading& reading) {
  verdict_.readings.push_back(reading);
  if (!limits_.LimitOf(signal).has_value()) return;
  // One that could be read until now, like a query that takes too long on a server in trouble: what the others say is no reason to grow.
  if (InfoOf(signal).gauge && gauges_read_.count(signal) != 0) gauge_missing_ = true;
  const auto budget = budgets_.find(signal);
  if (budget == budgets_.end()) return;
  const bool asked_for = limits_.Explicit(signal) || (signal == Signal::kReplicasMissing && !limits_.replicas.empty());
  // What never could be read is shown as unknown; what could, or was asked for, is missed.
  if (!asked_for && budget->second.read_at() == absl::InfinitePast()) return;
  budget->second.Miss(now);
  AddStop(verdict_.stop, budget->second, InfoOf(signal), reading);
}

void HealthMonitor::RecordSignal(absl::Time now, Signal signal, const TargetVitals& vitals) {
  const SignalInfo& info = InfoOf(signal);
  const std::optional<double> limit = limits_.LimitOf(signal);
  if (const auto why = vitals.unreadable.find(signal); why != vitals.unreadable.end()) {
    // A list that nobody gave cannot have a gap.
    if (signal == Signal::kReplicasMissing && limits_.replicas.empty()) return;
    return NoteUnreadable(now, signal, MakeReading(signal, std::nullopt, why->second, vitals.at));
  }
  std::optional<Measured> measured = Measure(signal, vitals);
  if (!measured.has_value()) {
    if (info.budget) budgets_.at(signal).Clear();
    smoothed_.erase(signal);
    return;
  }
  if (info.smoothed) {
    const auto [known, first] = smoothed_.emplace(signal, measured->value);
    if (!first) known->second += kNewSample * (measured->value - known->second);
    measured->value = known->second;
  }
  const Reading reading = MakeReading(signal, measured->value, measured->detail, vitals.at);
  verdict_.readings.push_back(reading);
  if (!limit.has_value()) return;
  if (info.budget) {
    budgets_.at(signal).Record(now, measured->value, *limit);
    AddStop(verdict_.stop, budgets_.at(signal), info, reading);
  }
  if (info.gauge) NoteUtilisation(reading, info, measured->value, *limit);
}

void HealthMonitor::RecordTables(absl::Time now, const TargetVitals& vitals) {
  const SignalInfo& info = InfoOf(Signal::kVacuumDebt);
  const std::optional<double> limit = limits_.LimitOf(Signal::kVacuumDebt);
  if (const auto why = vitals.unreadable.find(Signal::kVacuumDebt); why != vitals.unreadable.end()) {
    const Reading unknown = MakeReading(Signal::kVacuumDebt, std::nullopt, why->second, vitals.at);
    NoteUnreadable(now, Signal::kVacuumDebt, unknown);
    std::vector<std::string> tables;
    for (const auto& [table, budget] : tables_) tables.push_back(table);
    for (const std::string& table : tables) MissTable(now, table, unknown);
    return;
  }
  budgets_.at(Signal::kVacuumDebt).Clear();
  std::erase_if(tables_, [&](const auto& known) {
    return std::none_of(vitals.tables.begin(), vitals.tables.end(), [&](const TableVitals& table) { return table.table == known.first; });
  });
  for (const TableVitals& table : vitals.tables) {
    std::optional<double> debt;
    if (table.dead_rows.has_value()) debt = *table.dead_rows / std::max(1.0, table.trigger);
    const Reading reading = MakeReading(Signal::kVacuumDebt, debt, table.detail, vitals.at);
    verdict_.readings.push_back(reading);
    if (!limit.has_value()) continue;
    if (!debt.has_value()) {
      MissTable(now, table.table, reading);
      continue;
    }
    Budget& budget = tables_.emplace(table.table, Budget(limits_.minimum_hold)).first->second;
    budget.Record(now, *debt, *limit);
    std::optional<HealthStop> stop;
    AddStop(stop, budget, info, reading);
    if (stop.has_value()) verdict_.table_stops[table.table] = *std::move(stop);
    NoteUtilisation(reading, info, *debt, *limit);
  }
}

const HealthVerdict& HealthMonitor::Record(absl::Time now, const TargetVitals& vitals, bool used) {
  log_.Add(vitals.at, vitals.log_position);
  const double before = verdict_.allowed;
  verdict_ = HealthVerdict{.read_at = now};
  utilisation_.reset();
  most_used_.reset();
  gauge_missing_ = false;
  look_.Record(now, 0, 1);
  for (const Signal signal : kAllSignals) {
    if (signal == Signal::kVacuumDebt) {
      RecordTables(now, vitals);
    } else {
      RecordSignal(now, signal, vitals);
    }
  }
  verdict_.allowed = bands_.Record(now, utilisation_, used && !gauge_missing_);
  if (verdict_.allowed < before && most_used_.has_value()) limited_by_ = ParseSignal(most_used_->signal);
  if (verdict_.allowed >= 1) limited_by_.reset();
  if (limited_by_.has_value()) {
    for (const Reading& reading : verdict_.readings) {
      const bool larger = !verdict_.limited_by.has_value() || reading.value.value_or(0) > verdict_.limited_by->value.value_or(0);
      if (reading.signal == SignalName(*limited_by_) && larger) verdict_.limited_by = reading;
    }
  }
  return verdict_;
}

const HealthVerdict& HealthMonitor::Miss(absl::Time now, const std::string& why) {
  if (!look_.Miss(now)) return verdict_;
  HealthStop stop{.reason = absl::StrCat("SIGNAL_STALE: the health of the target cannot be read: ", why), .stale = true};
  verdict_.stop = std::move(stop);
  return verdict_;
}

}  // namespace migrationd
