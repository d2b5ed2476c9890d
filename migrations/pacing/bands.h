// The share of its pace that a migration is allowed, by how much of the target is used. Pure.
//
//   utilisation   below 0.4   grow by a tenth, when all that is allowed is used
//                 to 0.7      stay
//                 to 1.0      shed: four fifths of what it was
//                 above       halve
//
// Between two steps a while passes, so that the one before can show: longer before growing than before shedding. What lies between
// growing and shedding is wide, so noise does not make it go to and fro.
#pragma once

#include <optional>

#include "absl/time/time.h"

namespace migrationd {

inline constexpr double kGrowBelow = 0.4;
inline constexpr double kShedAbove = 0.7;
inline constexpr double kHalveAbove = 1.0;
// The least that is ever allowed: only a budget stops work.
inline constexpr double kLeastAllowed = 0.1;

inline constexpr absl::Duration kShedCoolDown = absl::Seconds(3);
inline constexpr absl::Duration kGrowCoolDown = absl::Seconds(10);

// Utilisation by a value: 0.7 at `shed_from` times the limit, 1 at the limit, straight in between and beyond.
double UtilisationOf(double value, double limit, double shed_from);

// Not thread-safe.
class Bands {
 public:
  // One sample at `now` (any clock that does not go backwards). `utilisation` is the largest of the gauges; nullopt: none could be read,
  // nothing changes. `used`: work takes all that is allowed; only then may it be allowed more. Returns allowed().
  double Record(absl::Time now, std::optional<double> utilisation, bool used);

  // From kLeastAllowed to 1.
  double allowed() const { return allowed_; }

 private:
  double allowed_ = 1;
  absl::Time changed_at_ = absl::InfinitePast();
};

}  // namespace migrationd
