#include "server/observability/board_metrics.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "migrations/model/progress.h"
#include "server/observability/metric_families.h"
#include "server/observability/metric_table.h"

namespace migrationd {
namespace {

using Families = std::vector<prometheus::MetricFamily>;

constexpr absl::Duration kShownAfterItsEnd = absl::Hours(1);

double Unix(absl::Time time) { return absl::ToDoubleSeconds(time - absl::UnixEpoch()); }

bool MayHold(State state) { return state == State::kPending || state == State::kRunning; }

void AddCounts(const BoardSnapshot& snapshot, Families& families) {
  std::map<std::string, std::map<State, int>> states;
  std::map<std::string, std::map<HoldKind, int>> holds;
  for (const auto& [name, condition] : snapshot.targets) {
    states[name];
    holds[name];
  }
  for (const auto& [id, entry] : snapshot.migrations) {
    const Migration& m = entry.stored.migration;
    ++states[m.target][m.state];
    holds[m.target];
    if (MayHold(m.state)) ++holds[m.target][m.hold.kind];
  }
  SampleFamily by_state("migrationd_migrations");
  for (const auto& [target, counts] : states) {
    for (const State state : kAllStates) {
      const auto found = counts.find(state);
      by_state.Add({{"target", target}, {"state", std::string(StateName(state))}}, found == counts.end() ? 0 : found->second);
    }
  }
  SampleFamily by_hold("migrationd_migrations_held");
  for (const auto& [target, counts] : holds) {
    for (const HoldKind kind : kAllHoldKinds) {
      if (kind == HoldKind::kNone) continue;
      const auto found = counts.find(kind);
      by_hold.Add({{"target", target}, {"hold", std::string(HoldKindName(kind))}}, found == counts.end() ? 0 : found->second);
    }
  }
  families.push_back(std::move(by_state).Take());
  families.push_back(std::move(by_hold).Take());
}

// Those with series of their own.
std::vector<const StoredMigration*> Shown(const BoardSnapshot& snapshot, absl::Time database_now, int& dropped) {
  std::vector<const StoredMigration*> shown;
  for (const auto& [id, entry] : snapshot.migrations) {
    const Migration& m = entry.stored.migration;
    const bool over = m.state == State::kCompleted || m.state == State::kCancelled;
    const absl::Time ended = m.finished_at.value_or(m.intent.since);
    const bool looked_after = m.verifying() || m.regressed_rows > 0;
    if (!over || looked_after || database_now - ended < kShownAfterItsEnd) shown.push_back(&entry.stored);
  }
  std::sort(shown.begin(), shown.end(), [](const StoredMigration* a, const StoredMigration* b) {
    return std::tie(a->migration.version, a->migration.target, a->migration.name) < std::tie(b->migration.version, b->migration.target, b->migration.name);
  });
  const auto limit = static_cast<std::size_t>(kMigrationSeriesMax);
  dropped = static_cast<int>(shown.size() > limit ? shown.size() - limit : 0);
  if (shown.size() > limit) shown.resize(limit);
  return shown;
}

void AddMigrations(const BoardSnapshot& snapshot, absl::Time database_now, Families& families) {
  SampleFamily state("migrationd_migration_state");
  SampleFamily hold("migrationd_migration_hold");
  SampleFamily ratio("migrationd_migration_progress_ratio");
  SampleFamily rows("migrationd_migration_rows_done");
  SampleFamily attempts("migrationd_migration_attempts");
  SampleFamily failed("migrationd_migration_failed_ranges");
  SampleFamily unchanged("migrationd_migration_unchanged_rows");
  SampleFamily regressed("migrationd_regressed_rows");
  SampleFamily eta("migrationd_migration_eta_timestamp_seconds");
  SampleFamily at_risk("migrationd_migration_at_risk");
  SampleFamily dropped_family("migrationd_migration_series_dropped");
  int dropped = 0;
  for (const StoredMigration* stored : Shown(snapshot, database_now, dropped)) {
    const Migration& m = stored->migration;
    const std::vector<std::pair<std::string, std::string>> labels = {{"target", m.target}, {"migration", m.name}};
    const auto with = [&](const char* label, std::string_view value) {
      auto more = labels;
      more.emplace_back(label, std::string(value));
      return more;
    };
    const ProgressView view = ViewProgress(m, database_now);
    state.Add(with("state", StateName(m.state)), 1);
    if (MayHold(m.state) && m.hold.kind != HoldKind::kNone) hold.Add(with("hold", HoldKindName(m.hold.kind)), 1);
    if (view.method != "NONE" || m.state == State::kCompleted) ratio.Add(labels, view.fraction);
    rows.Add(labels, static_cast<double>(m.progress.rows_done));
    attempts.Add(labels, m.progress.attempts);
    failed.Add(labels, static_cast<double>(m.progress.failed_ranges));
    unchanged.Add(labels, static_cast<double>(m.progress.unchanged_rows));
    if (m.state == State::kCompleted) regressed.Add(labels, static_cast<double>(m.regressed_rows));
    if (view.eta.has_value()) eta.Add(labels, Unix(*view.eta));
    const Outlook outlook = OutlookOf(m, view, DeadlineOf(*stored), database_now);
    if (outlook != Outlook::kNone) at_risk.Add(labels, outlook == Outlook::kAtRisk || outlook == Outlook::kMissed ? 1 : 0);
  }
  dropped_family.Add({}, dropped);
  for (SampleFamily* family : {&state, &hold, &ratio, &rows, &attempts, &failed, &unchanged, &regressed, &eta, &at_risk, &dropped_family}) {
    families.push_back(std::move(*family).Take());
  }
}

void AddSurroundings(const BoardSnapshot& snapshot, absl::Time now, Families& families) {
  SampleFamily frozen("migrationd_frozen");
  SampleFamily up("migrationd_target_up");
  SampleFamily runs("migrationd_runs");
  for (const auto& [name, condition] : snapshot.targets) {
    const bool held = std::any_of(snapshot.freezes.begin(), snapshot.freezes.end(),
                                  [&, target = name](const FreezeRecord& freeze) { return freeze.target.empty() || freeze.target == target; });
    frozen.Add({{"target", name}}, held ? 1 : 0);
    up.Add({{"target", name}}, condition.reachable ? 1 : 0);
    const auto found = snapshot.work.runs.find(name);
    runs.Add({{"target", name}}, found == snapshot.work.runs.end() ? 0 : found->second);
  }
  SampleFamily problems("migrationd_catalog_problems");
  problems.Add({}, static_cast<double>(snapshot.catalog_issues.size()));
  SampleFamily store_up("migrationd_control_store_up");
  store_up.Add({}, snapshot.loaded && snapshot.store_reachable ? 1 : 0);
  SampleFamily read("migrationd_control_store_last_read_timestamp_seconds");
  read.Add({}, snapshot.loaded ? Unix(snapshot.as_of) : 0);
  SampleFamily leases("migrationd_leases");
  leases.Add({}, snapshot.work.leases);
  SampleFamily age("migrationd_lease_renewal_age_seconds");
  age.Add({}, snapshot.work.leases == 0 ? 0 : absl::ToDoubleSeconds(now - snapshot.work.renewed_at));
  for (SampleFamily* family : {&frozen, &up, &runs, &problems, &store_up, &read, &leases, &age}) families.push_back(std::move(*family).Take());
}

// One series a signal: of several readings (tables), the one nearest to its limit.
void AddHealth(const BoardSnapshot& snapshot, absl::Time now, Families& families) {
  SampleFamily value("migrationd_signal_value");
  SampleFamily limit("migrationd_signal_limit");
  SampleFamily age("migrationd_signal_age_seconds");
  SampleFamily unreadable("migrationd_signal_unreadable");
  SampleFamily allowed("migrationd_pace_allowed");
  for (const auto& [name, condition] : snapshot.targets) {
    if (condition.read_at == absl::InfinitePast()) continue;
    std::map<std::string, const Reading*> shown;
    for (const Reading& reading : condition.readings) {
      const Reading*& worst = shown[reading.signal];
      const bool worse = worst == nullptr || (reading.value.has_value() && (!worst->value.has_value() || *reading.value > *worst->value));
      if (worse) worst = &reading;
    }
    for (const auto& [signal, reading] : shown) {
      const std::vector<std::pair<std::string, std::string>> labels = {{"target", name}, {"signal", signal}};
      if (reading->value.has_value()) value.Add(labels, *reading->value);
      if (reading->limit > 0) limit.Add(labels, reading->limit);
      age.Add(labels, absl::ToDoubleSeconds(now - condition.read_at));
      unreadable.Add(labels, reading->value.has_value() ? 0 : 1);
    }
    allowed.Add({{"target", name}}, condition.hold.kind == HoldKind::kNone ? condition.allowed : 0);
  }
  for (SampleFamily* family : {&value, &limit, &age, &unreadable, &allowed}) families.push_back(std::move(*family).Take());
}

}  // namespace

std::vector<prometheus::MetricFamily> BoardMetrics(const BoardSnapshot& snapshot, absl::Time now) {
  Families families;
  AddCounts(snapshot, families);
  AddMigrations(snapshot, snapshot.DatabaseTime(now), families);
  AddSurroundings(snapshot, now, families);
  AddHealth(snapshot, now, families);
  return families;
}

}  // namespace migrationd
