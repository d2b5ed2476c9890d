#include "migrations/model/key.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

struct NamedType {
  std::string_view name;
  KeyType type;
};
constexpr std::array<NamedType, 9> kTypes = {{{"smallint", KeyType::kSmallint},
                                              {"integer", KeyType::kInteger},
                                              {"bigint", KeyType::kBigint},
                                              {"uuid", KeyType::kUuid},
                                              {"text", KeyType::kText},
                                              {"character varying", KeyType::kText},
                                              {"timestamp with time zone", KeyType::kTimestamptz},
                                              {"timestamptz", KeyType::kTimestamptz},
                                              {"varchar", KeyType::kText}}};

absl::Status Wrong(std::string_view text, std::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat("\"", std::string(text), "\" is not ", std::string(expected), "."));
}

absl::StatusOr<std::string> NormalizeInteger(std::string_view text, std::int64_t least, std::int64_t most, std::string_view name) {
  std::int64_t value = 0;
  if (!absl::SimpleAtoi(std::string(text), &value) || value < least || value > most) {
    return Wrong(text, absl::StrCat("a ", std::string(name), " (", least, " to ", most, ")"));
  }
  return absl::StrCat(value);
}

absl::StatusOr<std::string> NormalizeUuid(std::string_view text) {
  // The forms that PostgreSQL reads: with or without dashes and braces.
  std::string digits;
  std::string_view inner = text;
  if (inner.size() >= 2 && inner.front() == '{' && inner.back() == '}') inner = inner.substr(1, inner.size() - 2);
  for (const char c : inner) {
    if (c == '-') continue;
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) return Wrong(text, "a uuid");
    digits.push_back(absl::ascii_tolower(static_cast<unsigned char>(c)));
  }
  if (digits.size() != 32) return Wrong(text, "a uuid");
  return absl::StrCat(digits.substr(0, 8), "-", digits.substr(8, 4), "-", digits.substr(12, 4), "-", digits.substr(16, 4), "-",
                      digits.substr(20));
}

// As PostgreSQL prints it in UTC: microseconds without trailing zeros.
std::string PrintTimestamp(absl::Time time) {
  const std::string seconds = absl::FormatTime("%E4Y-%m-%d %H:%M:%S", time, absl::UTCTimeZone());
  const std::int64_t micros = absl::ToInt64Microseconds(time - absl::FromUnixSeconds(absl::ToUnixSeconds(time)));
  if (micros == 0) return seconds + "+00";
  std::string fraction = absl::StrFormat("%06d", micros);
  fraction.erase(fraction.find_last_not_of('0') + 1);
  return absl::StrCat(seconds, ".", fraction, "+00");
}

absl::StatusOr<std::string> NormalizeTimestamp(std::string_view text) {
  if (text == "infinity" || text == "-infinity") return std::string(text);
  // +05 and +0530 become +05:30, Z becomes +00:00, a T becomes a space: one form is left to parse.
  std::string form(absl::StripAsciiWhitespace(absl::string_view(text.data(), text.size())));
  if (form.size() > 10 && (form[10] == 'T' || form[10] == 't')) form[10] = ' ';
  if (!form.empty() && (form.back() == 'Z' || form.back() == 'z')) form.replace(form.size() - 1, 1, "+00:00");
  const std::size_t sign = form.find_last_of("+-");
  if (sign == std::string::npos || sign < 11) return Wrong(text, "a timestamp with a zone, like 2026-11-20 09:30:00+00");
  const std::size_t zone_length = form.size() - sign - 1;
  if (zone_length == 2) form += ":00";
  if (zone_length == 4) form.insert(sign + 3, ":");
  absl::Time time;
  std::string error;
  if (!absl::ParseTime("%E4Y-%m-%d %H:%M:%E*S%Ez", form, &time, &error)) {
    return Wrong(text, "a timestamp with a zone, like 2026-11-20 09:30:00+00");
  }
  return PrintTimestamp(time);
}

bool NeedsQuotes(const std::string& value) {
  if (value.empty() || absl::AsciiStrToLower(value) == "null") return true;
  return std::any_of(value.begin(), value.end(), [](char c) {
    return c == '{' || c == '}' || c == ',' || c == '"' || c == '\\' || absl::ascii_isspace(static_cast<unsigned char>(c));
  });
}

// Reads the elements of an array literal.
class ArrayReader {
 public:
  explicit ArrayReader(std::string_view text) : text_(text) {}

  absl::StatusOr<Key> Read() {
    Key key;
    if (!Take('{')) return Refuse();
    if (Take('}')) return AtEnd() ? absl::StatusOr<Key>(key) : Refuse();
    do {
      MD_ASSIGN_OR_RETURN(std::string element, Element());
      key.push_back(std::move(element));
    } while (Take(','));
    if (!Take('}') || !AtEnd()) return Refuse();
    return key;
  }

 private:
  absl::StatusOr<std::string> Element() {
    std::string element;
    if (!Take('"')) {
      while (!AtEnd() && text_[at_] != ',' && text_[at_] != '}' && text_[at_] != '{' && text_[at_] != '"') element.push_back(text_[at_++]);
      if (element.empty() || absl::AsciiStrToLower(element) == "null") return Refuse();
      return element;
    }
    while (!AtEnd() && text_[at_] != '"') {
      if (text_[at_] == '\\') ++at_;
      if (AtEnd()) return Refuse();
      element.push_back(text_[at_++]);
    }
    if (!Take('"')) return Refuse();
    return element;
  }

  bool AtEnd() const { return at_ >= text_.size(); }
  bool Take(char c) {
    if (AtEnd() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  absl::Status Refuse() const {
    return absl::InvalidArgumentError(absl::StrCat("\"", std::string(text_), "\" is not a one-dimensional array without NULLs."));
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

std::optional<KeyType> ParseKeyType(std::string_view type) {
  // A length, as in character varying(20), does not matter.
  const std::string_view bare = type.substr(0, type.find('('));
  for (const NamedType& known : kTypes) {
    if (known.name == bare) return known.type;
  }
  return std::nullopt;
}

std::string_view KeyTypeName(KeyType type) {
  for (const NamedType& known : kTypes) {
    if (known.type == type) return known.name;
  }
  return "";
}

absl::StatusOr<std::string> NormalizeKeyValue(KeyType type, std::string_view text) {
  switch (type) {
    case KeyType::kSmallint:
      return NormalizeInteger(text, std::numeric_limits<std::int16_t>::min(), std::numeric_limits<std::int16_t>::max(), "smallint");
    case KeyType::kInteger:
      return NormalizeInteger(text, std::numeric_limits<std::int32_t>::min(), std::numeric_limits<std::int32_t>::max(), "integer");
    case KeyType::kBigint:
      return NormalizeInteger(text, std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max(), "bigint");
    case KeyType::kUuid: return NormalizeUuid(text);
    case KeyType::kText:
      if (text.find('\0') != std::string_view::npos) return Wrong("(text with a NUL)", "text that PostgreSQL can hold");
      return std::string(text);
    case KeyType::kTimestamptz: return NormalizeTimestamp(text);
  }
  return Wrong(text, "a key");
}

absl::StatusOr<Key> NormalizeKey(const std::vector<KeyType>& types, const Key& key) {
  if (types.size() != key.size()) {
    return absl::InvalidArgumentError(absl::StrCat("The key has ", types.size(), " columns, but ", key.size(), " values are given."));
  }
  Key normal;
  for (std::size_t i = 0; i < key.size(); ++i) {
    MD_ASSIGN_OR_RETURN(std::string value, NormalizeKeyValue(types[i], key[i]));
    normal.push_back(std::move(value));
  }
  return normal;
}

std::string KeyText(const Key& key) { return absl::StrCat("(", absl::StrJoin(key, ", "), ")"); }

std::string KeyArray(const Key& key) {
  std::string literal = "{";
  for (const std::string& value : key) {
    if (literal.size() > 1) literal += ",";
    if (!NeedsQuotes(value)) {
      literal += value;
      continue;
    }
    literal += "\"";
    for (const char c : value) {
      if (c == '"' || c == '\\') literal += "\\";
      literal += c;
    }
    literal += "\"";
  }
  return literal + "}";
}

absl::StatusOr<Key> ParseKeyArray(std::string_view literal) { return ArrayReader(literal).Read(); }

}  // namespace migrationd
