// Families of samples that are made at each scrape.
#pragma once

#include <prometheus/metric_family.h>

#include <string>
#include <utility>
#include <vector>

namespace migrationd {

// One family, begun from the metric table. REQUIRES: the name is in it, as a counter or gauge.
class SampleFamily {
 public:
  explicit SampleFamily(std::string_view name);
  void Add(std::vector<std::pair<std::string, std::string>> labels, double value);
  prometheus::MetricFamily Take() && { return std::move(family_); }

 private:
  prometheus::MetricFamily family_;
};

}  // namespace migrationd
