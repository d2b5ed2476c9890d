#include "server/targets/postgres/row_estimate.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "migrations/kinds/identifiers.h"
#include "migrations/model/failure.h"
#include "migrations/model/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/targets/postgres/bounded_query.h"
#include "server/targets/postgres/sub_batch_sql.h"

namespace migrationd {
namespace {

// So many rows tell the share of those that match within a few percent of it, if they are spread.
constexpr double kSampleRows = 50000;

// Rows of the table with all its partitions, by its statistics; -1: never analysed. And by its size at a hundred rows a page.
constexpr char kTableRows[] = R"sql(
SELECT CASE WHEN bool_and(c.reltuples < 0) THEN -1 ELSE sum(greatest(c.reltuples, 0)) END::bigint,
       sum(CASE WHEN c.reltuples >= 0 THEN c.reltuples
                ELSE pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::integer * 100 END)::bigint
  FROM pg_catalog.pg_class AS c
 WHERE c.relkind = 'r'
   AND c.oid IN (SELECT t.relid FROM pg_catalog.pg_partition_tree($1::oid::regclass) AS t UNION SELECT $1::oid))sql";

class Estimator {
 public:
  Estimator(Connection& connection, const MigrationPlan& plan, const LaneRange& whole, absl::Duration patience)
      : connection_(connection), plan_(plan), patience_(patience), parameters_(WorkParameters(plan, whole.lower, whole.upper)) {
    if (plan.has_where) {
      count_sql_ = plan.count_matching_first;
    } else {
      count_sql_ = absl::StrCat("SELECT count(*) FROM ", QualifiedTable(plan), " AS ", QuoteIdentifier(plan.alias), " WHERE ",
                                plan.range_first);
      parameters_.resize(2 * plan.key.size());
    }
  }

  absl::StatusOr<RowEstimate> Estimate() {
    MD_ASSIGN_OR_RETURN(const QueryResult rows, connection_.Query(kTableRows, {absl::StrCat(plan_.table_oid)}));
    const std::int64_t analysed = rows.integer(0, 0);
    const std::int64_t by_size = rows.integer(0, 1);
    const bool whole_table = !plan_.has_where && plan_.min_key.empty() && plan_.max_key.empty();
    if (whole_table && analysed >= 0) return RowEstimate{analysed, kEstimatedByStatistics};
    // Each way is tried when the one before took too long; one that the database refuses is refused in the others, too.
    RowEstimate estimate;
    absl::Status tried = AskWithin(connection_, patience_, [&] { return Count(estimate); });
    if (WasCutOff(tried) && plan_.has_where) {
      tried = AskWithin(connection_, patience_, [&] { return CountSample(by_size, estimate); });
    }
    if (WasCutOff(tried) || (tried.ok() && estimate.method.empty())) {
      tried = AskWithin(connection_, patience_, [&] { return AskPlanner(estimate); }, /*undo=*/true);
    }
    if (WasCutOff(tried)) return RowEstimate{};
    if (!tried.ok()) return tried;
    return estimate;
  }

 private:
  static bool WasCutOff(const absl::Status& status) {
    return status.code() == absl::StatusCode::kDeadlineExceeded || ClassifyFailure(SqlStateOf(status)) == FailureClass::kRetrySmaller;
  }

  absl::Status Count(RowEstimate& estimate) {
    MD_ASSIGN_OR_RETURN(const QueryResult counted, connection_.Query(count_sql_, parameters_));
    estimate = {counted.integer(0, 0), kEstimatedByCount};
    return absl::OkStatus();
  }

  absl::Status CountSample(std::int64_t table_rows, RowEstimate& estimate) {
    if (table_rows <= 0) return absl::OkStatus();
    const double percent = std::min(100.0, 100.0 * kSampleRows / static_cast<double>(table_rows));
    Parameters parameters = parameters_;
    parameters.push_back(absl::StrCat(percent));
    MD_ASSIGN_OR_RETURN(const QueryResult counted, connection_.Query(plan_.sample_matching_first, parameters));
    // None of the pages that were drawn had a row in the range.
    if (counted.integer(0, 1) == 0) return absl::OkStatus();
    // By the share of the pages, so that neither old statistics nor a range that is not all of the table matter.
    estimate = {std::llround(static_cast<double>(counted.integer(0, 0)) * 100.0 / percent), kEstimatedBySample};
    return absl::OkStatus();
  }

  absl::Status AskPlanner(RowEstimate& estimate) {
    // What a worker of a parallel plan is expected to see is not all of it.
    MD_RETURN_IF_ERROR(connection_.Query("SET LOCAL max_parallel_workers_per_gather = 0").status());
    MD_ASSIGN_OR_RETURN(const QueryResult explained, connection_.Query(absl::StrCat("EXPLAIN (FORMAT JSON) ", count_sql_), parameters_));
    const auto plan = nlohmann::json::parse(explained.text(0, 0), nullptr, /*allow_exceptions=*/false);
    const nlohmann::json::json_pointer children("/0/Plan/Plans");
    if (plan.is_discarded() || !plan.contains(children)) return absl::OkStatus();
    // What the count itself reads, as opposed to what is asked once before.
    for (const auto& child : plan.at(children)) {
      if (child.value("Parent Relationship", "") != "Outer" || !child.contains("Plan Rows")) continue;
      estimate = {std::llround(child["Plan Rows"].get<double>()), kEstimatedByStatistics};
    }
    return absl::OkStatus();
  }

  Connection& connection_;
  const MigrationPlan& plan_;
  const absl::Duration patience_;
  Parameters parameters_;
  std::string count_sql_;
};

}  // namespace

absl::StatusOr<RowEstimate> EstimateRowsIn(Connection& connection, const MigrationPlan& plan, const LaneRange& whole,
                                           absl::Duration patience) {
  if (whole.upper.empty()) return RowEstimate{0, kEstimatedByCount};
  return Estimator(connection, plan, whole, patience).Estimate();
}

}  // namespace migrationd
