// A look over the table of a COMPLETED migration: how many rows match `where` again. In small steps, each of which reads and writes nothing
// on the target; MigrationRun decides when.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/execution/steps.h"

namespace migrationd {

// How far it is. Kept by the run; whoever takes over begins anew.
struct VerificationWalk {
  std::shared_ptr<const MigrationPlan> plan;  // null: nothing was done yet
  LaneRange range;
  double table_rows = 0;  // by its statistics
  std::int64_t looked = 0;
  std::int64_t regressed = 0;
  std::int64_t size = 0;  // rows of the next step
  std::int64_t last_size = 0;  // of the step that was done
  absl::Duration last_took;
  bool recorded = false;  // its end, in the store

  // Of the table, 0 to 1; 1 only at its end.
  double fraction() const;
};

// One step: the first one plans, the last one records. What it finds out about the definition or the target that no later try helps is
// recorded, too (event VERIFIED without a result). Errors: of the target and of the store.
absl::StatusOr<VerificationWalk> VerifySome(const StepContext& context, const StoredMigration& stored, VerificationWalk walk);

struct VerificationNext {
  enum class Action {
    kGoOn,  // the next step, after `delay`
    kPart,  // give the claim up for a while, with `hold`
    kOver,
  };
  Action action = Action::kGoOn;
  absl::Duration delay;
  Hold hold;
};

// Pure. `rest`: what the pace asks for.
VerificationNext AfterStep(const VerificationWalk& walk, absl::Duration rest);
// Pure. `consecutive` failures, this one included; what takes too long is tried with fewer rows.
VerificationNext AfterFailure(const absl::Status& error, std::int32_t consecutive, double jitter, VerificationWalk& walk);

// Rows of the next step after one of `size` took so long: about a fifth of a second each. Pure.
std::int64_t NextVerificationSize(std::int64_t size, absl::Duration took);

}  // namespace migrationd
