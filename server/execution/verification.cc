#include "server/execution/verification.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "migrations/model/failure.h"
#include "migrations/model/status_macros.h"
#include "server/execution/step_parts.h"

namespace migrationd {
namespace {

constexpr std::int64_t kFirstSize = 100;
constexpr std::int64_t kLargestSize = 100'000;
constexpr absl::Duration kTooShort = absl::Milliseconds(100);
constexpr absl::Duration kTooLong = absl::Milliseconds(400);
// Failures in a row until the claim is given up.
constexpr std::int32_t kTries = 8;
constexpr absl::Duration kRetryFirst = absl::Milliseconds(200);
constexpr absl::Duration kRetryLongest = absl::Seconds(15);

// Begun anew or tried again, it would end the same way.
bool EndsIt(const absl::Status& status) {
  if (status.ok() || status.code() == absl::StatusCode::kUnavailable || status.code() == absl::StatusCode::kDeadlineExceeded) return false;
  const FailureClass failure = ClassifyFailure(SqlStateOf(status).empty() ? "42000" : SqlStateOf(status));
  return failure == FailureClass::kHalt || failure == FailureClass::kBadRows;
}

// Plans it, and looks where the table begins and ends.
absl::StatusOr<VerificationWalk> BeginWalk(const StepContext& context, const StoredMigration& stored) {
  const Migration& m = stored.migration;
  MD_ASSIGN_OR_RETURN(const TargetIdentity identity, context.target.Open(/*may_create_identity=*/false));
  MD_ASSIGN_OR_RETURN(const StoreSnapshot snapshot, context.store.Load());
  const auto known = snapshot.targets.find(m.target);
  if (known != snapshot.targets.end() && known->second.uuid != identity.uuid) {
    return absl::FailedPreconditionError("The target is not the database on which it was completed.");
  }
  MD_ASSIGN_OR_RETURN(const TableName table, ParseTableName(TableOf(*stored.definition)));
  MD_ASSIGN_OR_RETURN(const TableFacts facts, context.target.Inspect(table));
  MD_ASSIGN_OR_RETURN(MigrationPlan plan, PlanFor(context, stored, facts));
  MD_ASSIGN_OR_RETURN(const std::vector<LaneRange> lanes, context.target.PlanLanes(plan, 1));
  VerificationWalk walk;
  walk.plan = std::make_shared<const MigrationPlan>(std::move(plan));
  if (!lanes.empty()) walk.range = lanes.front();
  walk.table_rows = facts.estimated_rows;
  const std::int64_t asked = stored.definition->pace().sub_batch_size();
  walk.size = asked > 0 ? asked : kFirstSize;
  return walk;
}

absl::StatusOr<VerificationWalk> Look(const StepContext& context, VerificationWalk walk) {
  RangeCountRequest request;
  request.plan = walk.plan.get();
  request.range = walk.range;
  request.size = walk.size;
  request.lock_timeout = context.lock_timeout;
  request.statement_timeout = context.statement_timeout;
  MD_ASSIGN_OR_RETURN(const RangeCount counted, context.target.CountLeft(request));
  walk.range.cursor = counted.upper;
  walk.looked += walk.size;
  walk.last_size = walk.size;
  walk.last_took = counted.took;
  walk.regressed += counted.matching;
  walk.size = NextVerificationSize(walk.size, counted.took);
  return walk;
}

// OK also when the store refuses: it is not asked for any more, or another owner is there.
absl::Status Record(const StepContext& context, std::optional<std::int64_t> regressed, const std::string& reason) {
  const auto recorded = context.store.Mutate(context.id, Guarded(context, "Verified"), [&](const StoredMigration& current, absl::Time now) {
    return EndVerification(current.migration, {context.actor, reason}, now, regressed);
  });
  return UnlessRefused(recorded.status());
}

}  // namespace

double VerificationWalk::fraction() const {
  if (recorded) return 1;
  if (table_rows <= 0) return 0;
  return std::min(0.99, static_cast<double>(looked) / table_rows);
}

absl::StatusOr<VerificationWalk> VerifySome(const StepContext& context, const StoredMigration& stored, VerificationWalk walk) {
  absl::StatusOr<VerificationWalk> next = walk;
  if (walk.plan == nullptr) {
    next = BeginWalk(context, stored);
  } else if (!walk.range.done()) {
    next = Look(context, std::move(walk));
  }
  if (EndsIt(next.status())) {
    MD_RETURN_IF_ERROR(Record(context, std::nullopt, std::string(next.status().message())));
    VerificationWalk over;
    over.recorded = true;
    return over;
  }
  if (!next.ok() || !next->range.done()) return next;
  MD_RETURN_IF_ERROR(Record(context, next->regressed, absl::StrCat("looked over the table; ", next->regressed, " rows match `where`")));
  next->recorded = true;
  return next;
}

VerificationNext AfterStep(const VerificationWalk& walk, absl::Duration rest) {
  VerificationNext next;
  next.action = walk.recorded ? VerificationNext::Action::kOver : VerificationNext::Action::kGoOn;
  next.delay = rest;
  return next;
}

VerificationNext AfterFailure(const absl::Status& error, std::int32_t consecutive, double jitter, VerificationWalk& walk) {
  VerificationNext next;
  const bool takes_too_long = !SqlStateOf(error).empty() && ClassifyFailure(SqlStateOf(error)) == FailureClass::kRetrySmaller;
  if (takes_too_long) walk.size = std::max<std::int64_t>(1, walk.size / 4);
  next.hold.kind = HoldKind::kBackoff;
  next.hold.reason = absl::StrCat("verification: ", std::string(error.message()));
  next.action = consecutive >= kTries ? VerificationNext::Action::kPart : VerificationNext::Action::kGoOn;
  next.delay = BackOff(kRetryFirst, kRetryLongest, consecutive, jitter);
  return next;
}

std::int64_t NextVerificationSize(std::int64_t size, absl::Duration took) {
  if (took < kTooShort) return std::min(2 * size, kLargestSize);
  if (took > kTooLong) return std::max<std::int64_t>(1, size / 2);
  return size;
}

}  // namespace migrationd
