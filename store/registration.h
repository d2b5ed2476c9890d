// What Register writes, as values: every implementation of ControlStore decides it alike. Pure.
#pragma once

#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "store/control_store.h"

namespace migrationd {

// The migration that `registration` creates (its id is for the store to give) and the event to record with it.
VerbEffect NewMigration(const Registration& registration, absl::Time now);

// What a registration changes of a migration that exists; nullopt: nothing, as always when it does not come from the
// catalogue. File and digest are remembered; the definition itself is taken only by a PENDING one that never began and
// has only default parameters.
std::optional<VerbEffect> Reregister(const StoredMigration& existing, const Registration& registration);

// FAILED_PRECONDITION: the name belonged to a migration that was deleted.
absl::Status NameStaysTaken(const Registration& registration);

}  // namespace migrationd
