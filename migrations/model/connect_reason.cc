#include "migrations/model/connect_reason.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace migrationd {

std::string ConnectReason(std::string_view libpq_message) {
  const std::string what(libpq_message);
  const std::string marker = "failed: ";
  const std::size_t at = what.rfind(marker);
  if (at != std::string::npos) {
    std::string line = what.substr(at + marker.size());
    line = line.substr(0, line.find('\n'));
    absl::StripAsciiWhitespace(&line);
    return line;
  }
  if (absl::StrContains(what, "could not translate host name")) return "its host name cannot be resolved";
  if (absl::StrContains(what, "timeout expired")) return "timeout expired";
  if (absl::StrContains(what, "server closed the connection")) return "the server closed the connection";
  if (absl::StrContains(what, "invalid ")) return "its URL has a value that is not valid (a password in it has to be percent-encoded)";
  return "no connection can be made";
}

}  // namespace migrationd
