#include "migrations/model/key.h"

#include <cstdint>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

absl::Status NotAValue(KeyType type, std::string_view expected) {
  // Without the value: keys are data, and statuses end up in logs.
  return absl::InvalidArgumentError(
      absl::StrCat("not a value of type ", std::string(KeyTypeName(type)), ": expected ", std::string(expected)));
}

struct IntegerRange {
  std::int64_t min;
  std::int64_t max;
};

template <typename Integer>
constexpr IntegerRange RangeOf() {
  return {std::numeric_limits<Integer>::min(), std::numeric_limits<Integer>::max()};
}

absl::StatusOr<std::string> NormalizeInteger(KeyType type, std::string_view text, IntegerRange range) {
  std::string_view digits = text;
  if (!digits.empty() && (digits[0] == '-' || digits[0] == '+')) digits.remove_prefix(1);
  bool plain = !digits.empty();
  for (const char c : digits) plain = plain && absl::ascii_isdigit(static_cast<unsigned char>(c));
  std::int64_t value = 0;
  // SimpleAtoi alone would also take white space.
  if (!plain || !absl::SimpleAtoi(std::string(text), &value) || value < range.min || value > range.max) {
    return NotAValue(type, absl::StrCat("a whole number from ", range.min, " to ", range.max));
  }
  return absl::StrCat(value);
}

// As PostgreSQL reads one: 32 hexadecimal digits, a dash after any group of four, perhaps in braces.
absl::StatusOr<std::string> NormalizeUuid(std::string_view text) {
  const absl::Status error =
      NotAValue(KeyType::kUuid, "32 hexadecimal digits such as 0b0f4f0e-6f4b-4c1e-9f6a-2d3c4b5a6978");
  if (text.size() >= 2 && text.front() == '{' && text.back() == '}') text = text.substr(1, text.size() - 2);
  std::string digits;
  bool after_dash = true;
  for (const char c : text) {
    if (c == '-') {
      if (after_dash || digits.size() % 4 != 0 || digits.size() == 32) return error;
      after_dash = true;
      continue;
    }
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(c)) || digits.size() == 32) return error;
    digits.push_back(absl::ascii_tolower(static_cast<unsigned char>(c)));
    after_dash = false;
  }
  if (digits.size() != 32) return error;
  return absl::StrCat(digits.substr(0, 8), "-", digits.substr(8, 4), "-", digits.substr(12, 4), "-",
                      digits.substr(16, 4), "-", digits.substr(20));
}

// Takes `min` to `max` digits off the front of `text`; false, and nothing taken, when there are not so many.
bool TakeDigits(std::string_view& text, std::size_t min, std::size_t max, std::int64_t& value) {
  std::size_t count = 0;
  std::int64_t parsed = 0;
  while (count < max && count < text.size() && absl::ascii_isdigit(static_cast<unsigned char>(text[count]))) {
    parsed = parsed * 10 + (text[count] - '0');
    ++count;
  }
  if (count < min) return false;
  text.remove_prefix(count);
  value = parsed;
  return true;
}

bool TakeChar(std::string_view& text, char expected) {
  if (text.empty() || text.front() != expected) return false;
  text.remove_prefix(1);
  return true;
}

// .123456, as microseconds. PostgreSQL would round more digits; a key that is not exact is refused instead.
bool TakeFraction(std::string_view& text, std::int64_t& microseconds) {
  microseconds = 0;
  if (!TakeChar(text, '.')) return true;
  const std::size_t before = text.size();
  if (!TakeDigits(text, 1, 6, microseconds)) return false;
  for (std::size_t count = before - text.size(); count < 6; ++count) microseconds *= 10;
  return true;
}

// Z, +05, +0530, +05:30 or +05:30:15, east of Greenwich.
bool TakeZone(std::string_view& text, absl::Duration& offset) {
  offset = absl::ZeroDuration();
  if (TakeChar(text, 'Z') || TakeChar(text, 'z')) return true;
  const bool west = !text.empty() && text.front() == '-';
  if (!TakeChar(text, '+') && !TakeChar(text, '-')) return false;
  std::int64_t hours = 0;
  std::int64_t minutes = 0;
  std::int64_t seconds = 0;
  if (!TakeDigits(text, 2, 2, hours)) return false;
  if (TakeChar(text, ':')) {
    if (!TakeDigits(text, 2, 2, minutes)) return false;
    if (TakeChar(text, ':') && !TakeDigits(text, 2, 2, seconds)) return false;
  } else if (!text.empty() && absl::ascii_isdigit(static_cast<unsigned char>(text.front()))) {
    if (!TakeDigits(text, 2, 2, minutes)) return false;
  }
  if (hours > 15 || minutes > 59 || seconds > 59) return false;  // PostgreSQL's limits
  offset = absl::Hours(hours) + absl::Minutes(minutes) + absl::Seconds(seconds);
  if (west) offset = -offset;
  return true;
}

std::string TimestampText(absl::Time time) {
  const absl::TimeZone::CivilInfo utc = absl::UTCTimeZone().At(time);
  const absl::CivilSecond civil = utc.cs;
  const bool before_christ = civil.year() <= 0;  // civil year 0 is 1 BC
  std::string text = absl::StrFormat("%04d-%02d-%02d %02d:%02d:%02d", before_christ ? 1 - civil.year() : civil.year(),
                                     civil.month(), civil.day(), civil.hour(), civil.minute(), civil.second());
  const std::int64_t microseconds = absl::ToInt64Microseconds(utc.subsecond);
  if (microseconds != 0) {
    std::string fraction = absl::StrFormat("%06d", microseconds);
    fraction.erase(fraction.find_last_not_of('0') + 1);
    absl::StrAppend(&text, ".", fraction);
  }
  return absl::StrCat(text, "+00", before_christ ? " BC" : "");
}

absl::StatusOr<std::string> NormalizeTimestamp(std::string_view text) {
  const absl::Status error =
      NotAValue(KeyType::kTimestamptz, "ISO form with a zone, such as 2026-11-20 09:30:00.123456+00");
  if (text == "infinity" || text == "-infinity") return std::string(text);
  std::int64_t year = 0;
  std::int64_t month = 0;
  std::int64_t day = 0;
  std::int64_t hour = 0;
  std::int64_t minute = 0;
  std::int64_t second = 0;
  std::int64_t microsecond = 0;
  absl::Duration offset;
  std::string_view rest = text;
  if (!TakeDigits(rest, 4, 6, year) || !TakeChar(rest, '-') || !TakeDigits(rest, 2, 2, month) || !TakeChar(rest, '-') ||
      !TakeDigits(rest, 2, 2, day) || (!TakeChar(rest, ' ') && !TakeChar(rest, 'T') && !TakeChar(rest, 't')) ||
      !TakeDigits(rest, 2, 2, hour) || !TakeChar(rest, ':') || !TakeDigits(rest, 2, 2, minute) ||
      (TakeChar(rest, ':') && (!TakeDigits(rest, 2, 2, second) || !TakeFraction(rest, microsecond))) ||
      !TakeZone(rest, offset) || year == 0) {
    return error;
  }
  if (rest == " BC") {
    year = 1 - year;
    rest = "";
  }
  const absl::CivilSecond civil(year, month, day, hour, minute, second);
  // CivilSecond carries over what is out of range: the 30th of February would become a day of March.
  const bool exists = civil.month() == month && civil.day() == day && civil.hour() == hour &&
                      civil.minute() == minute && civil.second() == second;
  if (!rest.empty() || !exists) return error;
  const absl::Time time = absl::FromCivil(civil, absl::UTCTimeZone()) + absl::Microseconds(microsecond) - offset;
  // The range of PostgreSQL's type: 4714-11-24 BC to the end of 294276.
  if (time < absl::FromCivil(absl::CivilSecond(-4713, 11, 24), absl::UTCTimeZone()) ||
      time >= absl::FromCivil(absl::CivilSecond(294277, 1, 1), absl::UTCTimeZone())) {
    return error;
  }
  return TimestampText(time);
}

// `name` or `name(20)`.
bool IsTypeWithOptionalLength(std::string_view type, std::string_view name) {
  if (!type.starts_with(name)) return false;
  type.remove_prefix(name.size());
  return type.empty() || (type.front() == '(' && type.find(')') == type.size() - 1);
}

absl::Status NotAKeyArray(std::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("not a key: ", std::string(what),
                                                 "; expected a one-dimensional array literal such as {\"1\",\"a b\"}"));
}

// Reads the values of an array literal one after the other.
class ArrayReader {
 public:
  explicit ArrayReader(std::string_view inside) : rest_(inside) {}

  absl::StatusOr<Key> ReadAll() {
    Key key;
    SkipSpace();
    if (rest_.empty()) return key;
    while (true) {
      MD_ASSIGN_OR_RETURN(std::string value, ReadValue());
      key.push_back(std::move(value));
      SkipSpace();
      if (rest_.empty()) return key;
      if (!TakeChar(rest_, ',')) return NotAKeyArray("a comma is missing between two values");
      SkipSpace();
    }
  }

 private:
  void SkipSpace() {
    while (!rest_.empty() && absl::ascii_isspace(static_cast<unsigned char>(rest_.front()))) rest_.remove_prefix(1);
  }

  absl::StatusOr<std::string> ReadValue() { return TakeChar(rest_, '"') ? ReadQuoted() : ReadPlain(); }

  absl::StatusOr<std::string> ReadQuoted() {
    std::string value;
    while (!rest_.empty()) {
      char c = rest_.front();
      rest_.remove_prefix(1);
      if (c == '"') return value;
      if (c == '\\') {
        if (rest_.empty()) break;
        c = rest_.front();
        rest_.remove_prefix(1);
      }
      value.push_back(c);
    }
    return NotAKeyArray("a quotation mark is missing at the end");
  }

  absl::StatusOr<std::string> ReadPlain() {
    std::string value;
    std::size_t length = 0;  // up to the last character that is not unquoted white space
    bool escaped = false;
    while (!rest_.empty() && rest_.front() != ',') {
      char c = rest_.front();
      rest_.remove_prefix(1);
      if (c == '"' || c == '{' || c == '}') return NotAKeyArray("a quotation mark or brace inside an unquoted value");
      const bool space = absl::ascii_isspace(static_cast<unsigned char>(c));
      if (c == '\\') {
        if (rest_.empty()) return NotAKeyArray("a backslash at the end");
        c = rest_.front();
        rest_.remove_prefix(1);
        escaped = true;
      }
      value.push_back(c);
      if (!space) length = value.size();
    }
    value.resize(length);
    if (value.empty()) return NotAKeyArray("an empty value without quotation marks");
    if (!escaped && absl::EqualsIgnoreCase(value, "null")) return NotAKeyArray("NULL inside");
    return value;
  }

  std::string_view rest_;
};

}  // namespace

std::optional<KeyType> ParseKeyType(std::string_view type) {
  for (const KeyType known : {KeyType::kSmallint, KeyType::kInteger, KeyType::kBigint, KeyType::kUuid, KeyType::kText,
                              KeyType::kTimestamptz}) {
    if (type == KeyTypeName(known)) return known;
  }
  if (IsTypeWithOptionalLength(type, "character varying") || IsTypeWithOptionalLength(type, "character")) {
    return KeyType::kText;
  }
  if (type.starts_with("timestamp(") && type.ends_with(") with time zone")) return KeyType::kTimestamptz;
  return std::nullopt;
}

std::string_view KeyTypeName(KeyType type) {
  switch (type) {
    case KeyType::kSmallint:
      return "smallint";
    case KeyType::kInteger:
      return "integer";
    case KeyType::kBigint:
      return "bigint";
    case KeyType::kUuid:
      return "uuid";
    case KeyType::kText:
      return "text";
    case KeyType::kTimestamptz:
      return "timestamp with time zone";
    case KeyType::kTid:
      return "tid";
  }
  return "";
}

std::optional<Place> ParsePlace(std::string_view text) {
  Place place;
  if (!TakeChar(text, '(') || !TakeDigits(text, 1, 10, place.block) || !TakeChar(text, ',') || !TakeDigits(text, 1, 5, place.offset) ||
      text != ")" || place.block > std::numeric_limits<std::uint32_t>::max() ||
      place.offset > std::numeric_limits<std::uint16_t>::max()) {
    return std::nullopt;
  }
  return place;
}

absl::StatusOr<std::string> NormalizeKeyValue(KeyType type, std::string_view text) {
  switch (type) {
    case KeyType::kSmallint:
      return NormalizeInteger(type, text, RangeOf<std::int16_t>());
    case KeyType::kInteger:
      return NormalizeInteger(type, text, RangeOf<std::int32_t>());
    case KeyType::kBigint:
      return NormalizeInteger(type, text, RangeOf<std::int64_t>());
    case KeyType::kUuid:
      return NormalizeUuid(text);
    case KeyType::kText:
      if (text.find('\0') != std::string_view::npos) return NotAValue(type, "text without a NUL byte");
      return std::string(text);
    case KeyType::kTimestamptz:
      return NormalizeTimestamp(text);
    case KeyType::kTid:
      if (const std::optional<Place> place = ParsePlace(text)) return absl::StrCat("(", place->block, ",", place->offset, ")");
      return NotAValue(type, "a block and an offset, such as (42,7)");
  }
  return absl::InternalError("unknown key type");
}

absl::StatusOr<Key> NormalizeKey(const std::vector<KeyType>& types, const Key& key) {
  if (key.size() != types.size()) {
    return absl::InvalidArgumentError(absl::StrCat("the key has ", key.size(), " values, but ", types.size(),
                                                   " columns: expected one value a column"));
  }
  Key normal;
  normal.reserve(key.size());
  for (std::size_t i = 0; i < key.size(); ++i) {
    absl::StatusOr<std::string> value = NormalizeKeyValue(types[i], key[i]);
    if (!value.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("value ", i + 1, " of the key: ", value.status().message()));
    }
    normal.push_back(*std::move(value));
  }
  return normal;
}

std::string KeyText(const Key& key) { return absl::StrCat("(", absl::StrJoin(key, ", "), ")"); }

std::string KeyArray(const Key& key) {
  std::string literal = "{";
  for (const std::string& value : key) {
    if (literal.size() > 1) literal.push_back(',');
    literal.push_back('"');
    for (const char c : value) {
      if (c == '"' || c == '\\') literal.push_back('\\');
      literal.push_back(c);
    }
    literal.push_back('"');
  }
  literal.push_back('}');
  return literal;
}

absl::StatusOr<Key> ParseKeyArray(std::string_view literal) {
  if (literal.size() < 2 || literal.front() != '{' || literal.back() != '}') {
    return NotAKeyArray("it does not begin with { and end with }");
  }
  // A brace that belongs to a quoted value, as in {"a}, leaves that value without its end and is refused there.
  return ArrayReader(literal.substr(1, literal.size() - 2)).ReadAll();
}

}  // namespace migrationd
