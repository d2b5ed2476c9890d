#include "server/rpc/access.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/rpc/grpc_status.h"

namespace migrationd {
namespace {

struct Entry {
  std::string_view method;
  Role role;
};

// Every method, by who needs it. What is not here, nobody may call.
constexpr Entry kEntries[] = {
    {"List", Role::kViewer},
    {"Status", Role::kViewer},
    {"GetDefinition", Role::kViewer},
    {"Watch", Role::kViewer},
    {"ListJobs", Role::kViewer},
    {"ListEvents", Role::kViewer},
    {"ListTargets", Role::kViewer},
    {"Validate", Role::kViewer},
    // Keys of rows, and what functions put into their errors.
    {"ListFailures", Role::kOperator},
    {kValidateAgainstTarget, Role::kOperator},
    {"Enqueue", Role::kOperator},
    {"Plan", Role::kOperator},
    {"Verify", Role::kOperator},
    {"Start", Role::kOperator},
    {"Pause", Role::kOperator},
    {"Resume", Role::kOperator},
    {"Retry", Role::kOperator},
    {"SetBatchSize", Role::kOperator},
    {"SetPace", Role::kOperator},
    {"Accept", Role::kOperator},
    {"Cancel", Role::kOperator},
    {"Cleanup", Role::kOperator},
    {"Freeze", Role::kOperator},
    {"Unfreeze", Role::kOperator},
    {kEnqueueDefinition, Role::kAdmin},
    {kPlanDefinition, Role::kAdmin},
    {"Delete", Role::kAdmin},
};

}  // namespace

std::string_view RoleName(Role role) {
  switch (role) {
    case Role::kNone: return "none";
    case Role::kViewer: return "viewer";
    case Role::kOperator: return "operator";
    case Role::kAdmin: return "admin";
  }
  return "none";
}

Role RoleFor(std::string_view method) {
  for (const Entry& entry : kEntries) {
    if (entry.method == method) return entry.role;
  }
  return Role::kNone;
}

absl::Status CheckAccess(const Principal& principal, std::string_view method) {
  const Role needed = RoleFor(method);
  if (needed != Role::kNone && principal.role >= needed) return absl::OkStatus();
  const std::string need = absl::StrCat(std::string(method), " needs the role ", std::string(RoleName(needed)));
  if (!principal.authenticated && principal.role == Role::kNone) {
    return WithReason(absl::UnauthenticatedError(absl::StrCat(need, "; show a token (metadata authorization: Bearer ...) or a client certificate.")),
                      kReasonRoleMissing);
  }
  return WithReason(absl::PermissionDeniedError(absl::StrCat(
                        need, "; ", principal.actor, " has ", std::string(RoleName(principal.role)),
                        principal.authenticated ? "." : ", which is what callers without credentials have here (--anonymous-role).")),
                    kReasonRoleMissing);
}

absl::Status CheckTarget(const Principal& principal, const std::string& target) {
  if (!principal.targets.has_value() || (!target.empty() && principal.MaySee(target))) return absl::OkStatus();
  return WithReason(
      absl::PermissionDeniedError(absl::StrCat(principal.actor, " may act on ", absl::StrJoin(*principal.targets, ", "), " only, and this is for ",
                                               target.empty() ? "all targets" : target, ".")),
      kReasonRoleMissing);
}

std::shared_ptr<const BoardSnapshot> VisibleTo(const Principal& principal, std::shared_ptr<const BoardSnapshot> snapshot) {
  if (!principal.targets.has_value()) return snapshot;
  auto visible = std::make_shared<BoardSnapshot>(*snapshot);
  std::erase_if(visible->migrations, [&](const auto& entry) { return !principal.MaySee(entry.second.stored.migration.target); });
  std::erase_if(visible->freezes, [&](const FreezeRecord& freeze) { return !freeze.target.empty() && !principal.MaySee(freeze.target); });
  std::erase_if(visible->targets, [&](const auto& target) { return !principal.MaySee(target.first); });
  std::erase_if(visible->deleted, [&](const auto& gone) { return !principal.MaySee(gone.second.substr(0, gone.second.find('/'))); });
  visible->catalog_issues.clear();
  return visible;
}

}  // namespace migrationd
