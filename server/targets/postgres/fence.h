// The fence on the target: who may move a migration's lanes. Each function works in a transaction that the caller has
// begun, READ COMMITTED, on its connection, and that the caller commits.
//
// Lock order everywhere: freeze_flag, owner row, lane rows. Every statement that must see what a predecessor committed
// is a statement of its own after the one that waited for it, so that it has a fresh snapshot.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/targets/postgres/connection.h"
#include "server/targets/target.h"

namespace migrationd {

struct TakenOver {
  Checkpoint checkpoint;
  FenceClaim previous;  // whose claim ended; token empty when there was none
};

// See Target::TakeOver for the errors.
absl::StatusOr<TakenOver> TakeOverIn(Connection& connection, const TakeOverRequest& request);

// The claim in force; token empty when there is no row. Locks nothing, so another may take over at once.
absl::StatusOr<FenceClaim> ReadClaim(Connection& connection, const std::string& migration);

// See Target::Reset.
absl::StatusOr<Checkpoint> ResetIn(Connection& connection, const FenceClaim& claim, Forgetting what);

// OK while the claim is in force and the owner row is not frozen; MD001, MD003. Locks nothing, so this may change at once.
absl::Status CheckClaim(Connection& connection, const FenceClaim& claim);

// Locks the owner row for this claim. ABORTED (MD001) when it is not the owner any more; FAILED_PRECONDITION (MD003)
// when frozen and `refuse_frozen`.
absl::Status LockClaim(Connection& connection, const FenceClaim& claim, bool refuse_frozen);

// See Target::BeginPass. Ends the claim as a takeover does: the checkpoint has a new one.
absl::StatusOr<Checkpoint> BeginPassIn(Connection& connection, const FenceClaim& claim, std::int32_t pass,
                                       const std::vector<LaneRange>& lanes);

// See Target::SplitLanes. `plan`: of the pass.
absl::StatusOr<Checkpoint> SplitIn(Connection& connection, const FenceClaim& claim, const MigrationPlan& plan, int wanted);

// See Target::Forget.
absl::Status ForgetIn(Connection& connection, const std::string& migration, const std::string& control_id);

}  // namespace migrationd
