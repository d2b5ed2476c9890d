#include "migrations/pacing/pace.h"

#include <algorithm>

namespace migrationd {
namespace {

// Of definitions that do not set them (design 5).
constexpr absl::Duration kLockTimeout = absl::Milliseconds(500);
constexpr absl::Duration kStatementTimeout = absl::Seconds(5);
constexpr absl::Duration kTargetSubBatchTime = absl::Milliseconds(100);

absl::Duration DurationOr(bool is_set, const google::protobuf::Duration& duration, absl::Duration otherwise) {
  return is_set ? absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos()) : otherwise;
}

}  // namespace

PaceInForce PaceOf(const migrationcontrol::v1::MigrationDefinition& definition, const std::optional<PaceOverride>& pinned, absl::Time now) {
  const auto& pace = definition.pace();
  PaceInForce in_force;
  in_force.interval = DurationOr(pace.has_interval(), pace.interval(), absl::ZeroDuration());
  in_force.max_rows_per_second = pace.max_rows_per_second();
  in_force.lanes = std::max(1, pace.lanes());
  in_force.windows.assign(pace.windows().begin(), pace.windows().end());
  in_force.target_sub_batch_time =
      DurationOr(pace.adaptive().has_target_sub_batch_time(), pace.adaptive().target_sub_batch_time(), kTargetSubBatchTime);
  in_force.lock_timeout = DurationOr(definition.has_lock_timeout(), definition.lock_timeout(), kLockTimeout);
  in_force.statement_timeout = DurationOr(definition.has_statement_timeout(), definition.statement_timeout(), kStatementTimeout);
  if (!pinned.has_value() || (pinned->until.has_value() && *pinned->until <= now)) return in_force;
  const PaceSettings& set = pinned->settings;
  in_force.interval = set.interval.value_or(in_force.interval);
  in_force.max_rows_per_second = set.max_rows_per_second.value_or(in_force.max_rows_per_second);
  in_force.lanes = set.lanes.value_or(in_force.lanes);
  in_force.windows = set.windows.value_or(in_force.windows);
  in_force.target_sub_batch_time = set.target_sub_batch_time.value_or(in_force.target_sub_batch_time);
  in_force.lock_timeout = set.lock_timeout.value_or(in_force.lock_timeout);
  in_force.statement_timeout = set.statement_timeout.value_or(in_force.statement_timeout);
  return in_force;
}

absl::Duration RestAfterBatch(const PaceInForce& pace, std::int64_t rows, absl::Duration took, int lanes_at_work) {
  if (rows == 0) return absl::ZeroDuration();
  if (pace.max_rows_per_second <= 0) return pace.interval;
  const double share = static_cast<double>(pace.max_rows_per_second) / std::max(1, lanes_at_work);
  return std::max(pace.interval, absl::Seconds(static_cast<double>(rows) / share) - took);
}

}  // namespace migrationd
