#include "migrations/pacing/sub_batch_servo.h"

#include <algorithm>
#include <cmath>

namespace migrationd {
namespace {

constexpr double kAim = 0.85;       // of the target: room for noise above
constexpr double kGrowBelow = 0.7;  // of the target
constexpr double kMaxGrowth = 1.5;
constexpr double kDivideAbove = 5;  // times the target, by a single sample
constexpr double kDivisor = 10;

// Nearest rank: the tenth of eleven.
absl::Duration Percentile90(const std::vector<SubBatchSample>& samples) {
  std::vector<absl::Duration> times;
  times.reserve(samples.size());
  for (const SubBatchSample& sample : samples) times.push_back(sample.execution);
  const auto rank = static_cast<std::ptrdiff_t>(std::ceil(0.9 * static_cast<double>(times.size()))) - 1;
  std::nth_element(times.begin(), times.begin() + rank, times.end());
  return times[static_cast<std::size_t>(rank)];
}

}  // namespace

SubBatchServo::SubBatchServo(const SubBatchServoOptions& options)
    : size_(1),
      ceiling_(std::max<std::int32_t>(1, options.ceiling)),
      target_(options.target > absl::ZeroDuration() ? options.target : absl::Milliseconds(1)) {
  size_ = WithinLimits(options.initial);
}

ServoDecision SubBatchServo::Record(const SubBatchSample& sample) {
  const ServoDecision unchanged{ServoChange::kNone, size_, size_, absl::ZeroDuration(), false};
  if (pinned_ || sample.rows > size_ || sample.rows <= 0) return unchanged;
  const double over = absl::FDivDuration(sample.execution, target_);
  if (over > kDivideAbove) {
    const double fits = static_cast<double>(sample.rows) / over;
    return ChangeTo(WithinLimits(std::min(size_ / kDivisor, fits)), ServoChange::kDivided, sample.execution);
  }
  window_.push_back(sample);
  return window_.size() < kWindow ? unchanged : DecideByWindow();
}

ServoDecision SubBatchServo::LowerToFit(const SubBatchSample& sample) {
  const ServoDecision unchanged{ServoChange::kNone, size_, size_, absl::ZeroDuration(), false};
  const double over = absl::FDivDuration(sample.execution, target_);
  const double fits = kAim * sample.rows / over;
  if (pinned_ || sample.rows <= 0 || over <= 1 || fits >= size_) return unchanged;
  return ChangeTo(WithinLimits(fits), ServoChange::kShrunk, sample.execution);
}

ServoDecision SubBatchServo::DecideByWindow() {
  const absl::Duration p90 = Percentile90(window_);
  const double load = std::max(absl::FDivDuration(p90, target_), 1e-6);
  const bool all_full =
      std::all_of(window_.begin(), window_.end(), [this](const SubBatchSample& s) { return s.rows == size_; });
  // The oldest makes room: the window slides as long as the size stays.
  window_.erase(window_.begin());
  if (load > 1) return ChangeTo(WithinLimits(size_ * kAim / load), ServoChange::kShrunk, p90);
  if (load < kGrowBelow) told_lower_limit_ = false;
  if (load >= kGrowBelow || !all_full) return {.from = size_, .to = size_, .reading = p90};
  const double fits = size_ * kAim / load;
  // One row more is always allowed, or a size of one could never grow; but nothing beyond what fits.
  const double most = std::max(std::floor(size_ * kMaxGrowth), size_ + 1.0);
  return ChangeTo(WithinLimits(std::min(most, fits)), ServoChange::kGrown, p90);
}

ServoDecision SubBatchServo::ChangeTo(std::int32_t size, ServoChange change, absl::Duration reading) {
  ServoDecision decision{.from = size_, .to = size, .reading = reading};
  if (size != size_) {
    decision.change = change;
    size_ = size;
    window_.clear();
  } else if (size_ == 1 && change != ServoChange::kGrown && !told_lower_limit_) {
    decision.reached_lower_limit = true;
    told_lower_limit_ = true;
  }
  return decision;
}

void SubBatchServo::SetCeiling(std::int32_t ceiling) {
  ceiling_ = std::max<std::int32_t>(1, ceiling);
  if (size_ <= ceiling_) return;
  size_ = ceiling_;
  window_.clear();
}

void SubBatchServo::SetTarget(absl::Duration target) {
  target_ = std::max(target, absl::Milliseconds(1));
  window_.clear();
}

void SubBatchServo::Pin(std::int32_t size) {
  pinned_ = true;
  size_ = WithinLimits(size);
  window_.clear();
}

void SubBatchServo::Unpin() { pinned_ = false; }

std::int32_t SubBatchServo::WithinLimits(double size) const {
  return static_cast<std::int32_t>(std::clamp(std::floor(size), 1.0, static_cast<double>(ceiling_)));
}

}  // namespace migrationd
