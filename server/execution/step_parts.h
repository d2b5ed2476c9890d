// What several steps share: how they plan, how they record in the control store, and statements that run once each.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "migrations/kinds/plan.h"
#include "migrations/model/verbs.h"
#include "server/execution/steps.h"
#include "store/control_store.h"

namespace migrationd {

// Of statements that run once each (`prepare`, `cleanup`), by their place on the target.
inline constexpr char kPreparePrefix[] = "prepare/";
inline constexpr char kCleanupPrefix[] = "cleanup/";

// A mutation that the store refuses once the claim does not hold any more.
MutationContext Guarded(const StepContext& context, std::string call);

// A refusal by the target or the definition that no retry helps, as opposed to a target that cannot be reached.
bool IsRefusal(const absl::Status& status);

// The row by which we could work is not there, is another control store's, or is a tombstone.
bool IsCheckpointLost(const absl::Status& status);

// The store's refusal is final: the claim does not hold any more, or somebody was faster; the next look at the store tells. So it is OK.
absl::Status UnlessRefused(const absl::Status& stored);

// The definition as a plan for such a table.
absl::StatusOr<MigrationPlan> PlanFor(const StepContext& context, const StoredMigration& stored, const TableFacts& facts);
// For the table as it is now.
absl::StatusOr<MigrationPlan> PlanOnTarget(const StepContext& context, const StoredMigration& stored);

// Why positions that were recorded are of no use: for whoever reads why it was HALTED.
std::string KeyChangedMessage(const MigrationPlan& plan);

// The effect with what the run counted (StepContext::counters), if anything is changed at all.
absl::StatusOr<VerbEffect> WithCounters(const StepContext& context, absl::Time now, absl::StatusOr<VerbEffect> effect);

// By whoever finds that every row is done. First the data's own database says so (Barrier), then this.
absl::Status RecordCompletion(const StepContext& context, const std::string& how, std::int64_t accepted_rows);

// The plan's own statements, then the definition's, each once. An error says at which one.
absl::Status RunSteps(const StepContext& context, const char* prefix, std::vector<std::string> statements,
                      const google::protobuf::RepeatedPtrField<std::string>& more, const std::string& search_path, const FenceClaim& claim);
absl::Status RunCleanupSteps(const StepContext& context, const StoredMigration& stored, const MigrationPlan& plan, const FenceClaim& claim);

}  // namespace migrationd
