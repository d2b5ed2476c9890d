// Moves the size of sub-batches so that each takes about the time wished for. Pure: times come from the caller.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/time/time.h"

namespace migrationd {

// For one thread.
class SubBatchServo {
 public:
  struct Options {
    std::int32_t initial = 100;
    std::int32_t ceiling = 1000;
    absl::Duration target = absl::Milliseconds(100);
    bool enabled = true;  // false: the size stays at the smaller of initial and ceiling, except for ShrinkTo
  };
  explicit SubBatchServo(const Options& options);

  // Rows of the next sub-batch: 1 to the ceiling.
  std::int32_t size() const { return size_; }

  // A sub-batch of `size` rows took `took`. Grows by at most half when the slowest of the last eleven (p90) leaves room, shrinks in
  // proportion when it does not, and is divided at once when one took five times the target. After a change it measures anew.
  void Record(std::int32_t size, absl::Duration took);

  // The operator's wish; effective at once. With the servo off, a fixed size follows it.
  void SetCeiling(std::int32_t ceiling);

  // After a failure: not more than `size`. Grows back as sub-batches succeed, also with the servo off (to its fixed size).
  void ShrinkTo(std::int32_t size);

 private:
  void Change(std::int32_t size);

  const Options options_;
  std::int32_t ceiling_;
  std::int32_t size_;
  std::vector<absl::Duration> samples_;  // of full-sized sub-batches since the last change
};

}  // namespace migrationd
