#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "migrations/model/status_macros.h"
#include "server/options/options.h"

namespace migrationd {
namespace {

constexpr std::size_t kLengthMax = 8192;

// The text is not repeated: it may hold a password, or part of one.
absl::Status Misread(const std::string& what) {
  return absl::InvalidArgumentError(
      absl::StrCat("the URL has ", what,
                   "; a user name or password with / @ : ? # % or a blank in it has to be percent-encoded (%2F %40 %3A %3F %23 %25 %20)."));
}

bool IsHostCharacter(unsigned char c) { return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-' || c == '%' || c >= 0x80; }

// host, host:port or [address]:port; each may be empty.
absl::Status CheckHost(absl::string_view text) {
  std::size_t host_end = std::min(text.find(':'), text.size());
  if (absl::StartsWith(text, "[")) {
    host_end = text.find(']');
    if (host_end == text.npos) return Misread("a [ without a ] in the place of the host");
    ++host_end;
  } else if (!std::all_of(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(host_end), IsHostCharacter)) {
    return Misread("something that is no name in the place of the host");
  }
  const absl::string_view port = text.substr(host_end);
  int number = 0;
  if (port.empty() || port == ":") return absl::OkStatus();
  const absl::string_view digits = port.substr(1);
  const bool decimal = std::all_of(digits.begin(), digits.end(), [](unsigned char c) { return absl::ascii_isdigit(c); });
  if (port.front() == ':' && decimal && absl::SimpleAtoi(digits, &number) && number >= 1 && number <= 65535) return absl::OkStatus();
  return Misread("no number from 1 to 65535 in the place of the port");
}

absl::Status Unreadable(const std::string& path, int error) {
  const std::string message = absl::StrCat(path, " cannot be read: ", error == 0 ? "input error" : std::strerror(error), ".");
  if (error == ENOENT || error == ENOTDIR) return absl::NotFoundError(message);
  if (error == EACCES) return absl::PermissionDeniedError(message);
  return absl::UnavailableError(message);
}

absl::Status CheckFolder(const std::string& folder) {
  std::error_code error;
  // Looks whether there is one, and whether its files may be listed.
  const std::filesystem::directory_iterator files(folder, error);
  return error ? Unreadable(folder, error.value()) : absl::OkStatus();
}

absl::Status Of(const std::string& option, const absl::Status& status) {
  return status.ok() ? status : absl::Status(status.code(), absl::StrCat(option, ": ", std::string(status.message())));
}

}  // namespace

absl::StatusOr<std::string> ReadUrlFile(const std::string& file) {
  errno = 0;
  std::ifstream in(file, std::ios::binary);
  std::string text(kLengthMax + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!in.is_open() || in.bad()) return Unreadable(file, errno);
  text.resize(static_cast<std::size_t>(in.gcount()));
  absl::StripAsciiWhitespace(&text);
  if (text.empty()) return absl::InvalidArgumentError(absl::StrCat(file, " is empty; expected the URL of a database."));
  MD_RETURN_IF_ERROR(Of(file, CheckDatabaseUrl(text, /*pairs_too=*/true)));
  return text;
}

absl::Status CheckFiles(const Options& options) {
  if (!options.control_url_file.empty()) MD_RETURN_IF_ERROR(Of("--control-url-file", ReadUrlFile(options.control_url_file).status()));
  for (const auto& [name, target] : options.targets) {
    if (!target.url_file.empty()) MD_RETURN_IF_ERROR(Of(absl::StrCat("--target ", name), ReadUrlFile(target.url_file).status()));
  }
  for (const std::string& folder : options.migrations) MD_RETURN_IF_ERROR(Of("--migrations", CheckFolder(folder)));
  return absl::OkStatus();
}

absl::Status CheckDatabaseUrl(const std::string& url, bool pairs_too) {
  const std::size_t scheme_end = url.find("://");
  const bool is_url = absl::StartsWith(url, "postgresql://") || absl::StartsWith(url, "postgres://");
  if (pairs_too && scheme_end == std::string::npos && absl::StrContains(url, "=")) return absl::OkStatus();
  if (!is_url) return absl::InvalidArgumentError("a PostgreSQL URL is expected: postgresql://USER@HOST:PORT/DATABASE?...");
  if (url.size() > kLengthMax) return absl::InvalidArgumentError(absl::StrCat("the URL is longer than ", kLengthMax, " bytes."));
  // As libpq reads it: what stands before the first @ is user and password, unless there is a / before.
  absl::string_view rest = absl::string_view(url).substr(scheme_end + 3);
  const std::size_t user_end = rest.find_first_of("@/");
  if (user_end != rest.npos && rest[user_end] == '@') rest.remove_prefix(user_end + 1);
  const std::size_t hosts_end = std::min(rest.find_first_of("/?"), rest.size());
  for (const absl::string_view host : absl::StrSplit(rest.substr(0, hosts_end), ',')) {
    if (absl::Status right = CheckHost(host); !right.ok()) return right;
  }
  rest.remove_prefix(hosts_end);
  const std::size_t question = std::min(rest.find('?'), rest.size());
  if (absl::StrContains(rest.substr(0, question), "@")) return Misread("an @ in the place of the database");
  if (question >= rest.size()) return absl::OkStatus();
  for (const absl::string_view parameter : absl::StrSplit(rest.substr(question + 1), '&')) {
    if (!absl::StrContains(parameter, "=")) return Misread("a parameter without = behind the ?");
  }
  return absl::OkStatus();
}

}  // namespace migrationd
