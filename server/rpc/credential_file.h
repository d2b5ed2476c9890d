// Who may call with which role: the file of --tokens.
//
//   # credential                        name      role      [targets...]
//   sha256:<64 hex digits>              deploy    operator  main billing
//   cert:sre.example.org                sre       admin
//   cert:spiffe://example.org/reporter  reporter  viewer
//
// `sha256:` is the SHA-256 of a bearer token, in hex; `cert:` the subject alternative name of a client certificate (its common name where
// it has none), compared exactly. Without targets the entry holds for all of them. Words are separated by blanks; # begins a comment. Every
// line ends with a newline: one without may be half of a line, and without its targets an entry would allow more, not less.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/options/options.h"

namespace migrationd {

struct Credential {
  enum class Kind { kToken, kCertificate };
  Kind kind = Kind::kToken;
  std::string value;  // 64 hex digits in lower case; or a name in a certificate
  std::string name;   // of the caller, for events and logs
  Role role = Role::kViewer;
  std::optional<std::set<std::string>> targets;
};
using Credentials = std::vector<Credential>;

// INVALID_ARGUMENT "FILE:LINE: what is wrong, what would be right"; never repeats a credential. At most 10,000 entries.
absl::StatusOr<Credentials> ParseCredentials(const std::string& file, const std::string& text);

// The entry for that token, found in a time that does not depend on how much of it is right; nullptr: there is none.
const Credential* FindToken(const Credentials& credentials, std::string_view token);
const Credential* FindCertificate(const Credentials& credentials, const std::string& name);

// The file as it was when it last was right. Thread-safe.
class CredentialFile {
 public:
  // INVALID_ARGUMENT: the first thing that is wrong in it. Errors of ReadFileText: it cannot be read. `anonymous`: the role of callers who show
  // nothing. Where they may do anything, the targets of entries hold nobody back: who is limited to some leaves its token out. That is
  // logged (scope_without_effect), also by Refresh.
  static absl::StatusOr<std::unique_ptr<CredentialFile>> Open(const std::string& path, Role anonymous = Role::kNone);

  std::shared_ptr<const Credentials> Get() const ABSL_LOCKS_EXCLUDED(mutex_);

  // Reads it again. What has changed is taken over once two calls in a row have read the same, so that a file is not used while it is being
  // written; what cannot be used is not, and what there was stays in force. A file with nothing in it cannot be used where there were
  // entries (it is what a file looks like that was just opened for writing); one with only comments takes all of them back. Logs what became
  // of a changed file.
  void Refresh() ABSL_LOCKS_EXCLUDED(mutex_);

  // The file as it is now cannot be used: earlier credentials are in force.
  bool refused() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  CredentialFile(std::string path, Role anonymous) : path_(std::move(path)), anonymous_(anonymous) {}

  const std::string path_;
  const Role anonymous_;
  mutable absl::Mutex mutex_;
  absl::StatusOr<std::string> seen_ ABSL_GUARDED_BY(mutex_);     // by the last Refresh
  absl::StatusOr<std::string> settled_ ABSL_GUARDED_BY(mutex_);  // what was last taken over or refused
  bool refused_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<const Credentials> credentials_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace migrationd
