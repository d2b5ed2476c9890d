// What a rehearsal comes to: what stands in the way, and how long it will take. Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "migrationcontrol/v1/definition.pb.h"
#include "migrations/kinds/plan.h"
#include "server/targets/rehearsal.h"

namespace migrationd {

struct RehearsalFinding {
  enum class Severity { kError, kWarning, kInfo };
  Severity severity = Severity::kInfo;
  std::string code;     // SEQUENTIAL_SCAN ...
  std::string message;  // what it is, and what to do
};

// Codes: STANDBY, FROZEN, PRIVILEGE_MISSING, NO_TEMPORARY, NOT_ANALYSED, NO_BOUND_INDEX, SEQUENTIAL_SCAN, STATEMENT_REFUSED,
// SAMPLE_FAILED, WHERE_NOT_SATISFIED, ROWS_LEFT, NOTHING_TO_DO, NO_MATCH_SEEN, PREPARE_NOT_REHEARSED, NOT_OWNER. Errors first, then
// warnings.
// `estimated_rows`: of the table, by its statistics; below 0: never analysed.
std::vector<RehearsalFinding> JudgeRehearsal(const migrationcontrol::v1::MigrationDefinition& definition, const MigrationPlan& plan,
                                             double estimated_rows, const Rehearsal& rehearsal);

// Errors first, then warnings; otherwise in the order in which they stand.
void SortFindings(std::vector<RehearsalFinding>& findings);

// A larger relation is not to be read as a whole for each batch.
inline constexpr std::int64_t kLargeRelationRows = 10'000;

}  // namespace migrationd
