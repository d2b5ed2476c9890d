// Who calls, and what they may do. Connections are not authenticated yet, so the actor says where a call came from and
// what it claims.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "grpcpp/server_context.h"
#include "server/options/options.h"

namespace migrationd {

// What a method needs.
enum class Access { kView, kOperate, kAdminister };

// PERMISSION_DENIED naming the role that is missing.
absl::Status CheckAccess(AnonymousRole role, Access needed);

// "anonymous@ipv4:127.0.0.1", or "alice (claimed)@ipv4:127.0.0.1" with metadata x-migrationctl-user.
std::string ActorOf(const grpc::ServerContextBase& context);

// From the address of the other side and the claimed user, which may be empty or anything.
std::string ActorName(const std::string& peer, const std::string& claimed_user);

}  // namespace migrationd
