#include "migrations/definition/scalar_forms.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "absl/numeric/int128.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "migrations/definition/text_rules.h"

namespace migrationd {
namespace {

struct Unit {
  std::string_view word;
  std::int64_t factor;
};

constexpr std::int64_t kSecond = 1'000'000'000;
// Largest first: the writer takes the first that divides.
constexpr std::array<Unit, 6> kDurationUnits = {{{"w", 7 * 24 * 3600 * kSecond},
                                                 {"d", 24 * 3600 * kSecond},
                                                 {"h", 3600 * kSecond},
                                                 {"m", 60 * kSecond},
                                                 {"s", kSecond},
                                                 {"ms", kSecond / 1000}}};
constexpr std::array<Unit, 5> kSizeUnits = {{{"TiB", std::int64_t{1} << 40},
                                             {"GiB", std::int64_t{1} << 30},
                                             {"MiB", std::int64_t{1} << 20},
                                             {"KiB", std::int64_t{1} << 10},
                                             {"B", 1}}};
constexpr std::size_t kMostDigits = 18;

std::size_t CountDigits(std::string_view text) {
  const auto end = std::find_if(text.begin(), text.end(),
                                [](char c) { return !absl::ascii_isdigit(static_cast<unsigned char>(c)); });
  return end - text.begin();
}

// Only digits, at most kMostDigits of them.
std::int64_t DigitsValue(std::string_view digits) {
  std::int64_t value = 0;
  for (const char c : digits) value = value * 10 + (c - '0');
  return value;
}

absl::Status NotADuration(std::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat(
      "'", Shown(text), "' is not a duration; write a number and ms, s, m, h, d or w, like 250ms, 2s, 10m or 7d"));
}

absl::Status DurationTooLong(std::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat("'", Shown(text), "' is longer than 100 years (36500d)"));
}

}  // namespace

absl::StatusOr<std::int64_t> ParseDurationText(std::string_view text) {
  const std::string_view whole = text.substr(0, CountDigits(text));
  std::string_view rest = text.substr(whole.size());
  std::string_view fraction;
  if (!rest.empty() && rest[0] == '.') {
    fraction = rest.substr(1, CountDigits(rest.substr(1)));
    if (fraction.empty()) return NotADuration(text);
    rest.remove_prefix(1 + fraction.size());
  }
  const auto unit =
      std::find_if(kDurationUnits.begin(), kDurationUnits.end(), [&](const Unit& u) { return u.word == rest; });
  if (whole.empty() || unit == kDurationUnits.end()) return NotADuration(text);
  if (whole.size() > kMostDigits) return DurationTooLong(text);
  if (fraction.size() > 9) {
    return absl::InvalidArgumentError(absl::StrCat("'", Shown(text), "' has more than nine digits after the point"));
  }
  std::int64_t scale = 1;
  for (std::size_t i = 0; i < fraction.size(); ++i) scale *= 10;
  const absl::uint128 scaled = (absl::uint128(static_cast<std::uint64_t>(DigitsValue(whole))) * scale +
                                static_cast<std::uint64_t>(DigitsValue(fraction))) *
                               static_cast<std::uint64_t>(unit->factor);
  const absl::uint128 divisor(static_cast<std::uint64_t>(scale));
  if (scaled % divisor != 0) {
    return absl::InvalidArgumentError(absl::StrCat("'", Shown(text), "' is finer than a nanosecond"));
  }
  const absl::uint128 nanoseconds = scaled / divisor;
  if (nanoseconds > absl::uint128(static_cast<std::uint64_t>(kLongestDurationNanoseconds)))
    return DurationTooLong(text);
  return static_cast<std::int64_t>(absl::Uint128Low64(nanoseconds));
}

std::string DurationText(std::int64_t nanoseconds) {
  if (nanoseconds == 0) return "0s";
  for (const Unit& unit : kDurationUnits) {
    if (nanoseconds % unit.factor == 0) return absl::StrCat(nanoseconds / unit.factor, std::string(unit.word));
  }
  // Finer than a millisecond: as a decimal of it, which is exact with six digits.
  const std::int64_t millisecond = kSecond / 1000;
  return absl::StrCat(nanoseconds / millisecond, ".", absl::Dec(nanoseconds % millisecond, absl::kZeroPad6), "ms");
}

std::optional<std::int64_t> DurationNanoseconds(const google::protobuf::Duration& duration) {
  constexpr std::int64_t kMostSeconds = kLongestDurationNanoseconds / kSecond;
  if (duration.seconds() > kMostSeconds || duration.seconds() < -kMostSeconds) return std::nullopt;
  if (duration.nanos() >= kSecond || duration.nanos() <= -kSecond) return std::nullopt;
  if ((duration.seconds() > 0 && duration.nanos() < 0) || (duration.seconds() < 0 && duration.nanos() > 0)) {
    return std::nullopt;
  }
  return duration.seconds() * kSecond + duration.nanos();
}

google::protobuf::Duration DurationFromNanoseconds(std::int64_t nanoseconds) {
  google::protobuf::Duration duration;
  duration.set_seconds(nanoseconds / kSecond);
  duration.set_nanos(static_cast<std::int32_t>(nanoseconds % kSecond));
  return duration;
}

absl::StatusOr<std::int64_t> ParseSizeText(std::string_view text) {
  const std::string_view digits = text.substr(0, CountDigits(text));
  std::string_view word = text.substr(digits.size());
  if (word.empty()) word = "B";
  const auto unit = std::find_if(kSizeUnits.begin(), kSizeUnits.end(), [&](const Unit& u) { return u.word == word; });
  if (digits.empty() || unit == kSizeUnits.end()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", Shown(text), "' is not a size; write a whole number and B, KiB, MiB, GiB or TiB, like 20GiB"));
  }
  if (digits.size() > kMostDigits || DigitsValue(digits) > (std::int64_t{1} << 62) / unit->factor) {
    return absl::InvalidArgumentError(absl::StrCat("'", Shown(text), "' is too large for a size"));
  }
  return DigitsValue(digits) * unit->factor;
}

std::string SizeText(std::int64_t bytes) {
  for (const Unit& unit : kSizeUnits) {
    if (bytes % unit.factor == 0) return absl::StrCat(bytes / unit.factor, std::string(unit.word));
  }
  return absl::StrCat(bytes, "B");
}

absl::StatusOr<std::int64_t> ParseWholeNumber(std::string_view text, std::int64_t lowest, std::int64_t highest) {
  const std::string_view digits = text.substr(!text.empty() && text[0] == '-' ? 1 : 0);
  if (digits.empty() || CountDigits(digits) != digits.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", Shown(text), "' is not a whole number; write digits only, like 1000"));
  }
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < lowest || value > highest) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", Shown(text), "' is out of range; it must be from ", lowest, " to ", highest));
  }
  return value;
}

absl::StatusOr<double> ParseDecimal(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) {
    return absl::InvalidArgumentError(absl::StrCat("'", Shown(text), "' is not a decimal number, like 0.1"));
  }
  return value;
}

std::string DecimalText(double value) {
  std::array<char, 64> buffer;
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  return std::string(buffer.data(), end);
}

}  // namespace migrationd
