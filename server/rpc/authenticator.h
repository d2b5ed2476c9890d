// From what a connection and its metadata show to who calls.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "grpcpp/server_context.h"
#include "server/options/options.h"
#include "server/rpc/access.h"
#include "server/rpc/credential_file.h"

namespace migrationd {

// What a call shows of its sender.
struct CallFacts {
  std::string peer;                                // gRPC's name of the other side: "ipv4:10.0.0.7:41234"
  std::string claimed_user;                        // metadata x-migrationctl-user: not to be trusted, but worth writing down
  std::optional<std::string> authorization;        // metadata authorization
  std::vector<std::string> certificate_names;      // of a verified client certificate: alternative names, or the common name
};

CallFacts FactsOf(const grpc::ServerContextBase& context);

// A bearer token outranks a certificate; neither: the role of --anonymous-role. UNAUTHENTICATED: a token that is not known, or an
// authorization that is none. Pure.
absl::StatusOr<Principal> Identify(const Credentials& credentials, Role anonymous, const CallFacts& facts);

// Thread-safe.
class Authenticator {
 public:
  // `file` may be null: nobody has credentials that are known. Outlives the authenticator.
  Authenticator(Role anonymous, const CredentialFile* file) : anonymous_(anonymous), file_(file) {}

  absl::StatusOr<Principal> Identify(const grpc::ServerContextBase& context) const;
  // Whether `principal`, admitted to `method` with that context, still would be, to see the same targets: OK, and cheap, until the credentials
  // change. UNAUTHENTICATED: its entry is gone. PERMISSION_DENIED: it may do less, or its targets have changed. For calls that last. For one
  // thread at a time; not beyond the authenticator's life.
  std::function<absl::Status()> Holds(const grpc::ServerContextBase& context, const Principal& principal, std::string_view method) const;
  // Identify and CheckAccess. A refusal is logged, with who was refused what.
  absl::StatusOr<Principal> Admit(const grpc::ServerContextBase& context, std::string_view method) const;

 private:
  std::shared_ptr<const Credentials> Current() const { return file_ == nullptr ? nullptr : file_->Get(); }

  const Role anonymous_;
  const CredentialFile* const file_;
};

// "anonymous@ipv4:127.0.0.1", or "alice (claimed)@ipv4:127.0.0.1" with a claimed user; "ci@..." for a name that was verified, "ci for alice
// (claimed)@..." with both.
std::string ActorName(const std::string& peer, const std::string& verified_name, const std::string& claimed_user);

}  // namespace migrationd
