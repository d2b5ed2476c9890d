// As much of PromQL as tests need to know.
#pragma once

#include <set>
#include <string>

namespace migrationd {

// The names of the metrics an expression reads.
std::set<std::string> MetricNames(const std::string& expression);

// The names in the list that dashboard and alert rules may use; a test fails for each that is not among them. A histogram stands in the
// list without _bucket, _sum and _count.
void ExpectKnownMetrics(const std::string& where, const std::string& expression, const std::set<std::string>& known);


}  // namespace migrationd
