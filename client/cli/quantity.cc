#include "client/cli/quantity.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace migrationctl {
namespace {

struct Unit {
  std::string_view name;
  absl::Duration length;
};

// Longer names before the ones they begin with.
const Unit kUnits[] = {{"ms", absl::Milliseconds(1)}, {"s", absl::Seconds(1)}, {"m", absl::Minutes(1)},
                       {"h", absl::Hours(1)},         {"d", absl::Hours(24)},  {"w", absl::Hours(7 * 24)}};
// Ten years: far beyond any use, far below overflow.
constexpr absl::Duration kLongest = absl::Hours(24 * 3660);

absl::Status NotADuration(const std::string& text) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is not a duration; write it like 250ms, 90s, 1h30m, 7d, 1w (at most ten years)"));
}

}  // namespace

std::string FormatCount(std::int64_t count) {
  std::string digits = absl::StrCat(count);
  const std::size_t first = count < 0 ? 1 : 0;
  for (std::size_t at = digits.size(); at > first + 3;) digits.insert(at -= 3, ",");
  return digits;
}

std::string FormatShort(double number) {
  if (!std::isfinite(number)) return "?";
  constexpr const char* kSuffixes[] = {"", "k", "M", "G", "T"};
  std::size_t power = 0;
  // 999.5 would be printed as 1000.
  while (std::abs(number) >= 999.5 && power + 1 < std::size(kSuffixes)) {
    number /= 1000;
    ++power;
  }
  const bool fraction = std::abs(number) < 9.95 && std::abs(number - std::round(number)) >= 0.05;
  return absl::StrFormat("%.*f%s", fraction ? 1 : 0, number, kSuffixes[power]);
}

std::string HumanDuration(absl::Duration duration) {
  if (duration == absl::InfiniteDuration()) return "for ever";
  if (duration <= absl::ZeroDuration()) return "0s";
  if (duration < absl::Seconds(1))
    return absl::StrCat(std::max<std::int64_t>(1, absl::ToInt64Milliseconds(duration)), "ms");
  const std::int64_t seconds = absl::ToInt64Seconds(duration);
  const std::int64_t minutes = seconds / 60;
  const std::int64_t hours = minutes / 60;
  const std::int64_t days = hours / 24;
  if (minutes == 0) return absl::StrCat(seconds, "s");
  if (hours == 0) return absl::StrFormat("%dm%02ds", minutes, seconds % 60);
  if (days == 0) return absl::StrFormat("%dh%02dm", hours, minutes % 60);
  if (days < 14) return absl::StrFormat("%dd%02dh", days, hours % 24);
  return absl::StrFormat("%dw%dd", days / 7, days % 7);
}

std::string FormatPercent(double fraction, bool complete) {
  if (complete) return "100%";
  if (!(fraction > 0)) return "0%";
  // A little is added, so that 0.632, which is not exactly representable, is not shown as 63.1.
  const double tenths = std::min(999.0, std::floor(fraction * 1000 + 1e-9));
  return absl::StrFormat("%.1f%%", tenths / 10);
}

std::string HumanTime(absl::Time time) { return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone()); }

absl::StatusOr<absl::Duration> ParseDuration(const std::string& text) {
  if (text == "0") return absl::ZeroDuration();
  std::string_view rest = text;
  absl::Duration sum;
  if (rest.empty()) return NotADuration(text);
  while (!rest.empty()) {
    const std::size_t digits = std::min(rest.find_first_not_of("0123456789."), rest.size());
    double number = 0;
    // 15 characters: exact in a double.
    if (digits == 0 || digits > 15 || !absl::SimpleAtod(std::string(rest.substr(0, digits)), &number))
      return NotADuration(text);
    rest.remove_prefix(digits);
    const Unit* unit = std::find_if(std::begin(kUnits), std::end(kUnits),
                                    [&](const Unit& u) { return rest.substr(0, u.name.size()) == u.name; });
    if (unit == std::end(kUnits)) return NotADuration(text);
    rest.remove_prefix(unit->name.size());
    sum += number * unit->length;
    if (sum > kLongest) return NotADuration(text);
  }
  return sum;
}

absl::StatusOr<absl::Time> ParseTimeOrDuration(const std::string& text, absl::Time now) {
  absl::Time time;
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, text, &time, &error)) {
    const absl::StatusOr<absl::Duration> duration = ParseDuration(text);
    if (!duration.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "\"", text, "\" is neither a time like 2026-11-20T22:00:00Z nor a duration like 90s, 1h30m, 7d"));
    }
    time = now + *duration;
  }
  if (time <= now) return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not in the future"));
  return time;
}

absl::Time FromProto(const google::protobuf::Timestamp& timestamp) {
  return absl::FromUnixSeconds(timestamp.seconds()) + absl::Nanoseconds(timestamp.nanos());
}

absl::Duration FromProto(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

google::protobuf::Duration ToProto(absl::Duration duration) {
  google::protobuf::Duration proto;
  proto.set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &duration));
  proto.set_nanos(static_cast<std::int32_t>(absl::ToInt64Nanoseconds(duration)));
  return proto;
}

google::protobuf::Timestamp ToProto(absl::Time time) {
  google::protobuf::Timestamp timestamp;
  timestamp.set_seconds(absl::ToUnixSeconds(time));
  timestamp.set_nanos(
      static_cast<std::int32_t>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(timestamp.seconds()))));
  return timestamp;
}

}  // namespace migrationctl
