#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/civil_time.h"
#include "migrations/definition/definition.h"
#include "migrations/definition/text_rules.h"

namespace migrationd {
namespace {

constexpr std::size_t kVersionDigits = 14;
constexpr char kSuffix[] = ".yaml";

int Digits(const std::string& text, std::size_t from, std::size_t count) {
  int value = 0;
  for (std::size_t i = from; i < from + count; ++i) value = value * 10 + (text[i] - '0');
  return value;
}

// 14 digits that are a real date and time: civil time normalizes what is not, so what comes back differs.
bool IsVersion(const std::string& text) {
  if (text.size() != kVersionDigits ||
      !std::all_of(text.begin(), text.end(), [](unsigned char c) { return absl::ascii_isdigit(c); })) {
    return false;
  }
  const absl::CivilSecond time(Digits(text, 0, 4), Digits(text, 4, 2), Digits(text, 6, 2), Digits(text, 8, 2),
                               Digits(text, 10, 2), Digits(text, 12, 2));
  return time.year() == Digits(text, 0, 4) && time.month() == Digits(text, 4, 2) && time.day() == Digits(text, 6, 2) &&
         time.hour() == Digits(text, 8, 2) && time.minute() == Digits(text, 10, 2) &&
         time.second() == Digits(text, 12, 2);
}

}  // namespace

absl::Status CheckName(const DefinitionName& name) {
  if (!IsVersion(name.version)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "version '", Shown(name.version),
        "' is not a date and time of 14 digits (year, month, day, hour, minute, second), like 20261120093000"));
  }
  if (!IsPlainName(name.name)) {
    return absl::InvalidArgumentError(
        absl::StrCat("name '", Shown(name.name),
                     "' must begin with a letter a-z and hold only a-z, 0-9 and _, at most 63 "
                     "characters, like backfill_builds_stage_id"));
  }
  return absl::OkStatus();
}

absl::StatusOr<DefinitionName> ParseFileName(const std::string& file_name) {
  if (!absl::EndsWith(file_name, kSuffix) || file_name.size() <= kVersionDigits || file_name[kVersionDigits] != '_') {
    return absl::InvalidArgumentError(
        absl::StrCat("file name '", Shown(file_name),
                     "' must be <14 digits>_<name>.yaml, like 20261120093000_backfill_builds_stage_id.yaml"));
  }
  DefinitionName name;
  name.version = file_name.substr(0, kVersionDigits);
  name.name = file_name.substr(kVersionDigits + 1, file_name.size() - kVersionDigits - 1 - (sizeof(kSuffix) - 1));
  const absl::Status status = CheckName(name);
  if (!status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("file name '", Shown(file_name), "': ", status.message()));
  }
  return name;
}

}  // namespace migrationd
