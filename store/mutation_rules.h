// What every implementation of ControlStore checks and answers alike. Pure.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "store/control_store.h"

namespace migrationd {

absl::Status MigrationNotFound(MigrationId id);
// ABORTED: the claim is over.
absl::Status LeaseLost(MigrationId id);
// ALREADY_EXISTS, naming what the id was used for.
absl::Status RequestIdReused(const std::string& request_id, const std::string& call, const std::string& subject);

// ABORTED, naming both revisions, when context.expected_revision is another one.
absl::Status CheckRevision(const Migration& migration, const MutationContext& context);

// Whether state and what belongs to it agree: HALTED has a halt and no other state has, COMPLETED has finished_at, and
// an event has a kind. INTERNAL otherwise: whoever decided the mutation has a bug. PostgreSQL's CHECK constraints say
// the same.
absl::Status CheckConsistent(const VerbEffect& effect);

// The event of a mutation, without sequence and time.
EventRecord EventOf(const Migration& migration, const VerbEffect& effect, const Caller& caller,
                    const std::string& request_id);

// What Delete records. FAILED_PRECONDITION unless COMPLETED or CANCELLED.
absl::StatusOr<VerbEffect> Deletion(const Migration& migration, const Caller& caller);

// Rows of one page: `limit`, at most 1000. INVALID_ARGUMENT below 1.
absl::StatusOr<int> PageLimit(int limit);

}  // namespace migrationd
