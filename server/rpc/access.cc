#include "server/rpc/access.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/rpc/grpc_status.h"

namespace migrationd {
namespace {

constexpr char kUserMetadata[] = "x-migrationctl-user";
constexpr std::size_t kUserLengthMax = 64;

int Rank(AnonymousRole role) {
  switch (role) {
    case AnonymousRole::kNone:
      return 0;
    case AnonymousRole::kViewer:
      return 1;
    case AnonymousRole::kOperator:
      return 2;
    case AnonymousRole::kAdmin:
      return 3;
  }
  return 0;
}

struct Need {
  int rank;
  const char* role;
};

Need NeedOf(Access access) {
  switch (access) {
    case Access::kView:
      return {1, "viewer"};
    case Access::kOperate:
      return {2, "operator"};
    case Access::kAdminister:
      return {3, "admin"};
  }
  return {3, "admin"};
}

// Without the port, which says nothing.
std::string HostOf(const std::string& peer) {
  const bool internet = absl::StartsWith(peer, "ipv4:") || absl::StartsWith(peer, "ipv6:");
  const std::size_t colon = peer.rfind(':');
  return internet && colon > 4 ? peer.substr(0, colon) : peer;
}

bool IsPlainName(const std::string& user) {
  return !user.empty() && user.size() <= kUserLengthMax &&
         std::all_of(user.begin(), user.end(), [](unsigned char c) { return absl::ascii_isgraph(c); });
}

}  // namespace

absl::Status CheckAccess(AnonymousRole role, Access needed) {
  const Need need = NeedOf(needed);
  if (Rank(role) >= need.rank) return absl::OkStatus();
  return WithReason(
      absl::PermissionDeniedError(absl::StrCat("This needs the role ", need.role,
                                               ", which callers without credentials do not have on this server; its ",
                                               "option --anonymous-role sets what they have.")),
      kReasonRoleMissing);
}

std::string ActorName(const std::string& peer, const std::string& claimed_user) {
  return absl::StrCat(IsPlainName(claimed_user) ? absl::StrCat(claimed_user, " (claimed)") : "anonymous", "@",
                      HostOf(peer));
}

std::string ActorOf(const grpc::ServerContextBase& context) {
  const auto& metadata = context.client_metadata();
  const auto user = metadata.find(kUserMetadata);
  return ActorName(context.peer(), user == metadata.end() ? "" : std::string(user->second.data(), user->second.size()));
}

}  // namespace migrationd
