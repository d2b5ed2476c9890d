#include "server/targets/postgres/key_histogram.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/substitute.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

bool IsInteger(KeyType type) { return type == KeyType::kSmallint || type == KeyType::kInteger || type == KeyType::kBigint; }

// Place of value $n among the bounds, from 1 to their number. Between two bounds of whole numbers as far as it is from the one to the
// other, and beyond the last one (rows that came after ANALYZE) as far as it is in buckets of the mean width; of other types only the
// bound before it counts.
std::string Place(const MigrationPlan& plan, int n) {
  const std::string value = absl::StrCat("$", n, "::", plan.key_casts[0]);
  const std::string bucket = absl::StrCat("least(greatest(pg_catalog.width_bucket(", value, ", h.bounds), 1), cardinality(h.bounds))");
  if (!IsInteger(plan.key_types[0])) return absl::StrCat("(", bucket, ")::float8");
  return absl::Substitute(
      "(SELECT w.i + coalesce(greatest($0 - h.bounds[w.i]::numeric, 0) / nullif(h.bounds[w.i + 1]::numeric - h.bounds[w.i]::numeric, "
      "0), greatest($0 - h.bounds[w.i]::numeric, 0) * (cardinality(h.bounds) - 1) / "
      "nullif(h.bounds[cardinality(h.bounds)]::numeric - h.bounds[1]::numeric, 0), 0) "
      "FROM (SELECT $1) AS w (i))::float8",
      absl::StrCat(value, "::numeric"), bucket);
}

// How much of the table has a value of at most $n, 0 to 1: what is in the histogram and, with `frequent`, the values that are too frequent
// to be in it.
std::string Share(const MigrationPlan& plan, int n, bool frequent) {
  const std::string in_histogram = absl::StrCat("coalesce((", Place(plan, n), " - 1) / nullif(cardinality(h.bounds) - 1, 0), 0)");
  if (!frequent) return in_histogram;
  return absl::Substitute(
      "(coalesce((SELECT sum(m.part) FROM unnest(h.vals, h.parts) AS m (val, part) WHERE m.val <= $0), 0) + "
      "$1 * (1 - coalesce((SELECT sum(m.part) FROM unnest(h.parts) AS m (part)), 0)))",
      absl::StrCat("$", n, "::", plan.key_casts[0]), in_histogram);
}

}  // namespace

absl::StatusOr<std::vector<std::optional<double>>> KeyFractionsIn(Connection& connection, const MigrationPlan& plan,
                                                                  const std::vector<LaneRange>& ranges) {
  // The histogram is of a column; a place in the file is told by arithmetic.
  if (plan.key_types.back() == KeyType::kTid) return std::vector<std::optional<double>>(ranges.size());
  // Frequent values of the only column are counted in; of the first one of several they would count whole what is done in part.
  const bool frequent = plan.key.size() == 1;
  const std::string enough = frequent ? "cardinality(h.bounds) >= 2 OR cardinality(h.vals) >= 1" : "cardinality(h.bounds) >= 2 AND h.in_vals < 0.2";
  // A partitioned table has statistics of the whole (inherited). Text that is sorted in another way than width_bucket compares would make it
  // say something wrong.
  const std::string array = absl::StrCat("::text::", plan.key_casts[0], "[]");
  const std::string sql = absl::StrCat(
      "SELECT ", Share(plan, 4, frequent), ", ", Share(plan, 5, frequent), ", ", Share(plan, 6, frequent),
      " FROM (SELECT s.histogram_bounds", array, " AS bounds, s.most_common_vals", array, " AS vals, s.most_common_freqs AS parts, "
      "coalesce((SELECT sum(f) FROM unnest(s.most_common_freqs) AS f), 0) AS in_vals FROM pg_catalog.pg_stats AS s "
      "WHERE s.schemaname = $1 AND s.tablename = $2 AND s.attname = $3 AND EXISTS (SELECT FROM pg_catalog.pg_attribute AS a "
      "WHERE a.attrelid = ", plan.table_oid, "::oid AND a.attname = $3 AND a.attcollation IN (0, 100)) "
      "ORDER BY s.inherited DESC LIMIT 1) AS h WHERE ", enough);
  std::vector<std::optional<double>> fractions;
  for (const LaneRange& range : ranges) {
    fractions.emplace_back();
    if (range.lower.empty() || range.upper.empty()) continue;
    const Key& cursor = range.cursor.empty() ? range.lower : range.cursor;
    MD_ASSIGN_OR_RETURN(const QueryResult places,
                        connection.Query(sql, {plan.schema, plan.table, plan.key[0], range.lower[0], cursor[0], range.upper[0]}));
    if (places.rows() == 0) continue;
    const double lower = std::stod(places.text(0, 0));
    const double at = std::stod(places.text(0, 1));
    const double upper = std::stod(places.text(0, 2));
    // All in one bucket: the histogram tells nothing.
    if (upper > lower) fractions.back() = std::clamp((at - lower) / (upper - lower), 0.0, 1.0);
  }
  return fractions;
}

}  // namespace migrationd
