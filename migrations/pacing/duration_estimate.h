// How long a migration will take, by one sub-batch that was measured. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"

namespace migrationd {

struct DurationInputs {
  std::int64_t table_rows = 0;  // to be walked; below 1: unknown, as many as are to be done
  std::int64_t rows_to_do = 0;
  // The measured sub-batch: rows of its range, those that it changed, the time of the work, and of only looking at the range.
  std::int64_t sample_rows = 0;
  std::int64_t sample_affected = 0;
  absl::Duration took;
  absl::Duration look;
  bool has_where = false;  // then all rows are looked at once more in the end
  // The pace asked for.
  std::int64_t batch_size = 1000;
  absl::Duration interval;  // after each batch that changed rows
  std::int32_t lanes = 1;
  std::int64_t max_rows_per_second = 0;  // 0: no limit
};

struct DurationEstimate {
  absl::Duration duration;
  std::string explanation;  // what it is made of, in words
};

// nullopt: the sample tells nothing, since it changed no row. Rows are taken to be as dense as in the sample until they are all done; the
// rest of the table is only looked at. Work and rests are shared by the lanes. Neither windows nor waits for locks are counted.
std::optional<DurationEstimate> EstimateDuration(const DurationInputs& inputs);

}  // namespace migrationd
