#include "migrations/pacing/sub_batch_servo.h"

#include <algorithm>

namespace migrationd {
namespace {

constexpr std::size_t kSamples = 11;
constexpr std::size_t kSlowest = 9;  // index of the p90 among eleven, sorted
constexpr double kGrowthMax = 1.5;
constexpr double kPanicFactor = 5;
// Between these shares of the target nothing is changed, so that noise does not move it.
constexpr double kGrowBelow = 0.75;
constexpr double kShrinkAbove = 1.1;

}  // namespace

SubBatchServo::SubBatchServo(const Options& options)
    : options_(options), ceiling_(std::max(1, options.ceiling)), size_(std::clamp(options.initial, 1, ceiling_)) {}

void SubBatchServo::Change(std::int32_t size) {
  size_ = std::clamp(size, 1, ceiling_);
  samples_.clear();
}

void SubBatchServo::SetCeiling(std::int32_t ceiling) {
  ceiling = std::max(1, ceiling);
  if (ceiling == ceiling_) return;
  const bool follows = !options_.enabled && size_ == ceiling_;
  ceiling_ = ceiling;
  if (follows || size_ > ceiling_) Change(ceiling_);
}

void SubBatchServo::ShrinkTo(std::int32_t size) {
  if (size < size_) Change(size);
}

void SubBatchServo::Record(std::int32_t size, absl::Duration took) {
  if (!options_.enabled) {
    // Back to the fixed size after failures, doubling.
    const std::int32_t fixed = std::min(std::max(options_.initial, 1), ceiling_);
    if (size_ < fixed) Change(static_cast<std::int32_t>(std::min<std::int64_t>(fixed, std::int64_t{2} * size_)));
    return;
  }
  const double share = took / options_.target;
  if (share > kPanicFactor && size > 1) {
    // At once, and to what would have fitted; never less than a tenth at a time.
    Change(std::max(size / 10, static_cast<std::int32_t>(size / share)));
    return;
  }
  // A remnant of a batch says nothing about a full one.
  if (size < size_) return;
  samples_.push_back(took);
  if (samples_.size() < kSamples) return;
  std::vector<absl::Duration> sorted = samples_;
  std::sort(sorted.begin(), sorted.end());
  const double slow = sorted[kSlowest] / options_.target;
  if (slow < kGrowBelow && size_ < ceiling_) {
    const double factor = std::min(kGrowthMax, 0.9 / std::max(slow, 0.001));
    Change(std::max(size_ + 1, static_cast<std::int32_t>(size_ * factor)));
  } else if (slow > kShrinkAbove && size_ > 1) {
    Change(std::min(size_ - 1, static_cast<std::int32_t>(size_ * 0.9 / slow)));
  } else {
    samples_.erase(samples_.begin());
  }
}

}  // namespace migrationd
