#include "migrations/model/time_account.h"

#include <algorithm>

namespace migrationd {
namespace {

absl::Time AccountedUntil(const ProgressCounters& counters, absl::Time started_at) {
  return std::max(counters.accounted_until.value_or(started_at), started_at);
}

// What was charged beyond the end: first from the word of the state that came with the end, then from the largest, since an owner's last
// look may come a moment after it.
void TakeBack(double excess, const std::string& first, TimeShares& shares) {
  while (excess > 0 && !shares.empty()) {
    auto from = shares.find(first);
    if (from == shares.end()) {
      from = std::max_element(shares.begin(), shares.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    }
    const double taken = std::min(excess, from->second);
    from->second -= taken;
    excess -= taken;
    if (from->second <= 0) shares.erase(from);
  }
}

}  // namespace

void ChargeTime(ProgressCounters& counters, absl::Time started_at, absl::Time now, const TimeShares& shares, const std::string& otherwise) {
  if (started_at == absl::InfinitePast()) return;
  const double passed = absl::ToDoubleSeconds(now - AccountedUntil(counters, started_at));
  if (passed <= 0) return;
  double sum = 0;
  for (const auto& [word, share] : shares) sum += share;
  if (sum > 0) {
    for (const auto& [word, share] : shares) {
      if (share > 0) counters.time_seconds[word] += passed * share / sum;
    }
  } else {
    counters.time_seconds[otherwise] += passed;
  }
  counters.accounted_until = now;
}

std::string IdleTimeWord(const Migration& migration) {
  if (migration.state != State::kRunning && migration.state != State::kPending) return std::string(StateName(migration.state));
  return std::string(HoldKindName(migration.hold.kind == HoldKind::kNone ? HoldKind::kNoOwner : migration.hold.kind));
}

TimeShares TimeAccountAt(const Migration& migration, absl::Time now) {
  if (!migration.started_at.has_value()) return {};
  const absl::Time end = migration.finished_at.value_or(now);
  ProgressCounters counters = migration.progress;
  // Between an owner's last look and the end it recorded that end.
  ChargeTime(counters, *migration.started_at, end, {}, migration.finished_at.has_value() ? kTimeSteps : IdleTimeWord(migration));
  TakeBack(absl::ToDoubleSeconds(AccountedUntil(counters, *migration.started_at) - end), IdleTimeWord(migration), counters.time_seconds);
  return counters.time_seconds;
}

}  // namespace migrationd
