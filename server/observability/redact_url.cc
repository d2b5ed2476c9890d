#include <algorithm>
#include <array>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "server/observability/log.h"

namespace migrationd {
namespace {

constexpr char kHidden[] = "***";

// The parameters of libpq that hold nothing secret. What is not here may be a part of a password that was not encoded.
constexpr std::array<absl::string_view, 28> kHarmless = {
    "host",      "hostaddr",  "port",        "dbname",        "user",           "sslmode",         "sslcert",
    "sslkey",    "sslcrl",    "sslrootcert", "sslcompression", "sslsni",        "gssencmode",      "channel_binding",
    "service",   "passfile",  "options",     "application_name", "fallback_application_name", "client_encoding", "connect_timeout",
    "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout", "target_session_attrs", "load_balance_hosts"};

bool IsHarmless(absl::string_view key) { return std::find(kHarmless.begin(), kHarmless.end(), key) != kHarmless.end(); }

// key=value, without a value that is or may be secret.
std::string Parameter(absl::string_view key, absl::string_view value) {
  const bool doubtful = value.find_first_of("@'\\") != value.npos || absl::StrContains(value, "://");
  if (IsHarmless(key) && !doubtful) return absl::StrCat(key, "=", value);
  const bool known = IsHarmless(key) || key == "password" || key == "sslpassword";
  return known ? absl::StrCat(key, "=", kHidden) : kHidden;
}

bool AllOf(absl::string_view text, bool (*holds)(unsigned char)) { return std::all_of(text.begin(), text.end(), holds); }

// host, host:port or [address]:port, and no doubt about it.
bool IsHost(absl::string_view text) {
  const std::size_t colon = text.rfind(':');
  const bool bracketed = absl::StartsWith(text, "[");
  absl::string_view host = text;
  if (colon != text.npos && (!bracketed || colon > text.find(']'))) {
    if (!AllOf(text.substr(colon + 1), [](unsigned char c) { return absl::ascii_isdigit(c); })) return false;
    host = text.substr(0, colon);
  }
  if (bracketed) {
    const auto in_address = [](unsigned char c) { return absl::ascii_isxdigit(c) || c == ':' || c == '.'; };
    return absl::EndsWith(host, "]") && AllOf(host.substr(1, host.size() - 2), in_address);
  }
  return AllOf(host, [](unsigned char c) { return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-' || c == '%'; });
}

bool IsPlace(absl::string_view text) {
  const std::size_t slash = std::min(text.find('/'), text.size());
  const std::vector<absl::string_view> hosts = absl::StrSplit(text.substr(0, slash), ',');
  const absl::string_view database = text.substr(slash);
  return std::all_of(hosts.begin(), hosts.end(), IsHost) && database.find_first_of(":@#") == database.npos &&
         database.find('/', 1) == database.npos;
}

// scheme://user:password@place?parameters. A password that was not encoded may hold each of the signs between them.
std::string RedactUri(absl::string_view scheme, absl::string_view rest) {
  const std::string scheme_only = absl::StrCat(scheme, "://", kHidden);
  const std::size_t question = std::min(rest.find('?'), rest.size());
  const absl::string_view parameters = rest.substr(question);
  if (absl::StrContains(parameters, "@")) return scheme_only;
  const absl::string_view place = rest.substr(0, question);
  const std::size_t at = place.rfind('@');
  const std::size_t colon = place.find(':');
  std::string shown = absl::StrCat(scheme, "://");
  if (at != place.npos) {
    absl::StrAppend(&shown, place.substr(0, std::min(colon, at)), colon < at ? absl::StrCat(":", kHidden) : "", "@");
  }
  const absl::string_view behind = at == place.npos ? place : place.substr(at + 1);
  if (!IsPlace(behind)) return scheme_only;
  absl::StrAppend(&shown, behind);
  if (parameters.empty()) return shown;
  std::vector<std::string> parts;
  for (const absl::string_view part : absl::StrSplit(parameters.substr(1), '&')) {
    const std::vector<absl::string_view> pair = absl::StrSplit(part, absl::MaxSplits('=', 1));
    parts.push_back(pair.size() == 2 ? Parameter(pair[0], pair[1]) : kHidden);
  }
  return absl::StrCat(shown, "?", absl::StrJoin(parts, "&"));
}

// `text` after a word or 'quoted word' of libpq's key=value form, in which \ takes away the meaning of the next character; empty data: a
// quote that does not end.
absl::string_view AfterValue(absl::string_view text) {
  const bool quoted = absl::StartsWith(text, "'");
  for (std::size_t i = quoted ? 1 : 0; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (quoted ? text[i] == '\'' : absl::ascii_isspace(static_cast<unsigned char>(text[i]))) {
      return text.substr(quoted ? i + 1 : i);
    }
  }
  return quoted ? absl::string_view() : text.substr(text.size());
}

std::string RedactPairs(absl::string_view rest) {
  std::vector<std::string> parts;
  while (!(rest = absl::StripLeadingAsciiWhitespace(rest)).empty()) {
    const std::size_t equals = rest.find('=');
    if (equals == rest.npos) return kHidden;
    const absl::string_view key = absl::StripAsciiWhitespace(rest.substr(0, equals));
    const absl::string_view value = absl::StripLeadingAsciiWhitespace(rest.substr(equals + 1));
    rest = AfterValue(value);
    if (rest.data() == nullptr) return kHidden;
    parts.push_back(Parameter(key, value.substr(0, value.size() - rest.size())));
  }
  return absl::StrJoin(parts, " ");
}

}  // namespace

std::string RedactUrl(const std::string& url) {
  for (const absl::string_view scheme : {"postgresql", "postgres"}) {
    if (absl::StartsWith(url, absl::StrCat(scheme, "://"))) return RedactUri(scheme, absl::string_view(url).substr(scheme.size() + 3));
  }
  return RedactPairs(url);
}

}  // namespace migrationd
