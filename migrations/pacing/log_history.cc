#include "migrations/pacing/log_history.h"

#include <algorithm>

namespace migrationd {
namespace {

constexpr std::size_t kPointsMax = 600;
constexpr absl::Duration kKept = absl::Hours(1);
constexpr int kApartByAge = 40;
// Long enough that the writes of one transaction do not look like a rate.
constexpr absl::Duration kRateOver = absl::Seconds(5);
constexpr absl::Duration kRateOverLeast = absl::Milliseconds(500);

}  // namespace

void LogHistory::Add(absl::Time at, std::int64_t position) {
  if (!points_.empty() && (position < points_.back().position || at <= points_.back().at)) points_.clear();
  points_.push_back({at, position});
  while (points_.size() > 1 && at - points_.front().at > kKept) points_.pop_front();
  if (points_.size() > kPointsMax) Thin();
}

// What was long ago need not be known to the second: the older, the farther apart.
void LogHistory::Thin() {
  const absl::Time now = points_.back().at;
  std::deque<Point> kept;
  for (std::size_t i = 0; i < points_.size(); ++i) {
    const bool end = i == 0 || i + 1 == points_.size();
    if (end || points_[i + 1].at - kept.back().at > (now - points_[i].at) / kApartByAge) kept.push_back(points_[i]);
  }
  points_ = std::move(kept);
  while (points_.size() > kPointsMax) points_.pop_front();
}

absl::Duration LogHistory::Behind(std::int64_t position) const {
  if (points_.empty() || position >= points_.back().position) return absl::ZeroDuration();
  const auto beyond = std::find_if(points_.begin(), points_.end(), [&](const Point& point) { return point.position > position; });
  return points_.back().at - beyond->at;
}

std::optional<double> LogHistory::Rate() const {
  if (points_.size() < 2) return std::nullopt;
  const Point& last = points_.back();
  auto first = std::find_if(points_.begin(), points_.end(), [&](const Point& point) { return last.at - point.at <= kRateOver; });
  // Looks may be further apart than that.
  if (first + 1 == points_.end()) --first;
  const absl::Duration over = last.at - first->at;
  if (over < kRateOverLeast) return std::nullopt;
  return static_cast<double>(last.position - first->position) / absl::ToDoubleSeconds(over);
}

}  // namespace migrationd
