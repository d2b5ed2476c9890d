#include "store/postgres/sql_error.h"

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "migrations/model/connect_reason.h"
#include "store/postgres/pqxx_compat.h"

namespace migrationd {
namespace {

constexpr char kConnectTimeoutUrl[] = "migrationd/connect-timeout";

std::string FirstLine(const std::string& text) {
  std::string line = text.substr(0, text.find('\n'));
  absl::StripAsciiWhitespace(&line);
  return line;
}

bool IsUnavailable(std::string_view sqlstate) {
  return sqlstate.starts_with("08") || sqlstate.starts_with("53") || sqlstate.starts_with("57") ||
         sqlstate == "25006" || sqlstate == "55P03";
}

std::string While(std::string_view doing) {
  return absl::StrCat("The control store failed while ", std::string(doing));
}

}  // namespace

absl::Status StatusFromException(const std::exception& error, std::string_view doing) {
  if (pqxx_compat::IsConflict(error)) {
    return absl::AbortedError(absl::StrCat(While(doing), ": other transactions were faster every time. Try again."));
  }
  if (dynamic_cast<const pqxx::broken_connection*>(&error) != nullptr) {
    return absl::UnavailableError(
        absl::StrCat(While(doing), ": the connection broke. Nothing was recorded; try again."));
  }
  if (const auto* sql = dynamic_cast<const pqxx::sql_error*>(&error)) {
    const std::string text =
        absl::StrCat(While(doing), ": ", FirstLine(sql->what()), " (SQLSTATE ", sql->sqlstate(), ")");
    return IsUnavailable(sql->sqlstate())
               ? absl::UnavailableError(absl::StrCat(text, ". Nothing was recorded; try again."))
               : absl::InternalError(text);
  }
  return absl::InternalError(absl::StrCat(While(doing), ": ", FirstLine(error.what())));
}

absl::Status StatusFromConnectFailure(const std::exception& error) {
  const std::string reason = ConnectReason(error.what());
  absl::Status status = absl::UnavailableError(
      absl::StrCat("The control store cannot be reached: ", reason, ". Nothing was recorded; it is tried again."));
  if (absl::StrContains(reason, "timeout expired")) status.SetPayload(kConnectTimeoutUrl, absl::Cord("1"));
  return status;
}

bool IsConnectTimeout(const absl::Status& status) { return status.GetPayload(kConnectTimeoutUrl).has_value(); }

}  // namespace migrationd
