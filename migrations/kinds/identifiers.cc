#include "migrations/kinds/identifiers.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "migrations/definition/digest.h"
#include "migrations/definition/sql_lexer.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

constexpr std::size_t kLongestIdentifier = 63;  // NAMEDATALEN - 1
constexpr std::size_t kHashDigits = 8;

}  // namespace

std::string QuoteIdentifier(const std::string& name) {
  return absl::StrCat("\"", absl::StrReplaceAll(name, {{"\"", "\"\""}}), "\"");
}

std::string QuoteLiteral(const std::string& text) {
  const bool backslash = absl::StrContains(text, "\\");
  return absl::StrCat(backslash ? "E'" : "'", absl::StrReplaceAll(text, {{"'", "''"}, {"\\", "\\\\"}}), "'");
}

std::string QualifiedTable(const MigrationPlan& plan) {
  return absl::StrCat(QuoteIdentifier(plan.schema), ".", QuoteIdentifier(plan.table));
}

std::string BoundedIdentifier(const std::string& prefix, const std::string& name, const std::string& suffix) {
  const std::string whole = absl::StrCat(prefix, name, suffix);
  if (whole.size() <= kLongestIdentifier) return whole;
  const std::size_t kept = kLongestIdentifier - prefix.size() - suffix.size() - kHashDigits - 1;
  return absl::StrCat(prefix, name.substr(0, kept), "_", Sha256Hex(name).substr(0, kHashDigits), suffix);
}

absl::StatusOr<TableName> ParseTableName(const std::string& text) {
  MD_ASSIGN_OR_RETURN(const std::vector<std::string> parts, ParseQualifiedName(text, 2));
  if (parts.size() == 1) return TableName{"", parts[0]};
  return TableName{parts[0], parts[1]};
}

}  // namespace migrationd
