// What the board shows, as metrics: read at each scrape, so never older than what Status says.
#pragma once

#include <vector>

#include "absl/time/time.h"
#include "server/scheduler/board.h"

namespace prometheus {
struct MetricFamily;
}

namespace migrationd {

// `now`: process clock. A metric that nothing is known of has no series. Migrations have series of their own while they are not over and
// for an hour after, at most kMigrationSeriesMax of them, the oldest versions first.
std::vector<prometheus::MetricFamily> BoardMetrics(const BoardSnapshot& snapshot, absl::Time now);

}  // namespace migrationd
