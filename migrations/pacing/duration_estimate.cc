#include "migrations/pacing/duration_estimate.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace migrationd {
namespace {

// No table takes longer: what comes out beyond it is a mistake in what was measured.
constexpr absl::Duration kLongest = absl::Hours(24 * 365 * 10);

// Of milliseconds, nobody wants to read the fractions, except where there is nothing else.
std::string Text(absl::Duration duration) {
  if (duration >= absl::Minutes(1)) return absl::FormatDuration(absl::Trunc(duration, absl::Seconds(1)));
  if (duration >= absl::Seconds(1)) return absl::FormatDuration(absl::Trunc(duration, absl::Milliseconds(100)));
  return absl::FormatDuration(absl::Trunc(duration, absl::Microseconds(duration >= absl::Milliseconds(10) ? 1000 : 10)));
}


std::string Rows(std::int64_t rows) { return absl::StrCat(rows, rows == 1 ? " row" : " rows"); }

}  // namespace

std::optional<DurationEstimate> EstimateDuration(const DurationInputs& in) {
  if (in.rows_to_do <= 0 || in.sample_rows <= 0 || in.sample_affected <= 0 || in.batch_size <= 0 || in.lanes <= 0) return std::nullopt;
  const auto to_do = static_cast<double>(in.rows_to_do);
  const double table = std::max(static_cast<double>(in.table_rows), to_do);
  // Ranges like the sample's, until all is done.
  const double ranges = to_do / static_cast<double>(in.sample_affected);
  const double covered = std::min(table, ranges * static_cast<double>(in.sample_rows));
  const absl::Duration work = ranges * in.took;
  const absl::Duration look_at_one = in.look / in.sample_rows;
  const absl::Duration look = (table - covered + (in.has_where ? table : 0)) * look_at_one;
  const double batches = std::ceil(std::max(covered, 1.0) / static_cast<double>(in.batch_size));
  const absl::Duration rests = (batches - 1) * in.interval;
  DurationEstimate estimate;
  estimate.duration = (work + look + rests) / in.lanes;
  estimate.explanation =
      absl::StrCat(Rows(in.rows_to_do), ": ", Text(work), " of work (", Text(in.took), " for ", Rows(in.sample_affected),
                   " of ", in.sample_rows, "), ", Text(look), " of looking at the rest, ", Text(rests),
                   " of rests (", Text(in.interval), " after each batch of ", in.batch_size, ")");
  if (in.lanes > 1) absl::StrAppend(&estimate.explanation, ", shared by ", in.lanes, " lanes");
  if (in.max_rows_per_second > 0) {
    const absl::Duration limit = absl::Seconds(to_do / static_cast<double>(in.max_rows_per_second));
    if (limit > estimate.duration) {
      estimate.duration = limit;
      absl::StrAppend(&estimate.explanation, "; but at most ", in.max_rows_per_second, " rows/s");
    }
  }
  estimate.duration = std::min(estimate.duration, kLongest);
  absl::StrAppend(&estimate.explanation, ". Windows and waits for locks are not counted in.");
  return estimate;
}

}  // namespace migrationd
