// Every metric that migrationd exports: one table, from which they are made, and against which dashboard, alerts and documentation are
// checked.
#pragma once

#include <string_view>
#include <vector>

namespace migrationd {

enum class MetricKind { kCounter, kGauge, kHistogram };

struct MetricInfo {
  std::string_view name;
  MetricKind kind;
  std::string_view labels;  // separated by commas
  std::string_view help;
};

const std::vector<MetricInfo>& AllMetrics();

// The row of that name. REQUIRES: there is one.
const MetricInfo& MetricNamed(std::string_view name);

// Migrations with series of their own, at most; the number of the others is migrationd_migration_series_dropped.
inline constexpr int kMigrationSeriesMax = 200;

}  // namespace migrationd
