#include "server/rpc/credential_file.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "migrations/model/status_macros.h"
#include "server/observability/log.h"
#include "server/rpc/access.h"
#include "server/rpc/file_text.h"

namespace migrationd {
namespace {

constexpr std::size_t kEntriesMax = 10000;
constexpr std::size_t kNameLengthMax = 100;

absl::Status Wrong(const std::string& place, const std::string& message) {
  return absl::InvalidArgumentError(absl::StrCat(place, ": ", message));
}

bool IsHexDigest(const std::string& text) {
  return text.size() == 2 * SHA256_DIGEST_LENGTH && std::all_of(text.begin(), text.end(), [](unsigned char c) { return absl::ascii_isxdigit(c); });
}

absl::Status ReadCredential(const std::string& place, absl::string_view word, Credential& credential) {
  if (absl::ConsumePrefix(&word, "sha256:")) {
    credential.kind = Credential::Kind::kToken;
    credential.value = absl::AsciiStrToLower(word);
    if (!IsHexDigest(credential.value)) return Wrong(place, "after sha256: the 64 hex digits of the token's SHA-256 are expected.");
    return absl::OkStatus();
  }
  if (absl::ConsumePrefix(&word, "cert:")) {
    credential.kind = Credential::Kind::kCertificate;
    credential.value = std::string(word);
    if (credential.value.empty()) return Wrong(place, "after cert: a name of a certificate is expected.");
    return absl::OkStatus();
  }
  return Wrong(place, "the first word must be sha256:HEX (of a token) or cert:NAME (of a client certificate).");
}

absl::StatusOr<Role> ReadRole(const std::string& place, const std::string& word) {
  for (const Role role : {Role::kViewer, Role::kOperator, Role::kAdmin}) {
    static constexpr const char* kNames[] = {"none", "viewer", "operator", "admin"};
    if (word == kNames[static_cast<int>(role)]) return role;
  }
  return Wrong(place, absl::StrCat("\"", absl::CHexEscape(word), "\" is no role; expected viewer, operator or admin."));
}

absl::StatusOr<Credential> ParseLine(const std::string& place, const std::vector<std::string>& words) {
  Credential credential;
  if (words.size() < 3) return Wrong(place, "expected CREDENTIAL NAME ROLE [TARGET...].");
  MD_RETURN_IF_ERROR(ReadCredential(place, words[0], credential));
  credential.name = words[1];
  if (credential.name.size() > kNameLengthMax || absl::CHexEscape(credential.name) != credential.name) {
    return Wrong(place, absl::StrCat("the name must be at most ", kNameLengthMax, " printable ASCII characters."));
  }
  MD_ASSIGN_OR_RETURN(credential.role, ReadRole(place, words[2]));
  if (words.size() > 3) credential.targets.emplace(words.begin() + 3, words.end());
  return credential;
}

void WarnOfVoidScopes(const std::string& file, const Credentials& credentials, Role anonymous) {
  const auto has_targets = [](const Credential& credential) { return credential.targets.has_value(); };
  const auto scoped = std::count_if(credentials.begin(), credentials.end(), has_targets);
  if (scoped == 0 || anonymous == Role::kNone) return;
  Log(LogLevel::kWarning, "scope_without_effect",
      {{"file", file}, {"entries", absl::StrCat(scoped)}, {"anonymous_role", std::string(RoleName(anonymous))},
       {"why", "these entries have targets, but a caller who leaves its credentials out sees all of them; start with --anonymous-role none"}});
}

// What a Refresh read, as credentials. Blank, it is what a file looks like that somebody has just opened for writing.
absl::StatusOr<Credentials> ReadAgain(const std::string& file, const absl::StatusOr<std::string>& text, bool may_be_blank) {
  MD_RETURN_IF_ERROR(text.status());
  if (!may_be_blank && absl::StripAsciiWhitespace(*text).empty()) {
    return Wrong(file, "holds nothing; to take all credentials back, leave a comment in it (# and some words).");
  }
  return ParseCredentials(file, *text);
}

}  // namespace

absl::StatusOr<Credentials> ParseCredentials(const std::string& file, const std::string& text) {
  Credentials credentials;
  std::set<std::string> seen;
  int number = 0;
  for (const absl::string_view whole : absl::StrSplit(text, '\n')) {
    const std::string place = absl::StrCat(file, ":", ++number);
    const absl::string_view line = whole.substr(0, whole.find('#'));
    const std::vector<std::string> words = absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    if (words.empty()) continue;
    MD_ASSIGN_OR_RETURN(Credential credential, ParseLine(place, words));
    if (!seen.insert(absl::StrCat(static_cast<int>(credential.kind), credential.value)).second) {
      return Wrong(place, "this credential stands here a second time.");
    }
    if (credentials.size() >= kEntriesMax) return Wrong(place, absl::StrCat("there are more than ", kEntriesMax, " entries."));
    credentials.push_back(std::move(credential));
  }
  // Cut before its targets, a line would still be right, and its credential hold for all of them.
  if (!text.empty() && text.back() != '\n') {
    return Wrong(absl::StrCat(file, ":", number), "the last line has no newline, so it may be half of one; end it with a newline.");
  }
  return credentials;
}

const Credential* FindToken(const Credentials& credentials, std::string_view token) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(), digest);
  const std::string hex = absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest), sizeof digest));
  const Credential* found = nullptr;
  for (const Credential& credential : credentials) {
    const bool same = credential.kind == Credential::Kind::kToken && CRYPTO_memcmp(credential.value.data(), hex.data(), hex.size()) == 0;
    if (same) found = &credential;
  }
  return found;
}

const Credential* FindCertificate(const Credentials& credentials, const std::string& name) {
  const auto found = std::find_if(credentials.begin(), credentials.end(), [&](const Credential& credential) {
    return credential.kind == Credential::Kind::kCertificate && credential.value == name;
  });
  return found == credentials.end() ? nullptr : &*found;
}

absl::StatusOr<std::unique_ptr<CredentialFile>> CredentialFile::Open(const std::string& path, Role anonymous) {
  MD_ASSIGN_OR_RETURN(std::string text, ReadFileText(path));
  MD_ASSIGN_OR_RETURN(Credentials credentials, ParseCredentials(path, text));
  std::unique_ptr<CredentialFile> file(new CredentialFile(path, anonymous));
  WarnOfVoidScopes(path, credentials, anonymous);
  absl::MutexLock lock(&file->mutex_);
  file->seen_ = text;
  file->settled_ = std::move(text);
  file->credentials_ = std::make_shared<const Credentials>(std::move(credentials));
  return file;
}

std::shared_ptr<const Credentials> CredentialFile::Get() const {
  absl::MutexLock lock(&mutex_);
  return credentials_;
}

void CredentialFile::Refresh() {
  absl::StatusOr<std::string> text = ReadFileText(path_);
  absl::MutexLock lock(&mutex_);
  const bool again = text == seen_;
  seen_ = std::move(text);
  if (!again || seen_ == settled_) return;
  settled_ = seen_;
  absl::StatusOr<Credentials> credentials = ReadAgain(path_, settled_, /*may_be_blank=*/credentials_->empty());
  refused_ = !credentials.ok();
  if (refused_) {
    Log(LogLevel::kError, "credentials_refused",
        {{"file", path_}, {"why", std::string(credentials.status().message())}, {"effect", "the earlier ones stay in force"}});
    return;
  }
  Log(LogLevel::kInfo, "credentials_read", {{"file", path_}, {"entries", absl::StrCat(credentials->size())}});
  WarnOfVoidScopes(path_, *credentials, anonymous_);
  credentials_ = std::make_shared<const Credentials>(*std::move(credentials));
}

bool CredentialFile::refused() const {
  absl::MutexLock lock(&mutex_);
  return refused_;
}

}  // namespace migrationd
