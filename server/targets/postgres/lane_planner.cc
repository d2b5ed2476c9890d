#include "server/targets/postgres/lane_planner.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

// Lanes are cut at quantiles of so many keys; of all of them in a table that has fewer than kSmallTableRows.
constexpr double kSampleRows = 20000;
constexpr double kSmallTableRows = 50000;

// Rows of the table with all its partitions; where it was never analysed, by its size at a hundred rows a page.
constexpr char kEstimateRows[] = R"sql(
SELECT sum(CASE WHEN c.reltuples >= 0 THEN c.reltuples
                ELSE pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::integer * 100 END)::bigint
  FROM pg_catalog.pg_class AS c
 WHERE c.relkind = 'r'
   AND c.oid IN (SELECT t.relid FROM pg_catalog.pg_partition_tree($1::oid::regclass) AS t UNION SELECT $1::oid))sql";

class LanePlanner {
 public:
  LanePlanner(Connection& connection, const MigrationPlan& plan)
      : connection_(connection), plan_(plan), table_(QuoteIdentifier(plan.schema) + "." + QuoteIdentifier(plan.table)) {
    for (const std::string& column : plan.key) columns_.push_back("md_t." + QuoteIdentifier(column));
    for (const std::string& column : columns_) texts_.push_back(column + "::text");
  }

  absl::StatusOr<std::vector<LaneRange>> Split(const std::vector<LaneRange>& lanes, int wanted) {
    MD_ASSIGN_OR_RETURN(const std::vector<int> parts, PartsOf(lanes, wanted));
    std::vector<LaneRange> split;
    for (std::size_t i = 0; i < lanes.size(); ++i) {
      std::vector<Key> ends;
      if (parts[i] > 1) {
        MD_ASSIGN_OR_RETURN(ends, InnerBounds(lanes[i], parts[i]));
      }
      ends.push_back(lanes[i].upper);
      LaneRange rest = lanes[i];
      for (Key& end : ends) {
        rest.lane = static_cast<std::int32_t>(split.size());
        rest.upper = std::move(end);
        split.push_back(rest);
        rest.lower = split.back().upper;
        rest.cursor = rest.lower;
        rest.rows = 0;
        rest.sub_batches = 0;
      }
    }
    return split;
  }

  absl::StatusOr<std::vector<LaneRange>> Plan(int lanes) {
    MD_ASSIGN_OR_RETURN(const std::vector<Key> bounds, plan_.lane_bounds.empty() ? KeyBounds(lanes) : AskBounds(lanes));
    if (bounds.empty()) return std::vector<LaneRange>{LaneRange{}};
    const Key& lower = bounds.front();
    const std::vector<Key> ends(bounds.begin() + 1, bounds.end());
    std::vector<LaneRange> ranges;
    for (const Key& end : ends) {
      LaneRange range;
      range.lane = static_cast<std::int32_t>(ranges.size());
      range.lower = ranges.empty() ? lower : ranges.back().upper;
      // All but the first begin behind the end of the one before.
      if (!ranges.empty()) range.cursor = range.lower;
      range.upper = end;
      ranges.push_back(std::move(range));
    }
    return ranges;
  }

 private:
  // Into how many parts each lane is to be cut: again and again the one whose parts are the largest.
  absl::StatusOr<std::vector<int>> PartsOf(const std::vector<LaneRange>& lanes, int wanted) {
    std::vector<int> parts(lanes.size(), 1);
    std::vector<double> sizes;
    int undone = 0;
    for (const LaneRange& lane : lanes) {
      sizes.push_back(0);
      if (lane.done()) continue;
      MD_ASSIGN_OR_RETURN(sizes.back(), SizeLeft(lane));
      ++undone;
    }
    while (undone > 0 && undone < wanted) {
      std::size_t largest = 0;
      for (std::size_t i = 1; i < sizes.size(); ++i) {
        if (sizes[i] / parts[i] > sizes[largest] / parts[largest]) largest = i;
      }
      if (sizes[largest] / parts[largest] < 2) break;
      ++parts[largest];
      ++undone;
    }
    return parts;
  }

  static const Key& Begin(const LaneRange& lane) { return lane.cursor.empty() ? lane.lower : lane.cursor; }

  bool by_place() const { return plan_.key_types.back() == KeyType::kTid; }

  static std::int64_t BlockOf(const Key& key) {
    const std::optional<Place> place = ParsePlace(key.back());
    return place.has_value() ? place->block : 0;
  }

  // In keys of the sample, or blocks: only to compare lanes by.
  absl::StatusOr<double> SizeLeft(const LaneRange& lane) {
    if (by_place()) return static_cast<double>(BlockOf(lane.upper) - BlockOf(Begin(lane)));
    MD_ASSIGN_OR_RETURN(const std::string sample, Sample());
    Parameters parameters;
    const std::string range = absl::StrCat(Compare(">", Begin(lane), parameters), " AND ", Compare("<=", lane.upper, parameters));
    MD_ASSIGN_OR_RETURN(const QueryResult counted, connection_.Query(absl::StrCat("SELECT count(*) FROM ", table_, " AS md_t", sample, " WHERE ", range),
                                                                     parameters));
    return static_cast<double>(counted.integer(0, 0));
  }

  absl::StatusOr<std::vector<Key>> InnerBounds(const LaneRange& lane, int parts) {
    if (!by_place()) return Quantiles(Begin(lane), lane.upper, parts);
    const std::int64_t from = BlockOf(Begin(lane));
    const std::int64_t blocks = BlockOf(lane.upper) - from;
    std::vector<Key> bounds;
    for (int i = 1; i < parts; ++i) {
      Key bound = lane.upper;
      bound.back() = absl::StrCat("(", from + blocks * i / parts, ",65535)");
      if (bound != lane.upper && (bounds.empty() || bounds.back() != bound)) bounds.push_back(std::move(bound));
    }
    return bounds;
  }

  // Where the first lane begins, and where each ends; empty for an empty table.
  absl::StatusOr<std::vector<Key>> AskBounds(int lanes) {
    MD_ASSIGN_OR_RETURN(const QueryResult result, connection_.Query(plan_.lane_bounds, {absl::StrCat(lanes)}));
    std::vector<Key> bounds;
    for (int row = 0; row < result.rows(); ++row) bounds.push_back(ReadKey(result, row));
    return bounds;
  }

  // The same by the order of the key.
  absl::StatusOr<std::vector<Key>> KeyBounds(int lanes) {
    std::vector<Key> bounds;
    MD_ASSIGN_OR_RETURN(const Key lower, Outermost("ASC"));
    if (lower.empty()) return bounds;
    MD_ASSIGN_OR_RETURN(const Key upper, Outermost("DESC"));
    bounds.push_back(lower);
    if (lanes > 1) {
      MD_ASSIGN_OR_RETURN(const std::vector<Key> inner, Quantiles(lower, upper, lanes));
      bounds.insert(bounds.end(), inner.begin(), inner.end());
    }
    bounds.push_back(upper);
    return bounds;
  }

  // "md_t.a >= $1::bigint", or "(md_t.a, md_t.b) >= ($1::bigint, $2::text)".
  std::string Compare(const std::string& comparison, const Key& key, Parameters& parameters) const {
    std::vector<std::string> values;
    for (std::size_t i = 0; i < key.size(); ++i) {
      parameters.push_back(key[i]);
      values.push_back(absl::StrCat("$", parameters.size(), "::", plan_.key_casts[i]));
    }
    return absl::StrCat("(", absl::StrJoin(columns_, ", "), ") ", comparison, " (", absl::StrJoin(values, ", "), ")");
  }

  std::string Order(const std::string& direction) const {
    return absl::StrCat(absl::StrJoin(columns_, absl::StrCat(" ", direction, ", ")), " ", direction);
  }

  Key ReadKey(const QueryResult& result, int row) const {
    Key key;
    for (std::size_t i = 0; i < plan_.key.size(); ++i) key.push_back(result.text(row, static_cast<int>(i)));
    return key;
  }

  // The smallest or largest key within the definition's bounds; empty when there is none.
  absl::StatusOr<Key> Outermost(const std::string& direction) {
    Parameters parameters;
    std::vector<std::string> conditions = {"true"};
    if (!plan_.min_key.empty()) conditions.push_back(Compare(">=", plan_.min_key, parameters));
    if (!plan_.max_key.empty()) conditions.push_back(Compare("<=", plan_.max_key, parameters));
    MD_ASSIGN_OR_RETURN(
        const QueryResult result,
        connection_.Query(absl::StrCat("SELECT ", absl::StrJoin(texts_, ", "), " FROM ", table_, " AS md_t WHERE ",
                                       absl::StrJoin(conditions, " AND "), " ORDER BY ", Order(direction), " LIMIT 1"),
                          parameters));
    return result.rows() == 1 ? ReadKey(result, 0) : Key{};
  }

  // How the keys are read: all of them, or some pages.
  absl::StatusOr<std::string> Sample() {
    MD_ASSIGN_OR_RETURN(const QueryResult estimate, connection_.Query(kEstimateRows, {absl::StrCat(plan_.table_oid)}));
    const auto rows = static_cast<double>(estimate.integer(0, 0));
    if (rows <= kSmallTableRows) return std::string();
    return absl::StrCat(" TABLESAMPLE SYSTEM (", 100.0 * kSampleRows / rows, ")");
  }

  // Keys that split ]lower, upper[ into about equal parts: distinct, in order; fewer than asked for when there are few
  // keys.
  absl::StatusOr<std::vector<Key>> Quantiles(const Key& lower, const Key& upper, int lanes) {
    MD_ASSIGN_OR_RETURN(const std::string sample, Sample());
    Parameters parameters;
    const std::string range = absl::StrCat(Compare(">", lower, parameters), " AND ", Compare("<", upper, parameters));
    MD_ASSIGN_OR_RETURN(
        const QueryResult result,
        connection_.Query(
            absl::StrCat("SELECT md_s.* FROM (SELECT ", absl::StrJoin(texts_, ", "), ", row_number() OVER (ORDER BY ",
                         Order("ASC"), ") AS md_n, count(*) OVER () AS md_count FROM ", table_, " AS md_t", sample,
                         " WHERE ", range, ") AS md_s WHERE md_s.md_n IN (SELECT md_s.md_count * md_i / ", lanes,
                         " FROM generate_series(1, ", lanes - 1, ") AS md_i) ORDER BY md_s.md_n"),
            parameters));
    std::vector<Key> keys;
    for (int row = 0; row < result.rows(); ++row) {
      Key key = ReadKey(result, row);
      if (keys.empty() || keys.back() != key) keys.push_back(std::move(key));
    }
    return keys;
  }

  Connection& connection_;
  const MigrationPlan& plan_;
  const std::string table_;
  std::vector<std::string> columns_;
  std::vector<std::string> texts_;
};

}  // namespace

absl::StatusOr<std::vector<LaneRange>> SplitLanesIn(Connection& connection, const MigrationPlan& plan, const std::vector<LaneRange>& lanes, int wanted) {
  return LanePlanner(connection, plan).Split(lanes, wanted);
}

absl::StatusOr<std::vector<LaneRange>> PlanLanesIn(Connection& connection, const MigrationPlan& plan, int lanes) {
  return LanePlanner(connection, plan).Plan(lanes);
}

}  // namespace migrationd
