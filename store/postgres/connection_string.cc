#include "store/postgres/connection_string.h"

#include <libpq-fe.h>

#include <algorithm>
#include <map>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace migrationd {
namespace {

// As libpq reads key=value pairs.
std::string Quote(const std::string& value) {
  return absl::StrCat("'", absl::StrReplaceAll(value, {{"\\", "\\\\"}, {"'", "\\'"}}), "'");
}

// libpq counts whole seconds, takes 1 for 2, and 0 for no limit.
std::int64_t WholeSeconds(absl::Duration duration) {
  return std::max<std::int64_t>(2, absl::ToInt64Seconds(absl::Ceil(duration, absl::Seconds(1))));
}

}  // namespace

absl::StatusOr<std::string> CompleteConnectionString(const std::string& url, const ConnectionSettings& settings) {
  char* error = nullptr;
  const std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> options(PQconninfoParse(url.c_str(), &error),
                                                                             &PQconninfoFree);
  // libpq's message quotes the string it could not read.
  PQfreemem(error);
  if (options == nullptr) {
    return absl::UnavailableError(
        "The control store's URL cannot be read; expected postgresql://USER@HOST:PORT/DATABASE or key=value pairs.");
  }
  std::map<std::string, std::string> values = {
      {"connect_timeout", absl::StrCat(WholeSeconds(settings.connect_timeout))},
      {"application_name", settings.application_name},
      {"tcp_user_timeout", absl::StrCat(absl::ToInt64Milliseconds(settings.network_timeout))},
      {"keepalives_idle", "5"},
      {"keepalives_interval", "2"},
      {"keepalives_count", "3"},
      {"client_encoding", "UTF8"},
  };
  for (const PQconninfoOption* option = options.get(); option->keyword != nullptr; ++option) {
    if (option->val != nullptr) values[option->keyword] = option->val;
  }
  std::string text;
  for (const auto& [keyword, value] : values)
    absl::StrAppend(&text, text.empty() ? "" : " ", keyword, "=", Quote(value));
  return text;
}

}  // namespace migrationd
