#include "migrations/pacing/bands.h"

#include <algorithm>

namespace migrationd {
namespace {

constexpr double kGrowth = 0.1;
constexpr double kShed = 0.8;
constexpr double kHalf = 0.5;

}  // namespace

double UtilisationOf(double value, double limit, double shed_from) {
  if (value <= 0 || limit <= 0) return limit <= 0 && value > 0 ? kHalveAbove * 2 : 0;
  const double share = value / limit;
  if (share <= shed_from) return kShedAbove * share / shed_from;
  if (shed_from >= 1) return share;
  return kShedAbove + (kHalveAbove - kShedAbove) * (share - shed_from) / (1 - shed_from);
}

double Bands::Record(absl::Time now, std::optional<double> utilisation, bool used) {
  if (!utilisation.has_value()) return allowed_;
  const absl::Duration since = now - changed_at_;
  double next = allowed_;
  if (*utilisation > kHalveAbove) {
    if (since >= kShedCoolDown) next = allowed_ * kHalf;
  } else if (*utilisation > kShedAbove) {
    if (since >= kShedCoolDown) next = allowed_ * kShed;
  } else if (*utilisation < kGrowBelow) {
    if (since >= kGrowCoolDown && used) next = allowed_ + kGrowth;
  }
  next = std::clamp(next, kLeastAllowed, 1.0);
  if (next != allowed_) {
    allowed_ = next;
    changed_at_ = now;
  }
  return allowed_;
}

}  // namespace migrationd
