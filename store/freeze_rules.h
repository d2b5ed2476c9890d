// What every implementation of ControlStore decides alike about freezes. Pure.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "store/control_store.h"

namespace migrationd {

// INVALID_ARGUMENT when `until` is not after `now`.
absl::Status CheckFreeze(const FreezeRecord& freeze, absl::Time now);

// `asked` as it is stored: it began when the one it replaces (`existing`, in force) began, else now.
FreezeRecord ReplaceFreeze(const std::optional<FreezeRecord>& existing, const FreezeRecord& asked, absl::Time now);

// Nothing to write.
bool SameFreeze(const FreezeRecord& a, const FreezeRecord& b);

EventRecord FreezeEvent(const FreezeRecord& freeze, const MutationContext& context, bool replaces);
EventRecord UnfreezeEvent(const FreezeRecord& freeze, const MutationContext& context);

// NOT_FOUND.
absl::Status NoFreeze(const std::string& target);

}  // namespace migrationd
