#include "migrations/model/time_account.h"

#include <algorithm>

namespace migrationd {
namespace {

absl::Time AccountedUntil(const ProgressCounters& counters, absl::Time started_at) {
  return std::max(counters.accounted_until.value_or(started_at), started_at);
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
  // The owner's last look came a moment after the end.
  double excess = absl::ToDoubleSeconds(AccountedUntil(counters, *migration.started_at) - end);
  while (excess > 0 && !counters.time_seconds.empty()) {
    const auto largest = std::max_element(counters.time_seconds.begin(), counters.time_seconds.end(),
                                          [](const auto& a, const auto& b) { return a.second < b.second; });
    const double taken = std::min(excess, largest->second);
    largest->second -= taken;
    excess -= taken;
    if (largest->second <= 0) counters.time_seconds.erase(largest);
  }
  return counters.time_seconds;
}

}  // namespace migrationd
