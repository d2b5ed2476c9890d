#include "server/targets/postgres/session_settings.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "migrations/kinds/identifiers.h"
#include "server/targets/postgres/connection.h"

namespace migrationd {
namespace {

// NAMEDATALEN - 1.
constexpr std::size_t kApplicationNameMax = 63;
// Between the end of a statement that the server stopped and its answer here.
constexpr absl::Duration kAnswerGrace = absl::Seconds(10);

// PostgreSQL counts milliseconds in an int and takes 0 for "none".
std::string Milliseconds(absl::Duration duration) {
  if (duration <= absl::ZeroDuration()) return "0";
  return absl::StrCat(std::clamp<std::int64_t>(absl::ToInt64Milliseconds(duration), 1, 2'000'000'000));
}

}  // namespace

std::string SettingsSql(const SessionSettings& settings, bool local, int server_version) {
  // A client that stopped in the middle of a transaction holds locks until the server ends it.
  const absl::Duration idle = settings.statement_timeout + absl::Seconds(5);
  std::vector<std::pair<std::string, std::string>> values = {
      {"TimeZone", "UTC"},
      {"DateStyle", "ISO, MDY"},
      {"IntervalStyle", "postgres"},
      {"bytea_output", "hex"},
      {"extra_float_digits", "1"},
      {"standard_conforming_strings", "on"},
      {"search_path", settings.search_path},
      {"application_name", settings.application_name},
      {"default_transaction_isolation", "read committed"},
      // Where a policy would hide rows, an error: a row that we do not see is not migrated, and nobody would be told.
      {"row_security", "off"},
      {"synchronous_commit", settings.synchronous_commit ? "on" : "off"},
      {"lock_timeout", Milliseconds(settings.lock_timeout)},
      {"statement_timeout", Milliseconds(settings.statement_timeout)},
      {"idle_in_transaction_session_timeout", Milliseconds(idle)},
      // Compiling a plan for a few thousand rows costs more than running it.
      {"jit", "off"},
  };
  // A backend whose client is gone ends its statement instead of finishing it.
  if (server_version >= 140000) values.emplace_back("client_connection_check_interval", "1000");
  std::string sql = "SELECT ";
  for (const auto& [name, value] : values) {
    absl::StrAppend(&sql, sql == "SELECT " ? "" : ", ", "pg_catalog.set_config(", QuoteLiteral(name), ", ",
                    QuoteLiteral(value), ", ", local ? "true" : "false", ")");
  }
  return sql;
}

absl::Duration AnswerDeadline(absl::Duration statement_timeout) {
  if (statement_timeout <= absl::ZeroDuration()) return absl::InfiniteDuration();
  return statement_timeout + kAnswerGrace;
}

std::string ApplicationNamePrefix(const FenceClaim& claim) {
  return absl::StrCat("migrationd/", claim.token.substr(0, 8), "/", claim.epoch, "/");
}

std::string ApplicationName(const FenceClaim& claim) {
  return absl::StrCat(ApplicationNamePrefix(claim), claim.migration).substr(0, kApplicationNameMax);
}

}  // namespace migrationd
