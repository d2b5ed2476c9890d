// What each method needs, and whether a caller has it. Pure.
#pragma once

#include <optional>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/options/options.h"
#include "server/scheduler/board.h"

namespace migrationd {

// Who calls, as found out by the authenticator.
struct Principal {
  std::string actor;  // of events and logs: "ci@ipv4:10.0.0.7"
  // What limits for one caller go by: the name of its credentials, or its host when it showed none. Nothing that it may choose at will.
  std::string limit_key;
  Role role = Role::kNone;
  bool authenticated = false;                    // showed a token or a certificate that the server knows
  std::optional<std::set<std::string>> targets;  // what it may see and change; nullopt: all

  bool MaySee(const std::string& target) const { return !targets.has_value() || targets->count(target) != 0; }
};

// Enqueue of a definition that comes with the request needs more than that of a known name.
inline constexpr char kEnqueueDefinition[] = "Enqueue(definition)";
// So does a rehearsal, which runs the statement, though it takes it back.
inline constexpr char kPlanDefinition[] = "Plan(definition)";

// Against a target a statement is prepared there, and the answer tells what there is.
inline constexpr char kValidateAgainstTarget[] = "Validate(against_target)";

// The least role that may call `method` of MigrationControl ("Pause"; or one of the above). kNone: there is no entry, so
// nobody may.
Role RoleFor(std::string_view method);

// OK when the caller may call `method`. UNAUTHENTICATED: it showed no credentials and those who do not may not. PERMISSION_DENIED: its
// role is too small; the message names both roles.
absl::Status CheckAccess(const Principal& principal, std::string_view method);

// PERMISSION_DENIED when what is asked for reaches beyond the caller's targets. An empty `target` means all of them.
absl::Status CheckTarget(const Principal& principal, const std::string& target);

// The snapshot without what the caller may not see; the same one when it may see all. A migration of a foreign target is then as
// unknown as one that does not exist.
std::shared_ptr<const BoardSnapshot> VisibleTo(const Principal& principal, std::shared_ptr<const BoardSnapshot> snapshot);

// "none", "viewer", "operator", "admin".
std::string_view RoleName(Role role);

}  // namespace migrationd
