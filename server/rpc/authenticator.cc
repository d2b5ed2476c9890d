#include "server/rpc/authenticator.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "grpc/grpc_security_constants.h"
#include "migrations/model/status_macros.h"
#include "server/observability/log.h"
#include "server/rpc/grpc_status.h"

namespace migrationd {
namespace {

constexpr char kUserMetadata[] = "x-migrationctl-user";
constexpr char kAuthorizationMetadata[] = "authorization";
constexpr std::size_t kUserLengthMax = 64;

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

std::optional<std::string> MetadataOf(const grpc::ServerContextBase& context, const char* name) {
  const auto found = context.client_metadata().find(name);
  if (found == context.client_metadata().end()) return std::nullopt;
  return std::string(found->second.data(), found->second.size());
}

std::vector<std::string> PropertiesOf(const grpc::AuthContext& context, const char* name) {
  std::vector<std::string> values;
  for (const grpc::string_ref& value : context.FindPropertyValues(name)) values.emplace_back(value.data(), value.size());
  return values;
}

absl::Status Unauthenticated(const std::string& message) { return WithReason(absl::UnauthenticatedError(message), kReasonCredentialsInvalid); }

absl::StatusOr<const Credential*> TokenOf(const Credentials& credentials, absl::string_view authorization) {
  constexpr absl::string_view kScheme = "bearer ";
  if (!absl::StartsWithIgnoreCase(authorization, kScheme)) {
    return Unauthenticated("The metadata authorization is not understood; expected Bearer TOKEN.");
  }
  const absl::string_view token = absl::StripAsciiWhitespace(authorization.substr(kScheme.size()));
  const Credential* found = FindToken(credentials, std::string_view(token.data(), token.size()));
  if (found == nullptr) return Unauthenticated("The token is not known here; it may have been taken back.");
  return found;
}

}  // namespace

CallFacts FactsOf(const grpc::ServerContextBase& context) {
  CallFacts facts;
  facts.peer = context.peer();
  facts.claimed_user = MetadataOf(context, kUserMetadata).value_or("");
  facts.authorization = MetadataOf(context, kAuthorizationMetadata);
  const auto auth = context.auth_context();
  if (auth == nullptr || !auth->IsPeerAuthenticated()) return facts;
  facts.certificate_names = PropertiesOf(*auth, GRPC_X509_SAN_PROPERTY_NAME);
  // The common name says who it is only where nothing better does.
  if (facts.certificate_names.empty()) facts.certificate_names = PropertiesOf(*auth, GRPC_X509_CN_PROPERTY_NAME);
  return facts;
}

absl::StatusOr<Principal> Identify(const Credentials& credentials, Role anonymous, const CallFacts& facts) {
  Principal principal;
  principal.role = anonymous;
  const Credential* found = nullptr;
  if (facts.authorization.has_value()) {
    MD_ASSIGN_OR_RETURN(found, TokenOf(credentials, *facts.authorization));
  } else {
    for (const std::string& name : facts.certificate_names) {
      if (found == nullptr) found = FindCertificate(credentials, name);
    }
  }
  // A certificate that no line names still tells who it is, and has the role of those without credentials.
  const std::string certified = facts.certificate_names.empty() ? "" : facts.certificate_names.front();
  principal.actor = ActorName(facts.peer, found == nullptr ? certified : found->name, facts.claimed_user);
  principal.limit_key = found != nullptr ? found->name : !certified.empty() ? certified : HostOf(facts.peer);
  if (found == nullptr) return principal;
  principal.authenticated = true;
  principal.role = found->role;
  principal.targets = found->targets;
  return principal;
}

absl::StatusOr<Principal> Authenticator::Identify(const grpc::ServerContextBase& context) const {
  static const Credentials kNone;
  const auto credentials = Current();
  return migrationd::Identify(credentials == nullptr ? kNone : *credentials, anonymous_, FactsOf(context));
}

std::function<absl::Status()> Authenticator::Holds(const grpc::ServerContextBase& context, const Principal& principal,
                                                   std::string_view method) const {
  if (file_ == nullptr) return [] { return absl::OkStatus(); };
  // Null: looked at once in any case, since they may have changed after the call was admitted.
  return [this, facts = FactsOf(context), principal, method = std::string(method),
          seen = std::shared_ptr<const Credentials>()]() mutable -> absl::Status {
    const auto now = Current();
    if (now == seen) return absl::OkStatus();
    MD_ASSIGN_OR_RETURN(const Principal again, migrationd::Identify(*now, anonymous_, facts));
    MD_RETURN_IF_ERROR(CheckAccess(again, method));
    if (again.targets != principal.targets) {
      return WithReason(absl::PermissionDeniedError(absl::StrCat("The targets of ", principal.actor, " have changed; ",
                                                                 absl::AsciiStrToLower(method), " again, from the beginning.")),
                        kReasonRoleMissing);
    }
    seen = now;
    return absl::OkStatus();
  };
}

absl::StatusOr<Principal> Authenticator::Admit(const grpc::ServerContextBase& context, std::string_view method) const {
  absl::StatusOr<Principal> principal = Identify(context);
  const absl::Status allowed = principal.ok() ? CheckAccess(*principal, method) : principal.status();
  if (allowed.ok()) return principal;
  Log(LogLevel::kWarning, "denied",
      {{"method", std::string(method)}, {"actor", principal.ok() ? principal->actor : HostOf(context.peer())}, {"why", std::string(allowed.message())}});
  return allowed;
}

std::string ActorName(const std::string& peer, const std::string& verified_name, const std::string& claimed_user) {
  const std::string claimed = IsPlainName(claimed_user) ? absl::StrCat(claimed_user, " (claimed)") : "";
  std::string who = verified_name;
  if (who.empty()) {
    who = claimed.empty() ? "anonymous" : claimed;
  } else if (!claimed.empty()) {
    absl::StrAppend(&who, " for ", claimed);
  }
  return absl::StrCat(who, "@", HostOf(peer));
}

}  // namespace migrationd
