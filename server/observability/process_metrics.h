// What the operating system says of this process.
#pragma once

#include <vector>

namespace prometheus {
struct MetricFamily;
}

namespace migrationd {

// From /proc; what cannot be read has no sample.
std::vector<prometheus::MetricFamily> ProcessMetrics();

}  // namespace migrationd
