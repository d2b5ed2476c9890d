#include "migrations/definition/parameters.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "migrations/definition/definition.h"
#include "migrations/definition/scalar_forms.h"
#include "migrations/definition/text_rules.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

using migrationcontrol::v1::MigrationDefinition;
using migrationcontrol::v1::Parameter;

constexpr std::size_t kMostBytes = 64 * 1024;

// 8-4-4-4-12 hexadecimal digits.
bool IsUuid(std::string_view text) {
  if (text.size() != 36) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? text[i] != '-' : !absl::ascii_isxdigit(static_cast<unsigned char>(text[i]))) return false;
  }
  return true;
}

bool IsNumeric(std::string_view text) {
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  const auto digits = [&text] {
    std::size_t count = 0;
    while (count < text.size() && absl::ascii_isdigit(static_cast<unsigned char>(text[count]))) ++count;
    text.remove_prefix(count);
    return count;
  };
  std::size_t mantissa = digits();
  if (!text.empty() && text[0] == '.') {
    text.remove_prefix(1);
    mantissa += digits();
  }
  if (mantissa == 0) return false;
  if (text.empty()) return true;
  if (text[0] != 'e' && text[0] != 'E') return false;
  text.remove_prefix(1);
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  return digits() > 0 && text.empty();
}

bool IsDate(const std::string& text) {
  absl::CivilDay day;
  return text.size() == 10 && absl::ParseCivilTime(text, &day);
}

// ISO with a zone, in the two spellings that people use for the separator.
bool IsTimestamp(const std::string& text) {
  absl::Time time;
  std::string error;
  for (const char* format : {"%Y-%m-%dT%H:%M:%E*S%Ez", "%Y-%m-%d %H:%M:%E*S%Ez"}) {
    if (absl::ParseTime(format, text, &time, &error)) return true;
  }
  return false;
}

absl::Status Expected(const std::string& value, std::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("'", Shown(value), "' is not ", std::string(what)));
}

}  // namespace

const std::vector<std::string>& ParameterTypes() {
  static const auto* const kTypes = new std::vector<std::string>{"bigint",  "integer",     "text", "uuid", "boolean",
                                                                 "numeric", "timestamptz", "date", "jsonb"};
  return *kTypes;
}

absl::Status CheckParameterValue(const std::string& type, const std::string& value) {
  if (value.size() > kMostBytes) return absl::InvalidArgumentError("is longer than 64 KiB");
  if (value.find('\0') != std::string::npos || FindInvalidUtf8(value) != std::string::npos) {
    return absl::InvalidArgumentError("holds a zero byte or text that is not UTF-8");
  }
  if (type == "bigint" || type == "integer") {
    using Wide = std::numeric_limits<std::int64_t>;
    using Narrow = std::numeric_limits<std::int32_t>;
    return (type == "bigint" ? ParseWholeNumber(value, Wide::min(), Wide::max())
                             : ParseWholeNumber(value, Narrow::min(), Narrow::max()))
        .status();
  }
  if (type == "uuid" && !IsUuid(value)) return Expected(value, "a uuid, like 0198c0de-0000-7000-8000-000000000001");
  if (type == "boolean" && value != "true" && value != "false") return Expected(value, "true or false");
  if (type == "numeric" && !IsNumeric(value)) return Expected(value, "a number, like 12.50");
  if (type == "date" && !IsDate(value)) return Expected(value, "a date, like 2026-11-20");
  if (type == "timestamptz" && !IsTimestamp(value)) {
    return Expected(value, "a time with its zone, like 2026-11-20T09:30:00Z or 2026-11-20 09:30:00+01:00");
  }
  if (type == "jsonb" && !nlohmann::json::accept(value)) return Expected(value, "JSON");
  return absl::OkStatus();
}

absl::StatusOr<std::map<std::string, std::string>> BindParameters(const MigrationDefinition& normalized,
                                                                  const std::map<std::string, std::string>& given) {
  std::map<std::string, std::string> bound;
  std::vector<std::string> names;
  for (const Parameter& parameter : normalized.parameters()) {
    names.push_back(parameter.name());
    const auto value = given.find(parameter.name());
    if (value != given.end()) {
      const absl::Status status = CheckParameterValue(parameter.type(), value->second);
      if (!status.ok()) {
        return absl::InvalidArgumentError(
            absl::StrCat("parameter ", parameter.name(), " (", parameter.type(), "): ", status.message()));
      }
      bound[parameter.name()] = value->second;
    } else if (parameter.has_default_()) {
      bound[parameter.name()] = parameter.default_();
    } else {
      return absl::InvalidArgumentError(absl::StrCat("parameter ", parameter.name(), " (", parameter.type(),
                                                     ") has no default; give a value for it"));
    }
  }
  for (const auto& [name, value] : given) {
    if (bound.count(name) > 0) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("unknown parameter '", Shown(name), "'; ",
                     names.empty() ? "the definition declares none"
                                   : absl::StrCat("the definition declares ", absl::StrJoin(names, ", "))));
  }
  return bound;
}

}  // namespace migrationd
