// Finds the sub-batch size at which a transaction takes about as long as it should. Pure: times come in as samples.
//
// After eleven samples at one size it looks at their 90th percentile (p90):
//   above the target                  the size shrinks in proportion;
//   well below, all of them full      it grows, at most by half;
//   in between                        it stays.
// A single sample of more than five times the target divides the size at once, by ten, or to what would have fitted if
// that is less. A sub-batch that was cancelled for its time, or that a failure had made smaller and that is slow all the
// same, lowers the size to what would have fitted. Every change begins a new window of samples. Shrinking and growing
// aim at 85 % of the target, and it grows only from below 70 %: so noise does not make it go to and fro.
//
// Not thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/time/time.h"

namespace migrationd {

struct SubBatchServoOptions {
  std::int32_t initial = 100;  // lowered to the ceiling
  std::int32_t ceiling = 1000;
  absl::Duration target = absl::Milliseconds(100);
};

// One committed sub-batch.
struct SubBatchSample {
  std::int32_t rows = 0;  // rows that its range held, whether or not they needed a change
  absl::Duration execution;
};

enum class ServoChange { kNone, kGrown, kShrunk, kDivided };

struct ServoDecision {
  ServoChange change = ServoChange::kNone;
  std::int32_t from = 0;
  std::int32_t to = 0;
  absl::Duration reading = absl::ZeroDuration();  // what it was decided by: the p90, or the single sample for kDivided
  // One row takes too long, and there is nothing smaller. True once, and again only after it could grow meanwhile.
  bool reached_lower_limit = false;
};

class SubBatchServo {
 public:
  // Number of samples that the p90 is taken of.
  static constexpr std::size_t kWindow = 11;

  // A ceiling below 1 counts as 1; a target that is not positive as 1 ms.
  explicit SubBatchServo(const SubBatchServoOptions& options);

  // Rows for the next sub-batch, always from 1 to the ceiling.
  std::int32_t size() const { return size_; }
  std::int32_t ceiling() const { return ceiling_; }
  bool pinned() const { return pinned_; }

  // Takes a sample and decides. Samples of more rows than size() were begun before the size became smaller, and are
  // left out.
  ServoDecision Record(const SubBatchSample& sample);

  // What so many rows took, or had taken when they were cancelled, where they say nothing about size() itself: size() rows are assumed
  // to take no less in proportion. Above the target the size is lowered to what would have fitted, at once; otherwise nothing changes.
  ServoDecision LowerToFit(const SubBatchSample& sample);

  // Takes effect at once; a size above it is lowered, a pinned one too.
  void SetCeiling(std::int32_t ceiling);

  // The time to aim at from now on; samples taken so far are forgotten.
  void SetTarget(absl::Duration target);
  absl::Duration target() const { return target_; }

  // Fixes the size, within 1 and the ceiling; samples then change nothing. Unpin goes on from there.
  void Pin(std::int32_t size);
  void Unpin();

 private:
  ServoDecision DecideByWindow();
  ServoDecision ChangeTo(std::int32_t size, ServoChange change, absl::Duration reading);
  std::int32_t WithinLimits(double size) const;

  std::int32_t size_;
  std::int32_t ceiling_;
  absl::Duration target_;
  bool pinned_ = false;
  bool told_lower_limit_ = false;
  std::vector<SubBatchSample> window_;  // at this size, at most kWindow
};

}  // namespace migrationd
