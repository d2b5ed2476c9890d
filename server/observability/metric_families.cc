#include "server/observability/metric_families.h"

#include "server/observability/metric_table.h"

namespace migrationd {

SampleFamily::SampleFamily(std::string_view name) {
  const MetricInfo& info = MetricNamed(name);
  family_.name = std::string(info.name);
  family_.help = std::string(info.help);
  family_.type = info.kind == MetricKind::kCounter ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge;
}

void SampleFamily::Add(std::vector<std::pair<std::string, std::string>> labels, double value) {
  prometheus::ClientMetric metric;
  for (auto& [name, text] : labels) metric.label.push_back({std::move(name), std::move(text)});
  metric.counter.value = value;
  metric.gauge.value = value;
  family_.metric.push_back(std::move(metric));
}

}  // namespace migrationd
