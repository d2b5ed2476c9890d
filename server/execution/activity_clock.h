// Measures what a run spends its time on: at every moment one thing, so that the parts sum to the whole.
#pragma once

#include <algorithm>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "migrations/model/time_account.h"

namespace migrationd {

// Not thread-safe. Times are of the process clock.
class ActivityClock {
 public:
  explicit ActivityClock(absl::Time now) : since_(now) {}

  // From now on it is `word` (time_account.h).
  void Switch(const std::string& word, absl::Time now) {
    Charge(now);
    word_ = word;
  }

  // Of what was charged to `from` since the last Take, at most so much was spent on `to`.
  void Reclassify(const std::string& from, const std::string& to, absl::Duration time, absl::Time now) {
    Charge(now);
    const double moved = std::min(absl::ToDoubleSeconds(time), shares_[from]);
    shares_[from] -= moved;
    shares_[to] += moved;
  }

  // Seconds by word since the last call.
  TimeShares Take(absl::Time now) {
    Charge(now);
    return std::exchange(shares_, {});
  }

  const std::string& word() const { return word_; }

 private:
  void Charge(absl::Time now) {
    if (now > since_) shares_[word_] += absl::ToDoubleSeconds(now - since_);
    since_ = std::max(since_, now);
  }

  absl::Time since_;
  std::string word_ = kTimeSteps;
  TimeShares shares_;
};

}  // namespace migrationd
